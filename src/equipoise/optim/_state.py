"""The state of one parameter: how it is made, seen by the rule, and taken over from a state dict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from operator import itemgetter
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from equipoise import rules
from equipoise.errors import ArgumentError, StateDictError
from equipoise.optim import _sharding as sharding
from equipoise.optim._groups import checked_stages
from equipoise.optim._kernels import Slot

# What torch's own Adam and AdamW write into a group and what has no meaning here: dropped when their state is loaded.
TORCH_SWITCHES = ("amsgrad", "foreach", "capturable", "differentiable", "fused", "decoupled_weight_decay")


class View(NamedTuple):
    """How the kernels see a parameter and all tensors of its shape: the local shard, as real numbers, in the order of memory.

    A complex tensor has a last dimension of 2 here. Nothing is copied, so that what a kernel writes is in the optimizer's state
    and in the model's parameter.
    """

    sharded: bool = False
    complex: bool = False
    order: tuple[int, ...] | None = None
    """The order of dimensions in memory; None where it is their own."""

    def of(self, tensor: Tensor) -> Tensor:
        """A tensor of the parameter's shape as the kernels see it."""
        tensor = sharding.local(tensor) if self.sharded else tensor
        tensor = as_real(tensor) if self.complex else tensor
        return tensor.permute(self.order) if self.order else tensor


AS_IT_IS = View()
"""How the kernels see nearly all parameters."""


def view_of(parameter: Tensor) -> View:
    """How the kernels see a parameter.

    Raises:
        ArgumentError: elements of it share memory.
    """
    sharded, complex_ = isinstance(parameter, DTensor), parameter.is_complex()
    if not sharded and not complex_ and parameter.is_contiguous():
        return AS_IT_IS
    view = View(sharded, complex_)
    seen = view.of(parameter)
    if seen.is_contiguous():
        return view
    if any(stride == 0 and size > 1 for size, stride in zip(seen.shape, seen.stride(), strict=True)):
        raise ArgumentError(
            "params",
            f"a tensor of shape {tuple(seen.shape)} and strides {seen.stride()}",
            "tensors whose elements do not share memory",
        )
    # transposed, or channels last
    return view._replace(order=tuple(sorted(range(seen.dim()), key=lambda dimension: -seen.stride(dimension))))


class Keys(NamedTuple):
    """What the entries of a parameter's state are called."""

    moments: tuple[str, ...]
    """By stage."""
    ages: tuple[str, ...]
    """By later stage: these may begin in mid-run."""
    references: tuple[str, ...]
    """By stage, where there are any."""
    tensors: Callable[[dict[str, Any]], tuple[Tensor, ...]]
    """From a state to all of its tensors, which a step uses: their memory must stay where it is."""


@cache
def keys_of(stages: int, referenced: bool) -> Keys:
    """The keys of a state with so many stages, with references or without."""
    ends = suffixes(stages)
    moments = tuple(key + suffix for suffix in ends for key in ("exp_avg", "exp_avg_sq"))
    ages = tuple(key + suffix for suffix in ends[1:] for key in ("born_exp_avg", "born_exp_avg_sq"))
    references = tuple("reference" + suffix for suffix in ends if referenced)
    return Keys(moments, ages, references, itemgetter("step", *moments, *references))


def prepare_state(
    state: dict[str, Any], parameter: Tensor, view: View, group: dict[str, Any], count_device: torch.device
) -> Keys:
    """Fill the state of a parameter at its first gradient, and convert what does not fit the parameter any more.

    Args:
        state: the parameter's entry of ``optimizer.state``; changed in place. The optimizer owns its tensors.
        parameter: any shape; a moment has the same shape, strides and placements.
        view: of the parameter.
        group: the parameter group that holds it.
        count_device: where its kernel counts steps.

    Returns:
        The keys of the state.

    Raises:
        StateDictError: moments of another shape or on another device than the parameter.
    """
    keys = keys_of(group["stages"], group["reference"] != "none")
    dtype = _moment_dtype(parameter.dtype, group["state_dtype"])
    if state:
        _convert_state(state, parameter, view, keys, dtype, count_device)
    else:
        state["step"] = torch.zeros_like(_no_steps(count_device))  # half as long as to say all that makes it
        for key in keys.moments:
            state[key] = torch.zeros_like(parameter, dtype=dtype)
    for key in keys.ages:  # distributed checkpoints load what a fresh state has, no more
        state.setdefault(key, 0)
    for key in keys.references:
        precision = _moment_dtype(parameter.dtype, None).to_real()
        kept = state.get(key)
        if kept is None or kept.dtype != precision:
            state[key] = torch.zeros(rules.REFERENCE_STEPS, dtype=precision, device=parameter.device)
            if kept is not None:
                state[key].copy_(kept)
    return keys


