"""Where schedules lead: every step of them is looked at before the first is taken."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from equipoise.balance._schedules import Schedule
from equipoise.errors import ArgumentError
from equipoise.hyperparameters import Hyperparameters
from equipoise.theory._assessment import Assessment, assess_hyperparameters, deciding_stages
from equipoise.theory._region import margin

Floats: TypeAlias = NDArray[np.float64]
Values: TypeAlias = Callable[[NDArray[Any]], Any]
"""A function from an array of steps to the values at them, as a schedule is."""

ACCEPTED = MappingProxyType(
    {
        "exponent": (-math.inf, math.inf, "a finite number"),
        "beta1": (0.0, 1.0, "in [0, 1)"),
        "beta2": (0.0, 1.0, "in [0, 1)"),
        "eps": (0.0, math.inf, "a finite number of at least 0"),
    }
)
"""What can be scheduled: the least value, the bound that it must stay below, and both in words."""

FORESEEN = 10_000_000
"""So many steps are looked at."""

CHUNK = 2**16
"""So many at a time."""


@dataclass(frozen=True)
class Outside:
    """A step at which updates can grow without bound."""

    step: int
    margin: float
    """The lowest margin of the stages that decide, in nats per step."""
    assessment: Assessment

    @property
    def hyperparameters(self) -> str:
        """Those of this step, for reading; of one stage without brackets."""
        betas, exponents = self.assessment.hyperparameters.betas, self.assessment.hyperparameters.exponents
        if len(betas) == 1:
            return f"exponent {exponents[0]:.6g}, betas ({betas[0][0]:.6g}, {betas[0][1]:.6g})"
        pairs = ", ".join(f"({beta1:.6g}, {beta2:.6g})" for beta1, beta2 in betas)
        return f"exponents ({', '.join(f'{exponent:.6g}' for exponent in exponents)}), betas ({pairs})"


def outside(present: Hyperparameters, schedules: Mapping[str, Sequence[Schedule]]) -> tuple[Outside, Outside] | None:
    """The first step outside of the stable region, and the one with the lowest margin; None where there is none.

    Looks at every step until all schedules have ended or repeat together, but at most at :data:`FORESEEN`.

    Args:
        present: the values that no schedule changes.
        schedules: by the name of the value: one for all stages, or one per stage.

    Raises:
        ArgumentError: a schedule leaves what is accepted for its value.

    Example:
        >>> from equipoise.balance._schedules import Linear
        >>> first, lowest = outside(Hyperparameters.parse((0.95, 0.7)), {"exponent": [Linear(0.0, 0.5, steps=100)]})
        >>> first.step, round(first.margin, 4), lowest.step, round(lowest.margin, 4)
        (29, -0.0004, 100, -0.127)
    """
    repetitions = [schedule.repetition for each in schedules.values() for schedule in each]
    together = max((start for start, _ in repetitions), default=0) + math.lcm(*(period for _, period in repetitions))
    found: list[tuple[float, int, Floats]] = []
    for start in range(0, min(together, FORESEEN), CHUNK):
        steps = np.arange(start, min(start + CHUNK, together, FORESEEN))
        lowest, leaves, stages = margins(present, schedules, steps)
        if leaves.any():
            at = int(np.argmax(leaves)), int(np.argmin(np.where(leaves, lowest, np.inf)))
            found += [(float(lowest[i]), int(steps[i]), stages[:, :, i]) for i in at]
    if not found:
        return None
    first, deepest = found[0], min(found, key=lambda each: each[0])
    return _outside(*first), _outside(*deepest)


def margins(
    present: Hyperparameters, schedules: Mapping[str, Sequence[Values]], steps: NDArray[Any]
) -> tuple[Floats, NDArray[np.bool_], Floats]:
    """The stability margin at each of some steps.

    Args:
        present, schedules: as for :func:`outside`.
        steps: shape (n,).

    Returns:
        The lowest of the stages that decide, in nats per step, shape (n,); whether updates can grow without bound, shape (n,);
        and beta1, beta2 and exponent of every stage, shape (3, stages, n).

    Raises:
        ArgumentError: a schedule leaves what is accepted for its value.
    """
    scheduled = {name: _values(name, each, steps) for name, each in schedules.items()}
    beta1, beta2 = np.array(present.betas, dtype=np.float64).T[:, :, None]
    shape = len(present.betas), len(steps)
    b1, b2, p = (
        np.broadcast_to(scheduled.get(name, value), shape)
        for name, value in (("beta1", beta1), ("beta2", beta2), ("exponent", np.array(present.exponents)[:, None]))
    )
    each, decides = margin(b1, b2, p), deciding_stages(p)
    leaves = (decides & ((each <= 0) | (p > 0.5))).any(axis=0)
    return np.where(decides, each, np.inf).min(axis=0), leaves, np.stack([b1, b2, p])


def _outside(lowest: float, step: int, stages: Floats) -> Outside:
    beta1, beta2, exponents = stages.tolist()
    left = Hyperparameters(tuple(zip(beta1, beta2, strict=True)), tuple(exponents))
    return Outside(step, lowest, assess_hyperparameters(left))


def _values(name: str, schedules: Sequence[Values], steps: NDArray[Any]) -> Floats:
    """The values of all schedules at all steps: (1 or stages, steps)."""
    least, bound, accepted = ACCEPTED[name]
    values = np.stack([schedule(steps) for schedule in schedules])
    refused = ~((values >= least) & (values < bound) & np.isfinite(values))
    if refused.any():
        stage, index = np.argwhere(refused)[0].tolist()
        raise ArgumentError(f"{name} at step {steps[index]} of the schedule", float(values[stage, index]), accepted)
    return values
