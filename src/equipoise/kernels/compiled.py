"""The rule under ``torch.compile``: one graph per kind of tensor, in which everything that changes per step is a tensor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from equipoise import rules
from equipoise.kernels import eager
from equipoise.kernels.rounding import Key
from equipoise.kernels.slot import Batch, Group, Slot


def refusal(*_: object) -> None:
    """It takes every parameter; where torch cannot compile, it says so at the first step."""


def prepare(slots: Sequence[Slot]) -> Batch:
    """Steps on these slots."""
    return partial(_execute, slots)


def _execute(slots: Sequence[Slot], gradients: Sequence[Tensor], groups: Sequence[Group], measures: Tensor | None) -> None:
    for index, (slot, gradient) in enumerate(zip(slots, gradients, strict=True)):
        slot.steps.add_(1)
        if not slot.theta.numel():
            continue
        step, keys = eager.numbered(slot, groups[slot.group])
        # Numbers of Python would become a part of the graph, which would then be compiled anew for every other number.
        numbers = torch.tensor([step.number, step.lr, step.eps, step.weight_decay, step.reference_steps], dtype=torch.float64)
        stages = torch.tensor([tuple(stage) for stage in step.stages], dtype=torch.float64)
        words = torch.tensor([tuple(key or (0, 0, 0)) for key in keys], device=slot.theta.device)
        # In one dimension: a graph serves every shape.
        theta = slot.theta.contiguous().view(-1)
        memories = [(memory.m.view(-1), memory.v.view(-1), memory.reference) for memory in slot.memories]
        static = (step.maximize, step.reference, keys[0] is not None, measures is not None)
        references, found = compiled_apply()(theta, gradient.reshape(-1), memories, numbers, stages, words, *static)
        if theta.data_ptr() != slot.theta.data_ptr():  # its memory has gaps
            slot.theta.copy_(theta.view(slot.theta.shape))
        for memory, reference in zip(slot.memories, references, strict=True):
            if step.reference != "none":
                memory.reference.copy_(reference)
        if measures is not None:
            measures[index] = found


@cache
def compiled_apply() -> Callable[..., tuple[list[Tensor], Tensor | None]]:
    """The graph, which torch compiles for every kind of tensor that it is called with."""
    return torch.compile(apply_numbers, dynamic=True, fullgraph=True)


def apply_numbers(
    theta: Tensor,
    gradient: Tensor,
    memories: Sequence[tuple[Any, ...]],
    numbers: Tensor,
    stages: Tensor,
    words: Tensor,
    maximize: bool,
    reference: rules.Reference,
    stochastic: bool,
    measured: bool,
) -> tuple[list[Tensor], Tensor | None]:
    """:func:`equipoise.kernels.eager.apply` with its numbers in tensors."""
    number, lr, eps, weight_decay, reference_steps = numbers.unbind()
    step = rules.Step(
        number,
        lr,
        [rules.Stage(*stage.unbind()) for stage in stages.unbind()],
        eps,
        weight_decay,
        maximize,
        reference,
        reference_steps,  # pyright: ignore[reportArgumentType]
    )
    keys = [Key(*word.unbind()) for word in words.unbind()]
    return eager.apply(
        theta,
        gradient,
        [rules.Memory(*memory) for memory in memories],
        step,
        [keys[0] if stochastic else None, *keys[1:]],
        measured,
    )
