"""What a step works on: found and checked once, then kept until any of it changes.

Looking at every tensor costs more than updating a small one. So a plan remembers the address of every tensor that it was made
for, and one pass over the addresses tells whether it still holds. It passes with ``map``, which costs half as much as a loop.

Where other parameters have a gradient than in the step before, another plan is needed. It takes what was found of each
parameter from the plan before, so that only those that are new are looked at one by one.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import chain
from operator import attrgetter, is_
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from equipoise.errors import ArgumentError, GradientError
from equipoise.optim import _sharding as sharding
from equipoise.optim._kernels import KERNELS, MEASURES, Group, Slot, choose_kernel
from equipoise.optim._state import AS_IT_IS, View, make_slot, prepare_state, refuse_other_stages, view_of
from equipoise.optim._telemetry import Parts

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.complex64, torch.complex128)
"""The dtypes that parameters may have."""

CPU = torch.device("cpu")


def refuse_parameter(parameter: Tensor, kernel: str) -> None:
    """Refuse a parameter that no kernel, or not the one asked for, can step.

    Raises:
        ArgumentError: it has a dtype that is not in DTYPES, or a placement that is ``Partial``, or the kernel refuses it.
    """
    if parameter.dtype not in DTYPES:
        raise ArgumentError("params", parameter.dtype, f"tensors of one of the dtypes {', '.join(map(str, DTYPES))}")
    choose_kernel(kernel, parameter.device, parameter.dtype)
    sharding.refuse_partial(parameter)


class Part(NamedTuple):
    """What is found once of a parameter that takes part in steps."""

    state: dict[str, Any]
    """Its entry of ``optimizer.state``."""
    tensors: Callable[[dict[str, Any]], tuple[Tensor, ...]]
    """From the state to its tensors that a step uses."""
    view: View
    batch: tuple[str, torch.device]
    row: Any
    """What the kernel keeps of what it works on."""
    shard: Slot | None
    """What it works on, where that is a shard."""
    copy: Tensor | None
    """The copy of the parameter that it works on, where the parameter's memory has gaps."""
    addresses: tuple[int, ...]
    """Where the tensors of the state lie."""
    address: int
    """Where the parameter lies; as with its size, layout and dtype, what is meant is the part of it that is here."""
    elements: int
    contiguous: bool
    dtype: torch.dtype


