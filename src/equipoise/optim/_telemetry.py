"""What the kernels measure in passing, read by the host only when asked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equipoise.errors import ArgumentError
from equipoise.optim import _sharding as sharding
from equipoise.optim._kernels import MEASURES

Parts: TypeAlias = Sequence[tuple[Sequence[Tensor], Tensor]]
"""What the kernels of a step measured: their parameters, and float64 (parameters, measures) on the device of these, of the
shards here. The columns are those of :data:`~equipoise.optim._kernels.slot.MEASURES`."""


class Measures(NamedTuple):
    """One parameter in one step: n elements, gradient g, update u (what lr multiplies), parameter theta after the step."""

    elements: int
    """n."""
    gradient: float
    """Sum of g^2."""
    update: float
    """Sum of u^2."""
    parameter: float
    """Sum of theta^2."""
    second_moment: float
    """Sum of the first stage's v after the step, without bias correction."""
    largest_update: float
    """max |u|; NaN where an update is."""
    zeros: float
    """How many g are 0."""
    nonfinite: float
    """How many g are infinite or NaN."""


MEASURING = "an Equipoise, SMES or KAdam, whose steps measure"
"""What is accepted where the steps of an optimizer are to be measured."""


class MeasuredOptimizer(Protocol):
    """An optimizer whose steps measure for everyone who asked, as those of this package do."""

    telemetries: tuple[Telemetry, ...]


class Telemetry:
    """A subscription to what the steps of an optimizer measure: from its construction until it is closed.

    Any number of them may be open at a time. Every step measures once and gives the result to all of them; while none is
    open, nothing is measured. A closed one keeps what it has. Neither a pickle nor a copy of the optimizer has any.

    Args:
        optimizer: an :class:`~equipoise.Equipoise`, SMES or KAdam.

    Raises:
        ArgumentError: another optimizer, which does not measure.

    Example:
        >>> import torch
        >>> from equipoise import Equipoise
        >>> weight = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
        >>> optimizer = Equipoise([weight], lr=0.0)
        >>> weight.grad = torch.tensor([2.0, 0.0])
        >>> with Telemetry(optimizer) as telemetry:
        ...     optimizer.step()
        >>> measures = telemetry.read()[weight]
        >>> measures.gradient, measures.parameter, measures.zeros
        (4.0, 25.0, 1.0)
    """

    def __init__(self, optimizer: MeasuredOptimizer) -> None:
        if not hasattr(optimizer, "telemetries"):
            raise ArgumentError("optimizer", type(optimizer).__name__, MEASURING)
        self.parts: Parts = ()
        """What the last step measured; empty before the first one."""
        self._optimizer = optimizer
        optimizer.telemetries = (*optimizer.telemetries, self)

    def close(self) -> None:
        """Measure no further steps. Closing it again changes nothing."""
        self._optimizer.telemetries = tuple(each for each in self._optimizer.telemetries if each is not self)

    def __enter__(self) -> Telemetry:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self, only: Tensor | None = None) -> dict[Tensor, Measures]:
        """The measures of the last step, by parameter; only parameters that had a gradient have any.

        The measures of a sharded parameter are those of the whole tensor, on every process. For sharded parameters this is a
        collective, one for all tensors that the same processes hold: every process must call it.

        Args:
            only: the one parameter to read; None reads all.
        """
        measured: dict[Tensor, NDArray[np.float64]] = {}
        for parameters, measures in self.parts:
            rows = zip(parameters, measures.numpy(force=True), strict=True)
            measured.update((parameter, row) for parameter, row in rows if only is None or parameter is only)
        if not measured:
            return {}
        whole = sharding.of_whole_tensors(torch.tensor(np.stack(list(measured.values()))), list(measured), combined_measures)
        return {
            parameter: Measures(elements_of(parameter), *map(float, row))
            for parameter, row in zip(measured, whole.numpy(), strict=True)
        }


def composer_metrics(measures: Measures, lr: float, name: str) -> dict[str, float]:
    """The measures of a parameter under the names that Composer gives them."""
    return {
        f"l2_norm/grad/{name}": math.sqrt(measures.gradient),
        f"l2_norm/param/{name}": math.sqrt(measures.parameter),
        f"l2_norm/update/{name}": lr * math.sqrt(measures.update),
        f"largest_update/{name}": measures.largest_update,
    }


def combined_measures(shards: Tensor) -> Tensor:
    """The measures of whole tensors, shape (tensors, measures), from those of their shards: (processes, tensors, measures)."""
    whole, largest = shards.sum(0), MEASURES.index("largest_update")
    whole[:, largest] = shards[:, :, largest].amax(0)  # NaN where one is
    return whole


def elements_of(parameter: Tensor) -> int:
    """How many real numbers a parameter holds, all shards together: two for each complex one."""
    return parameter.numel() * (2 if parameter.is_complex() else 1)
