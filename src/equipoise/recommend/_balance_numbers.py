"""The balance numbers of a parameter group: what an exponent is found from (see "Balance numbers" in docs/equations.md)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import itemgetter

from equipoise.hyperparameters import Pair
from equipoise.recommend._evidence import LayerGradients, NumberName
from equipoise.theory._exponent import (
    ExponentRecommendation,
    recommend_exponent,
    signal_loss,
    sparse_rate,
    update_spread,
)

NUMBER_NAMES: tuple[NumberName, ...] = ("between", "within", "density", "noise")


@dataclass(frozen=True)
class ExponentEffect:
    """What an exponent would do to the updates; None where the balance number behind it was not seen."""

    exponent: float
    spread: float | None
    """Decades between updates that remain of those between gradients."""
    rate: float | None
    """How fast the rarest coordinates move, relative to those that always see a gradient."""
    loss: float | None
    """Decades of the ratio of signal to noise that are lost."""


@dataclass(frozen=True)
class BalanceNumbers:
    """Four numbers, and the layers that they are from. A number that was not seen is None."""

    between: float | None
    """Decades between the gradient scales of the layers that lie farthest apart; 0 for a single layer."""
    ends: tuple[str, ...]
    """The names of these two layers, the larger first."""
    within: float | None
    """Decades between the coordinates of one layer, without a tenth of them at either end; of the layer where that is most."""
    widest: str
    """The name of that layer."""
    density: float | None
    """The share of steps in which the rarest coordinates of a layer see a gradient (a tenth of them see fewer); of the layer
    where that is least."""
    rarest: str
    """The name of that layer."""
    noise: float | None
    """The gradient scale of coordinates with noise relative to that of coordinates with signal
    (:func:`equipoise.theory.noise_ratio`)."""

    @property
    def seen(self) -> set[NumberName]:
        """Which of the four numbers were seen."""
        return {name for name in NUMBER_NAMES if getattr(self, name) is not None}

    @property
    def spread(self) -> float | None:
        """The larger of `between` and `within`, as far as they were seen."""
        return max((each for each in (self.between, self.within) if each is not None), default=None)

    def balanced(self, tolerance: float, betas: Pair, highest: float) -> ExponentRecommendation:
        """The smallest exponent that equalises enough; a number that was not seen asks for nothing.

        Args:
            tolerance: in decades.
            betas: of the parameter group.
            highest: the highest exponent that is stable.
        """
        return recommend_exponent(
            0.0 if self.spread is None else self.spread,
            1.0 if self.density is None else self.density,
            1.0 if self.noise is None else self.noise,
            tolerance,
            betas=betas,
            highest=highest,
        )

    def effect(self, exponent: float, betas: Pair) -> ExponentEffect:
        """What an exponent would do to the updates."""
        return ExponentEffect(
            exponent,
            None if self.spread is None else update_spread(self.spread, exponent),
            None if self.density is None else sparse_rate(self.density, exponent, betas),
            None if self.noise is None else signal_loss(self.noise, exponent),
        )


def balance_numbers(layers: Sequence[LayerGradients], noise: float | None) -> BalanceNumbers:
    """The balance numbers of the layers of one parameter group at one step."""
    levels = sorted(((layer.level, layer.name) for layer in layers if layer.level is not None), key=itemgetter(0))
    between, ends = None, ()
    if len(levels) > 1:
        (smallest, last), (largest, first) = levels[0], levels[-1]
        between, ends = math.log10(largest / smallest), (first, last)
    elif len(layers) == 1:
        between = 0.0
    ranges = [(layer.within, layer.name) for layer in layers if layer.within is not None]
    within, widest = max(ranges, key=itemgetter(0)) if ranges else (None, "")
    densities = [(layer.density, layer.name) for layer in layers if layer.density is not None]
    density, rarest = min(densities, key=itemgetter(0)) if densities else (None, "")
    return BalanceNumbers(between, ends, within, widest, density, rarest, noise)


def most_demanding(found: Sequence[BalanceNumbers]) -> BalanceNumbers:
    """The numbers of several steps, each from the step where it asks for the most of the exponent.

    Args:
        found: at least one.
    """
    farthest = max(found, key=lambda each: -1.0 if each.between is None else each.between)
    widest = max(found, key=lambda each: -1.0 if each.within is None else each.within)
    rarest = min(found, key=lambda each: 2.0 if each.density is None else each.density)
    noisiest = min(found, key=lambda each: math.inf if each.noise is None else each.noise)
    return replace(
        farthest,
        within=widest.within,
        widest=widest.widest,
        density=rarest.density,
        rarest=rarest.rarest,
        noise=noisiest.noise,
    )
