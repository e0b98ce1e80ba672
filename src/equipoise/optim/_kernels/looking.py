"""What the step of an optimizer of another maker did, measured beside it: the sums that our own kernels take in passing.

On the CPU, for float32, one pass of ``cpu.c`` over memory that it only reads; elsewhere a few operations of torch.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from equipoise.optim._kernels import cpu, eager
from equipoise.optim._kernels.slot import MEASURES

NAMES = ("gradient", "theta", "before", "m", "v")
"""The tensors that can be looked at."""
SEEN = np.dtype(
    [(name, np.int64) for name in (*NAMES, "count", "first_chunk")]
    + [(name, np.float64) for name in ("m_scale", "v_scale", "eps")]
)
"""The structure of cpu.c, field by field: the first five are addresses."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The tensors of one parameter that are looked at: real, of one shape, on one device. What is None is not measured."""

    gradient: Tensor | None = None
    theta: Tensor | None = None
    """The parameter after the step."""
    before: Tensor | None = None
    """The parameter before the step. The update is before - theta."""
    m: Tensor | None = None
    """Without `before`, the update is m m_scale / (sqrt(v v_scale) + eps), and m m_scale where there is no v."""
    v: Tensor | None = None
    """The second moment."""
    m_scale: float | Tensor = 1.0
    v_scale: float | Tensor = 1.0
    eps: float = 0.0

    @property
    def tensors(self) -> list[Tensor]:
        """Those that there are."""
        return [tensor for name in NAMES if (tensor := getattr(self, name)) is not None]


def look(seen: Sequence[Seen]) -> Tensor:
    """The measures of parameters on one device: (parameters, MEASURES), float64, there. Nothing waits for the device.

    Example:
        >>> gradient = torch.tensor([3.0, 0.0, -4.0])
        >>> look([Seen(gradient=gradient)]).tolist()
        [[25.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0]]
    """
    compiled = cpu.library()
    by_c = [each for each in seen if compiled is not None and _readable(each)]
    rows = {} if compiled is None or not by_c else dict(zip(map(id, by_c), _look_by_c(compiled, by_c).unbind(), strict=True))
    return torch.stack([rows[id(each)] if id(each) in rows else _look(each) for each in seen])


def _look_by_c(compiled: ctypes.CDLL, seen: Sequence[Seen]) -> Tensor:
    counts = np.array([each.tensors[0].numel() for each in seen])
    chunks = -(-counts // cpu.CHUNK)
    table = np.zeros(len(seen), SEEN)
    table["count"], table["first_chunk"] = counts, np.cumsum(chunks) - chunks
    for row, each in zip(table, seen, strict=True):
        for name in NAMES:
            tensor: Tensor | None = getattr(each, name)
            row[name] = 0 if tensor is None else tensor.data_ptr()
        row["m_scale"], row["v_scale"], row["eps"] = float(each.m_scale), float(each.v_scale), each.eps
    sums = torch.empty(len(seen), len(MEASURES), dtype=torch.float64)
    parts = np.empty((int(chunks.sum()), len(MEASURES)))
    compiled.equipoise_look(
        table.ctypes.data, len(seen), len(parts), torch.get_num_threads(), parts.ctypes.data, sums.data_ptr()
    )
    return sums


def _readable(seen: Seen) -> bool:
    """Whether the C code can read all of these tensors as they are."""
    return all(
        tensor.is_cpu and tensor.dtype == torch.float32 and tensor.is_contiguous() and not tensor.is_neg()
        for tensor in seen.tensors
    )


def _look(seen: Seen) -> Tensor:
    """The measures of one parameter, with operations of torch."""
    total = torch.zeros(len(MEASURES), dtype=torch.float64, device=seen.tensors[0].device)
    for piece in _pieces(seen):
        part = _look_at(piece, total)
        largest = torch.maximum(total[4], part[4])  # NaN where one is
        total += part
        total[4] = largest
    return total


def _pieces(seen: Seen) -> Iterator[Seen]:
    """The same in parts whose temporaries stay in cache on a CPU."""
    size = eager.BLOCK if seen.tensors[0].is_cpu else max(1, seen.tensors[0].numel())
    names = [name for name in NAMES if getattr(seen, name) is not None]
    for parts in zip(*(getattr(seen, name).reshape(-1).split(size) for name in names), strict=True):
        yield replace(seen, **dict(zip(names, map(_exact, parts), strict=True)))


def _exact(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _look_at(seen: Seen, total: Tensor) -> Tensor:
    none = torch.zeros_like(total[0])
    sums = dict.fromkeys(MEASURES, none)
    if seen.gradient is not None:
        sums["gradient"] = seen.gradient.square().sum()
        sums["zeros"], sums["nonfinite"] = (seen.gradient == 0).sum(), (~seen.gradient.isfinite()).sum()
    if seen.theta is not None:
        sums["parameter"] = seen.theta.square().sum()
    if seen.v is not None:
        sums["second_moment"] = seen.v.sum()
    update = _update(seen)
    if update is not None and update.numel():
        sums["update"], sums["largest_update"] = update.square().sum(), update.abs().max()
    return torch.stack([sums[name].double() for name in MEASURES])


def _update(seen: Seen) -> Tensor | None:
    if seen.before is not None and seen.theta is not None:
        return seen.before - seen.theta
    if seen.m is None:
        return None
    if seen.v is None:
        return seen.m * seen.m_scale
    denominator = (seen.v * seen.v_scale).sqrt() + seen.eps
    return seen.m * seen.m_scale / torch.where(denominator == 0, 1.0, denominator)
