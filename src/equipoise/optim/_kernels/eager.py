"""The update rule itself on torch tensors, one operation after the other: the kernel that runs everywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from equipoise import rules
from equipoise.optim._kernels.rounding import Key, make_key, random_bits, stochastic
from equipoise.optim._kernels.slot import ANY, Batch, Group, Slot, power_kind

BLOCK = 1 << 16
"""Elements that go through all operations before the next ones do: their temporaries stay in cache."""


def refusal(*_: object) -> None:
    """It takes every parameter."""


def row(slot: Slot) -> Slot:
    """Nothing but the slot is needed."""
    return slot


def prepare(_: torch.device, slots: Sequence[Slot]) -> Batch:
    """Steps on these slots."""
    return partial(_execute, slots)


def apply(
    theta: Tensor,
    gradient: Tensor,
    memories: Sequence[rules.Memory],
    step: rules.Step,
    keys: Sequence[Key | None],
    measured: bool,
) -> tuple[list[Tensor], Tensor | None]:
    """One step of the update rule, in float32 or better; in place, except for the references.

    Args:
        theta: the parameter, any shape and dtype; written to.
        gradient: of the shape of theta, any dtype; only read.
        memories: one per stage; m and v have the shape of theta and are written to, references are () and only read.
        step: its numbers may be tensors of one element.
        keys: stages + 1 of them, for the random numbers that round the parameter (None: to nearest) and each stage's moments.
        measured: whether to return the measures of :data:`~equipoise.optim._kernels.slot.MEASURES`.

    Returns:
        The references for the next step, (stages,) tensors of shape (), and the measures: (MEASURES,), float64.
    """
    precision = torch.promote_types(memories[0].m.dtype, torch.float32)
    exact = [memory._replace(m=memory.m.to(precision), v=memory.v.to(precision)) for memory in memories]
    u, kept = rules.direction(gradient.to(precision), exact, step)
    moved = rules.move(theta.to(precision), u, step)
    _write(theta, moved, keys[0])
    for old, new, key in zip(memories, kept, keys[1:], strict=True):
        _write(old.m, new.m, key)
        _write(old.v, new.v, key, shift=16)
    measures = None
    if measured:
        sums = [each.square().sum() for each in (gradient.to(precision), u, moved)]
        counts = [(gradient == 0).sum(), (~gradient.isfinite()).sum()]
        measures = torch.stack([each.double() for each in (*sums, kept[0].v.sum(), u.abs().max(), *counts)])
    return [memory.reference for memory in kept], measures


def _step_of(slot: Slot, group: Group, number: int) -> rules.Step:
    """The step of a slot with this number, whose powers are computed in double where float32 does not hold all of them."""
    return group.step._replace(number=number, stages=[_widened(stage, slot.theta) for stage in group.step.stages])


def _widened(stage: rules.Stage, theta: Tensor) -> rules.Stage:
    """With an exponent that makes torch compute powers of the parameter's shape in double, if it is ANY."""
    if power_kind(stage.exponent) != ANY:
        return stage
    # A number, or a tensor without dimensions, would be cast to the dtype of one that has some.
    exponent = torch.full((1,) * theta.dim(), stage.exponent, dtype=torch.float64, device=theta.device)
    return stage._replace(exponent=exponent)


def numbered(slot: Slot, group: Group) -> tuple[rules.Step, list[Key | None]]:
    """The step of a slot, after its count was raised, and the keys to its random numbers."""
    number = int(slot.steps.item())
    keys = [make_key(group.seed, slot.position, number, stream, slot.offset) for stream in range(len(slot.memories) + 1)]
    return _step_of(slot, group, number), [keys[0] if group.stochastic else None, *keys[1:]]


