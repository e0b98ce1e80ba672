"""The fused CPU kernel: ``cpu.c``, compiled when the package is installed, called on raw pointers.

The C code checks nothing. Everything that it relies on is checked, or made so, here: tensors on the CPU, contiguous, of a
dtype that it reads, alive during the call. What is checked of the slots is checked once, when they are prepared: whoever keeps
the batch must prepare another when a tensor of theirs has moved. Gradients are checked in every step.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Sequence
from functools import cache
from operator import attrgetter
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from equipoise.optim._kernels.slot import MEASURES, Batch, Group, Slot

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
STAGE = np.dtype([(name, np.float64) for name in ("beta1", "beta2", "exponent")])
GROUP = np.dtype(
    [(name, np.float64) for name in ("lr", "eps", "weight_decay")]
    + [(name, np.int64) for name in ("stages", "first_stage", "maximize", "stochastic", "seed")]
)


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


def prepare(slots: Sequence[Slot]) -> Batch:
    """Steps on these slots: each one parallel loop over all of them."""
    return _Batch(slots).execute


class _Batch:
    """The slots as the C code sees them, and what has to be done beside it."""

    def __init__(self, slots: Sequence[Slot]) -> None:
        self.slots = slots
        self.thetas = [slot.theta.contiguous() for slot in slots]  # copies of those with gaps in their memory
        self.gappy = [index for index, slot in enumerate(slots) if self.thetas[index] is not slot.theta]
        self.changed = [slot.theta for slot in slots]
        self.dtypes = [theta.dtype for theta in self.thetas]
        self.most = max(len(slot.memories) for slot in slots)
        self.remembers = any(slot.remembers for slot in slots)

        # Addresses stay valid while `slots` and `thetas`, kept here, hold the tensors, and while nobody moves their memory.
        counts = np.array([theta.numel() for theta in self.thetas])  # (slots,), as are chunks and stages
        chunks = -(-counts // CHUNK)
        stages = np.array([len(slot.memories) for slot in slots])
        self.chunks = int(chunks.sum())
        self.tensors = np.empty(len(slots), TENSOR)
        self.tensors["theta"] = [theta.data_ptr() for theta in self.thetas]
        self.tensors["step"] = [slot.steps.data_ptr() for slot in slots]
        self.types = np.array([TYPES[dtype] for dtype in self.dtypes])
        self.tensors["theta_type"] = self.types
        self.tensors["moments_type"] = [TYPES[slot.memories[0].m.dtype] for slot in slots]
        self.tensors["count"] = counts
        self.tensors["first_chunk"] = np.cumsum(chunks) - chunks
        self.tensors["first_memory"] = np.cumsum(stages) - stages
        for name in ("group", "position", "offset", "remembers"):
            self.tensors[name] = [getattr(slot, name) for slot in slots]
        self.memories = np.zeros(stages.sum(), MEMORY)  # the stages of the first slot, then those of the second, ...
        kept = [memory for slot in slots for memory in slot.memories]
        for name in ("m", "v"):
            self.memories[name] = [getattr(memory, name).data_ptr() for memory in kept]
        self.memories["squares"] = [0 if memory.squares is None else memory.squares.data_ptr() for memory in kept]
        for name in ("m_born", "v_born"):
            self.memories[name] = [getattr(memory, name) for memory in kept]

    def execute(self, gradients: Sequence[Tensor], groups: Sequence[Group], measures: Tensor | None) -> None:
        """One step; the arguments are those of :data:`~equipoise.optim._kernels.slot.Batch`."""
        gradients = self._readable(gradients)  # keeps copies alive until the C code has returned
        for index in self.gappy:
            self.thetas[index].copy_(self.slots[index].theta)
        self.tensors["gradient"] = np.fromiter(map(Tensor.data_ptr, gradients), np.int64, len(gradients))
        stages = np.array([stage for group in groups for stage in group.step.stages], STAGE)
        given = np.zeros(len(groups), GROUP)
        first = 0
        for row, (step, stochastic, seed) in zip(given, groups, strict=True):
            count = len(step.stages)
            row["lr"], row["eps"], row["weight_decay"] = step.lr, step.eps, step.weight_decay
            row["stages"], row["first_stage"], row["maximize"] = count, first, step.maximize
            row["stochastic"], row["seed"] = stochastic, seed
            first += count

        compiled = library()
        assert compiled is not None  # refusal() said so before
        tables = [table.ctypes.data for table in (self.tensors, self.memories, stages, given)]
        sizes = len(self.slots), self.chunks, self.most, torch.get_num_threads()
        if self.remembers and compiled.equipoise_moving(tables[0], tables[1], tables[3], len(self.slots)):
            found = np.empty((self.chunks, 2))  # float64; cpu.c fills all that it reads, as of sums
            compiled.equipoise_remember(*tables, *sizes, found.ctypes.data)
        sums = None if measures is None else np.empty((self.chunks, self.most, len(MEASURES)))
        addresses = (None, None) if sums is None or measures is None else (sums.ctypes.data, measures.data_ptr())
        compiled.equipoise_step(*tables, *sizes, *addresses)
        for index in self.gappy:
            self.slots[index].theta.copy_(self.thetas[index])
        torch.autograd.graph.increment_version(self.changed)  # autograd did not see them change

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
        for index, (theta, gradient) in enumerate(zip(self.thetas, gradients, strict=True)):
            double, known = theta.dtype is torch.float64, gradient.dtype in TYPES
            dtype = theta.dtype if double or not known or gradient.dtype is torch.float64 else gradient.dtype
            readable.append(gradient.to(dtype=dtype).resolve_neg().contiguous())
            self.tensors["gradient_type"][index] = TYPES[dtype]
        return readable
