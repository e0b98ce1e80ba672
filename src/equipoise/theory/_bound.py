r"""How large an update can become (see "Update bound" in docs/equations.md), and the gradients that make it so large.

At p = 1/2 the largest update has a closed form. For 0 < p < 1/2 it is the exact supremum, found by a search. eps is taken as 0
throughout: a positive eps only makes updates smaller.

Source: derived here; in continuous time and for p = 1/2 Gould and Tanaka, arXiv 2411.05746.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from equipoise.errors import ArgumentError
from equipoise.theory._region import Floats, checked_arrays, float_or_array, margin, margin_of_arrays

NEGLIGIBLE_AFTER = 42.0
"""Time constants after which a geometric sequence has ended: e^-42 is below the rounding of a double."""

CHUNK = 2**14
"""So many points are searched at a time: their intermediate values stay in the processor's cache, which halves the time."""

DEEPEST = 340.0
"""The square of e^-340 is still a normal double."""


def max_update(beta1: ArrayLike, beta2: ArrayLike, exponent: ArrayLike = 0.5, steps: ArrayLike | None = None) -> Any:
    """The largest |u| that gradients with |g| <= 1 can cause after ``steps`` steps; for |g| <= G times G^(1 - 2p).

    At p = 1/2 this is K_n in closed form. For 0 < p < 1/2 it is the exact supremum of
    ``sum b1^j x_j / (sum b2^j x_j^2)^p`` over 0 <= x_j <= 1, bias-corrected, by a search over the number of gradients that sit
    at the bound. For p <= 0 it is 1, and for p > 1/2 infinite, because gradients may vanish.

    Args:
        beta1, beta2: in [0, 1).
        exponent: p.
        steps: n >= 1; None is the limit, which is also the supremum over n: finite inside of the region only.
            Infinite on the boundary too, where for 0 < p < 1/2 the true supremum is still finite.

    Example:
        >>> round(max_update(0.9, 0.999), 4), max_update(0.95, 0.7)
        (7.2703, inf)
        >>> round(max_update(0.9, 0.999, 0.25), 4)
        2.3992
    """
    b1, b2, p = checked_arrays(beta1, beta2, exponent)
    n = _checked_steps(steps)
    b1, b2, p, n = np.broadcast_arrays(b1, b2, p, n)
    bound = np.where(p > 0.5, np.inf, 1.0)
    unbounded = (p > 0) & (p <= 0.5) & np.where(np.isinf(n), margin_of_arrays(b1, b2, p) <= 0, (b2 == 0) & (b1 > 0) & (n > 1))
    bound = np.where(unbounded, np.inf, bound)
    several = ~unbounded & (n > 1)  # after one step it is 1, whatever the betas
    half = several & (p == 0.5)
    general = several & (p > 0) & (p < 0.5)
    if half.any():
        bound[half] = _closed_form(b1[half], b2[half], n[half])
    if general.any():
        logarithm, _, _ = _search(b1[general], b2[general], p[general], n[general])
        with np.errstate(over="ignore"):  # deep in the unstable region, after many steps: inf is the honest answer
            bound[general] = np.exp(logarithm)
    return float_or_array(bound)


