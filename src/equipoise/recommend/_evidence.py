"""What was seen of the gradients of a run, from wherever it was seen. What was not is NaN."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from equipoise.hyperparameters import Pair
from equipoise.rules import Reference

Number = Literal["between", "within", "density", "noise"]
"""Of those that an exponent follows from (E7): :class:`~equipoise.recommend._recommendation.Balance`."""

OUTER = 0.1
"""What is told of the coordinates of a layer is told without this share at either end: some are always odd, as those of units
that have all but died."""


@dataclass(frozen=True)
class Layer:
    """The gradients of one parameter tensor."""

    name: str
    group: int
    """The number of its parameter group."""
    shape: tuple[int, ...]
    scale: float
    """Their root mean square, zeros included."""
    reference: float
    """sqrt(R) of E3, what `scale` is measured against; 1 without a reference."""
    low: float = math.nan
    """90 % of the coordinates that had gradients have larger ones (their root mean square, where they are not zero)."""
    high: float = math.nan
    """90 % have smaller ones."""
    density: float = math.nan
    """90 % of those coordinates had a gradient in a larger share of the steps."""

    @property
    def level(self) -> float:
        """Its scale against the reference."""
        return self.scale / self.reference

    @property
    def within(self) -> float:
        """Decades between the coordinates."""
        return math.log10(self.high / self.low)


@dataclass(frozen=True)
class Moment:
    """All layers that had gradients, at one time of the run."""

    step: int
    layers: tuple[Layer, ...]
    noise: tuple[float, ...]
    """Of every group, :func:`equipoise.theory.noise_ratio`."""

    def compared(self, group: int) -> list[Layer]:
        """The layers of a group that are compared: its matrices, if it has any, else all.

        The gradients of norms and biases differ from those of weights for other reasons than depth.
        """
        members = [layer for layer in self.layers if layer.group == group]
        return [layer for layer in members if len(layer.shape) > 1] or members


class Group(NamedTuple):
    """What is known of a parameter group."""

    betas: Pair
    rate: float
    """The learning rate at which Adam's updates are as large as those of the run; at its highest, if it was scheduled."""


@dataclass(frozen=True)
class Evidence:
    """What was seen of a run."""

    source: str
    """In words."""
    steps: int | None
    """How many the numbers are about; None where that was not seen."""
    reference: Reference
    """Of E3, for the optimizer that is to be recommended."""
    groups: tuple[Group, ...]
    moments: tuple[Moment, ...]
    """At least one, in the order of time."""
    unseen: Mapping[Number, str]
    """Why what is NaN could not be seen."""
    weak: Mapping[Number, str]
    """Why what is not NaN was not seen well."""


def extent(squares: NDArray[np.float64]) -> tuple[float, float]:
    """The second largest and smallest tenth of the coordinates' scales begin here: `low` and `high` of a :class:`Layer`.

    Args:
        squares: the mean of g^2 per coordinate; where that is 0, there was no gradient.

    Example:
        >>> extent(np.array([0.0, *[1e-4] * 20, *[1e-2] * 60, *[1.0] * 20]))
        (0.01, 1.0)
    """
    low, high = np.sqrt(np.quantile(squares[squares > 0], [OUTER, 1 - OUTER]))
    return float(low), float(high)


def typical_scale(layers: Sequence[Layer]) -> float:
    """The median of their scales; of an even number the geometric mean of the two in the middle."""
    return math.exp(float(np.median([math.log(layer.scale) for layer in layers])))
