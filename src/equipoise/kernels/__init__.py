"""How the rule is executed: one table of kernels, and the choice among them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

import torch

from equipoise import rules
from equipoise.errors import ArgumentError
from equipoise.kernels import cpu, eager
from equipoise.kernels.slot import Slot

__all__ = ["AUTO", "KERNELS", "Kernel", "Slot", "check", "choose"]


@dataclass(frozen=True)
class Kernel:
    """One way to execute the rule."""

    refusal: Callable[[torch.device, torch.dtype], str | None]
    """Why it cannot update parameters of that kind; None if it can."""
    execute: Callable[[Sequence[Slot], rules.Step], None]
    """One step, in place, on every slot; the number of the step is each slot's own."""


KERNELS: Mapping[str, Kernel] = MappingProxyType(
    {"fused": Kernel(cpu.refusal, cpu.execute), "eager": Kernel(eager.refusal, eager.execute)}
)
"""Every kernel by the name that a user asks for it with, the fastest first."""

AUTO = "auto"


def check(name: object) -> None:
    """Refuse the name of a kernel that there is not.

    Raises:
        ArgumentError: an unknown name.
    """
    if name != AUTO and (not isinstance(name, str) or name not in KERNELS):
        raise ArgumentError("kernel", name, f"one of {', '.join(repr(known) for known in (AUTO, *KERNELS))}")


@cache
def choose(name: str, device: torch.device, dtype: torch.dtype) -> str:
    """The kernel that updates parameters of a kind: the one asked for, or with "auto" the first of the table that can.

    Raises:
        ArgumentError: an unknown name, or a kernel that refuses them; the message gives the reason.

    Example:
        >>> choose("auto", torch.device("cpu"), torch.float64)
        'eager'
    """
    check(name)
    if name == AUTO:
        return next(known for known, kernel in KERNELS.items() if kernel.refusal(device, dtype) is None)
    reason = KERNELS[name].refusal(device, dtype)
    if reason is not None:
        raise ArgumentError("kernel", name, f"another one for {dtype} on {device}: {reason}")
    return name
