"""How many seeds show a difference, and which difference so many seeds show, before and after a study."""

from __future__ import annotations

import math

from scipy import optimize, stats

LEVEL = 0.05
"""Chance, at most, that any arm of a study without real differences is called better or worse."""

POWER = 0.8
"""The probability with which a real difference is to be shown."""

MOST_SEEDS = 10_000
"""So many a study may have, and no more are sought."""


def power(difference: float, seeds: int, comparisons: int) -> float:
    """The probability that a paired t test of level 0.05 / comparisons shows a true difference.

    Args:
        difference: in standard deviations of the differences over seeds.
        seeds: at least 2.
        comparisons: the number of arms that are compared with the baseline.

    Example:
        >>> round(power(1.0, seeds=10, comparisons=1), 3)
        0.803
    """
    critical = float(stats.t.isf(LEVEL / (2 * comparisons), seeds - 1))
    # The square of t has an F distribution, whose noncentral form scipy computes where that of t itself ends in NaN; but not
    # its limit without a difference.
    return float(stats.ncf.sf(critical**2, 1, seeds - 1, max(difference**2 * seeds, 1e-12)))


def detectable_difference(seeds: int, comparisons: int) -> float:
    """The true difference that is shown with 80 % probability, in standard deviations of the differences over seeds.

    Example:
        >>> round(detectable_difference(seeds=10, comparisons=1), 2), round(detectable_difference(seeds=5, comparisons=3), 2)
        (1.0, 2.29)
    """
    critical = float(stats.t.isf(LEVEL / (2 * comparisons), seeds - 1))
    # At a shift of 0 the power is the level; far beyond the critical value it is near 1, also for two seeds.
    return optimize.brentq(lambda d: power(d, seeds, comparisons) - POWER, 0.0, 4 * critical / math.sqrt(seeds))


def seeds_to_show(difference: float, spread: float, comparisons: int) -> int | None:
    """The smallest number of seeds that show a true difference with 80 % probability; None if over 10,000.

    Args:
        difference: positive.
        spread: the standard deviation of the differences over seeds, in the same unit.
        comparisons: the number of arms that are compared with the baseline.

    Example:
        >>> seeds_to_show(0.01, spread=0.01, comparisons=1), seeds_to_show(0.01, spread=0.01, comparisons=5)
        (10, 16)
    """
    ratio = difference / spread if spread else 0.0
    if power(ratio, MOST_SEEDS, comparisons) < POWER:
        return None
    few, enough = 1, MOST_SEEDS
    while enough - few > 1:
        middle = (few + enough) // 2
        few, enough = (few, middle) if power(ratio, middle, comparisons) >= POWER else (middle, enough)
    return enough
