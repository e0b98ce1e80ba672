"""The rule itself on torch tensors, one operation after the other: the kernel that runs everywhere."""

from __future__ import annotations

from collections.abc import Sequence

from equipoise import rules
from equipoise.kernels.slot import Slot


def refusal(*_: object) -> None:
    """It takes every parameter."""


def execute(slots: Sequence[Slot], step: rules.Step) -> None:
    """One step of :func:`equipoise.rules.update` on every slot, computed in the dtype of its memories."""
    for slot in slots:
        slot.steps.add_(1)
        if not slot.theta.numel():
            continue  # the mean of nothing, as a reference, is not a number
        dtype = slot.memories[0].m.dtype
        numbered = step._replace(number=int(slot.steps.item()))
        theta, memories = rules.update(slot.theta.to(dtype), slot.gradient.to(dtype), slot.memories, numbered)
        slot.theta.copy_(theta)
        for kept, new in zip(slot.memories, memories, strict=True):
            kept.m.copy_(new.m)
            kept.v.copy_(new.v)
            if step.reference != "none":
                kept.reference.copy_(new.reference)
