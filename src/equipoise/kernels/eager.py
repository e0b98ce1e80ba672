"""The rule itself on torch tensors, one operation after the other: the kernel that runs everywhere."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from equipoise import rules


def execute(theta: Tensor, gradient: Tensor, memories: Sequence[rules.Memory], step: rules.Step) -> None:
    """One step of :func:`equipoise.rules.update`, computed in the dtype of the memories (float32 or float64)."""
    dtype = memories[0].m.dtype
    new_theta, new_memories = rules.update(theta.to(dtype), gradient.to(dtype), memories, step)
    theta.copy_(new_theta)
    for kept, new in zip(memories, new_memories, strict=True):
        kept.m.copy_(new.m)
        kept.v.copy_(new.v)
        if step.reference != "none":
            kept.reference.copy_(new.reference)
