"""How exact given numbers are: the smallest step between them, and the rounding that each carries."""

from __future__ import annotations

import math
from collections.abc import Sequence

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


def resolution(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The largest step of which the values can be multiples, as far as their gaps tell; 0 if all are the same.

    The smallest of the gaps between sorted values, and of the gaps between those gaps: numbers without steps, as losses are,
    have gaps of all sizes. What differs by rounding only is the same.

    Args:
        values: shape (..., n).

    Returns:
        An array of shape (...).

    Example:
        >>> resolution(np.array([[0.9, 0.3 * 3, 0.925, 1.0], [1.0, 1.5, 2.25, 3.0]])).round(12)
        array([0.025, 0.25 ])
    """
    rounding = SAME * unit_roundoff(values) * np.abs(values).max(-1, keepdims=True)
    gaps = _gaps(values, rounding)
    nothing = np.zeros_like(rounding)
    steps = np.concatenate([gaps, _gaps(np.concatenate([gaps, nothing], -1), rounding)], -1).min(-1)
    return np.where(np.isinf(steps), 0.0, steps)


def _gaps(values: NDArray[np.float64], rounding: NDArray[np.float64]) -> NDArray[np.float64]:
    """The gaps between sorted values, with inf in the place of those that rounding explains."""
    with np.errstate(invalid="ignore"):
        gaps = np.diff(np.sort(values, -1), axis=-1)
    return np.where(gaps > rounding, gaps, np.inf)


def mean(values: Sequence[float]) -> float:
    """The mean, which no finite values make overflow.

    Example:
        >>> mean([1.5e308, 1.0e308])
        1.25e+308
    """
    exponent = math.frexp(max(map(abs, values)))[1]
    return math.ldexp(math.fsum(math.ldexp(value, -exponent) for value in values) / len(values), exponent)
