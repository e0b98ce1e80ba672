r"""What is wrong with a run, judged from its readings: pure functions of numbers.

One small function per kind of verdict looks at the readings up to the newest and says what is wrong there, in which tensors,
since when, how sure that is, and what to do. Nothing is remembered between calls: the same readings are judged the same. A
number that is not finite is never left out: it is a verdict.

Trouble, on which a guard acts: ``nonfinite-loss``, ``nonfinite-gradient``, ``nonfinite-parameter``, ``nonfinite-moment``,
``divergence``, ``bound-exceeded``. Warnings: ``exploding``, ``vanishing``, ``dead-layer``, ``overfitting``,
``unstable-margin``.
"""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Sequence
from typing import NamedTuple

from equipoise.monitor._judging.tensor_verdicts import (
    bound_exceeded,
    dead_layer,
    exploding,
    nonfinite_gradient,
    nonfinite_moment,
    nonfinite_parameter,
    vanishing,
)
from equipoise.monitor._judging.verdict import Thresholds, Verdict, first_of
from equipoise.monitor._measuring.readings import GroupReading, Reading
from equipoise.theory._assessment import Assessment, assess, rounded_towards_stability

__all__ = ["KINDS", "Thresholds", "Verdict", "judge"]

SIGMAS_PER_MAD = 1.4826
"""The standard deviation of a normal distribution whose median absolute deviation is 1."""


def judge(history: Sequence[Reading], thresholds: Thresholds = Thresholds()) -> list[Verdict]:  # noqa: B008 (it is frozen)
    """Everything that is wrong at the newest reading, trouble first.

    Args:
        history: readings in the order of their steps, the newest last. The longer it is, the further back a "since" can be.
        thresholds: where verdicts begin.

    Example:
        >>> reading = Reading(step=1, time=0.0, made=True, metrics={"loss": math.nan}, groups=(), tensors={})
        >>> [verdict] = judge([reading])
        >>> verdict.kind, verdict.message
        ('nonfinite-loss', 'loss is nan.')
    """
    found = [verdict for kind in KINDS if history and (verdict := kind(history, thresholds)) is not None]
    return sorted(found, key=lambda verdict: verdict.severity != "trouble")


def nonfinite_loss(history: Sequence[Reading], thresholds: Thresholds) -> Verdict | None:
    """A loss that is NaN or infinite. Certain."""
    named = (thresholds.loss, thresholds.validation_loss)

    def bad(reading: Reading) -> list[str]:
        return [name for name in named if not math.isfinite(reading.metrics.get(name, 0.0))]

    def unbroken(index: int) -> bool:  # a reading without losses breaks nothing
        return bool(bad(history[index])) or not any(name in history[index].metrics for name in named)

    now = bad(history[-1])
    if not now:
        return None
    first = next(index for index in range(first_of(len(history), unbroken), len(history)) if bad(history[index]))
    return Verdict(
        kind="nonfinite-loss",
        severity="trouble",
        step=history[-1].step,
        since=history[first].step,
        where=(),
        confidence=1.0,
        message=" and ".join(f"{name} is {history[-1].metrics[name]}" for name in now) + ".",
        advice="Look at the batch, and at the tensors that other verdicts name. A logarithm or a quotient of 0, and float16,"
        " whose numbers end at 65504, are the usual causes. If it does not go away, go back to the last good snapshot.",
    )


def divergence(history: Sequence[Reading], thresholds: Thresholds) -> Verdict | None:
    r"""A loss that left its usual level upwards and stayed there.

    The level is the median of the last `recent` losses. The usual one, m, is the median of the `window` losses before them, and
    their spread s is 1.4826 times the median absolute deviation from it, but at least ln(1 + `rise`) / `spike`. Divergence is
    z = (ln level - ln m) / s >= `spike`: logarithms, because the losses of batches are the more skewed the better a model is.
    (Where a loss is not positive, the same without logarithms, s at least `rise` |m| / `spike`.) Confidence is 1 - 1/(1 + z^2):
    however something is distributed, at most a share of 1/(1 + z^2) of it lies z standard deviations above its mean (Cantelli).

    Before there are `fewest` losses to tell what is usual, it is divergence if the level is `start` times the first loss of the
    run. Confidence is then 1 - 1 / that factor.
    """
    given = [(reading.step, reading.metrics[thresholds.loss]) for reading in history if thresholds.loss in reading.metrics]
    losses = [loss if math.isfinite(loss) else math.inf for _, loss in given]
    from_start = len(given) > 1 and given[0][0] <= given[1][0] - given[0][0]  # else the first ones are not known any more

    def risen(index: int) -> _Risen | None:
        return _risen(losses[: index + 1], from_start, thresholds)

    now = risen(len(losses) - 1)
    if now is None:
        return None
    first = first_of(len(losses), lambda index: risen(index) is not None)
    return Verdict(
        kind="divergence",
        severity="trouble",
        step=history[-1].step,
        since=given[first][0],
        where=(),
        confidence=now.confidence,
        message=f"{thresholds.loss} has risen to {now.level:.4g}: {now.compared}.",
        advice="Go back to a snapshot from before it rose, and go on with half the learning rate, or without these batches. If"
        " the data or the schedule explain it (a restart, harder examples), raise Thresholds.spike.",
    )


