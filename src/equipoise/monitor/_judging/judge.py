r"""Judges a run by its readings: pure functions of numbers.

One function for each kind of verdict looks at the readings up to the newest and says what is wrong there, in which tensors,
since when, how sure that is, and what to do. Nothing is remembered between calls: the same readings are always judged the same.
A number that is not finite is never left out: it is a verdict.

Trouble, on which a guard acts: ``nonfinite-loss``, ``nonfinite-gradient``, ``nonfinite-parameter``, ``nonfinite-moment``,
``divergence``, ``bound-exceeded``, ``jump``; a guard adds ``not-recovered`` after a rollback.
Warnings: ``exploding``, ``vanishing``, ``dead-layer``, ``overfitting``,
``unstable-margin``.
"""

from __future__ import annotations

from collections.abc import Sequence

from equipoise.monitor._judging.jump_verdict import jump
from equipoise.monitor._judging.loss_verdicts import divergence, nonfinite_loss, overfitting
from equipoise.monitor._judging.margin_verdict import unstable_margin
from equipoise.monitor._judging.tensor_verdicts import (
    bound_exceeded,
    dead_layer,
    exploding,
    nonfinite_gradient,
    nonfinite_moment,
    nonfinite_parameter,
    vanishing,
)
from equipoise.monitor._judging.thresholds import Thresholds
from equipoise.monitor._judging.verdict import Verdict
from equipoise.monitor._measuring.readings import Reading

KINDS = (
    nonfinite_loss,
    nonfinite_gradient,
    nonfinite_parameter,
    nonfinite_moment,
    divergence,
    bound_exceeded,
    jump,
    exploding,
    vanishing,
    dead_layer,
    overfitting,
    unstable_margin,
)
"""Every kind of verdict, as a function of the readings and the thresholds."""


def judge(history: Sequence[Reading], thresholds: Thresholds = Thresholds()) -> list[Verdict]:  # noqa: B008 (it is frozen)
    """Everything that is wrong at the newest reading, trouble first.

    Args:
        history: readings in the order of their steps, the newest last. The more there are, the further back `since` can reach.
        thresholds: where verdicts begin.

    Example:
        >>> import math
        >>> reading = Reading(step=1, time=0.0, made=True, metrics={"loss": math.nan}, groups=(), tensors={})
        >>> [verdict] = judge([reading])
        >>> verdict.kind, verdict.message
        ('nonfinite-loss', 'loss is nan.')
    """
    found = [verdict for kind in KINDS if history and (verdict := kind(history, thresholds)) is not None]
    return sorted(found, key=lambda verdict: verdict.severity != "trouble")
