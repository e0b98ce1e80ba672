"""Brings numbers from the devices and from other processes to the host: one wait for each device, and one collective."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from equipoise.monitor._processes import from_every_process
from equipoise.optim import _sharding as sharding
from equipoise.optim._kernels import MEASURES
from equipoise.optim._telemetry import Parts, combined_measures
from equipoise.theory._region import Floats

METRICS_SENT = 32
"""So many metrics travel with the sums of tensors, in one collective. All processes send as many numbers,
however few metrics they have."""


def gather(
    parts: Parts, beside: Sequence[Tensor], metrics: Mapping[str, Tensor], device: torch.device
) -> tuple[Floats, Floats, dict[str, float]]:
    """Everything that a reading needs and the host does not have yet. With several processes a collective, which all must call.

    Args:
        parts: what the kernels measured, as telemetry holds it.
        beside: more numbers that are the same on every process, any shapes.
        metrics: the metrics of this process, one number each.
        device: the device of the optimizer's parameters, on which the collective is made.

    Returns:
        The measures of whole tensors, shape (tensors, measures); the numbers, flat; and the metrics, means over all processes
        that have them.
    """
    metrics = {name: metrics[name] for name in sorted(metrics)}  # in one order everywhere
    parameters = [parameter for some, _ in parts for parameter in some]
    table = torch.cat([measures.to(device) for _, measures in parts]) if parts else torch.empty(0, len(MEASURES))
    together = sharding.is_distributed()
    block = _metrics_block(metrics, device) if together else torch.empty(0)
    exchanged = not together
    for processes, indices in sharding.by_processes(parameters).items():
        rows = list(table.unbind())
        here = torch.stack([rows[index] for index in indices])
        if exchanged or len(processes) != 1 or processes[0].size() < dist.get_world_size():
            whole = sharding.combined(here, processes, combined_measures)
        else:  # the metrics come along
            both = sharding.combined(torch.cat([here.flatten(), block]), processes, partial(_rows_and_block, here.shape))
            whole, block, exchanged = both[: here.numel()].view(here.shape), both[here.numel() :], True
        for index, row in zip(indices, whole.unbind(), strict=True):
            rows[index] = row
        table = torch.stack(rows)
    if not exchanged:
        assert dist.group.WORLD is not None
        block = sharding.combined(block, (dist.group.WORLD,), _combined_blocks)
    measured, *others = fetched([table, *beside, *([block] if together else metrics.values())])
    numbers, last = np.concatenate([np.empty(0), *others[: len(beside)]]), others[len(beside) :]
    found = _means(metrics, last[0]) if together else {name: float(value[0]) for name, value in zip(metrics, last, strict=True)}
    return measured.reshape(table.shape), numbers, found


def fetched(tensors: Sequence[Tensor]) -> list[Floats]:
    """The elements of every tensor on the host, flat. It waits once for each device."""
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


def _metrics_block(metrics: Mapping[str, Tensor], device: torch.device) -> Tensor:
    """The metrics of this process as METRICS_SENT + 3 numbers: whether they are too many, a checksum of their names, its
    negative, and their values.

    All processes have the same metrics where their largest checksum is minus their largest negative one.
    """
    names = zlib.crc32("\n".join(metrics).encode())
    head = torch.tensor([float(len(metrics) > METRICS_SENT), names, -names], dtype=torch.float64)
    values = [_on_device(value.double().reshape(()), device) for value in metrics.values()][:METRICS_SENT]
    unused = torch.zeros(METRICS_SENT - len(values), dtype=torch.float64, device=device)
    return torch.cat([_on_device(head, device), *([torch.stack(values)] if values else []), unused])


def _on_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on the device. A GPU fetches it by itself, and nobody waits."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" and tensor.is_cpu else tensor.to(device)


def _rows_and_block(shape: torch.Size, shards: Tensor) -> Tensor:
    """What all processes have together, of rows of that shape with a block behind them.

    Args:
        shape: (tensors, measures).
        shards: one row per process, shape (processes, tensors * measures + METRICS_SENT + 3).
    """
    rows, blocks = shards[:, : shape.numel()], shards[:, shape.numel() :]
    return torch.cat([combined_measures(rows.reshape(-1, *shape)).flatten(), _combined_blocks(blocks)])


def _combined_blocks(blocks: Tensor) -> Tensor:
    """The largest heads and the mean values of all processes, from one block per process."""
    return torch.cat([blocks[:, :3].amax(0), blocks[:, 3:].mean(0)])


def _means(metrics: Mapping[str, Tensor], block: Floats) -> dict[str, float]:
    """The mean metrics of all processes, from their combined block. Where they have different metrics, or too many, from a
    second collective."""
    too_many, names, negative = block[:3]
    if not too_many and names == -negative:
        return dict(zip(metrics, block[3:].tolist(), strict=False))
    own = dict(zip(metrics, (float(value[0]) for value in fetched(list(metrics.values()))), strict=True))
    found: dict[str, list[float]] = {}
    for one in from_every_process(own):
        for name, value in one.items():
            found.setdefault(name, []).append(value)
    return {name: sum(values) / len(values) for name, values in found.items()}
