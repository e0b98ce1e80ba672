"""Numbers from the device and from other processes, with one wait for each device and one collective."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from equipoise.monitor._processes import everywhere
from equipoise.optim import _sharding as sharding
from equipoise.optim._kernels import MEASURES
from equipoise.optim._telemetry import Parts, combined_measures
from equipoise.theory._region import Floats

SHARED = 32
"""So many metrics travel in the collective that is there anyway; all processes send as much, whatever metrics they have."""


def gather(
    parts: Parts, beside: Sequence[Tensor], metrics: Mapping[str, Tensor], device: torch.device
) -> tuple[Floats, Floats, dict[str, float]]:
    """Everything that a reading needs and the host does not have. With several processes a collective, which all must call.

    Args:
        parts: what was measured.
        beside: more numbers that are the same on every process, any shapes.
        metrics: of this process, one number each.
        device: of the optimizer's parameters, on which processes speak with each other.

    Returns:
        The measures of whole tensors, shape (tensors, measures); the numbers, flat; and the metrics, means over all processes
        that have them.
    """
    metrics = {name: metrics[name] for name in sorted(metrics)}  # in one order everywhere
    parameters = [parameter for some, _ in parts for parameter in some]
    table = torch.cat([measures.to(device) for _, measures in parts]) if parts else torch.empty(0, len(MEASURES))
    together = sharding.is_distributed()
    block = _block(metrics, device) if together else torch.empty(0)
    exchanged = not together
    for processes, indices in sharding.by_processes(parameters).items():
        rows = list(table.unbind())
        here = torch.stack([rows[index] for index in indices])
        if exchanged or len(processes) != 1 or processes[0].size() < dist.get_world_size():
            whole = sharding.combined(here, processes, combined_measures)
        else:  # the metrics come along
            both = sharding.combined(torch.cat([here.flatten(), block]), processes, partial(_both, here.shape))
            whole, block, exchanged = both[: here.numel()].view(here.shape), both[here.numel() :], True
        for index, row in zip(indices, whole.unbind(), strict=True):
            rows[index] = row
        table = torch.stack(rows)
    if not exchanged:
        assert dist.group.WORLD is not None
        block = sharding.combined(block, (dist.group.WORLD,), _agreed)
    measured, *others = fetched([table, *beside, *([block] if together else metrics.values())])
    numbers, last = np.concatenate([np.empty(0), *others[: len(beside)]]), others[len(beside) :]
    found = _means(metrics, last[0]) if together else {name: float(value[0]) for name, value in zip(metrics, last, strict=True)}
    return measured.reshape(table.shape), numbers, found


def fetched(tensors: Sequence[Tensor]) -> list[Floats]:
    """The elements of every tensor, flat, with one wait for each device."""
    found = [np.empty(0)] * len(tensors)
    by_device: dict[torch.device, list[int]] = {}
    for index, tensor in enumerate(tensors):
        by_device.setdefault(tensor.device, []).append(index)
    for indices in by_device.values():
        flat = torch.cat([tensors[index].reshape(-1) for index in indices])
        numbers = flat.double().numpy(force=True)
        start = 0
        for index in indices:
            end = start + tensors[index].numel()
            found[index] = numbers[start:end]
            start = end
    return found


def _block(metrics: Mapping[str, Tensor], device: torch.device) -> Tensor:
    """What a process has to say of its metrics: whether they are too many, a number for their names, and its negative; and
    their values."""
    names = zlib.crc32("\n".join(metrics).encode())
    head = torch.tensor([float(len(metrics) > SHARED), names, -names], dtype=torch.float64)
    values = [_sent(value.double().reshape(()), device) for value in metrics.values()][:SHARED]
    unused = torch.zeros(SHARED - len(values), dtype=torch.float64, device=device)
    return torch.cat([_sent(head, device), *([torch.stack(values)] if values else []), unused])


def _sent(tensor: Tensor, device: torch.device) -> Tensor:
    """On the device; a GPU fetches it by itself, and nobody waits."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" and tensor.is_cpu else tensor.to(device)


def _both(shape: torch.Size, shards: Tensor) -> Tensor:
    """Of rows of that shape, flat, with a block behind them."""
    rows, blocks = shards[:, : shape.numel()], shards[:, shape.numel() :]
    return torch.cat([combined_measures(rows.reshape(-1, *shape)).flatten(), _agreed(blocks)])


def _agreed(blocks: Tensor) -> Tensor:
    """Of all processes: the largest heads, and the mean values."""
    return torch.cat([blocks[:, :3].amax(0), blocks[:, 3:].mean(0)])


def _means(metrics: Mapping[str, Tensor], block: Floats) -> dict[str, float]:
    """The metrics of all processes from what they agreed on, or, where they have different ones or many, from a second look."""
    too_many, names, negative = block[:3]
    if not too_many and names == -negative:
        return dict(zip(metrics, block[3:].tolist(), strict=False))
    own = dict(zip(metrics, (float(value[0]) for value in fetched(list(metrics.values()))), strict=True))
    found: dict[str, list[float]] = {}
    for one in everywhere(own):
        for name, value in one.items():
            found.setdefault(name, []).append(value)
    return {name: sum(values) / len(values) for name, values in found.items()}
