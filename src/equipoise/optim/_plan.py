"""What a step works on: found and checked once, then kept until any of it changes.

Looking at every tensor costs more than updating a small one. So a plan remembers the address of every tensor that it was made
for, and one pass over the addresses tells whether it still holds. It passes with ``map``, which costs half as much as a loop.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from itertools import chain
from operator import attrgetter, is_, itemgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from equipoise.errors import ArgumentError, GradientError
from equipoise.optim import _sharding as sharding
from equipoise.optim._kernels import KERNELS, MEASURES, Group, Slot, choose_kernel
from equipoise.optim._state import View, make_slot, prepare_state, refuse_other_stages
from equipoise.optim._telemetry import Parts

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.complex64, torch.complex128)
"""The dtypes that parameters may have."""


def refuse_parameter(parameter: Tensor, kernel: str) -> None:
    """Refuse a parameter that no kernel, or not the one asked for, can step.

    Raises:
        ArgumentError: it has a dtype that is not in DTYPES, or a placement that is ``Partial``, or the kernel refuses it.
    """
    if parameter.dtype not in DTYPES:
        raise ArgumentError("params", parameter.dtype, f"tensors of one of the dtypes {', '.join(map(str, DTYPES))}")
    choose_kernel(kernel, parameter.device, parameter.dtype)
    sharding.refuse_partial(parameter)


class Plan:
    """The batches of a step, one per kernel and device, over the parameters that have a gradient.

    It owns no tensor: parameters are the model's, the rest is in the state of the optimizer.

    Args:
        groups: all parameter groups.
        members: for each group, those of its parameters that have a gradient.
        state: of the optimizer; a parameter that has none yet gets one here.

    Raises:
        StateDictError: a state that was made with another number of stages, or does not fit its parameter.
    """

    def __init__(
        self, groups: Sequence[dict[str, Any]], members: Sequence[Sequence[Tensor]], state: dict[Tensor, dict[str, Any]]
    ) -> None:
        self.parameters = [parameter for parameters in members for parameter in parameters]
        self.state = state
        self._layout = _layout(groups, members)
        positions = {parameter: place for place, parameter in enumerate(p for group in groups for p in group["params"])}
        owners = [number for number, parameters in enumerate(members) for _ in parameters]
        for number, parameter in zip(owners, self.parameters, strict=True):
            refuse_other_stages(state[parameter], groups[number]["stages"])

        self._kept: list[Callable[[dict[str, Any]], tuple[Tensor, ...]]] = []
        """By index of the parameter: from its state to the tensors that a step uses."""
        self._views: dict[int, View] = {}
        """By index of the parameter, where a kernel does not see its gradient as it is."""
        slots: list[Slot] = []
        batches: dict[tuple[str, torch.device], list[int]] = {}
        for index, (number, parameter) in enumerate(zip(owners, self.parameters, strict=True)):
            group = groups[number]
            view = View(parameter)
            name = choose_kernel(group["kernel"], parameter.device, parameter.dtype)
            count_device = parameter.device if KERNELS[name].counts_on_device else torch.device("cpu")
            self._kept.append(itemgetter(*prepare_state(state[parameter], parameter, view, group, count_device)))
            batches.setdefault((name, parameter.device), []).append(index)
            slots.append(make_slot(state[parameter], view, group, number, positions[parameter]))
            if not view.changes_nothing:
                self._views[index] = view
        self._batches = [
            (indices, KERNELS[name].prepare([slots[index] for index in indices])) for (name, _), indices in batches.items()
        ]
        chosen = ", ".join(f"{name} on {device} for {len(indices)}" for (name, device), indices in batches.items())
        logging.getLogger("equipoise").info("kernels in use, by number of parameters: %s", chosen)
        self._references = sharding.shared_references(self.parameters, slots)
        self._counts = list(map(Tensor.numel, self.parameters))
        self._devices = list(map(Tensor.get_device, self.parameters))
        self._sharded = [isinstance(parameter, DTensor) for parameter in self.parameters]
        self._any_sharded = any(self._sharded)
        self._states = list(state.values())
        self._used = [state[parameter] for parameter in self.parameters]
        self._addresses = self._look()

    def holds(self, groups: Sequence[dict[str, Any]], members: Sequence[Sequence[Tensor]]) -> bool:
        """Whether nothing has changed: parameters, their memory, their state, or how their groups are executed."""
        given = [parameter for parameters in members for parameter in parameters]
        return (
            len(given) == len(self.parameters)
            and all(map(is_, given, self.parameters))
            and len(self.state) == len(self._states)
            and all(map(is_, self.state.values(), self._states))
            and _layout(groups, members) == self._layout
            and self._look() == self._addresses
        )

    def execute(self, gradients: Sequence[Tensor], groups: Sequence[Group], measured: bool) -> Parts:
        """Take one step, and return what was measured of it: nothing unless `measured`.

        Args:
            gradients: one per parameter of the plan, of its shape and placements, any dtype; only read.
            groups: the values of every group for this step.
            measured: whether anyone wants to have the measures.

        Raises:
            GradientError: a gradient of another size, on another device, or not sharded as its parameter; nothing was updated.
        """
        if (
            list(map(Tensor.numel, gradients)) != self._counts
            or list(map(Tensor.get_device, gradients)) != self._devices
            or (
                (self._any_sharded or set(map(type, gradients)) != {Tensor})
                and [isinstance(each, DTensor) for each in gradients] != self._sharded
            )
        ):
            self._refuse(gradients)
        if self._views:
            gradients = list(gradients)
            for index, view in self._views.items():
                gradients[index] = view.of(sharding.aligned(gradients[index], self.parameters[index]))
        parts: list[tuple[Sequence[Tensor], Tensor]] = []
        for references in self._references:
            references.remember(gradients, groups)
        for indices, batch in self._batches:
            its_own = gradients if len(self._batches) == 1 else [gradients[index] for index in indices]
            measures = None
            if measured:
                measures = torch.empty(len(indices), len(MEASURES), dtype=torch.float64, device=its_own[0].device)
                parts.append(([self.parameters[index] for index in indices], measures))
            batch(its_own, groups, measures)
        return parts

    def _look(self) -> list[Any]:
        """Address, size, layout and dtype of every tensor, which tell whether the plan is for it; [] if one is missing."""
        try:
            kept = list(chain.from_iterable(get(state) for get, state in zip(self._kept, self._used, strict=True)))
        except KeyError:
            return []
        seen = self.parameters
        if self._views:
            seen = [sharding.local(tensor) for tensor in seen]
            kept = [sharding.local(tensor) for tensor in kept]
        return [
            np.fromiter(map(Tensor.data_ptr, chain(kept, seen)), np.int64).tobytes(),
            *map(Tensor.numel, seen),
            *map(Tensor.is_contiguous, seen),
            *map(attrgetter("dtype"), seen),
        ]

    def _refuse(self, gradients: Sequence[Tensor]) -> None:
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            if gradient.numel() != parameter.numel() or gradient.device != parameter.device:
                raise GradientError(
                    f"a gradient has shape {tuple(gradient.shape)} on {gradient.device} and its parameter"
                    f" {tuple(parameter.shape)} on {parameter.device}: they must agree"
                )
            if isinstance(gradient, DTensor) != isinstance(parameter, DTensor):
                raise GradientError(
                    f"a gradient is a {type(gradient).__name__} and its parameter a {type(parameter).__name__}:"
                    " both must be sharded or neither"
                )


def _layout(groups: Sequence[dict[str, Any]], members: Sequence[Sequence[Tensor]]) -> list[tuple[Any, ...]]:
    """What of the groups decides how their parameters are executed, and how many there are."""
    return [
        (len(parameters), group["kernel"], group["stages"], group["reference"] != "none", group["state_dtype"])
        for group, parameters in zip(groups, members, strict=True)
    ]
