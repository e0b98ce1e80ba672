"""How soon runs reach a target: one number for each run, and the mean that is restricted to the length of the study."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import optimize

from equipoise.study._names import Goal
from equipoise.study._statistics.paired import Contrast, Floats, Seed, compare, direction

ROUNDING = 1e-12
"""Relative: a mean of equal readings may differ from them by so much."""


@dataclass(frozen=True)
class TimeToTarget:
    """When each run first reached the target, in one unit, and every other arm against the baseline.

    A run that never arrives has the time inf. To compare, it counts with the `budget`: the means are restricted mean times, and
    a difference is the time that an arm saves within the budget. One number for each run enters one test.

    Source: Royston and Parmar, Restricted mean survival time, BMC Medical Research Methodology 13, 2013.
    """

    unit: str
    """``"epoch"``, ``"second"`` or what else the time is counted in."""
    budget: float
    """The time at which every run has ended."""
    times: Mapping[str, Mapping[Seed, float]]
    """Arm -> seed -> time; inf where the run never arrived."""
    means: Mapping[str, float]
    """Arm -> mean time; runs that never arrived count with the budget."""
    contrasts: tuple[Contrast, ...]
    """Positive where the arm is sooner than the baseline."""

    def reached(self, arm: str) -> int:
        """How many runs of an arm arrived."""
        return sum(map(math.isfinite, self.times[arm].values()))


def time_to_target(
    times: Mapping[str, Mapping[Seed, float]], baseline: str, budget: float, unit: str, tasks: int = 1
) -> TimeToTarget:
    """Compare the arms.

    Args:
        times: arm -> seed -> time, inf where the run never arrived.
        baseline: a key of `times`.
        budget: the time at which every run has ended.
        unit: what the time is counted in.
        tasks: how many tasks are decided together.

    Example:
        >>> base, fast = {0: 3.0, 1: 4.0, 2: math.inf}, {0: 2.0, 1: 2.0, 2: 3.0}
        >>> found = time_to_target({"adamw": base, "fast": fast}, "adamw", budget=5.0, unit="epoch")
        >>> found.means["adamw"], found.contrasts[0].differences, found.reached("adamw")
        (4.0, (1.0, 2.0, 2.0), 2)
    """
    restricted = {arm: {seed: min(time, budget) for seed, time in own.items()} for arm, own in times.items()}
    means = {arm: math.fsum(own.values()) / len(own) for arm, own in restricted.items()}
    return TimeToTarget(unit, budget, times, means, tuple(compare(restricted, baseline, "minimize", tasks=tasks)))


def first_reached(curve: Mapping[int, float], target: float, goal: Goal) -> float:
    """The first epoch or step at which a run is at the target or beyond it; inf if it never is.

    The run is taken as the monotone curve that fits its readings best (isotonic regression), so that noise neither makes it
    arrive early, by one lucky reading out of many, nor late. Where readings only improve, they are that curve. A run that
    reaches the target and loses it again has reached it where the mean of what follows stays beyond it.

    Args:
        curve: epoch -> reading; readings that are not finite do not count.
        target: finite.
        goal: whether larger or smaller readings are better.

    Example:
        >>> first_reached({1: 0.5, 2: 0.8, 3: 0.9}, 0.8, "maximize"), first_reached({1: 0.5}, 0.8, "maximize")
        (2, inf)
        >>> first_reached({1: 0.5, 2: 0.8, 3: 0.6, 4: 0.75, 5: 0.85}, 0.8, "maximize")
        5
    """
    times = [time for time in sorted(curve) if math.isfinite(curve[time])]
    if not times:
        return math.inf
    readings = np.array([curve[time] for time in times])
    # In units near the largest reading, so that sums cannot overflow; negated where smaller is better.
    exponent = max(math.frexp(float(np.abs(readings).max()))[1] - 1, -1000)
    unit = math.ldexp(direction(goal), exponent)
    fitted: Floats = optimize.isotonic_regression(readings / unit).x
    wanted = target / unit
    arrived = np.flatnonzero(fitted >= wanted - ROUNDING * abs(wanted))
    return times[int(arrived[0])] if arrived.size else math.inf
