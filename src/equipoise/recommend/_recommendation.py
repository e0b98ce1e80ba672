"""From evidence to an exponent per parameter group (E7), and how far it can be trusted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from equipoise.hyperparameters import Pair
from equipoise.recommend._evidence import Evidence, Layer, Number, typical_scale
from equipoise.theory._exponent import (
    ExponentRecommendation,
    recommend_exponent,
    scale_degree,
    signal_loss,
    sparse_rate,
    update_spread,
)
from equipoise.theory._region import nearest_stable

DIFFERENT = 0.125
"""Exponents that lie farther apart are told apart: neighbours in the studies that are written."""

EXPONENTS = (0.0, 0.125, 0.25, 0.375, 0.5)

MOVES: dict[Number, tuple[str, str]] = {
    "between": ("how far layers lie apart", "higher"),
    "within": ("how far coordinates lie apart", "higher"),
    "density": ("how rare gradients are", "higher"),
    "noise": ("signal and noise", "lower"),
}
"""What a number is about, and where it could move the exponent if it were known."""


class Balance(NamedTuple):
    """What an exponent is found from, each number as it asks for most. What was not seen is NaN."""

    between: float
    """Decades between the layers that lie farthest apart; 0 for a single one."""
    ends: tuple[str, ...]
    """The names of these two, the larger first."""
    within: float
    """Decades between the coordinates of a layer, without a tenth at either end, where that is most."""
    widest: str
    """That layer."""
    density: float
    """The share of steps in which coordinates of a layer see a gradient (a tenth of them see fewer), where that is least."""
    rarest: str
    """That layer."""
    noise: float
    """:func:`equipoise.theory.noise_ratio`, where it is least."""

    @property
    def seen(self) -> set[str]:
        """Which of the numbers were."""
        return {key for key in MOVES if not math.isnan(getattr(self, key))}

    @property
    def spread(self) -> float:
        """The larger of the first two."""
        return max((each for each in (self.between, self.within) if not math.isnan(each)), default=math.nan)


class Effect(NamedTuple):
    """What another exponent would make of the same numbers; NaN where they were not seen."""

    exponent: float
    spread: float
    """Decades between updates that remain of those between gradients."""
    rate: float
    """How fast the rarest coordinates move, relative to those that always see a gradient."""
    loss: float
    """Decades of the ratio of signal to noise."""


class Change(NamedTuple):
    """How large the updates of a layer would be, relative to Adam's (E7): at its own learning rate with a reference; without
    one, at the rate that leaves the middle layer as it is."""

    layer: Layer
    factor: float
    """Of a coordinate with the gradient scale of the layer."""
    low: float
    """Of the coordinates with the smallest gradients, and with the largest, but for a tenth at either end."""
    high: float


@dataclass(frozen=True)
class Answer:
    """For one parameter group."""

    group: int
    exponent: float
    highest: float
    """What E4 leaves, with a tenth of the margin to spare."""
    balance: Balance
    found: ExponentRecommendation
    lowest: float
    """The least exponent that any moment asked for at which as much was seen."""
    rate_factor: float
    """By which Adam's learning rate is to be multiplied."""
    effects: tuple[Effect, ...]
    """Of 0, 1/8, 1/4, 3/8 and 1/2, as far as they are stable."""
    changes: tuple[Change, ...]
    doubts: tuple[str, ...]

    @property
    def sure(self) -> Literal["good", "fair", "low"]:
        """Of the numbers that E7 is about; which exponent trains best is another question."""
        return "good" if not self.doubts else "fair" if len(self.doubts) == 1 else "low"


def answer(evidence: Evidence, tolerance: float) -> list[Answer]:
    """An exponent for every parameter group that had gradients: the smallest that suffices at every moment that was seen.

    Args:
        evidence: of a run.
        tolerance: decades, see :func:`equipoise.theory.recommend_exponent`.

    Raises:
        ArgumentError: a tolerance that is not positive, or betas for which no exponent is stable.
    """
    numbers = [i for i in range(len(evidence.groups)) if any(moment.compared(i) for moment in evidence.moments)]
    return [_answer(evidence, number, tolerance) for number in numbers]