@cache
def _no_steps(device: torch.device) -> Tensor:
    return torch.zeros((), dtype=torch.float64, device=device)


def _convert_state(
    state: dict[str, Any], parameter: Tensor, view: View, keys: Keys, dtype: torch.dtype, count_device: torch.device
) -> None:
    """Convert what does not fit the parameter any more, or came from another optimizer."""
    shape = view.of(parameter).shape
    state["step"] = state["step"].to(count_device, torch.float64)
    for key in keys.moments:
        kept = state[key]
        if kept.shape != parameter.shape or kept.device != parameter.device:
            raise StateDictError(
                f"{key} has shape {tuple(kept.shape)} on {kept.device} and its parameter {tuple(parameter.shape)} on"
                f" {parameter.device}: they must agree"
            )
        _refuse_other_distribution(key, kept, parameter)
        seen = view.of(kept)
        if kept.dtype != dtype or seen.shape != shape or not seen.is_contiguous():  # the parameter was converted
            state[key] = torch.empty_like(parameter, dtype=dtype, requires_grad=False).copy_(kept)


def make_slot(
    state: dict[str, Tensor], parameter: Tensor, view: View, group: dict[str, Any], number: int, position: int
) -> Slot:
    """What a kernel works on: views of the parameter and of its state; of a parameter whose memory has gaps a copy.

    Args:
        state: the parameter's, as :func:`prepare_state` leaves it.
        parameter: whose memory the slot shares.
        view: of the parameter.
        group: the parameter group that holds it.
        number: which of the groups that is.
        position: of the parameter among all of the optimizer.
    """
    memories = memories_of(state, view, group)
    memory_without_gaps = view.of(parameter).contiguous()
    places = number, position, sharding.first_element(parameter)
    remembers = group["reference"] != "none" and sharding.is_whole(parameter)
    return Slot(memory_without_gaps, memories, state["step"], *places, remembers)


def memories_of(state: dict[str, Tensor], view: View, group: dict[str, Any]) -> list[rules.Memory]:
    """What each stage remembers of a parameter, as kernels see it. The arguments are those of :func:`make_slot`."""
    referenced = group["reference"] != "none"
    return [
        rules.Memory(
            view.of(state["exp_avg" + suffix]),
            view.of(state["exp_avg_sq" + suffix]),
            state["reference" + suffix] if referenced else None,
            state.get("born_exp_avg" + suffix, 0),  # only an average that began in mid-run, or was taken over, has one
            state.get("born_exp_avg_sq" + suffix, 0),
        )
        for suffix in suffixes(group["stages"])
    ]


def as_real(tensor: Tensor) -> Tensor:
    """A complex tensor as its real and imaginary parts, (*shape, 2), in the same memory; a real one as it is."""
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def refuse_other_stages(state: dict[str, Any], stages: int) -> None:
    """Refuse a state, unless it is empty, that was made with another number of stages."""
    if not state:
        return
    have = sum(key.startswith("exp_avg_sq") for key in state)
    if have != stages:
        raise StateDictError(f"the state has {have} stage(s) and the parameter group {stages}: they must agree")


def refuse_other_adam(saved: dict[str, Any]) -> None:
    """Refuse a saved group of an Adam that is not in the family."""
    if saved.get("amsgrad"):
        raise StateDictError("the state dict is AMSGrad's (amsgrad = True), whose running maximum this rule does not have")
    if saved.get("decoupled_weight_decay") is False and saved.get("weight_decay"):
        raise StateDictError(
            f"the state dict is that of an Adam with coupled weight decay (weight_decay = {saved['weight_decay']},"
            " decoupled_weight_decay = False); accepted are decoupled decay (AdamW) or weight_decay = 0"
        )


