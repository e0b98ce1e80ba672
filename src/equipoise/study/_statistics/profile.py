"""How close each arm comes to the best one, over several tasks: a performance profile, with a band from the seeds.

A task with a metric of any unit becomes one number for each arm that has none: how far the arm is from the best one. No metric
is averaged over tasks. Source: Dolan and Moré, Benchmarking optimization software with performance profiles, Mathematical
Programming 91, 2002; used to score training algorithms by Dahl et al., arXiv 2306.07179.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from equipoise.study._statistics.paired import Floats, Goal, Seed, direction
from equipoise.study._statistics.precision import resolution

Scale: TypeAlias = Literal["spreads", "ratio"]
"""What the distance from the best arm is counted in: the usual standard deviation between seeds, beginning at 0, or times to
the target as multiples of the shortest, beginning at 1."""

NEAREST: Mapping[Scale, float] = {"spreads": 0.0, "ratio": 1.0}
"""The distance of the best arm."""

RESAMPLES = 1_000

LEVELS = (2.5, 97.5)


@dataclass(frozen=True)
class Placed:
    """The arms of one task on its seeds, in the unit of its scale."""

    arms: tuple[str, ...]
    values: Floats
    """Shape (arms, seeds): larger is better in units of spreads; times, of which the smaller is better, for ratios."""
    scale: Scale

    def distances(self, values: Floats) -> Floats:
        """How far each arm is from the best one; inf for one that never arrives. Shape (arms, seeds, ...) -> (arms, ...)."""
        if self.scale == "ratio":
            times = np.median(values, axis=1)
            best = times.min(axis=0)
            with np.errstate(invalid="ignore"):
                return np.where(np.isinf(times), np.inf, times / best)
        means = values.mean(axis=1)
        return means.max(axis=0) - means


@dataclass(frozen=True)
class Profile:
    """The share of the tasks on which an arm is at most so far from the best arm."""

    scale: Scale
    distances: Mapping[str, Mapping[str, float]]
    """Arm -> task -> distance from the best arm of that task; inf for an arm that finished on no seed."""
    taus: tuple[float, ...]
    """Distances, ascending, from that of the best arm: every one at which a share changes, and some between."""
    bands: Mapping[str, tuple[tuple[float, float], ...]]
    """Arm -> the 95 % interval of its share at each of `taus`, from drawing the seeds of every task again."""

    def share(self, arm: str, tau: float) -> float:
        """The share of the tasks on which the arm is at most `tau` from the best."""
        own = self.distances[arm].values()
        return sum(distance <= tau for distance in own) / len(own)


def placed_by_value(
    values: Mapping[str, Mapping[Seed, float]], finished: Mapping[str, Mapping[Seed, bool]], goal: Goal
) -> Placed:
    """The arms of a task by their metric, in units of what it usually varies by from seed to seed.

    One unit is the median over arms of the standard deviation between seeds, so that neither an arm that failed nor a seed that
    collapsed changes it. So neither the unit of a metric, nor its zero, nor its direction changes a distance. Metrics in steps
    of u have a standard deviation of at least u / sqrt(12), which rounding alone gives.

    Args:
        values: arm -> seed -> the number that decides, finite.
        finished: arm -> seed -> whether the run finished: what stands in for one that diverged is no measure of noise. An arm
            that finished on no seed has no place.
        goal: whether larger or smaller values are better.

    Example:
        >>> values = {"a": {0: 1.0, 1: 2.0, 2: 3.0}, "b": {0: 3.0, 1: 4.0, 2: 5.0}}
        >>> finished = {arm: dict.fromkeys(own, True) for arm, own in values.items()}
        >>> placed = placed_by_value(values, finished, "maximize")
        >>> placed.distances(placed.values).tolist()
        [2.0, 0.0]
    """
    arms = tuple(arm for arm in values if any(finished[arm].values()))
    seeds = _shared(values)
    every = np.array([[values[arm][seed] for seed in seeds] for arm in arms])
    every = direction(goal) * np.ldexp(every, -math.frexp(float(np.abs(every).max(initial=0.0)))[1])
    runs = [own[[finished[arm][seed] for seed in seeds]] for arm, own in zip(arms, every, strict=True)]
    spreads = [float(own.std(ddof=1)) for own in runs if own.size > 1]
    least = float(resolution(every.ravel())) / math.sqrt(12) if every.size else 0.0
    unit = max(float(np.median(spreads)) if spreads else 0.0, least) or 1.0  # 1 where all are equal
    return Placed(arms, every / unit, "spreads")


def placed_by_time(times: Mapping[str, Mapping[Seed, float]]) -> Placed:
    """The arms of a task by the median time to the target, inf where a run never arrives.

    Example:
        >>> never = float("inf")
        >>> a, b, c = {0: 4.0, 1: 9.0, 2: 4.0}, {0: 2.0, 1: 1.0, 2: 3.0}, {0: 1.0, 1: never, 2: never}
        >>> placed = placed_by_time({"a": a, "b": b, "c": c})
        >>> placed.distances(placed.values).tolist()
        [2.0, 1.0, inf]
    """
    seeds = _shared(times)
    return Placed(tuple(times), np.array([[own[seed] for seed in seeds] for own in times.values()]), "ratio")


def performance_profile(tasks: Mapping[str, Placed], arms: Sequence[str]) -> Profile:
    """The profile of arms over tasks that share a scale.

    Args:
        tasks: by their names, at least one.
        arms: all of them. One that a task lacks is infinitely far from the best there.

    Example:
        >>> fast = placed_by_time({"a": {0: 1.0, 1: 1.0}, "b": {0: 3.0, 1: 3.0}})
        >>> slow = placed_by_time({"a": {0: 4.0, 1: 4.0}, "b": {0: 2.0, 1: 2.0}})
        >>> found = performance_profile({"one": fast, "other": slow}, ["a", "b"])
        >>> [found.share("a", tau) for tau in (1.0, 2.0)], [found.share("b", tau) for tau in (1.0, 2.0, 3.0)]
        ([0.5, 1.0], [0.5, 0.5, 1.0])
    """
    scale = next(iter(tasks.values())).scale
    distances: dict[str, dict[str, float]] = {arm: dict.fromkeys(tasks, math.inf) for arm in arms}
    drawn = np.full((len(arms), len(tasks), RESAMPLES), np.inf)
    for index, (task, placed) in enumerate(tasks.items()):
        for arm, distance in zip(placed.arms, placed.distances(placed.values).tolist(), strict=True):
            distances[arm][task] = distance
        seeds = placed.values.shape[1]
        draws = np.random.default_rng(index).integers(0, seeds, size=(seeds, RESAMPLES))
        drawn[[list(arms).index(arm) for arm in placed.arms], index] = placed.distances(placed.values[:, draws])
    finite = {distance for own in distances.values() for distance in own.values() if math.isfinite(distance)}
    steps = np.linspace(NEAREST[scale], max(finite, default=NEAREST[scale]), 50).tolist()
    taus = tuple(sorted({NEAREST[scale], *finite, *steps}))
    bands: dict[str, tuple[tuple[float, float], ...]] = {}
    for arm, own in zip(arms, drawn, strict=True):
        shares = [np.percentile((own <= tau).mean(axis=0), LEVELS).tolist() for tau in taus]
        bands[arm] = tuple((low, high) for low, high in shares)
    return Profile(scale, distances, taus, bands)


def _shared(values: Mapping[str, Mapping[Seed, float]]) -> list[Seed]:
    """The seeds that all arms have."""
    first, *others = values.values()
    return [seed for seed in first if all(seed in own for own in others)]
