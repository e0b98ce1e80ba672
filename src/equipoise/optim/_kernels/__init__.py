"""How the update rule is executed: one table of kernels, and the choice among them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any

import torch

from equipoise.errors import ArgumentError
from equipoise.optim._kernels import compiled, cpu, eager, gpu
from equipoise.optim._kernels.slot import MEASURES, Batch, Group, Slot

__all__ = ["AUTO", "KERNELS", "MEASURES", "Batch", "Group", "Kernel", "Slot", "choose_kernel", "refuse_unknown_kernel"]


@dataclass(frozen=True)
class Kernel:
    """One way to execute the rule."""

    refusal: Callable[[torch.device, torch.dtype], str | None]
    """Why it cannot update parameters of that kind; None if it can."""
    row: Callable[[Slot], Any]
    """What is the same in every step of a slot: found once, while none of its tensors moves."""
    prepare: Callable[[torch.device, Sequence[Any]], Batch]
    """Steps on the slots of these rows, all on that device."""
    counts_on_device: bool = False
    """Whether it counts steps where the parameter is; else on the CPU."""


FUSED = {"cpu": Kernel(cpu.refusal, cpu.row, cpu.prepare), "cuda": Kernel(gpu.refusal, gpu.row, gpu.prepare)}
"""The fused kernels by type of device."""


def _fused_refusal(device: torch.device, dtype: torch.dtype) -> str | None:
    kernel = FUSED.get(device.type)
    return "it runs on the CPU and on GPUs" if kernel is None else kernel.refusal(device, dtype)


def _fused_row(slot: Slot) -> Any:
    return FUSED[slot.theta.device.type].row(slot)


def _prepare_fused(device: torch.device, rows: Sequence[Any]) -> Batch:
    return FUSED[device.type].prepare(device, rows)


KERNELS: Mapping[str, Kernel] = MappingProxyType(
    {
        "fused": Kernel(_fused_refusal, _fused_row, _prepare_fused, counts_on_device=True),
        "eager": Kernel(eager.refusal, eager.row, eager.prepare),
        "compiled": Kernel(compiled.refusal, compiled.row, compiled.prepare),
    }
)
"""Every kernel by the name that a user asks for it with, the fastest first."""

AUTO = "auto"


def refuse_unknown_kernel(name: object) -> None:
    """Refuse a name that no kernel has.

    Raises:
        ArgumentError: an unknown name.
    """
    if name != AUTO and (not isinstance(name, str) or name not in KERNELS):
        raise ArgumentError("kernel", name, f"one of {', '.join(repr(known) for known in (AUTO, *KERNELS))}")


@cache
def choose_kernel(name: str, device: torch.device, dtype: torch.dtype) -> str:
    """The kernel that updates parameters of a kind: the one asked for, or with "auto" the first of the table that can.

    Raises:
        ArgumentError: an unknown name, or a kernel that refuses them; the message gives the reason.

    Example:
        >>> choose_kernel("auto", torch.device("meta"), torch.float32)
        'eager'
    """
    refuse_unknown_kernel(name)
    if name == AUTO:
        return next(known for known, kernel in KERNELS.items() if kernel.refusal(device, dtype) is None)
    reason = KERNELS[name].refusal(device, dtype)
    if reason is not None:
        raise ArgumentError("kernel", name, f"another one for {dtype} on {device}: {reason}")
    return name
