"""Updates and second moments that torch's optimizers leave in their state: they are known without a copy of anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim import SGD, Adam, AdamW, RMSprop

from equipoise.optim import _sharding as sharding
from equipoise.optim._kernels.looking import Seen

Values = Mapping[str, Any]


def leaves_update(optimizer: torch.optim.Optimizer, group: Values) -> bool:
    """Whether the update of a step can be computed from the state after it, to rounding.

    Example:
        >>> weight = torch.nn.Parameter(torch.ones(1))
        >>> adam, plain = torch.optim.AdamW([weight]), torch.optim.SGD([weight])
        >>> leaves_update(adam, adam.param_groups[0]), leaves_update(plain, plain.param_groups[0])
        (True, False)
    """
    kind = type(optimizer)
    if kind is Adam or kind is AdamW:
        return True
    if kind is RMSprop:
        return not (group["momentum"] or group["centered"] or group["weight_decay"])
    return kind is SGD and bool(group["momentum"]) and not group["nesterov"]


def update_in_state(optimizer: torch.optim.Optimizer, group: Values, state: Values, gradient: Tensor) -> Seen:
    """Where that update is, for an optimizer and a group of which :func:`leaves_update` is true.

    Args:
        optimizer: of torch.
        group: the values of the group in the step.
        state: of a parameter, after the step.
        gradient: of that parameter, as the optimizer used it.
    """
    if isinstance(optimizer, RMSprop):
        return Seen(m=plain(gradient), v=plain(state["square_avg"]), eps=group["eps"])
    if isinstance(optimizer, SGD):
        return Seen(m=plain(state["momentum_buffer"]))
    beta1, beta2 = group["betas"]
    age = state["step"].double()
    return Seen(
        m=plain(state["exp_avg"]),
        v=plain(state["max_exp_avg_sq" if group["amsgrad"] else "exp_avg_sq"]),
        m_scale=1 / (1 - beta1**age),
        v_scale=1 / (1 - beta2**age),
        eps=group["eps"],
    )


def second_moment_in(state: Values, parameter: Tensor) -> Tensor | None:
    """The second moment under the name that torch gives it, where an optimizer keeps one number for every element."""
    kept = state.get("exp_avg_sq", state.get("square_avg"))
    # Types of their own hold numbers of 8 bits, whose meaning their makers know.
    if type(kept) in (Tensor, DTensor) and kept.shape == parameter.shape and kept.is_floating_point():
        return plain(kept)
    return None


def plain(tensor: Tensor) -> Tensor:
    """The real numbers of a tensor that are here."""
    here = sharding.local(tensor.detach())
    return torch.view_as_real(here) if here.is_complex() else here
