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

SUMMED = 1 << 14
"""The same where squares are summed: few enough for one thread, so that the sum does not depend on how many there are."""


def refusal(*_: object) -> None:
    """It takes every parameter."""


def row(slot: Slot) -> Slot:
    """Nothing but the slot is needed."""
    return slot


def prepare(_: torch.device, slots: Sequence[Slot]) -> Batch:
    """Steps on these slots."""
    return partial(_execute, slots, [index for index, slot in enumerate(slots) if slot.remembers])


def apply(
    theta: Tensor,
    gradient: Tensor,
    memories: Sequence[rules.Memory],
    step: rules.Step,
    keys: Sequence[Key | None],
    measured: bool,
) -> Tensor | None:
    """One step of the update rule, in float32 or better, in place.

    Args:
        theta: the parameter, any shape and dtype; written to.
        gradient: of the shape of theta, any dtype; only read.
        memories: one per stage; m and v have the shape of theta and are written to, squares, up to this step, are only read.
        step: its numbers may be tensors of one element.
        keys: stages + 1 of them, for the random numbers that round the parameter (None: to nearest) and each stage's moments.
        measured: whether to return the measures.

    Returns:
        The measures of :data:`~equipoise.optim._kernels.slot.MEASURES`: (MEASURES,), float64.
    """
    precision = torch.promote_types(memories[0].m.dtype, torch.float32)
    u = _input(gradient, precision, step)
    kept: list[rules.Memory] = []
    for memory, stage in zip(memories, step.stages, strict=True):
        u, new = rules.apply_stage(u, _exact(memory, precision), stage, step)
        u = u.to(precision)
        kept.append(new)
    moved = rules.move(theta.to(precision), u, step)
    _write(theta, moved, keys[0])
    for old, new, key in zip(memories, kept, keys[1:], strict=True):
        _write(old.m, new.m, key)
        _write(old.v, new.v, key, shift=16)
    if not measured:
        return None
    sums = [each.square().sum() for each in (gradient.to(precision), u, moved)]
    counts = [(gradient == 0).sum(), (~gradient.isfinite()).sum()]
    return torch.stack([each.double() for each in (*sums, kept[0].v.sum(), u.abs().max(), *counts)])


def _input(gradient: Tensor, precision: torch.dtype, step: rules.Step) -> Tensor:
    return -gradient.to(precision) if step.maximize else gradient.to(precision)


def _exact(memory: rules.Memory, precision: torch.dtype) -> rules.Memory:
    squares = None if memory.squares is None else memory.squares.double()  # denormal ones would lose digits when averaged
    return memory._replace(m=memory.m.to(precision), v=memory.v.to(precision), squares=squares)


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


def remember(
    slots: Sequence[Slot],
    gradients: Sequence[Tensor],
    groups: Sequence[Group],
    combine: Callable[[Tensor], Tensor] = lambda sums: sums,
) -> None:
    """Bring what the reference scales are taken from up to date with the coming step; change nothing else.

    One stage after the other, because what a stage gets depends on the scale of those before.

    Args:
        slots: some with a reference scale, on one device.
        gradients: of the slots.
        groups: of the step.
        combine: makes of sums of squares and their counts over the slots, (slots, 2), those over the tensors that they are
            shards of.
    """
    smallest = [torch.stack([memory.squares[0] for memory in slot.memories]).min() for slot in slots]
    takes_more = torch.stack(smallest) == 0 if smallest else torch.empty(0)
    moving = [pair for pair, more in zip(zip(slots, gradients, strict=True), takes_more.cpu(), strict=True) if more]
    for stage in range(max((len(slot.memories) for slot, _ in moving), default=0)):
        having = [(slot, gradient) for slot, gradient in moving if stage < len(slot.memories)]
        sums = combine(torch.stack([_squares(slot, gradient, groups[slot.group], stage) for slot, gradient in having]))
        for (slot, _), (total, count) in zip(having, sums, strict=True):
            squares: Tensor = slot.memories[stage].squares
            squares.copy_(rules.remembered(squares, rules.mean_square(total, count)))


def _squares(slot: Slot, gradient: Tensor, group: Group, stage: int) -> Tensor:
    """The sum of the finite squares of what a stage gets in the coming step, and how many they are: (2,), float64."""
    step = _step_of(slot, group, int(slot.steps.item()) + 1)
    precision = slot.memories[0].squares.dtype
    found = torch.zeros(2, dtype=torch.float64, device=gradient.device)
    for block, piece in _blocks(slot, gradient, SUMMED):
        x = _input(piece, precision, step)
        for memory, before in zip(block.memories[:stage], step.stages, strict=False):
            x, _ = rules.apply_stage(x, _exact(memory, precision), before, step)
            x = x.to(precision)
        found += torch.stack([each.double() for each in rules.finite_squares(x)])
    return found


def _execute(
    slots: Sequence[Slot],
    remembering: Sequence[int],
    gradients: Sequence[Tensor],
    groups: Sequence[Group],
    measures: Tensor | None,
) -> None:
    remember([slots[index] for index in remembering], [gradients[index] for index in remembering], groups)
    for index, (slot, gradient) in enumerate(zip(slots, gradients, strict=True)):
        slot.steps.add_(1)
        row = None if measures is None else measures[index].zero_()
        if slot.theta.numel():
            _step(slot, gradient, groups[slot.group], row)


def _step(slot: Slot, gradient: Tensor, group: Group, measures: Tensor | None) -> None:
    for block, piece in _blocks(slot, gradient, BLOCK):
        step, keys = numbered(block, group)
        part = apply(block.theta, piece, block.memories, step, keys, measures is not None)
        if measures is not None and part is not None:
            largest = torch.maximum(measures[4], part[4])
            measures += part
            measures[4] = largest


def _blocks(slot: Slot, gradient: Tensor, size: int) -> Iterator[tuple[Slot, Tensor]]:
    """Cut a slot and its gradient into views of so many elements."""
    if slot.theta.numel() <= size:
        yield slot, gradient
        return
    theta, flat = slot.theta.view(-1), gradient.reshape(-1)
    moments = [(memory, memory.m.view(-1), memory.v.view(-1)) for memory in slot.memories]
    for start in range(0, theta.numel(), size):
        piece = slice(start, start + size)
        memories = [memory._replace(m=m[piece], v=v[piece]) for memory, m, v in moments]
        yield slot._replace(theta=theta[piece], memories=memories, offset=slot.offset + start), flat[piece]


def _write(target: Tensor, value: Tensor, key: Key | None, shift: int = 0) -> None:
    if key is not None and target.dtype in (torch.bfloat16, torch.float16):
        bits = random_bits(key, value.numel(), value.device) >> shift
        value = stochastic(value.float(), target.dtype, bits.view(value.shape))
    target.copy_(value)
