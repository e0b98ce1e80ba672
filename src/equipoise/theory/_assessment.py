"""What theory says of hyperparameters: stable or not, the numbers behind that, and a sentence for everybody.

See "Stability region" and "Update bound" in docs/equations.md.
"""

from __future__ import annotations

import decimal
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from equipoise.hyperparameters import Betas, Exponent, Hyperparameters, Pair
from equipoise.theory._bound import max_update
from equipoise.theory._growth import ADVICE, Growth, tenfold
from equipoise.theory._region import NearestStable, continuous_margin, growth_rate, margin, nearest_stable


class Stability(Enum):
    """Whether updates stay bounded. The values are the words that users read."""

    STABLE = "stable"
    UNSTABLE = "unstable"
    VANISHING = "unstable for vanishing gradients"


@dataclass(frozen=True)
class Assessment:
    """What theory says of one set of hyperparameters."""

    stability: Stability
    hyperparameters: Hyperparameters
    deciding_stage: int
    """Counted from 1; the numbers below are those of this stage."""
    margin: float
    """Nats per step, positive inside of the stability region."""
    continuous_margin: float
    """The margin of the continuous-time flow, shown beside the other one and never decisive."""
    growth_rate: float
    """Nats per step by which the worst case grows; 0 inside."""
    max_update: float
    """Upper bound on |u| for gradients with |g| <= 1, whatever their sequence; exact for one stage. Infinite outside."""
    scale_degree: float
    """For |g| <= G the bound is max_update * G**scale_degree."""
    nearest: NearestStable
    """Stable values for the deciding stage, each with the other two kept."""
    sentence: str
    """The consequence, in one sentence for somebody who does not know the theory."""
    growth: Growth
    """How fast the worst case grows, as a grade."""
    advice: str
    """What training has lost at such a growth in our runs, and what to do; empty inside of the region."""

    @property
    def stable(self) -> bool:
        """Whether updates stay bounded for every sequence of gradients."""
        return self.stability is Stability.STABLE


def deciding_stages(exponents: ArrayLike) -> NDArray[np.bool_]:
    """The stages on which it depends whether updates stay bounded: those after which no stage has an exponent of 1/2.

    Args:
        exponents: of shape (k, ...), one row per stage; each column is judged for itself.

    Example:
        >>> deciding_stages([0.25, 0.5, 0.25])
        array([False,  True,  True])
    """
    half = np.asarray(exponents) == 0.5
    from_here_on = np.cumsum(half[::-1], axis=0)[::-1]
    return from_here_on - half == 0


def assess(betas: Betas, exponent: Exponent = 0.5, stages: int = 1) -> Assessment:
    """Judge hyperparameters by the stability region: do updates stay bounded for every sequence of gradients?

    Whatever reaches a stage with an exponent of 1/2 leaves it bounded: with 1/2 in the last stage, that stage alone decides.
    Otherwise every stage must be stable (from the last one with 1/2 on, if there is one), and the bound is that of the chain.

    Args:
        betas: (beta1, beta2), or one such pair per stage.
        exponent: p, or one per stage.
        stages: k.

    Raises:
        ArgumentError: an argument outside of what is accepted.

    Example:
        >>> assess((0.9, 0.999)).sentence
        'Safe: no sequence of gradients can make an update larger than 7.27 learning rates.'
        >>> assess((0.95, 0.7)).stability
        <Stability.UNSTABLE: 'unstable'>
        >>> [assess((0.9, beta2)).growth.value for beta2 in (0.999, 0.8, 0.7, 0.2)]
        ['none', 'moderate', 'moderate', 'fast']
    """
    return assess_hyperparameters(Hyperparameters.parse(betas, exponent, stages))


