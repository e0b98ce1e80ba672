"""The exact sign-flip test of paired differences, which assumes no distribution but that arms can be exchanged."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

EXACT_SEEDS = 16
"""Up to this many seeds all 2^n sign patterns are counted; beyond, so many random ones."""

RANDOM_PATTERNS = 9_999


def sign_flip_p_value(differences: NDArray[np.float64], *, rounding: float = 0.0) -> float:
    """Two-sided p value of the mean difference under exchange of the two arms within each seed.

    Under the hypothesis that an arm and the baseline do not differ, the sign of every difference is a coin toss. The p value is
    the share of sign patterns whose sum is at least as far from 0 as the sum that was seen; its smallest value is 2 / 2^n.

    Args:
        differences: shape (n,).
        rounding: the sum over the seeds of what rounding may have changed each difference by. Sums that may be equal but for
            rounding count as equal: a test that takes 0.1 + 0.2 to be above 0.3 reports half of the p value.

    Example:
        >>> sign_flip_p_value(np.array([0.2, 0.1, 0.3, 0.2, 0.5]))
        0.0625
        >>> sign_flip_p_value(np.array([0.1, 0.2, -0.3, 0.4, 0.0]), rounding=1e-15)
        0.625
    """
    count = len(differences)
    tolerance = 2 * rounding + 2 * count * 2.0**-53 * float(np.abs(differences).sum())
    seen = abs(float(differences.sum())) - tolerance
    if count <= EXACT_SEEDS:  # the other half of the patterns has the same sums with the opposite sign
        numbers, seeds = np.arange(2 ** (count - 1), dtype=np.int64), np.arange(count, dtype=np.int64)
        patterns = np.bitwise_and(np.right_shift.outer(numbers, seeds), 1)
        return float((np.abs((1 - 2 * patterns) @ differences) >= seen).mean())
    sums = _random_signs(count) @ differences
    return (1 + int((np.abs(sums) >= seen).sum())) / (1 + RANDOM_PATTERNS)


@functools.lru_cache(maxsize=1)
def _random_signs(count: int) -> NDArray[np.int8]:
    """Signs, shape (:data:`RANDOM_PATTERNS`, count): the same for every arm of a study."""
    return 1 - 2 * np.random.default_rng(0).integers(0, 2, size=(RANDOM_PATTERNS, count), dtype=np.int8)
