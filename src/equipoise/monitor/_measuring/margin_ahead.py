"""The least stability margin that known schedules lead to, from any step on, without looking at every step each time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.balance._scheduler import Scheduler
from equipoise.balance._schedules import Schedule
from equipoise.balance._stability_ahead import FORESEEN, Floats, Values, margins
from equipoise.hyperparameters import Hyperparameters

CHUNK = 4096
"""One margin is remembered for so many steps. The rest of the present chunk is computed again: a tenth of a millisecond."""


class MarginAhead:
    """The least margin along the schedules of some schedulers, which all count the steps of one optimizer.

    Args:
        schedulers: where two of them change the same value, the later one wins.

    Example:
        >>> import torch
        >>> from equipoise import SMES
        >>> from equipoise.balance import Linear
        >>> optimizer = SMES([torch.nn.Parameter(torch.ones(3))], betas=(0.9, 0.99))
        >>> scheduler = Scheduler(optimizer, exponent=Linear(0.25, 0.5, steps=100))
        >>> round(MarginAhead([scheduler]).least(0, Hyperparameters.parse((0.9, 0.99), 0.25)), 4)
        0.1003
    """

    def __init__(self, schedulers: Sequence[Scheduler]) -> None:
        self._schedulers = schedulers
        self._tables: dict[int, tuple[Any, _LeastMargins]] = {}

    def least(self, number: int, present: Hyperparameters | None) -> float:
        """The least margin from the present step of the schedulers on, in nats per step; infinite for a group without a
        schedule or without stages.

        Args:
            number: the number of the parameter group.
            present: the values of the group, for what no schedule changes.
        """
        known: dict[str, tuple[Values, ...]] = {}
        identity: list[Any] = []
        repetitions: list[tuple[int, int]] = []
        now = max((scheduler.last_step for scheduler in self._schedulers), default=0)
        for scheduler in self._schedulers:
            behind = now - scheduler.last_step
            for name, by_group in scheduler.schedules.items():
                schedules = by_group[number] if number < len(by_group) else None
                if schedules is not None and name != "eps":
                    known[name] = tuple(_Shifted(schedule, behind) for schedule in schedules)
                    identity.append((name, schedules, behind))
                    repetitions += [(start + behind, period) for start, period in (each.repetition for each in schedules)]
        if not known or present is None:
            return math.inf
        unscheduled = [
            None if "exponent" in known else present.exponents,
            None if "beta1" in known else tuple(beta1 for beta1, _ in present.betas),
            None if "beta2" in known else tuple(beta2 for _, beta2 in present.betas),
        ]
        key = (*identity, *unscheduled)
        if number not in self._tables or self._tables[number][0] != key:
            self._tables[number] = key, _LeastMargins(present, known, repetitions)
        return self._tables[number][1].least(now)


@dataclass(frozen=True)
class _Shifted:
    """A schedule whose scheduler has made fewer steps than the others."""

    schedule: Schedule
    behind: int

    def __call__(self, steps: NDArray[Any]) -> Any:
        return self.schedule(np.maximum(steps - self.behind, 0))


class _LeastMargins:
    """The least margin of every chunk of steps and of all that follow it."""

    def __init__(
        self,
        present: Hyperparameters,
        schedules: dict[str, tuple[Values, ...]],
        repetitions: Sequence[tuple[int, int]],
    ) -> None:
        self._given = present, schedules
        self._repeats = max(start for start, _ in repetitions)
        self._end = min(self._repeats + math.lcm(*(period for _, period in repetitions)), FORESEEN)
        chunks = [float(self._margins(start, start + CHUNK).min()) for start in range(0, self._end, CHUNK)]
        self._from_chunk: Floats = np.minimum.accumulate([math.inf, *reversed(chunks)])[::-1]

    def least(self, step: int) -> float:
        """The least margin from this step on."""
        step = min(step, self._repeats, self._end - 1)
        chunk = step // CHUNK + 1
        return min(float(self._margins(step, chunk * CHUNK).min()), float(self._from_chunk[chunk]))

    def _margins(self, start: int, end: int) -> Floats:
        return margins(*self._given, np.arange(start, min(end, self._end)))[0]
