"""What processes that train together tell each other, so that all of them decide alike. A single process tells itself."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from equipoise.optim import _sharding as sharding

T = TypeVar("T")


def from_every_process(value: T) -> list[T]:
    """The value that every process has, in the order of their ranks. A collective, for anything that can be pickled."""
    if not sharding.is_distributed():
        return [value]
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, value)  # pyright: ignore[reportUnknownMemberType]
    return found


def true_on_any_process(flag: Tensor) -> bool:
    """Whether a flag is set on any process. A collective; it is the only place where the host waits for the device.

    Args:
        flag: a tensor of one element; where the backend is NCCL, on the device that it works on.
    """
    if sharding.is_distributed():
        flag = flag.to(torch.int32).reshape(1)
        dist.all_reduce(flag, dist.ReduceOp.MAX)  # pyright: ignore[reportUnknownMemberType]
    return bool(flag)
