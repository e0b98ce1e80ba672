r"""What the exponent does to scales, to rare gradients and to noise, and the exponent that follows.

These are the "Balance numbers" of docs/equations.md.

A larger exponent equalises: layers whose gradients vanish or explode, and coordinates that seldom see a gradient, move more
alike, which fits. It equalises noise with signal too, which costs. Both happen at the same rate, by powers of v^p, so that the
exponent can be chosen by what is to be equalised and what is to be kept.

Everything here is at eps = 0 and without a reference. The reference "initial" divides out the scale that a whole
tensor had in its first steps; what is said of layers then holds for the coordinates of one tensor.

Source: Zhang and Liu, arXiv 2405.18498 (the balance, in words and experiments); the formulas are derived here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from equipoise.errors import ArgumentError
from equipoise.hyperparameters import Exponent, Pair, parse_betas, parse_exponents, whole_number
from equipoise.rules import normalize
from equipoise.theory._bound import NEGLIGIBLE_AFTER
from equipoise.theory._invariance import noise_update


@dataclass(frozen=True)
class ExponentRecommendation:
    """An exponent, and every number that it follows from."""

    exponent: float
    """In [0, 1/2]."""
    decided_by: tuple[str, ...]
    """Which of "spread", "density" and "noise" determined it; empty where nothing asked for more than 0."""
    update_spread: float
    """Decades between the updates of layers that remain of the spread of their gradients."""
    sparse_rate: float
    """How fast a coordinate of the given density moves, relative to one that always sees a gradient."""
    signal_loss: float
    """Decades by which the ratio of signal to noise in the update is below that in the gradient."""
    tolerance: float
    """Decades, as asked for."""

    @property
    def within_tolerance(self) -> bool:
        """Whether the spread, the slowness of sparse coordinates and the loss of signal are all within the tolerance."""
        # The exponent was found to this precision.
        return max(self.update_spread, -math.log10(self.sparse_rate), self.signal_loss) <= self.tolerance + 1e-9


def scale_degree(exponent: Exponent, stages: int = 1) -> float:
    """The degree of the update in the scale of the gradient: s times larger gradients give s^degree times larger updates.

    m is of degree 1 and v of degree 2, so that m / v^p is of degree 1 - 2p; stages multiply theirs. 1 for SGD, 0 for Adam.

    Raises:
        ArgumentError: an argument outside of what is accepted.

    Example:
        >>> scale_degree(0.25), scale_degree([0.25, 0.375], stages=2), scale_degree(0.5)
        (0.5, 0.125, 0.0)
    """
    return math.prod(1 - 2 * p for p in parse_exponents(exponent, stages))


def update_spread(spread: float, exponent: Exponent, stages: int = 1) -> float:
    """Decades between the updates of layers whose gradients lie `spread` decades apart: degree * spread.

    Raises:
        ArgumentError: an argument outside of what is accepted.

    Example:
        A gradient that shrinks 10,000-fold on its way to the first layer:

        >>> [update_spread(4.0, p) for p in (0.0, 0.25, 0.5)]
        [4.0, 2.0, 0.0]
    """
    if not 0 <= spread < math.inf:
        raise ArgumentError("spread", spread, "a finite number of at least 0, in decades")
    return abs(scale_degree(exponent, stages)) * spread


def sparse_rate(density: float, exponent: float, betas: Pair = (0.9, 0.999)) -> float:
    """How fast a coordinate moves whose gradient is not zero in a share f of the steps, relative to one where it never is.

    On average m is f and v is f, in units of the gradient and its square, hence f / f^p = f^(1-p). That takes v for its
    mean. Exactly, with B_j = 1 where the gradient of j steps ago was not zero, the mean of m / v^p is::

        sum_j (1-b1) b1^j f E[v^-p | B_j = 1],     v = (1-b2) sum_i b2^i B_i,
        E[v^-p | B_j = 1] = 1/Gamma(p) * integral of s^(p-1) e^(-y_j) prod_(i != j) (1 - f + f e^(-y_i)) ds
        with y_i = s (1-b2) b2^i

    which on a grid of ln s with spacing -ln b2 is a cumulative product and a convolution, exact to 5e-6. f^(1-p) is right
    to 2 % where f >= 0.009 (p = 1/4) or f >= 0.016 (p = 1/2) at b2 = 0.999. A gradient that comes once in much more than
    the memory 1 / (1-b2) acts alone, and the rate is f (1-b2)^-p (1-b1) / (1 - b1 / b2^p): at f = 1e-6 Adam is 31 times
    slower than f^(1/2).

    Time and memory grow as 1 / (1 - b2); milliseconds at 0.999.

    Args:
        density: f in (0, 1].
        exponent: p in [0, 1/2].
        betas: (beta1, beta2), inside of the stability region, with beta2 >= 0.5: the grid is too coarse for less.

    Raises:
        ArgumentError: an argument outside of what is accepted.

    Example:
        >>> [round(sparse_rate(0.01, p), 4) for p in (0.0, 0.25, 0.5)]
        [0.01, 0.0311, 0.097]
    """
    # Here, because a check of hyperparameters must start without scipy.
    from scipy.special import exprel

    if not 0 < density <= 1:
        raise ArgumentError("density", density, "in (0, 1]")
    if not 0 <= exponent <= 0.5:
        raise ArgumentError("exponent", exponent, "in [0, 0.5]")
    ((beta1, beta2),) = parse_betas(betas, 1)
    if exponent == 0 or density == 1:
        return float(density)
    if not beta2**exponent > beta1 or beta2 < 0.5:
        raise ArgumentError("betas", betas, f"inside of the stability region, beta2^{exponent:g} > beta1, with beta2 >= 0.5")
    spacing = -math.log(beta2)
    ages = math.ceil(NEGLIGIBLE_AFTER / -math.log(beta1)) if beta1 else 1
    # From where every y is negligible, so that v does not matter, to where e^(-y) is, for every age that m remembers.
    first, last = math.log(1e-9 / density), math.log(NEGLIGIBLE_AFTER / (1 - beta2)) + ages * spacing
    log_s = first + spacing * np.arange(1 - ages, math.ceil((last - first) / spacing))
    seen = np.exp(-(1 - beta2) * np.exp(log_s))
    transform = 1 - density + density * seen
    given_one = np.convolve(seen / transform, (1 - beta1) * beta1 ** np.arange(ages), mode="valid")
    integrand = np.exp(exponent * log_s) * np.cumprod(transform)
    on_grid = exponent * spacing * float(integrand[ages - 1 :] @ given_one)
    # Below it the integrand is s^p: a geometric series.
    below = math.exp(exponent * (first - spacing)) / float(exprel(-exponent * spacing))
    return density * (on_grid + below) / math.gamma(1 + exponent)


def signal_to_noise(mean: ArrayLike, deviation: ArrayLike, exponent: float, betas: Pair = (0.9, 0.999)) -> float:
    """The norm of the mean update over the norm of its standard deviation.

    For gradients mean_i + deviation_i * (white noise), v_i is mean_i^2 + deviation_i^2 (b2 close to 1), and::

        ratio^2 = sum_i mean_i^2 / v_i^(2p) / (sum_i deviation_i^2 / v_i^(2p) * (1-b1) / (1+b1))

    Within one coordinate v^p cancels: the exponent changes the ratio by what it does between coordinates. Where some
    coordinates carry signal of scale a and others noise of scale b, the ratio is proportional to (a/b)^(1-2p): lowering p
    keeps it, p = 1/2 forgets it.

    Args:
        mean: of the gradient, any shape.
        deviation: the standard deviation of the gradient, of the same shape.
        exponent: p.
        betas: (beta1, beta2).

    Raises:
        ArgumentError: an argument outside of what is accepted.

    Example:
        One coordinate with signal, and 99 with noise of a tenth of its scale:

        >>> mean, deviation = [1.0] + [0.0] * 99, [0.0] + [0.1] * 99
        >>> [round(signal_to_noise(mean, deviation, p), 2) for p in (0.0, 0.25, 0.5)]
        [4.38, 1.39, 0.44]
    """
    signal, noise = np.asarray(mean, dtype=np.float64), np.asarray(deviation, dtype=np.float64)
    if not np.all(np.isfinite(signal)):
        raise ArgumentError("mean", mean, "finite numbers")
    if signal.shape != noise.shape or not np.all((noise >= 0) & (noise < np.inf)) or not noise.any():
        raise ArgumentError("deviation", deviation, "finite numbers of at least 0, not all 0, of the shape of mean")
    (p,) = parse_exponents(exponent, 1)
    v = signal**2 + noise**2
    of_signal, of_noise = (float(np.linalg.norm(normalize(part, v, p, eps=0.0))) for part in (signal, noise))
    return of_signal / of_noise / math.sqrt(noise_update(betas, exponent=0.0))


def noise_ratio(mean: ArrayLike, deviation: ArrayLike, observations: int) -> float:
    """The gradient scale of coordinates that carry noise, relative to that of those that carry signal, as measured.

    Where scales a and b carry signal and noise, :func:`signal_to_noise` is proportional to (a/b)^(1-2p), hence::

        b/a = ratio(1/2) / ratio(0),     ratio(p)^2 = measured(p)^2 - 1/n

    as the mean of n gradients differs from the true one by deviation / sqrt(n) in every coordinate, which adds 1/n to both
    squares.

    Args:
        mean: of n gradients, any shape.
        deviation: the standard deviation of these gradients, of the same shape.
        observations: n.

    Returns:
        b/a; NaN where either ratio^2 is below the 1/n that pure noise leaves.

    Raises:
        ArgumentError: an argument outside of what is accepted.

    Example:
        One coordinate with signal, and 99 with noise of a tenth of its scale:

        >>> mean, deviation = [1.0] + [0.0] * 99, [0.0] + [0.1] * 99
        >>> round(noise_ratio(mean, deviation, observations=10**6), 3)
        0.1
    """
    whole_number("observations", observations, 2)
    left = 1 / observations
    without, with_all = (signal_to_noise(mean, deviation, p, betas=(0.0, 0.0)) ** 2 - left for p in (0.0, 0.5))
    return math.sqrt(with_all / without) if min(without, with_all) >= left else math.nan


def signal_loss(noise: float, exponent: float) -> float:
    """Decades by which the ratio of signal to noise in the update is below that in the gradient: 2p log10(1 / noise).

    Where scales a and b carry signal and noise, that ratio is (a/b)^(1-2p) after a/b before; noise = b/a. 0 where that is 1 or
    more.

    Raises:
        ArgumentError: a noise that is not positive.

    Example:
        >>> [signal_loss(0.01, p) for p in (0.0, 0.25, 0.5)]
        [0.0, 1.0, 2.0]
    """
    if not 0 < noise < math.inf:
        raise ArgumentError("noise", noise, "a positive finite number")
    return max(0.0, -2 * exponent * math.log10(noise))


def recommend_exponent(
    spread: float = 0.0,
    density: float = 1.0,
    noise: float = 1.0,
    tolerance: float = 1.0,
    *,
    betas: Pair = (0.9, 0.999),
    highest: float = 0.5,
) -> ExponentRecommendation:
    """The smallest exponent in [0, highest] that equalises enough, unless more signal would be lost than is equalised.

    Three quantities in decades, the first two falling with p, the third rising::

        gap(p)  = max((1 - 2p) spread, -log10 sparse_rate(density, p))      what still has to be equalised
        loss(p) = 2p log10(1 / noise)                                       signal to noise that was given up

    The answer is the smallest p with gap(p) <= max(tolerance, loss(p)), or the highest if none has. So p rises until the gap is
    within the tolerance, but once the loss exceeds the tolerance only to where both are equal: there the larger of them is
    smallest. For spread = log10(1 / noise), both beyond the tolerance, that is p = 1/4.

    Args:
        spread: decades between the gradient scales (RMS) of layers.
        density: the share of steps in which the sparsest coordinates that matter see a gradient, in (0, 1].
        noise: the gradient scale of coordinates that carry noise, relative to that of coordinates that carry signal; 1 and
            above: raising p loses nothing.
        tolerance: decades that are acceptable for each of the three.
        betas: (beta1, beta2), for the sparse rate.
        highest: in (0, 1/2]; less where the stability region ends below it (:func:`~equipoise.theory.nearest_stable`).

    Raises:
        ArgumentError: an argument outside of what is accepted.

    Example:
        >>> found = recommend_exponent(spread=4.0)
        >>> round(found.exponent, 3), found.decided_by, found.within_tolerance
        (0.375, ('spread',), True)
        >>> found = recommend_exponent(spread=4.0, noise=1e-4)
        >>> round(found.exponent, 3), found.decided_by, found.within_tolerance
        (0.25, ('spread', 'noise'), False)
    """
    from scipy.optimize import brentq  # as above

    if not 0 < tolerance < math.inf:
        raise ArgumentError("tolerance", tolerance, "a positive finite number, in decades")
    if not 0 < highest <= 0.5:
        raise ArgumentError("highest", highest, "in (0, 0.5]")

    def slowness(p: float) -> float:
        return -math.log10(sparse_rate(density, p, betas))

    def excess(p: float) -> float:
        gap = max(update_spread(spread, p), slowness(p))
        return gap - max(tolerance, signal_loss(noise, p))

    if excess(0.0) <= 0:
        exponent, decided_by = 0.0, ()
    else:
        exponent = highest if excess(highest) >= 0 else float(brentq(excess, 0.0, highest, xtol=1e-12))
        decided_by = ("spread",) if update_spread(spread, exponent) > slowness(exponent) else ("density",)
        if exponent < highest and signal_loss(noise, exponent) > tolerance:
            decided_by = (*decided_by, "noise")
    return ExponentRecommendation(
        exponent=exponent,
        decided_by=decided_by,
        update_spread=update_spread(spread, exponent),
        sparse_rate=sparse_rate(density, exponent, betas),
        signal_loss=signal_loss(noise, exponent),
        tolerance=tolerance,
    )
