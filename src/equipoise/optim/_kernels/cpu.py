"""The fused CPU kernel: ``cpu.c``, compiled when the package is installed, called on raw pointers.

The C code checks nothing. Everything that it relies on is checked, or made so, here: tensors on the CPU, contiguous, of a
dtype that it reads, alive during the call. What is checked of a slot is checked once, when its row is made: whoever keeps the
row must make another when a tensor of the slot has moved. Gradients are checked in every step.
"""

from __future__ import annotations

import ctypes
import logging
import struct
from collections.abc import Sequence
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from equipoise.optim._kernels.slot import MEASURES, Batch, Group, Slot, power_kind

CHUNK = 2048
"""How many elements a thread takes at a time, as in cpu.c."""

TYPES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2, torch.float64: 3}
"""How cpu.c numbers the types."""

# The structures of cpu.c, field by field, all of 8 bytes: theta, gradient, step, m, v and squares are addresses.
TENSOR = np.dtype(
    [(name, np.int64) for name in ("theta", "gradient", "step", "theta_type", "gradient_type", "moments_type", "count")]
    + [(name, np.int64) for name in ("first_chunk", "first_memory", "group", "position", "offset", "remembers")]
)
MEMORY = np.dtype([(name, np.int64) for name in ("m", "v", "squares", "m_born", "v_born")])
STAGE = np.dtype([*((name, np.float64) for name in ("beta1", "beta2", "exponent")), ("power", np.int64)])
GROUP = np.dtype(
    [(name, np.float64) for name in ("lr", "eps", "weight_decay")]
    + [(name, np.int64) for name in ("stages", "first_stage", "maximize", "stochastic", "seed")]
)


_TENSOR_ROW, _MEMORY_ROW = (struct.Struct(f"{row.itemsize // 8}q") for row in (TENSOR, MEMORY))


@cache
def library() -> ctypes.CDLL | None:
    """The compiled kernel; None, and a warning in the log, where it was not compiled at install or does not load.

    torch is imported by then, so that its OpenMP library is the one that the kernel finds: one pool of threads for both.
    """
    log = logging.getLogger("equipoise")
    for path in sorted(Path(__file__).parent.glob("_cpu*.so")):
        try:
            compiled = ctypes.CDLL(str(path))
        except OSError as error:  # a torch that was built without libgomp, on a machine that has none either
            log.warning("the fused CPU kernel does not load (%s): steps on the CPU are several times slower", error)
            return None
        pointer, number = ctypes.c_void_p, ctypes.c_int64
        compiled.equipoise_step.argtypes = [pointer] * 4 + [number] * 4 + [pointer] * 2
        compiled.equipoise_moving.argtypes = [pointer] * 3 + [number]
        compiled.equipoise_moving.restype = number
        compiled.equipoise_remember.argtypes = [pointer] * 4 + [number] * 4 + [pointer]
        compiled.equipoise_look.argtypes = [pointer] + [number] * 3 + [pointer] * 2
        return compiled
    log.warning(
        "the fused CPU kernel was not compiled, for want of a C compiler with OpenMP when equipoise was installed: steps on the"
        " CPU are several times slower; install one (gcc), then install equipoise again"
    )
    return None


def refusal(device: torch.device, dtype: torch.dtype) -> str | None:
    """Why such parameters cannot be updated by this kernel; None if they can."""
    if device.type != "cpu":
        return "it runs on the CPU"
    if dtype.to_real() not in TYPES:
        return f"it computes with {', '.join(map(str, TYPES))}"
    if library() is None:
        return "there was no C compiler with OpenMP at its installation, or the kernel does not load: the log says which"
    return None


Row: TypeAlias = tuple[bytes, bytes]
"""A slot as the C code sees it: a row of TENSOR, which says nothing yet of the gradient and of its place in a batch; and a row
of MEMORY for each stage."""