def completed_group(saved: dict[str, Any], group: dict[str, Any]) -> dict[str, Any]:
    """A saved group with the hyperparameters that it lacks taken from the present one."""
    refuse_other_adam(saved)
    names, present = saved.get("param_names", []), group.get("param_names", [])
    if names != present and sorted(names) == sorted(present):  # other names may be those of the same parameters, wrapped
        index = next(index for index, pair in enumerate(zip(names, present, strict=True)) if pair[0] != pair[1])
        raise StateDictError(
            f"parameter {index} is {names[index]!r} in the state dict and {present[index]!r} here: they must be in the same"
            " order"
        )
    own = {key: value for key, value in group.items() if key not in ("params", "param_names")}
    completed = {**own, **{key: value for key, value in saved.items() if key not in TORCH_SWITCHES}}
    checked_stages(completed)
    return completed


def copied_state(
    saved: dict[Any, Any], saved_groups: Sequence[dict[str, Any]], groups: Sequence[dict[str, Any]]
) -> dict[Tensor, dict[str, Any]]:
    """A copy of a saved state, by parameter.

    Args:
        saved: by the identifiers that stand under "params" in the saved groups.
        saved_groups: as :func:`completed_group` returns them.
        groups: those of the optimizer that is to go on, whose parameters are in the same order.

    Raises:
        StateDictError: a value does not fit its parameter, or a stage is missing.
    """
    copied: dict[Tensor, dict[str, Any]] = {}
    for saved_group, group in zip(saved_groups, groups, strict=True):
        for identifier, parameter in zip(saved_group["params"], group["params"], strict=False):
            if identifier in saved:
                dtype = saved_group["state_dtype"]
                state = {key: copied_value(key, value, parameter, dtype) for key, value in saved[identifier].items()}
                refuse_other_stages(state, saved_group["stages"])
                copied[parameter] = state
    return copied


def copied_value(key: str, value: Any, parameter: Tensor, state_dtype: torch.dtype | None) -> Any:
    """Copy one saved value of a parameter's state into the dtype and onto the device that belong here.

    Raises:
        StateDictError: a moment has another shape than its parameter, or is sharded where the parameter is not.
    """
    if key == "step":
        return torch.tensor(float(value), dtype=torch.float64)
    if not isinstance(value, Tensor):
        return value
    if key.startswith("reference"):
        if value.shape not in ((), (rules.REFERENCE_STEPS,)):
            raise StateDictError(f"{key} has shape {tuple(value.shape)}: it must be {(rules.REFERENCE_STEPS,)}")
        precision = _moment_dtype(parameter.dtype, None).to_real()
        # One number, as earlier versions kept it, is what all the steps to come would have had.
        return torch.empty(rules.REFERENCE_STEPS, dtype=precision, device=parameter.device).copy_(value)
    if value.shape != parameter.shape:
        raise StateDictError(
            f"{key} has shape {tuple(value.shape)} and its parameter {tuple(parameter.shape)}: they must be equal; the state"
            " dict is of another model, or of its parameters in another order"
        )
    _refuse_other_distribution(key, value, parameter)
    dtype = _moment_dtype(parameter.dtype, state_dtype)
    return torch.empty_like(parameter, dtype=dtype, requires_grad=False).copy_(value)  # laid out as the parameter


def _refuse_other_distribution(key: str, value: Tensor, parameter: Tensor) -> None:
    if isinstance(value, DTensor) != isinstance(parameter, DTensor):
        raise StateDictError(
            f"{key} is a {type(value).__name__} and its parameter a {type(parameter).__name__}: both must be sharded or"
            " neither; torch.distributed.checkpoint.state_dict.set_optimizer_state_dict converts"
        )


@cache
def _moment_dtype(dtype: torch.dtype, state_dtype: torch.dtype | None) -> torch.dtype:
    """The dtype that the group asks for, else float32, or float64 for parameters in double (complex for complex)."""
    return state_dtype or torch.promote_types(dtype, torch.float32)


@cache
def suffixes(stages: int) -> tuple[str, ...]:
    """What the state's keys of every stage end in: nothing for the first, then _2, _3 and so on."""
    return ("", *(f"_{number}" for number in range(2, stages + 1)))
