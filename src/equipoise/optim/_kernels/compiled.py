"""The update rule under ``torch.compile``: one graph per kind of tensor; all that changes per step is a tensor in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import NamedTuple

import torch
from torch import Tensor

from equipoise import rules
from equipoise.optim._kernels import eager
from equipoise.optim._kernels.rounding import Key
from equipoise.optim._kernels.slot import Batch, Group, Slot


def refusal(*_: object) -> None:
    """It takes every parameter; where torch cannot compile, it says so at the first step."""


class Row(NamedTuple):
    """A slot and its tensors as the graph takes them: (elements,), in the same memory."""

    slot: Slot
    theta: Tensor
    memories: list[rules.Memory]


def row(slot: Slot) -> Row:
    """What is the same in every step of a slot."""
    return Row(slot, _flat(slot.theta), _flat_memories(slot))


def prepare(_: torch.device, rows: Sequence[Row]) -> Batch:
    """Steps on the slots of these rows."""
    return partial(_execute, rows, [index for index, row in enumerate(rows) if row.slot.remembers])


def _execute(
    rows: Sequence[Row],
    remembering: Sequence[int],
    gradients: Sequence[Tensor],
    groups: Sequence[Group],
    measures: Tensor | None,
) -> None:
    eager.remember([rows[index].slot for index in remembering], [gradients[index] for index in remembering], groups)
    for index, ((slot, theta, memories), gradient) in enumerate(zip(rows, gradients, strict=True)):
        slot.steps.add_(1)
        if not slot.theta.numel():
            if measures is not None:
                measures[index] = 0
            continue
        step, keys = eager.numbered(slot._replace(theta=theta), groups[slot.group])
        found = compiled_apply()(
            theta, _flat(gradient), memories, _as_tensors(step), _keys(keys, theta.device), measures is not None
        )
        if measures is not None and found is not None:
            measures[index] = found


def _flat(tensor: Tensor) -> Tensor:
    """The same memory in one dimension, so that a graph serves every shape; a copy where it has gaps.

    Not a view, which would make the shape of what it is a view of a part of the graph.
    """
    if not tensor.is_contiguous() or tensor.is_neg():
        return tensor.detach().resolve_neg().reshape(-1).clone()
    memory = tensor.untyped_storage()
    return tensor.new_empty(0).set_(memory, tensor.storage_offset(), (tensor.numel(),), (1,))  # pyright: ignore


def _flat_memories(slot: Slot) -> list[rules.Memory]:
    return [
        memory._replace(m=_flat(memory.m), v=_flat(memory.v), m_born=_tensor(memory.m_born), v_born=_tensor(memory.v_born))
        for memory in slot.memories
    ]


def _as_tensors(step: rules.Step) -> rules.Step:
    return step._replace(
        number=_tensor(step.number),
        lr=_tensor(step.lr),
        stages=[rules.Stage(*map(_tensor, stage)) for stage in step.stages],
        eps=_tensor(step.eps),
        weight_decay=_tensor(step.weight_decay),
    )


def _tensor(number: rules.Number) -> Tensor:
    """A number of Python would become a part of the graph, which would then be compiled anew for every other number."""
    return torch.as_tensor(number, dtype=torch.float64)


def _keys(keys: Sequence[Key | None], device: torch.device) -> list[Key | None]:
    return [key and Key(*(torch.tensor(word, device=device) for word in key)) for key in keys]


@cache
def compiled_apply() -> Callable[..., Tensor | None]:
    """The graph, which torch compiles for every kind of tensor that it is called with."""
    return torch.compile(eager.apply, dynamic=True, fullgraph=True)  # pyright: ignore[reportUnknownMemberType]