def overfitting(history: Sequence[Reading], thresholds: Thresholds) -> Verdict | None:
    """A validation loss that has risen from its least value while the training loss fell. Confidence is 1 - 2^-validations.

    The training loss that belongs to a validation is the median of those since the validation before.
    """
    validations: list[tuple[int, float, float]] = []
    training: list[float] = []
    for reading in history:
        training += [reading.metrics[thresholds.loss]] if thresholds.loss in reading.metrics else []
        if thresholds.validation_loss in reading.metrics and training:
            validations.append((reading.step, reading.metrics[thresholds.validation_loss], statistics.median(training)))
            training = []
    if not validations:
        return None
    _, least, then = min(validations, key=lambda each: each[1])
    limit = least + thresholds.overfitting * abs(least)
    first = first_of(len(validations), lambda index: validations[index][1] > limit and validations[index][2] < then)
    count = len(validations) - first
    if count < thresholds.validations:
        return None
    _, now, fitted = validations[-1]
    return Verdict(
        kind="overfitting",
        severity="warning",
        step=history[-1].step,
        since=validations[first][0],
        where=(),
        confidence=1 - 0.5**count,
        message=f"{thresholds.validation_loss} has risen from {least:.4g} to {now:.4g}, while {thresholds.loss} fell from"
        f" {then:.4g} to {fitted:.4g}.",
        advice="Keep the model of the least validation loss. More data, augmentation, weight decay, dropout, or an exponent"
        " nearer to 0 (equipoise.balance.GeneralizationController moves it) close the gap.",
    )


def unstable_margin(history: Sequence[Reading], _: Thresholds) -> Verdict | None:
    """Hyperparameters outside of the stable region (E4), now or ahead on a known schedule. Certain is that updates can grow
    there, not that they will."""
    outside = _outside(history[-1])
    if not outside:
        return None
    first = first_of(len(history), lambda index: not outside.keys().isdisjoint(_outside(history[index])))
    group = min(outside.values(), key=lambda each: (_assessed(each).stable, each.margin, each.margin_ahead))
    found = _assessed(group)
    if found.stable:
        message = f"The schedule leads out of the stable region, to a margin of {group.margin_ahead:+.4f} nats per step."
        advice = "The warning that its Scheduler gave when it was built says at which step. Let the schedule end inside."
    else:
        nearest = rounded_towards_stability(found.nearest)
        message = f"The margin is {found.margin:+.4f} nats per step. {found.sentence}"
        advice = (
            f"Stable, each alone: beta1 <= {nearest.beta1}, beta2 >= {nearest.beta2}, or exponent <= {nearest.exponent}"
            " (nan: no value of it alone would do)."
        )
    return Verdict(
        kind="unstable-margin",
        severity="warning",
        step=history[-1].step,
        since=history[first].step,
        where=tuple(f"group {number}" for number in outside),
        confidence=1.0,
        message=message,
        advice=advice,
    )


KINDS = (
    nonfinite_loss,
    nonfinite_gradient,
    nonfinite_parameter,
    nonfinite_moment,
    divergence,
    bound_exceeded,
    exploding,
    vanishing,
    dead_layer,
    overfitting,
    unstable_margin,
)
"""All that is looked for, each a function of the readings and the thresholds."""


class _Risen(NamedTuple):
    """A loss above what it is compared with."""

    level: float
    confidence: float
    compared: str
    """In words."""


def _risen(losses: Sequence[float], from_start: bool, thresholds: Thresholds) -> _Risen | None:
    """What :func:`divergence` says of the last of some losses; infinite stands for all that is not finite."""
    before = losses[: -thresholds.recent][-thresholds.window :]
    if not before:
        return None
    level, usual = statistics.median(losses[-thresholds.recent :]), statistics.median(before)
    if len(before) < thresholds.fewest:
        times = level / losses[0] if from_start and 0 < losses[0] < math.inf else 0.0
        compared = f"{times:.3g} times the {losses[0]:.4g} of the run's first reading"
        return _Risen(level, 1 - 1 / times, compared) if times >= thresholds.start else None
    if level <= usual:
        return None
    logarithms = min(before) > 0
    scale = math.log if logarithms else float
    distance = scale(level) - scale(usual)
    spread = SIGMAS_PER_MAD * statistics.median(abs(scale(loss) - scale(usual)) for loss in before)
    least = math.log1p(thresholds.rise) if logarithms else thresholds.rise * abs(usual)
    size = distance / max(spread, least / thresholds.spike, sys.float_info.min)
    if size < thresholds.spike:
        return None
    return _Risen(level, 1 - 1 / (1 + size**2), f"{size:.3g} standard deviations above the {usual:.4g} that was usual")


def _outside(reading: Reading) -> dict[int, GroupReading]:
    """The groups whose margin is lost or will be, by number. Above an exponent of 1/2 the margin alone does not tell."""
    return {
        number: group
        for number, group in enumerate(reading.groups)
        if group.margin <= 0 or group.margin_ahead <= 0 or (max(group.exponent) > 0.5 and not _assessed(group).stable)
    }


def _assessed(group: GroupReading) -> Assessment:
    return assess(group.betas, group.exponent, len(group.exponent))
