"""The fused GPU kernel: ``gpu_device.py``, which Triton compiles at the first step, launched on tables of addresses.

One launch per group and dtype steps all of its tensors. The tables stay on the device; what changes between steps, addresses of
gradients and hyperparameters, is compared on the host and sent only where it changed. Steps are counted on the device, and
the host never waits for it: a CUDA graph can hold a step. A graph goes on with the hyperparameters that it was captured with,
except for a learning rate that is a tensor on the device.

With TRITON_INTERPRET=1 in the environment Triton runs on the CPU, slowly: that is how it is tested where there is no GPU.
"""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from equipoise.errors import CaptureError
from equipoise.optim._kernels.slot import MEASURES, Batch, Group, Slot, power_kind

BLOCK = 1024
"""Elements that one program updates."""

TYPES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2, torch.float64: 3}
"""How gpu_device.py numbers the types."""

PUT = 32
"""Numbers that one launch sends."""

# The tables of gpu_device.py.
TENSOR = np.dtype(
    [(name, np.int64) for name in ("theta", "step", "count", "blocks", "first_block", "position", "offset")]
    + [(name, np.int64) for name in ("remembers", "measures")]
)
MEMORY = np.dtype([(name, np.int64) for name in ("m", "v", "squares", "m_born", "v_born")])
GROUP, STAGE, NUMBERS, STAGE_NUMBERS = 5, 3, 3, 12

_of_graphs: list[Tensor] = []
"""The tables that CUDA graphs were captured with: nothing tells when the last of those graphs is gone."""


def refusal(device: torch.device, dtype: torch.dtype) -> str | None:
    """Why such parameters cannot be updated by this kernel; None if they can."""
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    if device.type != ("cpu" if interpreted else "cuda"):
        return "TRITON_INTERPRET=1 keeps it on the CPU" if interpreted else "it runs on GPUs of NVIDIA and AMD"
    if dtype.to_real() not in TYPES:
        return f"it computes with {', '.join(map(str, TYPES))}"
    if find_spec("triton") is None:
        return "Triton, which compiles it, is not installed: pip install triton"
    if not interpreted and not any(map(shutil.which, (os.environ.get("CC", "gcc"), "gcc", "clang"))):
        return "Triton, which compiles it, finds no C compiler: neither gcc nor clang, nor one that the variable CC names"
    return None


Row: TypeAlias = tuple[tuple[int, torch.dtype, torch.dtype, int, bool], bytes]
"""A slot as the device code sees it: group, dtypes of parameter and moments, stages and whether there are references, which are
the same in one launch; and a row of TENSOR, which says nothing yet of its place in the launch, with one of MEMORY per stage."""


