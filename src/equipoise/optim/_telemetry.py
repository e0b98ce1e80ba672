"""What the kernels measure in passing, read by the host only when asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from equipoise.optim import _sharding as sharding
from equipoise.optim._kernels import MEASURES


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


class Telemetry:
    """Measures every step of an optimizer that it is given to; holds those of the last one.

    Example:
        >>> import torch
        >>> from equipoise import Equipoise
        >>> weight = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
        >>> optimizer = Equipoise([weight], lr=0.0)
        >>> optimizer.telemetry = Telemetry()
        >>> weight.grad = torch.tensor([2.0, 0.0])
        >>> optimizer.step()
        >>> measures = optimizer.telemetry.read()[weight]
        >>> measures.gradient, measures.parameter, measures.zeros
        (4.0, 25.0, 1.0)
    """

    def __init__(self) -> None:
        self.parts: list[tuple[Sequence[Tensor], Tensor]] = []
        """What was added in the last step."""

    def clear(self) -> None:
        """Forget the last step."""
        self.parts = []

    def add(self, parameters: Sequence[Tensor], measures: Tensor) -> None:
        """Hold what a kernel measures of some parameters: float64, shape (parameters, measures), on its device."""
        self.parts.append((parameters, measures))

    def of(self, parameter: Tensor) -> Telemetry:
        """What is held of one parameter; nothing where it had no gradient."""
        found = Telemetry()
        for parameters, measures in self.parts:
            found.parts += [([each], measures[at : at + 1]) for at, each in enumerate(parameters) if each is parameter]
        return found

    def read(self) -> dict[Tensor, Measures]:
        """The measures of the last step, by parameter; of those alone that had a gradient.

        Those of a sharded parameter are of the whole tensor, on every process. Where there is one, this is a collective, one
        for all tensors that the same processes hold: every process must call it.
        """
        parameters = [parameter for some, _ in self.parts for parameter in some]
        rows = [row for _, measures in self.parts for row in measures.numpy(force=True)]
        for processes, indices in sharding.by_processes(parameters).items():
            here = torch.tensor(np.stack([rows[index] for index in indices]), device=parameters[indices[0]].device)
            whole = sharding.combined(here, processes, total).numpy(force=True)
            for index, row in zip(indices, whole, strict=True):
                rows[index] = row
        found: dict[Tensor, Measures] = {}
        for parameter, row in zip(parameters, rows, strict=True):
            elements = parameter.numel() * (2 if parameter.is_complex() else 1)
            found[parameter] = Measures(elements, *map(float, row))
        return found


def total(shards: Tensor) -> Tensor:
    """The measures of tensors from those of their shards, in the first dimension."""
    total, largest = shards.sum(0), MEASURES.index("largest_update")
    total[:, largest] = shards[:, :, largest].amax(0)  # NaN where one is
    return total