def row(slot: Slot) -> Row:
    """What is the same in every step of a slot. Its addresses are valid while nobody moves the memory of the tensors."""
    theta, memories, steps, group, position, offset, remembers = slot
    types = TYPES[theta.dtype], 0, TYPES[memories[0].m.dtype]
    tensor = _TENSOR_ROW.pack(
        theta.data_ptr(), 0, steps.data_ptr(), *types, theta.numel(), 0, 0, group, position, offset, remembers
    )  # fmt: skip
    packed = [
        _MEMORY_ROW.pack(m.data_ptr(), v.data_ptr(), 0 if squares is None else squares.data_ptr(), m_born, v_born)
        for m, v, squares, m_born, v_born in memories
    ]
    return tensor, b"".join(packed)


def prepare(_: torch.device, rows: Sequence[Row]) -> Batch:
    """Steps on the slots of these rows: each one parallel loop over all of them."""
    return _Batch(rows).execute


class _Batch:
    """The slots as the C code sees them."""

    def __init__(self, rows: Sequence[Row]) -> None:
        tensors, memories = zip(*rows, strict=True)
        self.tensors = np.frombuffer(b"".join(tensors), TENSOR).copy()
        # The stages of the first slot, then of the second, ...
        self.memories = np.frombuffer(b"".join(memories), MEMORY).copy()
        stages = np.array(list(map(len, memories))) // MEMORY.itemsize  # (slots,), as are chunks
        chunks = -(-self.tensors["count"] // CHUNK)
        self.tensors["first_chunk"] = np.cumsum(chunks) - chunks
        self.tensors["first_memory"] = np.cumsum(stages) - stages
        self.chunks, self.most = int(chunks.sum()), int(stages.max())
        self.types = self.tensors["theta_type"].copy()
        dtypes = list(TYPES)
        self.dtypes = [dtypes[code] for code in map(int, self.types)]
        self.remembers = bool(self.tensors["remembers"].any())

    def execute(self, gradients: Sequence[Tensor], groups: Sequence[Group], measures: Tensor | None) -> None:
        """One step; the arguments are those of :data:`~equipoise.optim._kernels.slot.Batch`."""
        gradients = self._readable(gradients)  # keeps copies alive until the C code has returned
        self.tensors["gradient"] = np.fromiter(map(Tensor.data_ptr, gradients), np.int64, len(gradients))
        stages = np.array([(*stage, power_kind(stage.exponent)) for group in groups for stage in group.step.stages], STAGE)
        given = np.zeros(len(groups), GROUP)
        first = 0
        for each, (step, stochastic, seed) in zip(given, groups, strict=True):
            count = len(step.stages)
            each["lr"], each["eps"], each["weight_decay"] = step.lr, step.eps, step.weight_decay
            each["stages"], each["first_stage"], each["maximize"] = count, first, step.maximize
            each["stochastic"], each["seed"] = stochastic, seed
            first += count

        compiled = library()
        assert compiled is not None  # refusal() said so before
        tables = [table.ctypes.data for table in (self.tensors, self.memories, stages, given)]
        sizes = len(self.tensors), self.chunks, self.most, torch.get_num_threads()
        if self.remembers and compiled.equipoise_moving(tables[0], tables[1], tables[3], len(self.tensors)):
            found = np.empty((self.chunks, 2))  # float64; cpu.c fills all that it reads, as of sums
            compiled.equipoise_remember(*tables, *sizes, found.ctypes.data)
        sums = None if measures is None else np.empty((self.chunks, self.most, len(MEASURES)))
        addresses = (None, None) if sums is None or measures is None else (sums.ctypes.data, measures.data_ptr())
        compiled.equipoise_step(*tables, *sizes, *addresses)

    def _readable(self, gradients: Sequence[Tensor]) -> Sequence[Tensor]:
        """The gradients as the C code can read them; almost always they are so already."""
        self.tensors["gradient_type"] = self.types
        if (
            list(map(attrgetter("dtype"), gradients)) == self.dtypes
            and all(map(Tensor.is_contiguous, gradients))
            and not any(map(Tensor.is_neg, gradients))
        ):
            return gradients
        readable: list[Tensor] = []
        for index, (own, gradient) in enumerate(zip(self.dtypes, gradients, strict=True)):
            double, known = own is torch.float64, gradient.dtype in TYPES
            dtype = own if double or not known or gradient.dtype is torch.float64 else gradient.dtype
            readable.append(gradient.to(dtype=dtype).resolve_neg().contiguous())
            self.tensors["gradient_type"][index] = TYPES[dtype]
        return readable
