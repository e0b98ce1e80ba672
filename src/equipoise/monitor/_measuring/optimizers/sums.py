"""What one step of an optimizer did, as sums over every tensor: by the kernels of this package, or beside any other optimizer.

Of another optimizer, gradients are looked at before the step, because some optimizers write to them. Its update is read from
its state where it leaves it there (:mod:`.reading_state`); else it is the change of the parameter, and the parameter is copied
before the step. A step that is not read costs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from equipoise.monitor._measuring.optimizers.reading_state import leaves_update, plain, second_moment_in, update_in_state
from equipoise.optim import _sharding as sharding
from equipoise.optim._kernels import MEASURES
from equipoise.optim._kernels.looking import Seen, look
from equipoise.optim._optimizer import Equipoise
from equipoise.optim._telemetry import Parts, Telemetry
from equipoise.theory._region import Floats

UPDATE, LARGEST, ZEROS = map(MEASURES.index, ("update", "largest_update", "zeros"))
SECOND_MOMENT = MEASURES.index("second_moment")


def sums_of(optimizer: torch.optim.Optimizer) -> KernelSums | OtherSums:
    """What measures the steps of an optimizer that are read, one at a time: opened before one, closed after it."""
    return KernelSums(optimizer) if isinstance(optimizer, Equipoise) else OtherSums(optimizer)


class KernelSums:
    """The kernels measure in the pass that updates the parameters."""

    def __init__(self, optimizer: Equipoise) -> None:
        self._optimizer = optimizer
        self._telemetry: Telemetry | None = None
        self.displaced: frozenset[Tensor] = frozenset()
        """None: every update is measured itself."""

    @property
    def parts(self) -> Parts:
        """What the step measured."""
        return () if self._telemetry is None else self._telemetry.parts

    def open(self) -> None:
        """Measure the coming step."""
        self._telemetry = Telemetry(self._optimizer)

    def see_gradients(self) -> None:
        """The kernels see them."""

    def see_step(self) -> None:
        """The kernels saw it."""

    def close(self) -> None:
        """Measure no further step. Doing it again changes nothing."""
        if self._telemetry is not None:
            self._telemetry.close()

    def per_learning_rate(self, measured: Floats, *_: Any) -> Floats:
        """The kernels measure updates as what the learning rate multiplies."""
        return measured


class OtherSums:
    """Looks at gradients before the step of any optimizer, and at parameters and state after it."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer = optimizer
        self._open = False
        self._gradients: list[tuple[list[Tensor], Tensor]] = []
        """The parameters on each device, and what was measured of their gradients."""
        self._before: dict[Tensor, Tensor] = {}
        """The parameters before the step, of those whose update is not in the state."""
        self._memory: dict[Tensor, Tensor] = {}
        """The memory of those copies on the CPU, where to ask for it anew takes three times as long as to copy."""
        self.displaced: frozenset[Tensor] = frozenset()
        """The parameters whose update was their change, which rounding may carry beyond a bound."""
        self._groups: list[Mapping[str, Any]] = []
        self.parts: Parts = ()
        """What the step measured."""

    def open(self) -> None:
        """Measure the coming step."""
        self.close()
        self._open, self.parts = True, ()
        self._groups = [dict(group) for group in self._optimizer.param_groups]

    def see_gradients(self) -> None:
        """The gradients are there, and the step has not used them yet."""
        if not self._open:
            return
        by_device: dict[torch.device, list[Tensor]] = {}
        for group in self._groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                by_device.setdefault(parameter.device, []).append(parameter)
                # A closure may be called more than once, after the parameters have moved.
                if not leaves_update(self._optimizer, group) and parameter not in self._before:
                    self._before[parameter] = self._copied(parameter)
        self._gradients = [(some, self._look_at_gradients(some)) for some in by_device.values()]

    def see_step(self) -> None:
        """The step was made. Of classes that call the step of their parent, each tells so: the last one is right."""
        if not self._open:
            return
        group_of = {parameter: group for group in self._groups for parameter in group["params"]}
        self.parts = [
            (some, gradients + look([self._seen(parameter, group_of[parameter]) for parameter in some]))
            for some, gradients in self._gradients
        ]
        for parameters, table in self.parts:
            for row, parameter in zip(table, parameters, strict=True):
                if second_moment_in(self._optimizer.state.get(parameter, {}), parameter) is None:
                    row[SECOND_MOMENT] = math.nan
        self.displaced = frozenset(self._before)

    def close(self) -> None:
        """Measure no further step. Doing it again changes nothing."""
        self._gradients, self._before, self._open = [], {}, False

    def per_learning_rate(self, measured: Floats, parameters: Sequence[Tensor], lrs: Floats) -> Floats:
        """The measures with updates as what the learning rate multiplies.

        Args:
            measured: shape (parameters, measures).
            parameters: to which the rows belong.
            lrs: the learning rate of each; NaN where the optimizer has none, and an update is the step itself.
        """
        found = measured.copy()
        rows = [row for row, parameter in enumerate(parameters) if parameter in self.displaced and not math.isnan(lrs[row])]
        with np.errstate(divide="ignore", invalid="ignore"):
            for column, units in ((UPDATE, lrs[rows] ** 2), (LARGEST, abs(lrs[rows]))):
                found[rows, column] = np.where(found[rows, column] == 0, 0.0, found[rows, column] / units)
        return found

    def _look_at_gradients(self, parameters: Sequence[Tensor]) -> Tensor:
        seen = [_numbers_of(parameter) for parameter in parameters]
        table = look([Seen(gradient=gradient) for gradient in seen])
        for row, gradient, parameter in zip(table, seen, parameters, strict=True):
            row[ZEROS] += plain(parameter).numel() - gradient.numel()
        scale = getattr(self._optimizer, "grad_scale", None)
        if scale is not None:  # of a GradScaler whose optimizer unscales in its own kernel
            table[:, MEASURES.index("gradient")] /= scale.to(table.device).double() ** 2
        return table

    def _seen(self, parameter: Tensor, group: Mapping[str, Any]) -> Seen:
        state, theta = self._optimizer.state.get(parameter, {}), plain(parameter)
        if parameter in self._before:
            return Seen(theta=theta, before=self._before[parameter], v=second_moment_in(state, parameter))
        assert parameter.grad is not None
        return replace(update_in_state(self._optimizer, group, state, parameter.grad), theta=theta)

    def _copied(self, parameter: Tensor) -> Tensor:
        here = plain(parameter)
        if not here.is_cpu:
            return here.clone()
        kept = self._memory.get(parameter)
        if kept is None or kept.shape != here.shape or kept.dtype != here.dtype:
            kept = self._memory[parameter] = torch.empty_like(here)
        return kept.copy_(here)


def _numbers_of(parameter: Tensor) -> Tensor:
    """The gradient of a parameter as it is here; of a sparse one, the elements that it has."""
    assert parameter.grad is not None
    gradient = sharding.aligned(parameter.grad.detach(), parameter)
    return plain(gradient.coalesce().values() if gradient.is_sparse else gradient)
