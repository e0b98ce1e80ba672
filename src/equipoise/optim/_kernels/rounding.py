"""Stochastic rounding: to one of the two neighbours, the nearer the likelier, so that the mean is the value.

The random numbers are a function of a seed, the parameter, the step, what is rounded, and the element: nothing is kept
between steps, any order and any partition of the elements gives the same, and so does the fused kernel.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_WORD, _LONG = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF


class Key(NamedTuple):
    """What the numbers of a tensor's elements have in common; also as tensors of one element."""

    flip: int | Tensor
    add: int | Tensor
    """Words of 32 bits."""
    first: int | Tensor
    """The number of the tensor's first element."""


def make_key(seed: int, position: int, step: int, stream: int, first: int) -> Key:
    """The key of one parameter at one step; stream 0 rounds the parameter, stream i the moments of stage i."""
    key = 0
    for word in (seed, position, step, stream):
        key = _mix((key + word) & _LONG)
    return Key(key & _WORD, key >> 32, first)


def random_bits(key: Key, count: int, device: torch.device) -> Tensor:
    """32 random bits for each of `count` elements, as int64."""
    element = torch.arange(count, device=device) + key.first
    x = (element & _WORD) ^ key.flip
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & _WORD
    x = ((x ^ (x >> 15)) * 0x846CA68B) & _WORD
    return ((x ^ (x >> 16)) + key.add) & _WORD


def stochastic(values: Tensor, dtype: torch.dtype, bits: Tensor) -> Tensor:
    """float32 values in bfloat16 or float16. Beyond the largest finite number, float16 is rounded to nearest.

    Args:
        values: float32, any shape.
        dtype: ``torch.bfloat16`` or ``torch.float16``.
        bits: random, int64, the shape of `values`; bfloat16 uses the 16 lowest.
    """
    pattern = values.view(torch.int32).long()
    dropped = 16 if dtype is torch.bfloat16 else 13  # bits that the significand of float32 has more
    mask = (1 << dropped) - 1
    rounded = ((pattern + (bits & mask)) & ~mask).int().view(torch.float32).to(dtype)
    if dtype is torch.float16:  # below 2^-14 its numbers are the multiples of 2^-24
        scaled = values.abs().clamp(max=2**-14) * 2**24
        up = (bits >> 8) * 2**-24 < scaled.frac()
        denormal = ((scaled.trunc() + up) * 2**-24).copysign(values).to(dtype)
        rounded = torch.where(values.abs() < 2**-14, denormal, rounded)
    largest = torch.finfo(values.dtype if dtype is torch.bfloat16 else dtype).max
    return torch.where(values.abs() <= largest, rounded, values.to(dtype))


def _mix(x: int) -> int:
    """splitmix64."""
    x = (x + 0x9E3779B97F4A7C15) & _LONG
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _LONG
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _LONG
    return x ^ (x >> 31)