def assess_hyperparameters(given: Hyperparameters) -> Assessment:
    """Judge parsed hyperparameters, as :func:`assess` does."""
    pairs, exponents = given.betas, given.exponents
    margins = [margin(*pair, p) for pair, p in zip(pairs, exponents, strict=True)]
    candidates = (i for i, decides in enumerate(deciding_stages(exponents)) if decides)
    # min() takes the first of equals, so that stages which share their values are judged by the first.
    deciding = min(candidates, key=lambda i: (exponents[i] <= 0.5, margins[i]))
    pair, p = pairs[deciding], exponents[deciding]
    if p > 0.5:
        stability = Stability.VANISHING
    elif margins[deciding] > 0:
        stability = Stability.STABLE
    else:
        stability = Stability.UNSTABLE
    bound, degree = _chain_bound(pairs, exponents) if stability is Stability.STABLE else (math.inf, 1 - 2 * p)
    rate = growth_rate(*pair, p)
    grades = {Stability.STABLE: Growth.NONE, Stability.UNSTABLE: Growth.of(rate), Stability.VANISHING: Growth.WITH_GRADIENTS}
    return Assessment(
        stability=stability,
        hyperparameters=given,
        deciding_stage=deciding + 1,
        margin=margins[deciding],
        continuous_margin=continuous_margin(*pair, p),
        growth_rate=rate,
        max_update=bound,
        scale_degree=degree,
        nearest=nearest_stable(*pair, p),
        sentence=_sentence(stability, bound, degree, rate),
        growth=grades[stability],
        advice=ADVICE[grades[stability]],
    )


def _chain_bound(pairs: Sequence[Pair], exponents: Sequence[float]) -> tuple[float, float]:
    """The bound on the last stage's output for |g| <= 1, and its degree in G: each stage's input is the one before's output."""
    bound, degree = 1.0, 1.0
    for pair, p in zip(pairs, exponents, strict=True):
        passes = 1 - 2 * p
        try:
            # At p = 1/2 the size of the input is lost, even if it was unbounded.
            bound = max_update(*pair, p) * (bound**passes if passes else 1.0)
        except OverflowError:
            bound = math.inf
        degree *= passes
    return bound, degree


def _sentence(stability: Stability, bound: float, degree: float, rate: float) -> str:
    if stability is Stability.STABLE:
        largest = "1 learning rate" if bound == 1 else f"{bound:.3g} learning rates"
        if degree == 0:
            return f"Safe: no sequence of gradients can make an update larger than {largest}."
        times = "G" if degree == 1 else f"G^{degree:.3g}"
        return f"Safe: while no gradient exceeds 1, no update exceeds {largest} (for gradients up to G: times {times})."
    if stability is Stability.VANISHING:
        return "Not safe: with an exponent above 1/2, updates grow without bound as gradients vanish; only eps caps them."
    if rate == 0:
        return "Not safe: exactly on the boundary, where the largest possible update grows without limit, though slowly."
    if math.isinf(rate):
        return "Not safe: with beta2 = 0 a single gradient of 0 makes the update infinite; only eps caps it."
    return f"Not safe: when a large gradient is followed by small ones, the update {growth(rate)}."


def growth(rate: float) -> str:
    """A growth of `rate` nats per step, for reading.

    Example:
        >>> growth(0.127)
        'grows by up to 13.5% per step, tenfold every 18 steps'
        >>> growth(2.0)
        'grows up to 7.39-fold per step'
    """
    if rate > math.log(2):
        return f"grows up to {math.exp(rate):.3g}-fold per step"
    return f"grows by up to {100 * math.expm1(rate):.3g}% per step, tenfold every {tenfold(rate):,.0f} steps"


def rounded_towards_stability(nearest: NearestStable) -> NearestStable:
    """`nearest` with three digits, counted from the closer of 0 and 1, each rounded to the side that is stable.

    Example:
        >>> rounded_towards_stability(NearestStable(beta1=0.81962, beta2=0.99991234, exponent=0.12944))
        NearestStable(beta1=0.819, beta2=0.9999124, exponent=0.129)
    """
    return NearestStable(
        _three_digits(nearest.beta1, decimal.ROUND_FLOOR),
        _three_digits(nearest.beta2, decimal.ROUND_CEILING),
        _three_digits(nearest.exponent, decimal.ROUND_FLOOR),
    )


def _three_digits(value: float, rounding: str) -> float:
    if not value or math.isnan(value):
        return value
    exact = decimal.Decimal(value)
    closer = min(abs(exact), abs(1 - exact))
    return float(exact.quantize(decimal.Decimal(1).scaleb(closer.adjusted() - 2), rounding))
