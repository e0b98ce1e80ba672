"""Verdicts on the losses of a run: one pure function for each kind."""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Sequence
from typing import NamedTuple

from equipoise.monitor._judging.thresholds import Thresholds
from equipoise.monitor._judging.verdict import Verdict, start_of_streak
from equipoise.monitor._measuring.readings import Reading

SIGMAS_PER_MAD = 1.4826
"""The standard deviation of a normal distribution whose median absolute deviation is 1."""


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
    first = next(index for index in range(start_of_streak(len(history), unbroken), len(history)) if bad(history[index]))
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

    def risen(index: int) -> _LossRise | None:
        return _loss_rise(losses[: index + 1], from_start, thresholds)

    now = risen(len(losses) - 1)
    if now is None:
        return None
    first = start_of_streak(len(losses), lambda index: risen(index) is not None)
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
    first = start_of_streak(len(validations), lambda index: validations[index][1] > limit and validations[index][2] < then)
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


class _LossRise(NamedTuple):
    """How far a loss is above the one that it is compared with."""

    level: float
    confidence: float
    compared: str
    """What it was compared with, in words."""


def _loss_rise(losses: Sequence[float], from_start: bool, thresholds: Thresholds) -> _LossRise | None:
    """What :func:`divergence` says of the last loss; here every loss that is not finite is infinite."""
    before = losses[: -thresholds.recent][-thresholds.window :]
    if not before:
        return None
    level, usual = statistics.median(losses[-thresholds.recent :]), statistics.median(before)
    if len(before) < thresholds.fewest:
        times = level / losses[0] if from_start and 0 < losses[0] < math.inf else 0.0
        compared = f"{times:.3g} times the {losses[0]:.4g} of the run's first reading"
        return _LossRise(level, 1 - 1 / times, compared) if times >= thresholds.start else None
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
    return _LossRise(level, 1 - 1 / (1 + size**2), f"{size:.3g} standard deviations above the {usual:.4g} that was usual")