def worst_case_gradients(beta1: float, beta2: float, exponent: float, steps: int) -> Floats:
    """Gradients with |g| <= 1, oldest first, whose last update is :func:`max_update` after that many steps.

    At p = 1/2 they are proportional to (b1/b2)^j, j steps ago. For p < 1/2 they are ``min(1, kappa (b1/b2)^j)``.

    Raises:
        ArgumentError: an exponent above 1/2, for which no largest update exists, or beta2 = 0 < beta1 with an exponent in
            (0, 1/2], for which it is infinite already after two steps.

    Example:
        >>> worst_case_gradients(0.5, 0.8, 0.5, 3)
        array([0.390625, 0.625   , 1.      ])
    """
    b1, b2, p = (np.atleast_1d(value) for value in checked_arrays(beta1, beta2, exponent))
    n = np.atleast_1d(_checked_steps(steps))
    if np.isinf(n):
        raise ArgumentError("steps", steps, "a whole number of at least 1: no finite sequence attains the limit")
    if exponent > 0.5:
        raise ArgumentError("exponent", exponent, "at most 0.5 (above, updates grow without bound as gradients vanish)")
    if exponent > 0 and beta2 == 0 < beta1 and steps > 1:
        raise ArgumentError("beta2", beta2, "positive (at 0 the second moment forgets at once, and m/0 is infinite)")
    age = np.arange(steps)[::-1]
    if exponent <= 0 or steps == 1:
        return np.ones(int(steps))
    if beta1 == 0:
        return np.where(age == 0, 1.0, 0.0)
    ratio = np.log(beta1) - np.log(beta2)
    if exponent == 0.5:
        largest = max(0.0, (steps - 1) * ratio)
        if margin(beta1, beta2) > 0:  # the newest gradients decide: their squares must not underflow beside the oldest
            largest = min(largest, DEEPEST)
        return np.exp(np.minimum(0.0, age * ratio - largest))
    _, count, edge = _search(b1, b2, p, n)
    if ratio <= 0:  # the newest `count` gradients sit at the bound, the next one is `edge`
        return np.where(age < count, 1.0, edge * np.exp(np.minimum(0.0, (age - count) * ratio)))
    # the newest `count` gradients lie below the bound, the oldest of them is `edge`
    return np.where(age >= count, 1.0, edge * np.exp(np.minimum(0.0, (age - count + 1) * ratio)))


