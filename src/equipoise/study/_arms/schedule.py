"""Learning rate schedules: a warm-up, and what follows it."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

ScheduleName: TypeAlias = Literal["constant", "cosine", "linear"]
"""What follows the warm-up: nothing changes, or the learning rate falls to 0 along half a cosine, or along a line."""


def factor(step: int, *, steps: int, schedule: ScheduleName, warmup: float) -> float:
    """The share of the learning rate that a step trains with.

    It rises linearly during the first ``warmup * steps`` steps, whose last has all of it. Then it follows the schedule.

    Args:
        step: counted from 0.
        steps: of the whole run; the schedule ends here.
        schedule: its name.
        warmup: a share of the steps.

    Example:
        >>> [round(factor(step, steps=8, schedule="cosine", warmup=0.25), 2) for step in range(9)]
        [0.5, 1.0, 1.0, 0.93, 0.75, 0.5, 0.25, 0.07, 0.0]
    """
    rising = round(warmup * steps)
    if step < rising:
        return (step + 1) / rising
    done = min(1.0, (step - rising) / max(1, steps - rising))
    match schedule:
        case "constant":
            return 1.0
        case "cosine":
            return 0.5 * (1 + math.cos(math.pi * done))
        case "linear":
            return 1 - done