def prime(
    slots: Sequence[Slot],
    gradients: Sequence[Tensor],
    groups: Sequence[Group],
    agree: Callable[[list[Tensor]], Sequence[Tensor]] = list,
) -> None:
    """Set the references that are still 0 to the means that the coming step will find; change nothing else.

    One stage after the other, because the update of each has the scale of its reference.

    Args:
        slots: those to look at.
        gradients: of the slots.
        groups: of the step.
        agree: makes of the means over the slots, one for each, those over the tensors that they are shards of.
    """
    for stage in range(max(len(slot.memories) for slot in slots)):
        # Slots with fewer stages repeat their last one, which changes nothing any more.
        means = [_mean(slot, gradient, groups[slot.group], stage) for slot, gradient in zip(slots, gradients, strict=True)]
        for slot, mean in zip(slots, agree(means), strict=True):
            reference: Tensor = slot.memories[min(stage, len(slot.memories) - 1)].reference
            if reference == 0:
                reference.copy_(mean)


def _mean(slot: Slot, gradient: Tensor, group: Group, stage: int) -> Tensor:
    """The mean of a stage's v_hat that the coming step will find, (), while the stage's reference is 0."""
    step = _step_of(slot, group, int(slot.steps.item()) + 1)
    precision = slot.memories[0].reference.dtype
    memories = [memory._replace(m=memory.m.to(precision), v=memory.v.to(precision)) for memory in slot.memories]
    _, kept = rules.direction(gradient.to(precision), memories, step)
    return kept[min(stage, len(kept) - 1)].reference


def _execute(slots: Sequence[Slot], gradients: Sequence[Tensor], groups: Sequence[Group], measures: Tensor | None) -> None:
    for index, (slot, gradient) in enumerate(zip(slots, gradients, strict=True)):
        row = None if measures is None else measures[index].zero_()
        if slot.theta.numel():
            _step(slot, gradient, groups, row)
        else:  # its mean, as a reference, is not a number
            slot.steps.add_(1)


def _step(slot: Slot, gradient: Tensor, groups: Sequence[Group], measures: Tensor | None) -> None:
    group = groups[slot.group]
    referenced = group.step.reference != "none"
    if referenced and any(memory.reference == 0 for memory in slot.memories):
        prime([slot], [gradient], groups)
    slot.steps.add_(1)
    means = [torch.zeros_like(memory.reference) for memory in slot.memories if referenced]
    for block, piece in _blocks(slot, gradient):
        step, keys = numbered(block, group)
        found, part = apply(block.theta, piece, block.memories, step, keys, measures is not None)
        for mean, new in zip(means, found, strict=False):
            mean += block.theta.numel() / slot.theta.numel() * new
        if measures is not None and part is not None:
            largest = torch.maximum(measures[4], part[4])
            measures += part
            measures[4] = largest
    step = group.step._replace(number=int(slot.steps.item()))
    for memory, mean in zip(slot.memories, means, strict=False):
        if not rules.frozen(memory, step):
            memory.reference.copy_(mean)


def _blocks(slot: Slot, gradient: Tensor) -> Iterator[tuple[Slot, Tensor]]:
    """Cut the slot and its gradient into views of BLOCK elements."""
    if slot.theta.numel() <= BLOCK:
        yield slot, gradient
        return
    theta, flat = slot.theta.view(-1), gradient.reshape(-1)
    moments = [(memory, memory.m.view(-1), memory.v.view(-1)) for memory in slot.memories]
    for start in range(0, theta.numel(), BLOCK):
        piece = slice(start, start + BLOCK)
        memories = [memory._replace(m=m[piece], v=v[piece]) for memory, m, v in moments]
        yield slot._replace(theta=theta[piece], memories=memories, offset=slot.offset + start), flat[piece]


def _write(target: Tensor, value: Tensor, key: Key | None, shift: int = 0) -> None:
    if key is not None and target.dtype in (torch.bfloat16, torch.float16):
        bits = random_bits(key, value.numel(), value.device) >> shift
        value = stochastic(value.float(), target.dtype, bits.view(value.shape))
    target.copy_(value)
