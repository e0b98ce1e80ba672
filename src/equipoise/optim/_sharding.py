"""Parameters of which only a part is here: DTensors, as ``fully_shard`` makes them.

A kernel works on the shard that this process holds. Three things belong to the whole tensor: its reference scale, what
telemetry measures, and the place of an element in the sequence of random numbers that round it. The first two are sums over all
shards, and one collective brings those of all tensors together. Every process adds the same numbers in the same order, so that
all come to the same result to the last bit.
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
"""The processes that share a tensor: one group for each dimension of its mesh that splits it; () where all of it is here."""


def is_distributed() -> bool:
    """Whether this process is one of several that train together, or was set up as one of them."""
    return dist.is_available() and dist.is_initialized()


def refuse_partial(parameter: Tensor) -> None:
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
    """The indices of the sharded parameters, by the processes that share them. Parameters that are whole here are left out."""
    found: dict[Processes, list[int]] = {}
    for index, parameter in enumerate(parameters):
        if isinstance(parameter, DTensor):
            mesh = parameter.device_mesh
            split = [axis for axis, placement in enumerate(parameter.placements) if not placement.is_replicate()]
            if split:
                found.setdefault(tuple(mesh.get_group(axis) for axis in split), []).append(index)
    return found


def combined(rows: Tensor, processes: Processes, combine: Callable[[Tensor], Tensor]) -> Tensor:
    """Combine what all shards have to say, on every process that holds one: a collective.

    Args:
        rows: what the shards here say: any shape, the same on every process, for the same tensors in the same order;
            contiguous; on a device that the process group can send from.
        combine: from (processes, \\*rows.shape) to rows.shape.
    """
    for group in processes:
        parts = [torch.empty_like(rows) for _ in range(group.size())]
        # No all_reduce: its order of summation may differ between processes.
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
    """How many real numbers lie in shards before the one here; where rows are split, the index of the first element here."""
    if not isinstance(parameter, DTensor):
        return 0
    here, start = compute_local_shape_and_global_offset(parameter.shape, parameter.device_mesh, parameter.placements)
    before = sum(start[d] * prod(here[:d]) * prod(parameter.shape[d + 1 :]) for d in range(parameter.dim()))
    return before * (2 if parameter.is_complex() else 1)


class Shard(NamedTuple):
    """The part of a tensor with references that this process holds."""

    place: int
    """Where its parameter stands among those of the step."""
    slot: Slot
    share: float
    """The share of the tensor's elements that is here, from 0 to 1."""


class References:
    """The reference scales of tensors that the same processes share: means over whole tensors, with one collective for all."""

    def __init__(self, processes: Processes, shards: Sequence[Shard]) -> None:
        self._processes = processes
        self._shards = shards
        # Views of the optimizer's state, one per tensor and stage: () each, float32 or float64.
        self._references = [memory.reference for shard in shards for memory in shard.slot.memories]

    def prime(self, gradients: Sequence[Tensor], groups: Sequence[Group]) -> None:
        """Before a step, set those that are still 0: a kernel would take the mean over its shard for that of the tensor."""
        if bool(torch.stack(self._references).all()):
            return
        shards = [shard for shard in self._shards if any(memory.reference == 0 for memory in shard.slot.memories)]
        slots, theirs = [shard.slot for shard in shards], [gradients[shard.place] for shard in shards]
        eager.prime(slots, theirs, groups, partial(self._whole, [shard.share for shard in shards]))

    def agree(self, groups: Sequence[Group]) -> None:
        """After a step, which left means over shards in those that are not frozen, turn these into means over the tensors."""
        moving = [
            (shard.share, memory.reference)
            for shard in self._shards
            for memory in shard.slot.memories
            if not rules.frozen(memory, groups[shard.slot.group].step._replace(number=shard.slot.steps.item()))
        ]
        if moving:
            shares, references = zip(*moving, strict=True)
            for reference, mean in zip(references, self._whole(shares, references), strict=True):
                reference.copy_(mean)

    def _whole(self, shares: Sequence[float], means: Sequence[Tensor]) -> Sequence[Tensor]:
        """From means over the shards here, each (), to those over the tensors, float64: the one collective."""
        here = torch.stack(list(means)).double()
        weights = torch.tensor(shares, dtype=torch.float64, device=here.device)
        weighted = torch.where(weights > 0, weights * here, 0.0)  # the mean of nothing is not a number
        return combined(weighted, self._processes, lambda shards: shards.sum(0)).unbind()


def shared_references(parameters: Sequence[Tensor], slots: Sequence[Slot]) -> list[References]:
    """The references of a step on these parameters that several processes must agree on, by the processes."""
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
