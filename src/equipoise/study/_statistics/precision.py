"""How exact given numbers are: the smallest step between them, and the rounding that each carries."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SAME = 8
"""Values that differ by less than so many roundings are the same value."""


def unit_roundoff(values: NDArray[np.float64]) -> float:
    """The largest relative rounding error of the values: 2^-24 if all of them are float32 numbers, else 2^-53.

    Example:
        >>> unit_roundoff(np.array([0.1, 0.2])) == 2**-53, unit_roundoff(np.array([0.5, 0.75])) == 2**-24
        (True, True)
    """
    with np.errstate(over="ignore"):
        return 2.0**-24 if np.array_equal(values.astype(np.float32).astype(np.float64), values) else 2.0**-53


def resolution(values: NDArray[np.float64]) -> float:
    """The smallest gap between different values; 0 if all are the same. Gaps of rounding size are none.

    Example:
        >>> round(resolution(np.array([0.9, 0.3 * 3, 0.925, 1.0])), 12)
        0.025
    """
    gaps = np.diff(np.sort(values.ravel()))
    gaps = gaps[gaps > SAME * unit_roundoff(values) * np.abs(values).max()]
    return float(gaps.min()) if gaps.size else 0.0
