r"""How the norm of a scale-invariant weight moves (see "Norm dynamics" in docs/equations.md).

If f(cW) = f(W) for c > 0, as for a weight that a normalization layer follows, then <W, grad> = 0 and the gradient scales as
1/|W|. With decoupled decay and d = 1 - lr wd, exactly::

    |W_t|^2 = d^2 |W|^2 - 2 lr d <W, u> + lr^2 |u|^2

Without the cross term this is the paper's |W(s)|^2 = |W_0|^2 e^(-2 wd s) + lr * integral of e^(-2 wd (s-r)) |u_r|^2 dr: the
norm is an RMS of past updates, and W/|W| is normalized by it once more. But u is an average of past gradients, each
orthogonal to the W of its own step, and W has since moved along them. For u_t = b1 u_(t-1) + (1 - b1) g_t, where <W, g_t> = 0,
the cross term X_t = <W_(t-1), u_t> obeys X_t = b1 (d X_(t-1) - lr |u_(t-1)|^2): it is -lr b1 |u|^2 / (1 - b1 d), so that

    |W_t|^2 = d^2 |W|^2 + c lr^2 |u|^2,     c = 1 + 2 b1 d / (1 - b1 d), about (1 + b1) / (1 - b1)

This holds for every sequence of gradients, signal or noise. The sum of all autocorrelations of u, 1 + 2 sum r_j, is the same
number for white noise only: gradients that answer each other (r_j < 0 after a few steps, or > 0 in a long descent) change
the sum and leave c as it is.

Assumed: the denominator of a stage is about the same for the elements of one neuron (for one that varies, as in Adam,
<W, g / v^p> is not exactly 0) and keeps up with |W| (a memory 1 / (1 - b2) that is short against the time in which |W|
changes), and |u| is about constant over the memory of b1. eps is taken as 0.

Sources: Gould and Tanaka, arXiv 2411.05746 (the norm without the cross term); the cross term is derived here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from equipoise.errors import ArgumentError
from equipoise.hyperparameters import Betas, Exponent, parse_betas, parse_exponents, whole_number
from equipoise.theory._bound import NEGLIGIBLE_AFTER
from equipoise.theory._region import Floats


class NormMotion(NamedTuple):
    """The predicted motion of a scale-invariant weight."""

    squared_norm: Floats
    """|W|^2 before the first step and after each one."""
    angular_update: Floats
    """The angle by which each step turns W, lr |u| / |W|, in radians."""


class NormEquilibrium(NamedTuple):
    """Where the norm of a scale-invariant weight settles."""

    norm: float
    """|W|; infinite without weight decay."""
    angular_update: float
    """The angle by which a step turns W there, in radians; 0 without weight decay."""
    steps: float
    """Until |W|^2 is, and stays, as close to its equilibrium as was asked."""


def cross_term_factor(
    betas: Betas,
    stages: int = 1,
    *,
    decay: float = 0.0,
    autocorrelation: Sequence[float] | Floats | None = None,
) -> float:
    """c, by which |u|^2 must be multiplied to account for the momentum in <W, u>.

    One stage: 1 + 2 b1 d / (1 - b1 d) with d = 1 - decay, whatever the gradients. For k stages,
    x_i <- b_i x_i + (1 - b_i) x_(i-1) from x_0 = g to x_k = u, the same argument gives, for X_i = <W, x_i> and X_0 = 0::

        X_i (1 - b_i d) = (1 - b_i) X_(i-1) - lr b_i <u, x_i>,     c = 1 - 2 d X_k / (lr |u|^2)

    and since x_(i-1) = (x_i - b_i * the previous x_i) / (1 - b_i), the products <u, x_i> follow from the first k - 1
    autocorrelations of u. The denominators of the stages only scale the x_i; they are taken as constant.

    Args:
        betas: (beta1, beta2), or one such pair per stage.
        stages: k.
        decay: lr * weight_decay, by which a step shrinks W.
        autocorrelation: r_1, r_2, ... of the updates, as :func:`autocorrelation` measures them; at least k - 1. None: those
            that white noise has after k averages, (1 - b1) * sum b1^j each.

    Raises:
        ArgumentError: an argument outside of what is accepted.

    Example:
        >>> round(cross_term_factor((0.9, 0.999)), 6), round(cross_term_factor((0.9, 0.999), stages=2), 6)
        (19.0, 37.895028)
    """
    averages = [beta1 for beta1, _ in parse_betas(betas, stages)]
    if not 0 <= decay < 1:
        raise ArgumentError("decay", decay, "in [0, 1)")
    if autocorrelation is None:
        covariance = _noise_covariance(averages, stages)
        lags = covariance / covariance[0]
    else:
        lags = np.concatenate([[1.0], np.asarray(autocorrelation, dtype=np.float64)])
        if len(lags) < stages or not np.all(np.abs(lags) <= 1):
            raise ArgumentError("autocorrelation", autocorrelation, f"at least {stages - 1} numbers in [-1, 1], from lag 1 on")

    products: list[float] = []  # <u, x_i> / |u|^2, last stage first
    lag_weights = np.ones(1)
    for beta1 in reversed(averages):
        products.append(float(lag_weights @ lags[: len(lag_weights)]))
        lag_weights = np.convolve(lag_weights, [1, -beta1]) / (1 - beta1)
    cross = 0.0  # X_i in units of -lr |u|^2
    for beta1, product in zip(averages, reversed(products), strict=True):
        cross = ((1 - beta1) * cross + beta1 * product) / (1 - beta1 * (1 - decay))
    return 1 + 2 * (1 - decay) * cross


def autocorrelation(updates: ArrayLike, lags: int) -> Floats:
    """r_1, ..., r_lags of a sequence of updates: sum <u_t, u_(t+j)> over the geometric mean of the two sums of |u|^2.

    Args:
        updates: shape (steps, size), one update per row.
        lags: at least 1, below the number of steps.

    Raises:
        ArgumentError: an argument outside of what is accepted.

    Example:
        >>> autocorrelation([[1.0], [-1.0], [1.0], [-1.0]], lags=2)
        array([-1.,  1.])
    """
    u = np.asarray(updates, dtype=np.float64)
    if u.ndim != 2 or not np.all(np.isfinite(u)):
        raise ArgumentError("updates", updates, "finite numbers of shape (steps, size)")
    whole_number("lags", lags, 1, len(u) - 1)
    squared = np.einsum("ti,ti->t", u, u)
    products = np.array([np.vdot(u[:-lag], u[lag:]) for lag in range(1, lags + 1)])
    sizes = np.array([math.sqrt(squared[:-lag].sum() * squared[lag:].sum()) for lag in range(1, lags + 1)])
    return products / sizes


def noise_update(betas: Betas, exponent: Exponent = 0.5, stages: int = 1) -> float:
    """The mean of u^2 per element for gradients that are white noise of variance 1; for variance s^2 times s^(2 degree).

    White noise of variance V leaves an average with beta1 as (1 - b1) / (1 + b1) V (more averages: the mean square of their
    joint impulse response), and a denominator V^p makes the output of a stage smaller by V^(2p). The degree is
    :func:`equipoise.theory.scale_degree`. Second moments are taken at their mean (b2 close to 1).

    Raises:
        ArgumentError: an argument outside of what is accepted.

    Example:
        >>> round(noise_update((0.9, 0.999)), 5)
        0.05263
    """
    averages = [beta1 for beta1, _ in parse_betas(betas, stages)]
    gain, variance = 1.0, 1.0
    for stage, p in enumerate(parse_exponents(exponent, stages), 1):
        gain *= variance ** (-2 * p)
        variance = gain * float(_noise_covariance(averages[:stage], 1)[0])
    return variance


def norm_motion(
    norm: float,
    update: ArrayLike,
    steps: int,
    *,
    lr: ArrayLike,
    weight_decay: float,
    factor: float = 1.0,
    degree: float = 0.0,
) -> NormMotion:
    """Predicted |W|^2 and angular update: |W_t|^2 = (1 - lr wd)^2 |W|^2 + c lr^2 |u|^2.

    A weight that grows sees smaller gradients, by 1/|W|, so that |u| is proportional to |W|^-degree: 0 for AdamW and
    k-Adam (the paper's formula, at factor = 1), 1 - 2p for SMES, 1 for SGD.

    Args:
        norm: |W| at the start.
        update: |u|, the norm of the update (what is multiplied by lr) while |W| is `norm`, in RMS over a stretch of steps; or
            one per step.
        steps: how many.
        lr: learning rate, or one per step (a schedule that is slow against the memory of beta1).
        weight_decay: decoupled.
        factor: c, from :func:`cross_term_factor`.
        degree: of u in the scale of the gradient, :func:`equipoise.theory.scale_degree`.

    Raises:
        ArgumentError: an argument outside of what is accepted.

    Example:
        With the cross term of momentum 0.9, and as the paper's formula has it:

        >>> for c in (19.0, 1.0):
        ...     motion = norm_motion(3.0, 5.0, 4000, lr=3e-3, weight_decay=0.1, factor=c)
        ...     print(round(float(motion.squared_norm[-1]), 2), round(float(motion.angular_update[-1]), 5))
        7.3 0.00555
        1.16 0.01394
    """
    _check(norm, weight_decay, factor, degree)
    whole_number("steps", steps)
    updates, rates = _per_step("update", update, steps), _per_step("lr", lr, steps)
    _check_decay(rates.max(), weight_decay)
    squared_norm, sizes = np.empty(steps + 1), np.empty(steps)
    squared_norm[0] = norm * norm
    for t, (size, rate) in enumerate(zip(updates.tolist(), rates.tolist(), strict=True)):
        present = squared_norm[t]
        sizes[t] = size * (norm * norm / present) ** (degree / 2)
        squared_norm[t + 1] = (1 - rate * weight_decay) ** 2 * present + factor * (rate * sizes[t]) ** 2
    return NormMotion(squared_norm, rates * sizes / np.sqrt(squared_norm[:-1]))


def norm_equilibrium(
    norm: float,
    update: float,
    *,
    lr: float,
    weight_decay: float,
    factor: float = 1.0,
    degree: float = 0.0,
    within: float = 0.05,
) -> NormEquilibrium:
    """Where :func:`norm_motion` settles, and when.

    With q = degree and |u| = U |W|^-q, the fixed point of the motion is::

        |W|^(2 + 2q) = c lr^2 U^2 / (1 - d^2),   about c lr U^2 / (2 wd)
        angle        = sqrt((1 - d^2) / c),      about sqrt(2 lr wd / c)

    and z = |W|^(2 + 2q) approaches it as z' = -2 (1 + q) wd (z - z_eq) in the time s = n lr: SGD settles twice as fast as
    Adam, at the same angle.

    Args:
        norm, update, lr, weight_decay, factor, degree: as for :func:`norm_motion`, constant.
        within: how close |W|^2 must come to its equilibrium, relative to it.

    Raises:
        ArgumentError: an argument outside of what is accepted.

    Example:
        >>> found = norm_equilibrium(3.0, 5.0, lr=3e-3, weight_decay=0.1, factor=19.0)
        >>> round(found.norm, 3), round(found.angular_update, 5), round(found.steps)
        (2.669, 0.00562, 2766)
    """
    _check(norm, weight_decay, factor, degree)
    for name, value in (("update", update), ("lr", lr)):
        if not 0 < value < math.inf:
            raise ArgumentError(name, value, "a positive finite number")
    if not 0 < within < 1:
        raise ArgumentError("within", within, "in (0, 1)")
    _check_decay(lr, weight_decay)
    if weight_decay == 0:
        return NormEquilibrium(math.inf, 0.0, math.inf)
    power = 2 + 2 * degree
    log_shrink = math.log1p(-lr * weight_decay)
    lost = -math.expm1(2 * log_shrink)  # 1 - d^2
    settled = norm ** (2 * degree) * factor * (lr * update) ** 2 / lost
    distance = norm**power / settled - 1
    close = (1 + math.copysign(within, distance)) ** (power / 2) - 1
    steps = max(0.0, math.log(distance / close) / (-power * log_shrink)) if distance else 0.0
    return NormEquilibrium(settled ** (1 / power), math.sqrt(lost / factor), steps)


def _noise_covariance(averages: Sequence[float], count: int) -> Floats:
    """The autocovariance, from lag 0, of white noise of variance 1 after the averages: the transform of its spectrum."""
    slowest = max(averages)
    # The transform repeats after `points` lags: then everything must be forgotten.
    points = 2 * count + (math.ceil(2 * len(averages) * NEGLIGIBLE_AFTER / -math.log(slowest)) if slowest else 0)
    half_angle = np.pi * np.arange(points) / points
    spectrum = np.ones(points)
    for beta1 in averages:
        spectrum *= (1 - beta1) ** 2 / ((1 - beta1) ** 2 + 4 * beta1 * np.sin(half_angle) ** 2)
    return np.fft.ifft(spectrum).real[:count]


def _check(norm: float, weight_decay: float, factor: float, degree: float) -> None:
    for name, value in (("norm", norm), ("factor", factor)):
        if not 0 < value < math.inf:
            raise ArgumentError(name, value, "a positive finite number")
    if not 0 <= weight_decay < math.inf:
        raise ArgumentError("weight_decay", weight_decay, "a finite number of at least 0")
    if not -1 < degree < math.inf:
        raise ArgumentError("degree", degree, "a finite number above -1, where an equilibrium exists")


def _check_decay(lr: float, weight_decay: float) -> None:
    if not lr * weight_decay < 1:
        raise ArgumentError("weight_decay", weight_decay, f"below 1 / lr = {1 / lr:.4g}")


def _per_step(name: str, value: ArrayLike, steps: int) -> Floats:
    array = np.asarray(value, dtype=np.float64)
    if array.shape not in ((), (steps,)) or not np.all((array >= 0) & (array < np.inf)):
        raise ArgumentError(name, value, f"a finite number of at least 0, or {steps} of them")
    return np.broadcast_to(array, (steps,))
