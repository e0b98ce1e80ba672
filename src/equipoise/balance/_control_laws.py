"""From readings to exponents: what the controllers decide, as functions of numbers."""

from __future__ import annotations

import math

from equipoise import rules
from equipoise.theory._exponent import recommend_exponent, update_spread

BAND = 0.5
"""A spread of updates between this share of the tolerance and all of it is left alone."""

AVERAGES = rules.Stage(beta1=0.9, beta2=0.9, exponent=0.5)
"""How hypergradients are averaged. With equal betas the update bound is 1, whatever comes in."""


def spread_law(exponent: float, spread: float, *, tolerance: float, rate: float) -> float:
    """The exponent that keeps updates within the tolerance of each other, or nearer to it by `rate`.

    Updates lie (1 - 2p) spread decades apart (see "Balance numbers" in docs/equations.md). While that distance is between half
    of the tolerance and all of it, nothing changes; else the exponent moves to where the distance is three quarters of the
    tolerance, or to 0 if that is enough.

    Args:
        exponent: p.
        spread: decades between the gradient scales of layers.
        tolerance: decades between updates.
        rate: the largest change.

    Example:
        >>> round(spread_law(0.0, spread=4.0, tolerance=1.0, rate=0.5), 6)
        0.40625
        >>> update_spread(4.0, 0.40625)
        0.75
    """
    if BAND * tolerance <= update_spread(spread, exponent) <= tolerance:
        return exponent
    return _towards(recommend_exponent(spread, tolerance=(1 + BAND) / 2 * tolerance).exponent, exponent, rate)


def hypergradient_law(
    exponent: float, slope: float, averages: rules.Memory, *, observations: int, rate: float
) -> tuple[float, rules.Memory]:
    """The exponent after one step of Adam (betas 0.9 and 0.9, eps 0) on the loss: at most `rate` away.

    Slopes are noisy, and their scale means nothing across models. Adam's update is their mean over their root mean square:
    1 where all agree, about 0.2 where they are pure noise.

    Args:
        exponent: p.
        slope: d loss / dp.
        averages: of the slopes before.
        observations: how many slopes there were, with this one.
        rate: the largest change.

    Returns:
        The exponent and the new averages.

    Example:
        >>> exponent, averages = hypergradient_law(0.25, 1e-7, rules.Memory(0.0, 0.0), observations=1, rate=0.05)
        >>> round(exponent, 6)
        0.2
    """
    step = rules.Step(observations, lr=rate, stages=[AVERAGES], eps=0.0)
    moved, (averages,) = rules.update(exponent, slope, [averages], step)
    return moved, averages


def gap_law(exponent: float, gap: float, *, home: float, opens: float, closes: float, rate: float) -> float:
    """The exponent nearer to 0 by `rate` while the gap is above `opens`, nearer to `home` below `closes`; else as it is.

    Args:
        exponent: p, between 0 and `home`.
        gap: by which the validation loss exceeds the training loss, in any unit.
        home: where the exponent is at rest.
        opens, closes: in the unit of the gap, opens > closes.
        rate: the change.

    Example:
        >>> [gap_law(0.3, gap, home=0.5, opens=0.2, closes=0.1, rate=0.125) for gap in (0.25, 0.15, 0.05)]
        [0.175, 0.3, 0.425]
    """
    if closes <= gap <= opens:
        return exponent
    return _towards(0.0 if gap > opens else home, exponent, rate)


def _towards(target: float, exponent: float, rate: float) -> float:
    return target if abs(target - exponent) <= rate else exponent + math.copysign(rate, target - exponent)
