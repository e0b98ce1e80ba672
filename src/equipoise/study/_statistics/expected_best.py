"""What it costs to find good hyperparameters: the best value to expect after so many tuning trials."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from equipoise.study._names import Goal
from equipoise.study._statistics.paired import Floats, direction

RESAMPLES = 2_000


@dataclass(frozen=True)
class ExpectedBest:
    """The best value to expect if only some of the tried points, drawn at random, had been tried."""

    trials: tuple[int, ...]
    """Numbers of points: 1, 2, 4, ..., and all of them."""
    best: tuple[float, ...]
    """The expected best value after so many."""
    intervals: tuple[tuple[float, float], ...]
    """95 % bootstrap intervals over the points that were tried: percentiles of 2,000 resamples."""


def expected_best(values: Sequence[float], goal: Goal) -> ExpectedBest:
    """The expected best value of n of the N points, for n = 1, 2, 4, ... and N.

    The mean over all subsets of n points: the sum over the i-th worst value times C(i - 1, n - 1) / C(N, n). It is unbiased for
    points that were drawn at random.

    Args:
        values: one per tried point, in any order.
        goal: whether larger or smaller values are better.

    Source: Dodge et al., Show your work, EMNLP 2019; without replacement as in Tang et al., Showing your work doesn't always
    work, ACL 2020.

    Example:
        >>> found = expected_best([0.5, 0.9, 0.7], "maximize")
        >>> found.trials, [round(best, 3) for best in found.best]
        ((1, 2, 3), [0.7, 0.833, 0.9])
    """
    count = len(values)
    trials = tuple(sorted({2**power for power in range(count.bit_length())} | {count}))
    weights = np.array([best_weights(count, n) for n in trials])
    sign = direction(goal)
    points = sign * np.asarray(values, dtype=np.float64)
    resampled = np.random.default_rng(0).choice(points, size=(RESAMPLES, count))
    low, high = np.percentile(_expected(resampled, weights), [2.5, 97.5], axis=0)
    best = sign * _expected(points, weights)
    ends = np.sort(sign * np.stack([low, high], axis=-1), axis=-1)
    return ExpectedBest(trials, tuple(map(float, best)), tuple((float(a), float(b)) for a, b in ends))


def trials_needed(values: Sequence[float], goal: Goal, target: float) -> int | None:
    """The smallest number of points whose expected best reaches `target`; None if all of them together do not.

    Example:
        >>> trials_needed([0.5, 0.9, 0.7], "maximize", 0.8), trials_needed([0.5, 0.9, 0.7], "maximize", 0.95)
        (2, None)
    """
    sign = direction(goal)
    weights = np.array([best_weights(len(values), n) for n in range(1, len(values) + 1)])
    reached = np.flatnonzero(_expected(sign * np.asarray(values, dtype=np.float64), weights) >= sign * target)
    return int(reached[0]) + 1 if reached.size else None


def best_weights(count: int, trials: int) -> list[float]:
    """How likely the i-th worst of `count` values is the best of `trials` drawn without replacement, for i = 1..count."""
    return [math.comb(i - 1, trials - 1) / math.comb(count, trials) for i in range(1, count + 1)]


def _expected(values: Floats, weights: Floats) -> Floats:
    return np.sort(values, axis=-1) @ weights.T
