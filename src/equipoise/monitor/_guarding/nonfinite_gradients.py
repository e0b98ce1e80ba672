"""Gradients that hold NaN or infinity: whether there are any, and whose they are."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from equipoise.optim import _sharding as sharding


def gradients_overflow(optimizer: torch.optim.Optimizer) -> Tensor:
    """Whether the norm of this process's gradients is not finite: a flag on the device, for which the host does not wait yet.

    It is not where a gradient holds NaN or infinity, and where squares overflow: then look at the elements. (The largest
    element would not overflow, but takes torch twelve times as long on a CPU.)
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    gradients = [_numbers(parameter.grad) for parameter in parameters if parameter.grad is not None]
    if not gradients:
        return torch.zeros((), dtype=torch.bool, device=sharding.local(parameters[0]).device)
    return ~get_total_norm(gradients).isfinite()


def nonfinite_gradient_names(optimizer: torch.optim.Optimizer) -> list[str]:
    """The names of the parameters whose gradients hold NaN or infinity on this process."""
    found: list[str] = []
    for number, group in enumerate(optimizer.param_groups):
        known = group.get("param_names") or [f"parameter {place} of group {number}" for place in range(len(group["params"]))]
        for name, parameter in zip(known, group["params"], strict=True):
            if parameter.grad is not None and not bool(_numbers(parameter.grad).isfinite().all()):
                found.append(name)
    return found


def _numbers(gradient: Tensor) -> Tensor:
    """The elements of a gradient that are here; of a sparse one, those that it has."""
    here = sharding.local(gradient)
    return here.coalesce().values() if here.is_sparse else here
