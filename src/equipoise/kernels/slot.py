"""What a kernel works on."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from equipoise import rules


class Slot(NamedTuple):
    """One parameter's part in a step. All tensors are real and of one shape; `gradient` is only read."""

    theta: Tensor
    gradient: Tensor
    memories: list[rules.Memory]
    """One per stage, in float32 or float64; a reference is a tensor of one element."""
    steps: Tensor
    """Steps so far, float32 on the CPU; a kernel adds 1."""
