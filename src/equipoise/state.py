"""The state of one parameter: how it is made, seen by the rule, and taken over from a state dict."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from equipoise import groups, rules
from equipoise.errors import StateDictError
from equipoise.kernels import Slot

# What torch's own Adam and AdamW write into a group and what has no meaning here: dropped when their state is loaded.
TORCH_SWITCHES = ("amsgrad", "foreach", "capturable", "differentiable", "fused", "decoupled_weight_decay")


def prepare(state: dict[str, Any], parameter: Tensor, group: dict[str, Any]) -> None:
    """Fill in what a step needs and what is not there yet: everything, at the first gradient."""
    suffixes = _suffixes(group["stages"])
    if not state:
        state["step"] = torch.tensor(0.0, dtype=torch.float32)
        for suffix in suffixes:
            for key in ("exp_avg", "exp_avg_sq"):
                dtype = _state_dtype(parameter)
                state[key + suffix] = torch.zeros_like(parameter, dtype=dtype, memory_format=torch.preserve_format)
    if group["reference"] != "none":
        for suffix in suffixes:
            if "reference" + suffix not in state:
                state["reference" + suffix] = as_real(state["exp_avg" + suffix]).new_zeros(())


def slot(state: dict[str, Tensor], parameter: Tensor, gradient: Tensor, stages: int) -> Slot:
    """What a kernel works on: views of the state, no copies."""
    memories = [
        rules.Memory(
            as_real(state["exp_avg" + suffix]),
            as_real(state["exp_avg_sq" + suffix]),
            state.get("reference" + suffix, 0.0),
        )
        for suffix in _suffixes(stages)
    ]
    return Slot(as_real(parameter), as_real(gradient), memories, state["step"])


def as_real(tensor: Tensor) -> Tensor:
    """A complex tensor as its real and imaginary parts, in a last dimension of 2; a real one as it is."""
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def check_stages(state: dict[str, Any], stages: int) -> None:
    """Refuse a state that was made with another number of stages."""
    have = sum(key.startswith("exp_avg_sq") for key in state)
    if have != stages:
        raise StateDictError(f"the state has {have} stage(s) and the parameter group {stages}: they must agree")


def completed_group(saved: dict[str, Any], group: dict[str, Any]) -> dict[str, Any]:
    """A saved group with the hyperparameters that it lacks taken from the present one."""
    if saved.get("amsgrad"):
        raise StateDictError("the state dict is AMSGrad's (amsgrad = True), whose running maximum this rule does not have")
    if saved.get("decoupled_weight_decay") is False and saved.get("weight_decay"):
        raise StateDictError(
            f"the state dict is that of an Adam with coupled weight decay (weight_decay = {saved['weight_decay']},"
            " decoupled_weight_decay = False); accepted are decoupled decay (AdamW) or weight_decay = 0"
        )
    own = {key: value for key, value in group.items() if key not in ("params", "param_names")}
    completed = {**own, **{key: value for key, value in saved.items() if key not in TORCH_SWITCHES}}
    groups.check(completed)
    return completed


def copied(key: str, value: Any, parameter: Tensor) -> Any:
    """A saved value of a parameter's state in the dtype and on the device that belong here, sharing no memory."""
    if key == "step":
        return torch.tensor(float(value), dtype=torch.float32)
    if not isinstance(value, Tensor):
        return value
    dtype = _state_dtype(parameter)
    if key.startswith("reference"):
        return torch.empty_like(value, dtype=dtype.to_real(), device=parameter.device).copy_(value)
    if value.shape != parameter.shape:
        raise StateDictError(
            f"{key} has shape {tuple(value.shape)} and its parameter {tuple(parameter.shape)}: they must be equal"
        )
    return torch.empty_like(parameter, dtype=dtype, requires_grad=False).copy_(value)  # laid out as the parameter


def _state_dtype(parameter: Tensor) -> torch.dtype:
    """At least float32 (complex64 for complex parameters)."""
    return torch.promote_types(parameter.dtype, torch.float32)


@cache
def _suffixes(stages: int) -> tuple[str, ...]:
    return ("", *(f"_{number}" for number in range(2, stages + 1)))
