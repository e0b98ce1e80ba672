"""The values of a parameter group: which are accepted, and what the kernels get of them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from numbers import Real
from typing import Any, cast

import torch
from torch import Tensor

from equipoise import rules
from equipoise.errors import ArgumentError, StabilityWarning
from equipoise.hyperparameters import Hyperparameters, whole_number
from equipoise.optim._kernels import Group, refuse_unknown_kernel
from equipoise.theory._assessment import Stability, assess_hyperparameters, rounded_towards_stability

REFERENCES: tuple[rules.Reference, ...] = ("none", "initial")
ROUNDINGS = ("nearest", "stochastic")
STATE_DTYPES = (None, torch.bfloat16)


def checked_stages(group: dict[str, Any]) -> tuple[rules.Stage, ...]:
    """Check every value of a group, and return its stages.

    Raises:
        ArgumentError: a value outside of what is accepted.
    """
    lr = group["lr"]
    if isinstance(lr, Tensor) and lr.numel() != 1:
        raise ArgumentError("lr", lr, "a number, or a tensor of one element")
    # A linear schedule that ends at 0 may end at -1e-18, by rounding: no reason to stop a run in its last step.
    for name, least in (("lr", -1e-12), ("eps", 0.0), ("weight_decay", -1e-12)):
        value = group[name]
        unread = name == "lr" and on_device(lr)
        if not _is_number(value, or_tensor=name == "lr") or not (unread or least <= value < math.inf):
            raise ArgumentError(name, value, "a finite number of at least 0")
    stages = Hyperparameters.of_group(group).stages
    if group["reference"] not in REFERENCES:
        raise ArgumentError("reference", group["reference"], f"one of {REFERENCES}")
    if not isinstance(group["maximize"], bool):
        raise ArgumentError("maximize", group["maximize"], "True or False")
    refuse_unknown_kernel(group["kernel"])
    if group["rounding"] not in ROUNDINGS:
        raise ArgumentError("rounding", group["rounding"], f"one of {ROUNDINGS}")
    if group["state_dtype"] not in STATE_DTYPES:
        raise ArgumentError("state_dtype", group["state_dtype"], f"one of {STATE_DTYPES}")
    whole_number("seed", group["seed"], 0, 2**63 - 1)
    return stages


def values_for_step(group: dict[str, Any]) -> Group:
    """Check every value of a group, and return those that the kernels need in one step.

    Raises:
        ArgumentError: a value outside of what is accepted.
    """
    stages = checked_stages(group)
    lr = group["lr"]
    step = rules.Step(
        number=0,  # each parameter's own
        # A tensor would bring its own shape and precision into the rule.
        lr=lr.reshape(()) if on_device(lr) else float(lr),
        stages=stages,
        eps=group["eps"],
        weight_decay=group["weight_decay"],
        maximize=group["maximize"],
    )
    return Group(step, group["rounding"] == "stochastic", group["seed"])


def _is_number(value: Any, *, or_tensor: bool) -> bool:
    return isinstance(value, Real) or (or_tensor and isinstance(value, Tensor) and not value.is_complex())


def on_device(lr: Any) -> bool:
    """Whether a learning rate is on an accelerator. Nobody reads it there: to read is to wait, which no CUDA graph allows."""
    return isinstance(lr, Tensor) and lr.device.type != "cpu"


def as_python_numbers(value: Any) -> Any:
    """Turn numbers, and sequences of them, into Python's own: numpy's do not survive a load with ``weights_only=True``."""
    if isinstance(value, Real) and not isinstance(value, int):
        return float(value)
    if isinstance(value, Iterable) and not isinstance(value, (str, Tensor)):
        return tuple(as_python_numbers(entry) for entry in cast("Iterable[Any]", value))
    return value


def warn_if_unstable(group: dict[str, Any]) -> None:
    """Warn, with numbers, where the stability margin is negative: updates can grow without bound."""
    found = assess_hyperparameters(Hyperparameters.of_group(group))
    if found.stable:
        return
    remedy = ""
    if found.stability is Stability.UNSTABLE:
        nearest = rounded_towards_stability(found.nearest)
        remedy = f" Stable, each alone: beta1 <= {nearest.beta1}, beta2 >= {nearest.beta2}, or exponent <= {nearest.exponent}."
    warnings.warn(
        f"betas = {group['betas']}, exponent = {group['exponent']}, stages = {group['stages']}:"
        f" margin {found.margin:+.4f} nats per step. {found.sentence}{remedy}",
        StabilityWarning,
        stacklevel=2,
    )
