r"""Where updates stay bounded (see "Stability region" in docs/equations.md).

For gradients with |g| <= G and 0 < p <= 1/2 the update stays bounded for every sequence of gradients if ``b2**p > b1``, and can
grow without bound if ``b2**p < b1``. The boundary itself counts as not stable.

Source: Gould and Tanaka, arXiv 2411.05746, for p = 1/2 in continuous time; the discrete boundary and every other exponent are
derived here.

All functions of ``(beta1, beta2, exponent)`` broadcast; floats in, a float out. eps is taken as 0 throughout: a positive
eps only makes updates smaller.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from equipoise.errors import ArgumentError

Floats: TypeAlias = NDArray[np.float64]

ROUNDING = 4 * np.finfo(np.float64).eps
"""A margin that is smaller, relative to -ln b1, is that of the boundary itself."""


class NearestStable(NamedTuple):
    """Stable values of each hyperparameter, the other two kept; NaN where no value of it alone would do."""

    beta1: Any
    beta2: Any
    exponent: Any


def margin(beta1: ArrayLike, beta2: ArrayLike, exponent: ArrayLike = 0.5) -> Any:
    """Signed distance to the stability boundary, ``p ln b2 - ln b1`` in nats per step. Positive is stable.

    beta1 = 0 is infinitely far inside. For p <= 0 the margin is always positive: there is no boundary. For p > 1/2 it says
    how an update evolves in silence, while :func:`~equipoise.theory.max_update` is infinite for another reason.

    Raises:
        ArgumentError: a beta outside of [0, 1), or a value that is not finite.

    Example:
        >>> round(margin(0.9, 0.999), 4), round(margin(0.95, 0.7), 4)
        (0.1049, -0.127)
    """
    b1, b2, p = checked_arrays(beta1, beta2, exponent)
    return float_or_array(margin_of_arrays(b1, b2, p))


def continuous_margin(beta1: ArrayLike, beta2: ArrayLike, exponent: ArrayLike = 0.5) -> Any:
    """The margin of the continuous-time flow, ``C_p = (1-b1)/(p b1) - (1-b2)/b2``. Positive is stable.

    At p = 1/2 this is the C(beta, gamma) of the paper. It approximates :func:`margin` while both betas are close to 1;
    an assessment is decided by :func:`margin`. Infinite for p <= 0 and for beta1 = 0, where there is no boundary.

    Example:
        >>> round(continuous_margin(0.9, 0.999), 4)
        0.2212
    """
    b1, b2, p = checked_arrays(beta1, beta2, exponent)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        value = (1 - b1) / (p * b1) - (1 - b2) / b2
    return float_or_array(np.where((p <= 0) | (b1 == 0), np.inf, value))


def growth_rate(beta1: ArrayLike, beta2: ArrayLike, exponent: ArrayLike = 0.5) -> Any:
    """How fast the worst case grows outside of the region, in nats per step: ``max(0, -margin)``.

    Example:
        >>> round(growth_rate(0.95, 0.7), 4), growth_rate(0.9, 0.999)
        (0.127, 0.0)
    """
    b1, b2, p = checked_arrays(beta1, beta2, exponent)
    return float_or_array(np.maximum(0.0, -margin_of_arrays(b1, b2, p)))


def nearest_stable(beta1: ArrayLike, beta2: ArrayLike, exponent: ArrayLike = 0.5, slack: float = 0.1) -> NearestStable:
    """The nearest stable value of each of beta1, beta2 and the exponent, the other two kept.

    Stable means here a margin of at least ``slack * -ln b1``: 0 is the boundary itself, 1 the margin at b2 = 1. Values that
    already have that margin are returned as they are. Above an exponent of 1/2 no beta helps (NaN).

    Example:
        >>> [round(value, 3) for value in nearest_stable(0.95, 0.7)]
        [0.82, 0.912, 0.129]
    """
    b1, b2, p = checked_arrays(beta1, beta2, exponent)
    if not 0 <= slack < 1:
        raise ArgumentError("slack", slack, "in [0, 1)")
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        safe = (p <= 0) | (b1 == 0) | (p * np.log(b2) >= (1 - slack) * np.log(b1))
        safe &= p <= 0.5
        beta1_alone = np.exp(p * np.log(b2) / (1 - slack))
        # At a tiny exponent this underflows, and a beta2 of 0 is never stable.
        beta2_alone = np.maximum(np.exp((1 - slack) * np.log(b1) / p), np.finfo(np.float64).tiny)
        exponent_alone = np.where(b1 == 0, 0.5, np.minimum(0.5, (1 - slack) * np.log(b1) / np.log(b2)))
    return NearestStable(
        float_or_array(np.where(safe, b1, np.where(p > 0.5, np.nan, beta1_alone))),
        float_or_array(np.where(safe, b2, np.where(p > 0.5, np.nan, beta2_alone))),
        float_or_array(np.where(safe, p, exponent_alone)),
    )


def margin_of_arrays(b1: Floats, b2: Floats, p: Floats) -> Floats:
    """:func:`margin` for arrays that were checked before."""
    with np.errstate(divide="ignore", invalid="ignore"):
        log_b1 = np.log(b1)
        value = np.where(p == 0, 0.0, p * np.log(b2)) - log_b1
        # 0.9 and 0.81 lie on the boundary, though 0.9**2 is not 0.81 in binary.
        value = np.where(np.abs(value) <= ROUNDING * np.abs(log_b1), 0.0, value)
    return np.where(b1 == 0, np.inf, value)


def checked_arrays(beta1: ArrayLike, beta2: ArrayLike, exponent: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Betas and exponents as arrays of float64, each of its own shape.

    Raises:
        ArgumentError: a beta outside of [0, 1), or an exponent that is not finite.
    """
    checked: list[Floats] = []
    for name, value in (("beta1", beta1), ("beta2", beta2)):
        array = np.asarray(value, dtype=np.float64)
        if not np.all((array >= 0) & (array < 1)):
            raise ArgumentError(name, value, "in [0, 1)")
        checked.append(array)
    p = np.asarray(exponent, dtype=np.float64)
    if not np.all(np.isfinite(p)):
        raise ArgumentError("exponent", exponent, "a finite number")
    return checked[0], checked[1], p


def float_or_array(value: Floats) -> Any:
    """A Python float where the array has no dimensions, else the array."""
    return float(value) if value.ndim == 0 else value
