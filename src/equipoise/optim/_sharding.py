"""Parameters of which only a part is here: DTensors, as ``fully_shard`` makes them.

A kernel works on the shard that this process holds. Three things belong to the whole tensor: its reference scale, what
telemetry measures, and the place of an element in the sequence of random numbers that round it. The first two are sums over all
shards, and one collective brings those of all tensors together. Every process adds the same numbers in the same order, so that
all come to the same result to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import TypeAlias

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

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


def is_whole(parameter: Tensor) -> bool:
    """Whether all of a parameter is here."""
    return not by_processes([parameter])


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


class References:
    """The reference scales of tensors that the same processes share, with one collective per stage for all of them."""

    def __init__(self, processes: Processes, places: Sequence[int], slots: Sequence[Slot]) -> None:
        self._processes = processes
        self._places = places
        """Where the parameters of the slots stand among those of the step."""
        self._slots = slots

    def remember(self, gradients: Sequence[Tensor], groups: Sequence[Group]) -> None:
        """Before a step, bring what the scales are taken from up to date: a kernel would see its own shard alone."""
        theirs = [gradients[place] for place in self._places]
        eager.remember(self._slots, theirs, groups, lambda sums: combined(sums, self._processes, lambda shards: shards.sum(0)))


def shared_references(parameters: Sequence[Tensor], slots: Sequence[Slot]) -> list[References]:
    """The references of a step on these parameters that several processes must agree on, by the processes."""
    found: list[References] = []
    for processes, indices in by_processes(parameters).items():
        places = [index for index in indices if slots[index].memories[0].squares is not None]
        if places:
            found.append(References(processes, places, [slots[place] for place in places]))
    return found
