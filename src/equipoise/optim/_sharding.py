"""Parameters of which only a part is here: DTensors, as ``fully_shard`` makes them.

A kernel works on the shard that is here. Three things belong to the whole tensor: the reference scale of E3, what telemetry
measures, and the place of an element in the sequence of random numbers that round it. The first two are sums over all shards,
and one collective brings those of all tensors together. Every process adds the same numbers in the same order, so that
what they agree on is the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from typing import NamedTuple, TypeAlias

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

from equipoise import rules
from equipoise.errors import ArgumentError
from equipoise.optim._kernels import Group, Slot, eager

Processes: TypeAlias = tuple[dist.ProcessGroup, ...]
"""Over which a tensor is sharded: one group for each dimension of its mesh that splits it; none where all of it is here."""


def is_distributed() -> bool:
    """Whether this process is one of several that train together, or was set up as one of them."""
    return dist.is_available() and dist.is_initialized()


def check(parameter: Tensor) -> None:
    """Refuse a parameter whose value is the sum of what several processes have.

    Raises:
        ArgumentError: it has a ``Partial`` placement.
    """
    if isinstance(parameter, DTensor) and any(placement.is_partial() for placement in parameter.placements):
        raise ArgumentError("params", f"a DTensor with placements {parameter.placements}", "sharded or replicated, not partial")


def local(tensor: Tensor) -> Tensor:
    """The part of a sharded tensor that is here; any other tensor as it is."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def aligned(gradient: Tensor, parameter: Tensor) -> Tensor:
    """A gradient distributed as its parameter is; one that was not, as those of tensor parallelism, is summed or moved."""
    if isinstance(gradient, DTensor) and isinstance(parameter, DTensor) and gradient.placements != parameter.placements:
        return gradient.redistribute(parameter.device_mesh, parameter.placements)
    return gradient


def by_processes(parameters: Sequence[Tensor]) -> dict[Processes, list[int]]:
    """Which of the parameters are sharded, by the processes that hold them."""
    found: dict[Processes, list[int]] = {}
    for index, parameter in enumerate(parameters):
        if isinstance(parameter, DTensor):
            mesh = parameter.device_mesh
            split = [axis for axis, placement in enumerate(parameter.placements) if not placement.is_replicate()]
            if split:
                found.setdefault(tuple(mesh.get_group(axis) for axis in split), []).append(index)
    return found


def combined(rows: Tensor, processes: Processes, combine: Callable[[Tensor], Tensor]) -> Tensor:
    """What all shards have to say, on every process that holds one: a collective.

    Args:
        rows: what the shards here say, any shape; contiguous; of the same tensors in the same order on every process.
        combine: from shape (processes, \\*rows) to that of `rows`.
    """
    for group in processes:
        parts = [torch.empty_like(rows) for _ in range(group.size())]
        dist.all_gather(parts, rows, group)  # pyright: ignore[reportUnknownMemberType]
        rows = combine(torch.stack(parts))
    return rows


def of_whole_tensors(rows: Tensor, parameters: Sequence[Tensor], combine: Callable[[Tensor], Tensor]) -> Tensor:
    """A row per parameter, in which the shards of one have been combined: one collective for all that the same processes hold.

    Args:
        rows: (parameters, \\*any), what the shards here say, on any device; not written to.
        parameters: to which the rows belong.
        combine: from (processes, some parameters, \\*any) to (some parameters, \\*any).
    """
    whole = rows.clone()
    for processes, indices in by_processes(parameters).items():
        here = rows[indices].to(parameters[indices[0]].device)
        whole[indices] = combined(here, processes, combine).to(rows.device)
    return whole


def first_element(parameter: Tensor) -> int:
    """How many elements lie in shards before the one here; where rows are split, the index of the first element here."""
    if not isinstance(parameter, DTensor):
        return 0
    here, start = compute_local_shape_and_global_offset(parameter.shape, parameter.device_mesh, parameter.placements)
    before = sum(start[d] * prod(here[:d]) * prod(parameter.shape[d + 1 :]) for d in range(parameter.dim()))
    return before * (2 if parameter.is_complex() else 1)


class Shard(NamedTuple):
    """Of a tensor that has references, what is here."""

    place: int
    """Of its parameter in the step."""
    slot: Slot
    part: float
    """How many of the tensor's elements are here, from 0 to 1."""


class References:
    """The reference scales of tensors that the same processes hold (E3): means over whole tensors, one collective for all."""

    def __init__(self, processes: Processes, shards: Sequence[Shard]) -> None:
        self._processes = processes
        self._shards = shards
        self._references = [memory.reference for shard in shards for memory in shard.slot.memories]

    def prime(self, gradients: Sequence[Tensor], groups: Sequence[Group]) -> None:
        """Set those that are still 0 before a step; then no kernel takes the mean of its shard for that of the tensor."""
        if bool(torch.stack(self._references).all()):
            return
        shards = [shard for shard in self._shards if any(memory.reference == 0 for memory in shard.slot.memories)]
        slots, theirs = [shard.slot for shard in shards], [gradients[shard.place] for shard in shards]
        eager.prime(slots, theirs, groups, partial(self._whole, [shard.part for shard in shards]))

    def agree(self, groups: Sequence[Group]) -> None:
        """Make the means over the shards, which a step has just left in those that are not frozen, means over the tensors."""
        moving = [
            (shard.part, memory.reference)
            for shard in self._shards
            for memory in shard.slot.memories
            if not rules.frozen(memory, groups[shard.slot.group].step._replace(number=shard.slot.steps.item()))
        ]
        if moving:
            parts, references = zip(*moving, strict=True)
            for reference, mean in zip(references, self._whole(parts, references), strict=True):
                reference.copy_(mean)

    def _whole(self, parts: Sequence[float], means: Sequence[Tensor]) -> Sequence[Tensor]:
        """From means over the shards here to those over the tensors: the one collective."""
        here = torch.stack(list(means)).double()
        weights = torch.tensor(parts, dtype=torch.float64, device=here.device)
        weighted = torch.where(weights > 0, weights * here, 0.0)  # the mean of nothing is not a number
        return combined(weighted, self._processes, lambda shards: shards.sum(0)).unbind()


def references(parameters: Sequence[Tensor], slots: Sequence[Slot]) -> list[References]:
    """Of a step on these parameters, those references that several processes must agree on."""
    found: list[References] = []
    for processes, indices in by_processes(parameters).items():
        shards = [
            Shard(index, slots[index], local(parameters[index]).numel() / max(parameters[index].numel(), 1))
            for index in indices
            if isinstance(slots[index].memories[0].reference, Tensor)
        ]
        if shards:
            found.append(References(processes, shards))
    return found
