"""The fused CPU kernel: ``cpu.c``, compiled when the package is installed, called on raw pointers.

The C code checks nothing. Everything that it relies on is checked, or made so, here: float32 tensors on the CPU, contiguous,
alive during the call. Parameters of lower precision, or with gaps between their elements, pass through contiguous float32
copies and are rounded once, to nearest.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from equipoise import rules
from equipoise.kernels import eager
from equipoise.kernels.slot import Slot

CHUNK = 2048
"""Elements; as in cpu.c."""

# The structures of cpu.c.
TENSOR = np.dtype([(name, np.int64) for name in ("theta", "gradient", "step", "count", "first_chunk")])
MEMORY = np.dtype([(name, np.int64) for name in ("m", "v", "reference")])
STAGE = np.dtype([(name, np.float64) for name in ("beta1", "beta2", "exponent")])
SETTINGS = np.dtype(
    [(name, np.float64) for name in ("lr", "eps", "weight_decay")]
    + [(name, np.int64) for name in ("stages", "tensors", "threads", "maximize", "initial", "reference_steps")]
)

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.complex64)


@cache
def library() -> ctypes.CDLL | None:
    """The compiled kernel; None where there was no compiler when the package was installed.

    torch is imported by then, so that its OpenMP library is the one that the kernel finds: one pool of threads for both.
    """
    for path in sorted(Path(__file__).parent.glob("_cpu*.so")):
        return ctypes.CDLL(str(path))
    return None


def refusal(device: torch.device, dtype: torch.dtype) -> str | None:
    """Why such parameters cannot be updated by this kernel; None if they can."""
    if device.type != "cpu":
        return "it runs on the CPU"
    if dtype not in DTYPES:
        return "it computes in float32"
    if library() is None:
        return "it was not compiled: there was no C compiler when equipoise was installed"
    return None


def execute(slots: Sequence[Slot], step: rules.Step) -> None:
    """One step on every slot, in one parallel loop over all of them; the eager kernel takes those that do not fit."""
    work: list[tuple[Slot, Tensor, Tensor]] = []
    for given in slots:
        slot = given if given.theta.is_contiguous() else _in_order_of_memory(given)
        if _fits(slot, step):
            work.append((slot, slot.theta.float().contiguous(), slot.gradient.float().contiguous()))
        else:
            eager.execute([given], step)
    if work:
        _call(work, step)


def _in_order_of_memory(slot: Slot) -> Slot:
    """The same with its dimensions in the order in which the parameter lies in memory: channels last, transposed."""
    order = sorted(range(slot.theta.dim()), key=lambda dimension: -slot.theta.stride(dimension))
    memories = [memory._replace(m=memory.m.permute(order), v=memory.v.permute(order)) for memory in slot.memories]
    return Slot(slot.theta.permute(order), slot.gradient.permute(order), memories, slot.steps)


def _fits(slot: Slot, step: rules.Step) -> bool:
    """Whether the C code may read and write this state: it was made for a parameter that may have changed since."""
    shape = slot.theta.shape
    if slot.gradient.shape != shape:
        return False
    for m, v, reference in slot.memories:
        for moment in (m, v):
            if moment.dtype is not torch.float32 or moment.shape != shape or not moment.is_contiguous():
                return False
        # A reference is first set from the second moments of its own step, which would take a pass of its own.
        if step.reference != "none" and reference.item() == 0:
            return False
    return True


def _call(work: Sequence[tuple[Slot, Tensor, Tensor]], step: rules.Step) -> None:
    referenced = step.reference != "none"
    counts = np.array([theta.numel() for _, theta, _ in work])
    chunks = -(-counts // CHUNK)
    tensors = np.empty(len(work), TENSOR)
    tensors["theta"] = [theta.data_ptr() for _, theta, _ in work]
    tensors["gradient"] = [gradient.data_ptr() for _, _, gradient in work]
    tensors["step"] = [slot.steps.data_ptr() for slot, _, _ in work]
    tensors["count"] = counts
    tensors["first_chunk"] = np.cumsum(chunks) - chunks

    memories = np.zeros(len(work) * len(step.stages), MEMORY)
    kept = [memory for slot, _, _ in work for memory in slot.memories]
    memories["m"] = [memory.m.data_ptr() for memory in kept]
    memories["v"] = [memory.v.data_ptr() for memory in kept]
    if referenced:
        memories["reference"] = [memory.reference.data_ptr() for memory in kept]

    settings = np.zeros(1, SETTINGS)
    settings["lr"], settings["eps"], settings["weight_decay"] = step.lr, step.eps, step.weight_decay
    settings["stages"], settings["tensors"], settings["threads"] = len(step.stages), len(work), torch.get_num_threads()
    settings["maximize"], settings["initial"] = step.maximize, step.reference == "initial"
    settings["reference_steps"] = step.reference_steps

    total = int(chunks.sum())
    stages = np.array([tuple(stage) for stage in step.stages], STAGE)
    sums = np.empty(total * len(step.stages) if referenced else 0)
    compiled = library()
    assert compiled is not None  # refusal() said so before
    pointers = [ctypes.c_void_p(array.ctypes.data) for array in (tensors, memories, stages, settings)]
    compiled.equipoise_step(*pointers, ctypes.c_int64(total), ctypes.c_void_p(sums.ctypes.data))
    for slot, theta, _ in work:
        if theta is slot.theta:
            torch.autograd.graph.increment_version(theta)  # autograd did not see it change
        else:
            slot.theta.copy_(theta)
