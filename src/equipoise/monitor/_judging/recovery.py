"""Whether a run that went back has come to where it was: its loss, compared with that before the snapshot."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from equipoise.monitor._judging.loss_verdicts import SIGMAS_PER_MAD
from equipoise.monitor._judging.thresholds import Thresholds
from equipoise.monitor._judging.verdict import Verdict
from equipoise.monitor._measuring.readings import Reading


class Recovery(NamedTuple):
    """What a run has to reach again after a rollback."""

    step: int
    """The step that it went back to."""
    level: float
    """The median of the last losses before that step."""
    limit: float
    """The loss from which on it has recovered: one robust standard deviation above the level, but at least a part of
    :attr:`Thresholds.rise`, because the losses of batches differ."""

    @classmethod
    def of(cls, history: Sequence[Reading], step: int, thresholds: Thresholds) -> Recovery | None:
        """What is to be reached after going back to a step; None where no loss is known from before it."""
        losses = [loss for loss in _losses(history, 0, step, thresholds) if math.isfinite(loss)][-thresholds.fewest :]
        if not losses:
            return None
        level = statistics.median(losses)
        spread = SIGMAS_PER_MAD * statistics.median(abs(loss - level) for loss in losses)
        return cls(step, level, level + max(spread, thresholds.rise / thresholds.spike * abs(level)))

    def reached(self, history: Sequence[Reading], thresholds: Thresholds) -> bool:
        """Whether the median of the last losses since the rollback is at most the limit."""
        losses = _losses(history, self.step + 1, None, thresholds)
        return len(losses) >= thresholds.recent and statistics.median(losses[-thresholds.recent :]) <= self.limit

    def verdict(self, history: Sequence[Reading], thresholds: Thresholds) -> Verdict | None:
        """That it was not reached in :attr:`Thresholds.recovery` readings. Confidence is 1 - 2^-(readings / `recent`)."""
        losses = _losses(history, self.step + 1, None, thresholds)
        if len(losses) < thresholds.recovery:
            return None
        since = next(reading.step for reading in history if reading.step > self.step)
        level = statistics.median(losses[-thresholds.recent :])
        return Verdict(
            kind="not-recovered",
            severity="trouble",
            step=history[-1].step,
            since=since,
            where=(),
            confidence=1 - 0.5 ** (len(losses) / thresholds.recent),
            message=f"{thresholds.loss} is {level:.4g}, {len(losses)} readings after the run went back to step {self.step}: it"
            f" did not recover the {self.level:.4g} from before that step.",
            advice="The snapshot was spoiled already, or what spoiled the run goes on: go back further, look at the"
            " settings and at the data from before that step. If the data have become harder, raise Thresholds.recovery.",
        )


def _losses(history: Sequence[Reading], first: int, last: int | None, thresholds: Thresholds) -> list[float]:
    """The losses from one step to another; one that is not finite is infinite."""
    found = [
        reading.metrics[thresholds.loss]
        for reading in history
        if thresholds.loss in reading.metrics and first <= reading.step and (last is None or reading.step <= last)
    ]
    return [loss if math.isfinite(loss) else math.inf for loss in found]