def row(slot: Slot) -> Row:
    """What is the same in every step of a slot. Its addresses are valid while nobody moves the memory of the tensors."""
    theta, memories = slot.theta, slot.memories
    blocks = -(-theta.numel() // BLOCK)
    table = [theta.data_ptr(), slot.steps.data_ptr(), theta.numel(), blocks, 0, slot.position, slot.offset, slot.remembers, 0]
    for m, v, squares, m_born, v_born in memories:
        table += [m.data_ptr(), v.data_ptr(), 0 if squares is None else squares.data_ptr(), m_born, v_born]
    kind = slot.group, theta.dtype, memories[0].m.dtype, len(memories), memories[0].squares is not None
    return kind, struct.pack(f"{len(table)}q", *table)


def prepare(device: torch.device, rows: Sequence[Row]) -> Batch:
    """Steps on the slots of these rows, one launch after the other on the present stream.

    Raises:
        CaptureError: in a step, a CUDA graph is being captured, and no such step was taken before.
    """
    return _Batch(device, rows).execute


@cache
def device_code() -> Any:
    """The module of the device code, which imports Triton."""
    return import_module("equipoise.optim._kernels.gpu_device")


def capturing(device: torch.device) -> bool:
    """Whether what is launched now goes into a CUDA graph."""
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()


class _Batch:
    """The slots by launch."""

    def __init__(self, device: torch.device, rows: Sequence[Row]) -> None:
        if capturing(device):
            raise CaptureError("a CUDA graph captures the first step on these parameters: take one before, as torch asks for")
        kinds: dict[Any, list[int]] = {}
        for index, (kind, _) in enumerate(rows):
            kinds.setdefault(kind, []).append(index)
        self.launches = [_Launch(device, indices, [rows[index] for index in indices]) for indices in kinds.values()]

    def execute(self, gradients: Sequence[Tensor], groups: Sequence[Group], measures: Tensor | None) -> None:
        """One step."""
        for launch in self.launches:
            with torch.cuda.device_of(launch.given):
                launch.execute([gradients[index] for index in launch.indices], groups[launch.group], measures)


class _Launch:
    """Parameters of one group, device and dtype, and the tables by which the device code finds them."""

    def __init__(self, device: torch.device, indices: Sequence[int], rows: Sequence[Row]) -> None:
        self.device, self.indices = device, indices
        self.group, self.dtype, moments_dtype, self.stages, self.referenced = rows[0][0]
        self.moments_type = TYPES[moments_dtype]
        self.precision = torch.float64 if self.dtype is torch.float64 else torch.float32

        layout = np.dtype([("tensor", TENSOR), ("memories", MEMORY, (self.stages,))])
        table = np.frombuffer(b"".join([table for _, table in rows]), layout).copy()
        tensors, memories = table["tensor"], table["memories"]
        blocks = tensors["blocks"]
        self.blocks = int(blocks.sum())
        self.remembers = bool(tensors["remembers"].any())
        tensors["first_block"] = np.cumsum(blocks) - blocks
        tensors["measures"] = np.array(indices) * len(MEASURES)
        self.aligned = not any((addresses % 16).any() for addresses in (tensors["theta"], memories["m"], memories["v"]))

        size = -(-(len(rows) + GROUP + STAGE * self.stages) // PUT) * PUT
        # The tables on the device, which this object owns; their rows are laid out in gpu_device.py.
        self.known: list[int] = []
        """What `given` holds, on the host."""
        self.given = torch.empty(size, dtype=torch.int64, device=self.device)  # (slots + group + stages, padded,)
        self.tensors = torch.tensor(table.view(np.int64), device=self.device)  # flat: a row of TENSOR and MEMORY per slot
        self.owners = torch.tensor(np.repeat(np.arange(len(rows), dtype=np.int32), blocks), device=self.device)  # (blocks,)
        self.keys = torch.empty(len(rows), self.stages + 1, dtype=torch.int64, device=self.device)
        width = NUMBERS + STAGE_NUMBERS * self.stages
        self.numbers = torch.empty(len(rows), width, dtype=self.precision, device=self.device)

    def execute(self, gradients: Sequence[Tensor], group: Group, measures: Tensor | None) -> None:
        """One step."""
        code, count = device_code(), len(self.indices)
        gradients = self._readable(gradients)
        addresses = [gradient.data_ptr() for gradient in gradients]
        given = self._give(addresses, group)
        real = code.tl.float64 if self.precision is torch.float64 else code.tl.float32
        kind: dict[str, Any] = {"STAGES": self.stages, "REAL": real}
        code.begin[-(-count // 32),](
            *(self.tensors, given, self.numbers, self.keys, count), **kind, REFERENCED=self.referenced, TENSORS=32, num_warps=1
        )
        if not self.blocks:
            return

        powers = sum(power_kind(stage.exponent) << (3 * number) for number, stage in enumerate(group.step.stages))
        types: dict[str, Any] = {
            "POWERS": powers,
            "GRADIENT_TYPE": TYPES[gradients[0].dtype],
            "MOMENTS_TYPE": self.moments_type,
            "ALIGNED": self.aligned and not any(address % 16 for address in addresses),
        }
        if self.remembers:
            for stage in range(self.stages):
                tables = self.tensors, given, self.numbers, count
                code.remember[count,](*tables, **kind, **types, THROUGH=stage + 1, BLOCK=4096, num_warps=8)
        measured = measures is not None
        sums = torch.empty(len(MEASURES) if measured else 0, self.blocks, dtype=torch.float64, device=self.device)
        code.step[self.blocks,](
            *(self.tensors, self.owners, given, self.numbers, self.keys, sums),
            **kind,
            **types,
            THETA_TYPE=TYPES[self.dtype],
            STOCHASTIC=group.stochastic and self.dtype in (torch.bfloat16, torch.float16),
            MEASURED=measured,
            BLOCK=BLOCK,
        )
        if measured:
            code.conclude[count,](self.tensors, sums, measures, self.blocks, STAGES=self.stages, CHUNK=1024)

    def _give(self, addresses: list[int], group: Group) -> Tensor:
        """Bring `given`, the table of what changes between steps, up to date, and return the one that this step is to read."""
        step = group.step
        lr = 0.0 if isinstance(step.lr, Tensor) else step.lr
        numbers = [lr, step.weight_decay, step.eps, -1.0 if step.maximize else 1.0]
        numbers += [number for stage in step.stages for number in stage]
        values = [*addresses, group.seed, *np.array(numbers, np.float64).view(np.int64).tolist()]
        values += [0] * (len(self.given) - len(values))
        given, known = self.given, self.known
        if capturing(self.device):
            # From the memory of the graph, which writes it at every replay; the other tables are written once.
            given, known = torch.empty_like(given), []
            _of_graphs.extend([self.tensors, self.owners, self.keys, self.numbers])
        else:
            self.known = values
        for start in range(0, len(values), PUT):
            if values[start : start + PUT] != known[start : start + PUT]:
                device_code().put[1,](given[start:], *values[start : start + PUT], num_warps=1)
        if isinstance(step.lr, Tensor):
            place = len(addresses) + 1
            given[place : place + 1].view(torch.float64).copy_(step.lr)
        return given

    def _readable(self, gradients: Sequence[Tensor]) -> Sequence[Tensor]:
        """The gradients as the device code can read them, all of one dtype; almost always they are so already."""
        dtypes = {gradient.dtype for gradient in gradients}
        dtype = dtypes.pop() if len(dtypes) == 1 and dtypes <= TYPES.keys() else None
        if dtype is not None and all(map(Tensor.is_contiguous, gradients)) and not any(map(Tensor.is_neg, gradients)):
            return gradients
        dtype = dtype or self.precision
        return [gradient.to(dtype).resolve_neg().contiguous() for gradient in gradients]
