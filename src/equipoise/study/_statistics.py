"""Paired comparison of arms with a baseline: interval, exact test, correction for several comparisons."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats: TypeAlias = NDArray[np.float64]

LEVEL = 0.05
"""Chance, at most, that any arm of a study without real differences is called better or worse."""

EXACT_SEEDS = 16
"""Up to this many seeds all 2^n sign flips are counted; beyond, 99,999 random ones."""


@dataclass(frozen=True)
class Contrast:
    """One arm against the baseline, on the same seeds. Differences are positive where the arm is better."""

    arm: str
    differences: tuple[float, ...]
    """One per seed, in the order of the seeds."""
    mean: float
    interval: tuple[float, float]
    """95 % paired t interval of the mean difference, for this comparison alone."""
    p_value: float
    """The two-sided p value of the exact sign-flip test."""
    adjusted_p_value: float
    """The same after Holm's correction for all comparisons of the study; this one decides."""

    @property
    def verdict(self) -> Literal["better", "worse", "not shown"]:
        """Decided by the adjusted p value."""
        if self.adjusted_p_value > LEVEL:
            return "not shown"
        return "better" if self.mean > 0 else "worse"


def compare(values: Mapping[str, Sequence[float]], baseline: str, goal: Literal["maximize", "minimize"]) -> list[Contrast]:
    """Every other arm against the baseline.

    Args:
        values: arm -> the metric at the end of training, one per seed, the seeds in the same order for every arm.
        baseline: a key of `values`.
        goal: whether larger or smaller values are better.

    Example:
        >>> found = compare({"a": [1.0, 2.0, 3.0, 4.0], "b": [1.5, 2.4, 3.6, 4.5]}, "a", "maximize")
        >>> found[0].arm, round(found[0].mean, 3), found[0].p_value
        ('b', 0.5, 0.125)
    """
    sign = 1.0 if goal == "maximize" else -1.0
    base = np.asarray(values[baseline], dtype=np.float64)
    differences = {arm: sign * (np.asarray(own, dtype=np.float64) - base) for arm, own in values.items() if arm != baseline}
    p_values = [sign_flip_p_value(found) for found in differences.values()]
    return [
        Contrast(
            arm=arm,
            differences=tuple(map(float, found)),
            mean=float(found.mean()),
            interval=paired_interval(found),
            p_value=p_value,
            adjusted_p_value=adjusted,
        )
        for (arm, found), p_value, adjusted in zip(differences.items(), p_values, holm(p_values), strict=True)
    ]


def sign_flip_p_value(differences: Floats) -> float:
    """Two-sided p value of the mean difference under exchange of the two arms within each seed.

    Exact up to :data:`EXACT_SEEDS` seeds: under the hypothesis that an arm and the baseline do not differ, the sign of every
    difference is a coin toss. Its smallest possible value is 2 / 2^n.

    Example:
        >>> sign_flip_p_value(np.array([0.2, 0.1, 0.3, 0.2, 0.5]))
        0.0625
    """
    if not differences.any():
        return 1.0
    exact = len(differences) <= EXACT_SEEDS
    found = stats.permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=2 ** len(differences) if exact else 99_999,  # all of them, if there are no more than asked for
        rng=np.random.default_rng(0),
    )
    return float(found.pvalue)


def paired_interval(differences: Floats, confidence: float = 0.95) -> tuple[float, float]:
    """Student's t interval of the mean of paired differences: mean +- t(n - 1) s / sqrt(n).

    Example:
        >>> low, high = paired_interval(np.array([0.1, 0.2, 0.3]))
        >>> round(low, 4), round(high, 4)
        (-0.0484, 0.4484)
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # about the test's t value where all differences are equal
        interval = stats.ttest_1samp(differences, 0.0).confidence_interval(confidence)
    return float(interval.low), float(interval.high)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment: the i-th smallest of m p values times m - i + 1, never below a smaller one's, at most 1.

    Source: Holm, A simple sequentially rejective multiple test procedure, 1979.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    adjusted = [1.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def smallest_adjusted_p_value(seeds: int, comparisons: int) -> float:
    """What the adjusted p value of a study's clearest comparison cannot fall below.

    Example:
        >>> smallest_adjusted_p_value(seeds=7, comparisons=5)
        0.078125
    """
    return min(1.0, comparisons * 2 / 2**seeds)


def seeds_within_reach(comparisons: int) -> int:
    """The smallest number of seeds with which one comparison out of that many can be significant.

    Example:
        >>> seeds_within_reach(5)
        8
    """
    return math.ceil(math.log2(2 * comparisons / LEVEL))
