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

from equipoise.study._names import Goal
from equipoise.study._statistics.paired import Floats, Seed, direction
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

    values: Mapping[str, Floats]
    """Arm -> one value for each seed: in units of spreads, larger is better; or times, of which the smaller is better."""
    scale: Scale

    def distances(self, draws: Floats | None = None) -> dict[str, Floats]:
        """How far each arm is from the best one; inf for one that never arrives.

        Args:
            draws: numbers from 0 to 1, shape (seeds, resamples), that say which seeds are drawn again: the same for every arm,
                so that runs stay paired. None: every seed once.
        """
        if not self.values:
            return {}
        runs = [own if draws is None else own[(draws[: own.size] * own.size).astype(int)] for own in self.values.values()]
        if self.scale == "spreads":
            means = np.array([own.mean(axis=0) for own in runs])
            found = means.max(axis=0) - means
        else:
            times = np.array([np.median(own, axis=0) for own in runs])
            with np.errstate(invalid="ignore"):
                found = np.where(np.isinf(times), np.inf, times / times.min(axis=0))
        return dict(zip(self.values, found, strict=True))


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
        >>> {arm: float(far) for arm, far in placed_by_value(values, finished, "maximize").distances().items()}
        {'a': 2.0, 'b': 0.0}
    """
    kept = {arm: np.array(list(own.values())) for arm, own in values.items() if any(finished[arm].values())}
    every = np.concatenate([*kept.values(), np.zeros(0)])
    exponent = math.frexp(float(np.abs(every).max(initial=0.0)))[1]
    kept = {arm: direction(goal) * np.ldexp(own, -exponent) for arm, own in kept.items()}
    runs = [own[[finished[arm][seed] for seed in values[arm]]] for arm, own in kept.items()]
    spreads = [float(own.std(ddof=1)) for own in runs if own.size > 1]
    step = float(resolution(np.ldexp(every, -exponent))) if every.size else 0.0
    unit = max(float(np.median(spreads)) if spreads else 0.0, step / math.sqrt(12)) or 1.0  # 1 where all are equal
    return Placed({arm: own / unit for arm, own in kept.items()}, "spreads")


def placed_by_time(times: Mapping[str, Mapping[Seed, float]]) -> Placed:
    """The arms of a task by the median time to the target, inf where a run never arrives.

    Example:
        >>> never = float("inf")
        >>> a, b, c = {0: 4.0, 1: 9.0, 2: 4.0}, {0: 2.0, 1: 1.0, 2: 3.0}, {0: 1.0, 1: never, 2: never}
        >>> {arm: float(far) for arm, far in placed_by_time({"a": a, "b": b, "c": c}).distances().items()}
        {'a': 2.0, 'b': 1.0, 'c': inf}
    """
    return Placed({arm: np.array(list(own.values())) for arm, own in times.items()}, "ratio")


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
        most = max((own.size for own in placed.values.values()), default=0)
        again = placed.distances(np.random.default_rng(index).random((most, RESAMPLES)))
        for arm, distance in placed.distances().items():
            distances[arm][task] = float(distance)
            drawn[list(arms).index(arm), index] = again[arm]
    finite = {distance for own in distances.values() for distance in own.values() if math.isfinite(distance)}
    steps = np.linspace(NEAREST[scale], max(finite, default=NEAREST[scale]), 50).tolist()
    taus = tuple(sorted({NEAREST[scale], *finite, *steps}))
    bands: dict[str, tuple[tuple[float, float], ...]] = {}
    for arm, own in zip(arms, drawn, strict=True):
        shares = np.stack([(own <= tau).mean(axis=0) for tau in taus])
        low, high = np.percentile(shares, LEVELS, axis=1).tolist()
        bands[arm] = tuple(zip(low, high, strict=True))
    return Profile(scale, distances, taus, bands)