def _answer(evidence: Evidence, number: int, tolerance: float) -> Answer:
    group = evidence.groups[number]
    highest = nearest_stable(*group.betas, 0.5).exponent
    moments = [moment for moment in evidence.moments if moment.compared(number)]
    balances = [_balance(moment.compared(number), moment.noise[number]) for moment in moments]
    balance = _worst(balances)

    def recommend(balance: Balance) -> ExponentRecommendation:
        return recommend_exponent(
            _known(balance.spread, 0.0),
            _known(balance.density, 1.0),
            _known(balance.noise, 1.0),
            tolerance,
            betas=group.betas,
            highest=highest,
        )

    found = recommend(balance)
    comparable = [recommend(other).exponent for other in balances if other.seen == balance.seen]
    lowest = min([found.exponent, *comparable])
    layers = moments[-1].compared(number)
    degree = scale_degree(found.exponent)
    unit = typical_scale(layers) if evidence.reference == "none" else 1.0
    changes = tuple(
        Change(layer, *((scale / layer.reference / unit) ** degree for scale in (layer.scale, layer.low, layer.high)))
        for layer in layers
    )
    return Answer(
        group=number,
        exponent=found.exponent,
        highest=highest,
        balance=balance,
        found=found,
        lowest=lowest,
        rate_factor=unit**-degree,
        effects=tuple(_effect(p, balance, group.betas) for p in EXPONENTS if p <= highest),
        changes=changes,
        doubts=tuple(_doubts(evidence, number, balance, found.exponent, highest, lowest)),
    )


def _balance(layers: list[Layer], noise: float) -> Balance:
    levels = sorted((layer for layer in layers if not math.isnan(layer.level)), key=lambda layer: layer.level)
    between, ends = math.nan, ()
    if len(levels) > 1:
        between, ends = math.log10(levels[-1].level / levels[0].level), (levels[-1].name, levels[0].name)
    elif len(layers) == 1:
        between = 0.0
    widest = max((layer for layer in layers if not math.isnan(layer.within)), key=lambda layer: layer.within, default=None)
    rarest = min((layer for layer in layers if not math.isnan(layer.density)), key=lambda layer: layer.density, default=None)
    return Balance(
        between,
        ends,
        widest.within if widest else math.nan,
        widest.name if widest else "",
        rarest.density if rarest else math.nan,
        rarest.name if rarest else "",
        noise,
    )


def _worst(balances: Sequence[Balance]) -> Balance:
    """Of several moments, each number where it asks for most."""
    farthest = max(balances, key=lambda each: _known(each.between, -1.0))
    widest = max(balances, key=lambda each: _known(each.within, -1.0))
    rarest = min(balances, key=lambda each: _known(each.density, 2.0))
    noisiest = min(balances, key=lambda each: _known(each.noise, math.inf))
    return farthest._replace(
        within=widest.within, widest=widest.widest, density=rarest.density, rarest=rarest.rarest, noise=noisiest.noise
    )


def _effect(exponent: float, balance: Balance, betas: Pair) -> Effect:
    return Effect(
        exponent,
        math.nan if math.isnan(balance.spread) else update_spread(balance.spread, exponent),
        math.nan if math.isnan(balance.density) else sparse_rate(balance.density, exponent, betas),
        math.nan if math.isnan(balance.noise) else signal_loss(balance.noise, exponent),
    )


def _known(value: float, otherwise: float) -> float:
    return otherwise if math.isnan(value) else value


def _doubts(evidence: Evidence, number: int, balance: Balance, exponent: float, highest: float, lowest: float) -> list[str]:
    """What could move the exponent if more had been seen."""
    possible = {"higher": exponent < highest, "lower": exponent > 0}
    doubts: list[str] = []
    for key, (about, direction) in MOVES.items():
        why = (evidence.unseen if math.isnan(getattr(balance, key)) else evidence.weak).get(key)
        if why is not None and possible[direction]:
            doubts.append(f"{about}: {why}; seen, it could be {direction}")
    if exponent - lowest > DIFFERENT:
        doubts.append(f"it changed with time: at other moments of the run {lowest:.2f} was enough")
    memory = 1 / (1 - evidence.groups[number].betas[1])
    if evidence.steps is not None and evidence.steps < memory:
        doubts.append(f"{evidence.steps:,} steps are fewer than the {memory:,.0f} that beta2 remembers")
    return doubts
