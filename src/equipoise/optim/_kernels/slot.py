"""What a kernel works on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

from torch import Tensor

from equipoise import rules


class Slot(NamedTuple):
    """One parameter's part in a step.

    All tensors are views: a kernel writes into the model's parameter and the optimizer's state. Parameter, moments and gradient
    are real and of one shape; parameter and moments are contiguous.
    """

    theta: Tensor
    """The parameter: any shape; float32, float64, bfloat16 or float16."""
    memories: list[rules.Memory]
    """One per stage. m and v: the shape of theta, all of one dtype; squares: of the dtype that the slot is computed in."""
    steps: Tensor
    """Steps so far: (), float64, which counts on where float32 stands still, at 2^24; a kernel adds 1."""
    group: int
    """The index of its group in those of the step."""
    position: int
    """The place of the parameter in its optimizer, which seeds the random numbers that round it."""
    offset: int = 0
    """How many elements lie before it, where it is one shard of a larger tensor."""
    remembers: bool = False
    """Whether the kernel brings the squares of its memories up to date: there is a reference scale, and all of the tensor is
    here. Where several processes hold its shards, this is done before the kernel sees it."""


class Group(NamedTuple):
    """What is the same for every parameter of a group in one step."""

    step: rules.Step
    """Its number is not used: each slot has its own."""
    stochastic: bool
    """How parameters of low precision are rounded."""
    seed: int
    """It begins the random numbers for rounding."""


ROOTS = {0.5: 0, 0.25: 1, 0.125: 2, 0.0: 3}
BETWEEN, ANY = 4, 5


def power_kind(exponent: float) -> int:
    """How v^p is computed, as cpu.c and gpu_device.py number the kinds: by ROOTS, by logarithms in float32, or in double.

    BETWEEN 0 and 2/3 R^(1/2 - p) v^p is a normal float32 for all R and v that float32 has: these go from 2^-149 to 2^128, and
    149 (p + |1/2 - p|) is at most 124.2. With ANY other exponent it may overflow, or lose digits, and is computed in double.
    """
    return ROOTS.get(exponent, BETWEEN if 0 < exponent <= 2 / 3 else ANY)


MEASURES = ("gradient", "update", "parameter", "second_moment", "largest_update", "zeros", "nonfinite")
"""What is measured of every slot in a step: sums of the squares of the gradient, of the update and of the parameter after it;
the sum of the first stage's second moment after it; max |update|; how many gradients are 0, and how many are not finite."""

Batch: TypeAlias = Callable[[Sequence[Tensor], Sequence[Group], Tensor | None], None]
"""One step, in place, on the slots that a kernel prepared it for, as long as none of their tensors moves.

Arguments: the gradients, one per slot, of its shape, any dtype, only read; the groups of the step; and None or a tensor for the
measures: (slots, MEASURES), float64, on the device of the slots."""
