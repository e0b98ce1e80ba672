"""What was seen of the gradients of a run, wherever it was seen. A number that was not seen is None."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from equipoise.hyperparameters import Pair
from equipoise.rules import Reference

NumberName = Literal["between", "within", "density", "noise"]
"""The names of the balance numbers (:class:`~equipoise.recommend._balance_numbers.BalanceNumbers`)."""

TAIL = 0.1
"""The share of a layer's coordinates that is left out at either end: some are always odd, as those of dying units."""


@dataclass(frozen=True)
class LayerGradients:
    """The gradients of one parameter tensor."""

    name: str
    group: int
    """The number of its parameter group."""
    shape: tuple[int, ...]
    scale: float
    """The root mean square of all gradients, zeros included."""
    reference: float | None
    """The root of the reference scale, which `scale` is measured against; 1 without a reference."""
    low: float | None = None
    """The scale of the smallest coordinates (root mean square, where they had gradients): 10 % have smaller ones."""
    high: float | None = None
    """The scale of the largest coordinates: 10 % have larger ones."""
    density: float | None = None
    """The share of steps in which the rarest coordinates had a gradient: 10 % had one in fewer steps."""

    @property
    def level(self) -> float | None:
        """The scale of the layer relative to its reference."""
        return None if self.reference is None else self.scale / self.reference

    @property
    def within(self) -> float | None:
        """Decades between the largest and the smallest coordinates."""
        return None if self.low is None or self.high is None else math.log10(self.high / self.low)


@dataclass(frozen=True)
class Snapshot:
    """The layers at one step of the run."""

    step: int
    layers: tuple[LayerGradients, ...]
    """Those that had gradients and are compared with each other (:func:`compared`)."""
    noise: tuple[float | None, ...]
    """:func:`equipoise.theory.noise_ratio` of every parameter group."""


@dataclass(frozen=True)
class GroupSettings:
    """The hyperparameters of a parameter group that a recommendation needs."""

    betas: Pair
    adam_lr: float
    """The learning rate at which Adam's updates are as large as those of the run; where it was scheduled, the highest."""


@dataclass(frozen=True)
class Evidence:
    """What was seen of the gradients of a run."""

    source: str
    """Where it was seen, for people."""
    steps: int | None
    """How many steps the numbers cover; None where that was not seen."""
    reference: Reference
    """The reference scale of the optimizer that is to be recommended."""
    groups: tuple[GroupSettings, ...]
    snapshots: tuple[Snapshot, ...]
    """At least one, in the order of time."""
    unseen: Mapping[NumberName, str]
    """Why a balance number that is None could not be seen."""
    rough: Mapping[NumberName, str]
    """Why a balance number that is not None is known only roughly."""


def compared(layers: Sequence[LayerGradients]) -> tuple[LayerGradients, ...]:
    """The layers that are compared with each other: the matrices of a parameter group if it has any, else all of its tensors.

    The gradients of norms and biases differ from those of weights for other reasons than depth.
    """
    groups_with_matrices = {layer.group for layer in layers if len(layer.shape) > 1}
    return tuple(layer for layer in layers if len(layer.shape) > 1 or layer.group not in groups_with_matrices)


def typical_scale(layers: Sequence[LayerGradients]) -> float:
    """The median of the layers' scales; of an even number of layers the geometric mean of the two in the middle."""
    return math.exp(float(np.median([math.log(layer.scale) for layer in layers])))


def coordinate_range(squares: NDArray[np.float64]) -> tuple[float, float]:
    """The scales of the smallest and of the largest coordinates, without a tenth of them at either end.

    Args:
        squares: the mean of g^2 per coordinate; where that is 0, there was no gradient.

    Example:
        >>> coordinate_range(np.array([0.0, *[1e-4] * 20, *[1e-2] * 60, *[1.0] * 20]))
        (0.01, 1.0)
    """
    low, high = np.sqrt(np.quantile(squares[squares > 0], [TAIL, 1 - TAIL]))
    return float(low), float(high)
