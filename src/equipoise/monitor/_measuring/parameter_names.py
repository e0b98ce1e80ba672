"""What the parameters of a model are called in readings."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def names_and_groups(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[Tensor, tuple[str, int]]:
    """The name of every parameter that the optimizer has, and the number of its group.

    A parameter that the model does not have is called by its group and place, as ``group 1, parameter 0``.
    """
    names = {parameter: plain_name(name) for name, parameter in model.named_parameters()}
    return {
        parameter: (names.get(parameter, f"group {number}, parameter {place}"), number)
        for number, group in enumerate(optimizer.param_groups)
        for place, parameter in enumerate(group["params"])
    }


def plain_name(name: str) -> str:
    """The name of a parameter without what ``torch.compile`` of a part of the model adds to it."""
    return name.replace("_orig_mod.", "")


def unwrapped(model: nn.Module) -> nn.Module:
    """The user's own module, without the wrappers of DDP and of ``torch.compile``, in whatever order they are."""
    if isinstance(model, nn.parallel.DistributedDataParallel):
        return unwrapped(model.module)  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
    inner = getattr(model, "_orig_mod", None)
    return unwrapped(inner) if isinstance(inner, nn.Module) else model
