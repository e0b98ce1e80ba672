"""How the rule is executed: one table of kernels, and the choice among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

from torch import Tensor

from equipoise import rules
from equipoise.errors import ArgumentError
from equipoise.kernels import eager


class Kernel(Protocol):
    """One step on one real tensor, in place: `theta` and the memories are written, `gradient` is only read."""

    def __call__(self, theta: Tensor, gradient: Tensor, memories: Sequence[rules.Memory], step: rules.Step) -> None: ...


KERNELS: Mapping[str, Kernel] = MappingProxyType({"eager": eager.execute})
"""Every kernel by the name that a user asks for it with."""

AUTO = "auto"


def resolve(name: str) -> str:
    """The name of the kernel that runs when `name` is asked for.

    Raises:
        ArgumentError: an unknown name.

    Example:
        >>> resolve("auto")
        'eager'
    """
    if name == AUTO:
        return "eager"
    if not isinstance(name, str) or name not in KERNELS:
        raise ArgumentError("kernel", name, f"one of {', '.join(repr(known) for known in (AUTO, *KERNELS))}")
    return name