def _geometric(log_ratio: Floats, count: Floats) -> Floats:
    """``1 + r + ... + r^(count - 1)`` with r = exp(log_ratio), accurate where r is close to 1."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        value = np.expm1(count * log_ratio) / np.expm1(log_ratio)
    return np.where(log_ratio == 0, count, value)


def _log_bias_correction(b1: Floats, b2: Floats, p: Floats, n: Floats) -> Floats:
    """ln of ``((1 - b2^n) / (1 - b2))^p (1 - b1) / (1 - b1^n)``: what multiplies the ratio of the bare sums."""
    with np.errstate(divide="ignore"):
        return p * np.log(_geometric(np.log(b2), n)) - np.log(_geometric(np.log(b1), n))


def _closed_form(b1: Floats, b2: Floats, n: Floats) -> Floats:
    """The closed form of the update bound at p = 1/2, where rho = b1^2 / b2."""
    with np.errstate(divide="ignore", invalid="ignore"):
        log_rho = 2 * np.log(b1) - np.log(b2)
    # beta1 = 0: only the newest gradient counts (beta2 = 0 is only met here together with it).
    total = np.where(b1 == 0, 1.0, _geometric(log_rho, n))
    return np.exp(_log_bias_correction(b1, b2, np.asarray(0.5), n)) * np.sqrt(total)


def _search(b1: Floats, b2: Floats, p: Floats, n: Floats) -> tuple[Floats, Floats, Floats]:
    """The exact supremum for 0 < p < 1/2: its logarithm, and the optimum as (count, edge).

    The optimum ``x_j = min(1, kappa (b1/b2)^j)`` splits the gradients into one block at the bound and one geometric block
    below it; the newest is at the bound where b1 <= b2. `count` is the length of the newest block, `edge` in [0, 1] the
    largest element of the geometric one. For a given count the best edge solves a quadratic; over count the value has one
    maximum, found by bisection.
    """
    with np.errstate(divide="ignore"):
        log_b1, log_b2 = np.log(b1), np.log(b2)
    live = b1 > 0  # beta1 = 0: one gradient, now
    log_b1, log_b2 = np.where(live, log_b1, -1.0), np.where(live, log_b2, -1.0)
    bound_is_newest = log_b1 <= log_b2
    found = np.empty((3, b1.size))
    for newest in (True, False):
        rows = np.flatnonzero(bound_is_newest == newest)
        for start in range(0, rows.size, CHUNK):
            chunk = rows[start : start + CHUNK]
            found[:, chunk] = _bisect(log_b1[chunk], log_b2[chunk], p[chunk], n[chunk], newest)
    ratio, count, edge = np.where(live, found, [[0.0], [1.0], [0.0]])
    return _log_bias_correction(b1, b2, p, n) + ratio, count, edge


def _bisect(log_b1: Floats, log_b2: Floats, p: Floats, n: Floats, bound_is_newest: bool) -> tuple[Floats, Floats, Floats]:
    """:func:`_search` without the bias correction, where the block at the bound is the newest one, or where it is not."""
    low, high = np.zeros_like(n), _last_count(log_b1, log_b2, p, n, bound_is_newest)
    while np.any(high > low):
        middle = np.floor((low + high) / 2)
        if bound_is_newest:  # the value has one maximum over kappa: does it still rise where the edge meets the bound?
            B, V, H, W = _sums(log_b1, log_b2, n, middle, bound_is_newest)
            rising = 2 * p * W * (B + H) < H * (V + W)
        else:  # one maximum in each interval of kappa that has the same count: compare those
            here, _ = _best_edge(log_b1, log_b2, p, n, middle, bound_is_newest)
            there, _ = _best_edge(log_b1, log_b2, p, n, np.minimum(middle + 1, n), bound_is_newest)
            rising = there > here + 1e-14
        rising &= middle < high
        low = np.where(rising, middle + 1, low)
        high = np.where(rising, high, middle)
    value, edge = _best_edge(log_b1, log_b2, p, n, low, bound_is_newest)
    return value, low, edge


def _last_count(log_b1: Floats, log_b2: Floats, p: Floats, n: Floats, bound_is_newest: bool) -> Floats:
    """A length of the newest block beyond which longer ones cannot matter; n when n is shorter."""
    memory = NEGLIGIBLE_AFTER / -log_b1
    if not bound_is_newest:
        inside = p * log_b2 - log_b1
        with np.errstate(divide="ignore"):
            memory = np.maximum(memory, NEGLIGIBLE_AFTER / np.abs(2 * log_b1 - log_b2))
            memory = np.where(inside > 0, np.minimum(memory, NEGLIGIBLE_AFTER / inside), np.inf)
    return np.minimum(n, np.ceil(memory))


def _sums(
    log_b1: Floats, log_b2: Floats, n: Floats, count: Floats, bound_is_newest: bool
) -> tuple[Floats, Floats, Floats, Floats]:
    """The parts of both sums: (B, V) of the block at the bound, and (s H, s^2 W) of the geometric one with edge s.

    Where the newest block is below the bound, they are in units of b1^(count - 1) and b2^(count - 1), which would underflow.
    """
    log_r = 2 * log_b1 - log_b2
    if bound_is_newest:
        below = _geometric(log_r, n - count)
        at_bound = _geometric(log_b1, count), _geometric(log_b2, count)
        return *at_bound, np.exp(count * log_b1) * below, np.exp(count * log_b2) * below
    below = _geometric(-log_r, count)
    at_bound = np.exp(log_b1) * _geometric(log_b1, n - count), np.exp(log_b2) * _geometric(log_b2, n - count)
    return *at_bound, below, below


def _best_edge(
    log_b1: Floats, log_b2: Floats, p: Floats, n: Floats, count: Floats, bound_is_newest: bool
) -> tuple[Floats, Floats]:
    """For a given count: the largest ln of ``sum b1^j x_j / (sum b2^j x_j^2)^p``, and the edge that attains it.

    The value (B + s H) / (V + s^2 W)^p is stationary where s^2 H W (1 - 2p) - 2p W B s + H V = 0; the smaller root is the
    maximum.
    """
    B, V, H, W = _sums(log_b1, log_b2, n, count, bound_is_newest)
    linear = 2 * p * W * B
    discriminant = linear * linear - 4 * H * W * (1 - 2 * p) * H * V
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):  # where a block is empty; the edge is 1 then
        root = 2 * H * V / (linear + np.sqrt(np.maximum(discriminant, 0.0)))
    edge = np.where((discriminant > 0) & (root < 1), root, 1.0)
    value = np.log(B + edge * H) - p * np.log(V + edge * edge * W)
    return value if bound_is_newest else value + (count - 1) * (log_b1 - p * log_b2), edge


def _checked_steps(steps: ArrayLike | None) -> Floats:
    if steps is None:
        return np.asarray(np.inf)
    n = np.asarray(steps, dtype=np.float64)
    if not np.all((n >= 1) & (n == np.floor(n))):
        raise ArgumentError("steps", steps, "a whole number of at least 1, or None for the limit")
    return n
