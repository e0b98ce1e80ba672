"""How the rule is executed: one table of kernels, and the choice among them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from torch import Tensor

from equipoise import rules
from equipoise.errors import ArgumentError
from equipoise.kernels import cpu, eager
from equipoise.kernels.slot import Slot

__all__ = ["AUTO", "KERNELS", "Kernel", "Slot", "check", "choose"]


@dataclass(frozen=True)
class Kernel:
    """One way to execute the rule."""

    refusal: Callable[[Tensor], str | None]
    """Why it cannot update a parameter; None if it can."""
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


def choose(name: str, parameter: Tensor) -> str:
    """The kernel that updates a parameter: the one asked for, or with "auto" the first of the table that can.

    Raises:
        ArgumentError: an unknown name, or a kernel that refuses the parameter; the message gives the reason.

    Example:
        >>> import torch
        >>> choose("auto", torch.zeros(3, dtype=torch.float64))
        'eager'
    """
    check(name)
    if name == AUTO:
        return next(known for known, kernel in KERNELS.items() if kernel.refusal(parameter) is None)
    reason = KERNELS[name].refusal(parameter)
    if reason is not None:
        raise ArgumentError("kernel", name, f"another one for a parameter of shape {tuple(parameter.shape)}: {reason}")
    return name
