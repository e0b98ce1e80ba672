"""The GPUs that trials are given, one each."""

from __future__ import annotations

import os

import torch

from equipoise.errors import ArgumentError

VISIBLE = "CUDA_VISIBLE_DEVICES"


def first_gpus(count: int) -> list[str]:
    """The first of the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them.

    Raises:
        ArgumentError: there are not so many.
    """
    named = os.environ.get(VISIBLE)
    if named is None:
        usable, whose = [str(number) for number in range(torch.cuda.device_count())], "that torch finds on this machine"
    else:
        usable, whose = [name.strip() for name in named.split(",") if name.strip()], f"of {VISIBLE} = {named!r}"
    if count > len(usable):
        raise ArgumentError("gpus", count, f"at most {len(usable)}, the number of GPUs {whose}")
    return usable[:count]