@contextmanager
def without_collections() -> Generator[None]:
    """Make many objects that stay: Python's garbage collector would look at all that there are again and again meanwhile."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@cache
def batch_of(kernel: str, device: torch.device, dtype: torch.dtype) -> tuple[str, torch.device]:
    """What the parameters of a batch have in common, their kernel and device: one object for all of them."""
    return choose_kernel(kernel, device, dtype), device


def places_of(batches: Sequence[tuple[str, torch.device]]) -> dict[tuple[str, torch.device], list[int]]:
    """The places of each batch."""
    places: dict[tuple[str, torch.device], list[int]] = {}
    for place, batch in enumerate(batches):
        places.setdefault(batch, []).append(place)
    return places


class Plan:
    """The batches of a step, one per kernel and device, over the parameters that have a gradient.

    It owns no tensor: parameters are the model's, the rest is in the state of the optimizer.

    Args:
        groups: all parameter groups.
        members: for each group, those of its parameters that have a gradient.
        state: of the optimizer; a parameter that has none yet gets one here.
        before: the plan of the step before.

    Raises:
        StateDictError: a state that was made with another number of stages, or does not fit its parameter.
    """

    def __init__(
        self,
        groups: Sequence[dict[str, Any]],
        members: Sequence[Sequence[Tensor]],
        state: dict[Tensor, dict[str, Any]],
        before: Plan | None = None,
    ) -> None:
        self.parameters = [parameter for parameters in members for parameter in parameters]
        self.state = state
        self._everyone = [parameter for group in groups for parameter in group["params"]]
        self._layout = _layout(groups)
        self._sizes = list(map(len, members))
        same = (
            before is not None
            and before._layout == self._layout
            and len(before._everyone) == len(self._everyone)
            and all(map(is_, before._everyone, self._everyone))
        )
        self._known: dict[int, Part] = before._known if before is not None and same else {}
        """By id of the parameter, which is one of everyone: what was found for this plan and for those before."""
        if not self._gather(groups):  # something has moved
            self._known = {}
            self._gather(groups)

    def _gather(self, groups: Sequence[dict[str, Any]]) -> bool:
        """Find the parts of the step, and tell whether those that were known still hold."""
        known = bool(self._known)
        parts = list(map(self._known.get, map(id, self.parameters)))
        new = [index for index, part in enumerate(parts) if part is None]
        if new:
            with without_collections():
                self._find(groups, new)
            parts = [self._known[id(parameter)] for parameter in self.parameters]
        columns: list[list[Any]] = [list(column) for column in zip(*parts, strict=True)] or [[] for _ in Part._fields]
        self._used, self._kept, views, batches, rows, shards, copies, *seen = columns
        self._views = {index: view for index, view in enumerate(views) if view is not AS_IT_IS}
        """By index of the parameter, where a kernel does not see its gradient as it is."""
        self._copies = {index: copy for index, copy in enumerate(copies) if copy is not None}
        """The same where a kernel works on a copy of a parameter."""
        self._states = list(self.state.values())
        self._addresses = [*chain.from_iterable(seen[0]), *chain.from_iterable(seen[1:])]
        if known and not (all(map(is_, map(self.state.get, self.parameters), self._used)) and self._look() == self._addresses):
            return False

        self._batches = [
            (indices, KERNELS[name].prepare(device, [rows[index] for index in indices]))
            for (name, device), indices in places_of(batches).items()
        ]
        if new:
            chosen = ", ".join(f"{name} on {device} for {batches.count((name, device))}" for name, device in set(batches))
            logging.getLogger("equipoise").info("kernels in use, by number of parameters: %s", chosen)
        self._references = sharding.shared_references(self.parameters, shards)
        self._counts = list(map(Tensor.numel, self.parameters))
        self._devices = list(map(Tensor.get_device, self.parameters))
        self._sharded = [isinstance(parameter, DTensor) for parameter in self.parameters]
        self._any_sharded = any(self._sharded)
        self._here = list(map(sharding.local, self.parameters)) if self._any_sharded else self.parameters
        return True

    def _find(self, groups: Sequence[dict[str, Any]], new: Sequence[int]) -> None:
        """Find the parts of the parameters with these indices, and make their states."""
        owners = [number for number, size in enumerate(self._sizes) for _ in range(size)]
        positions = {id(parameter): place for place, parameter in enumerate(self._everyone)}
        for index in new:
            refuse_other_stages(self.state[self.parameters[index]], groups[owners[index]]["stages"])
        for index in new:  # one parameter after the other, while what belongs to it is in the processor's cache
            parameter, number = self.parameters[index], owners[index]
            group, state = groups[number], self.state[parameter]
            batch = batch_of(group["kernel"], parameter.device, parameter.dtype)
            kernel, view = KERNELS[batch[0]], view_of(parameter)
            tensors = prepare_state(state, parameter, view, group, batch[1] if kernel.counts_on_device else CPU).tensors
            slot = make_slot(state, parameter, view, group, number, positions[id(parameter)])
            kept, here = tensors(state), parameter
            if view.sharded:
                kept, here = [*map(sharding.local, kept)], sharding.local(parameter)
            address = here.data_ptr()
            self._known[id(parameter)] = Part(
                state,
                tensors,
                view,
                batch,
                kernel.row(slot),
                slot if view.sharded else None,
                None if slot.theta.data_ptr() == address else slot.theta,
                tuple(map(Tensor.data_ptr, kept)),
                address,
                here.numel(),
                here.is_contiguous(),
                here.dtype,
            )

    def holds(self, groups: Sequence[dict[str, Any]], members: Sequence[Sequence[Tensor]]) -> bool:
        """Whether nothing has changed: parameters, their memory, their state, or how their groups are executed."""
        given = [parameter for parameters in members for parameter in parameters]
        return (
            list(map(len, members)) == self._sizes
            and all(map(is_, given, self.parameters))
            and len(self.state) == len(self._states)
            and all(map(is_, self.state.values(), self._states))
            and _layout(groups) == self._layout
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
        for index, copy in self._copies.items():
            copy.copy_(self._seen(index))
        for references in self._references:
            references.remember(gradients, groups)
        for indices, batch in self._batches:
            its_own = gradients if len(self._batches) == 1 else [gradients[index] for index in indices]
            measures = None
            if measured:
                measures = torch.empty(len(indices), len(MEASURES), dtype=torch.float64, device=its_own[0].device)
                parts.append(([self.parameters[index] for index in indices], measures))
            batch(its_own, groups, measures)
        torch.autograd.graph.increment_version(self._here)  # autograd did not see all of them change
        for index, copy in self._copies.items():
            self._seen(index).copy_(copy)
        return parts

    def _seen(self, index: int) -> Tensor:
        """A parameter as a kernel would see it if its memory had no gaps."""
        view = self._views.get(index, AS_IT_IS)
        return view.of(self.parameters[index])

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
            *map(Tensor.data_ptr, kept),
            *map(Tensor.data_ptr, seen),
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


def _layout(groups: Sequence[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """What of the groups decides how their parameters are executed, and how many there are."""
    return [
        (len(group["params"]), group["kernel"], group["stages"], group["reference"] != "none", group["state_dtype"])
        for group in groups
    ]
