"""What a kernel works on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

from torch import Tensor

from equipoise import rules


class Slot(NamedTuple):
    """One parameter's part in a step. All tensors are real and of one shape, in the order in which they lie in memory."""

    theta: Tensor
    memories: list[rules.Memory]
    """One per stage; a reference is a tensor of one element, of the dtype that the rule is computed in."""
    steps: Tensor
    """Steps so far, float32; a kernel adds 1."""
    group: int
    """Which of the groups of the step it belongs to."""
    position: int
    """Of the parameter in its optimizer, for the random numbers that round it."""
    offset: int = 0
    """Its first element here, where it is one shard of a larger one."""


class Group(NamedTuple):
    """What is the same for every parameter of a group in one step."""

    step: rules.Step
    """Its number is not used: each slot has its own."""
    stochastic: bool
    """How parameters of low precision are rounded."""
    seed: int
    """Of the random numbers for rounding."""


MEASURES = ("gradient", "update", "parameter", "second_moment", "largest_update", "zeros", "nonfinite")
"""What is measured of every slot in a step: sums of the squares of the gradient, of the update and of the parameter after it;
the sum of the first stage's second moment after it; max |update|; how many gradients are 0, and how many are not finite."""

Batch: TypeAlias = Callable[[Sequence[Tensor], Sequence[Group], Tensor | None], None]
"""One step, in place, on the slots that a kernel prepared it for, given their gradients (which are only read) and their
groups. Where there is a float64 tensor of shape (slots, measures), what was measured goes there."""
