"""Evidence from a checkpoint: the state of an optimizer remembers its gradients."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise import rules
from equipoise.errors import UnusableInputError
from equipoise.hyperparameters import Pair, parse_betas
from equipoise.migrate._checkpoint import read_optimizer
from equipoise.migrate._group_values import new_group
from equipoise.migrate._kinds import kind_of
from equipoise.optim._optimizer import Equipoise
from equipoise.optim._state import as_real
from equipoise.recommend._evidence import (
    Evidence,
    GroupSettings,
    LayerGradients,
    NumberName,
    Snapshot,
    compared,
    coordinate_range,
    typical_scale,
)
from equipoise.theory._exponent import scale_degree

UNSEEN: dict[NumberName, str] = {
    "between": "the checkpoint has no reference scale from the start of the run to compare with",
    "within": "SGD keeps no second moments",
    "density": "second moments do not tell rare gradients from small ones",
    "noise": "the state at one step is a single sample of the signal",
}
ROUGH_FROM_MOMENTUM: dict[NumberName, str] = {"between": "momentum is one sample of the gradient, mostly of its noise"}

MOMENTUM = "momentum_buffer"
"""The key of SGD's state."""


def from_checkpoint(path: str | Path, reference: rules.Reference = "initial") -> Evidence:
    """Collect evidence from a checkpoint of Adam, AdamW, RMSprop, SGD with momentum, or an optimizer of this package.

    Second moments show the gradient scale of every coordinate. SGD has none: its momentum is one sample of the gradient, mostly
    of its noise, and shows the scale of a layer only.

    Args:
        path: the checkpoint, loaded with ``weights_only=True``: nothing in it is executed.
        reference: of the optimizer that is to be recommended. With "initial", only a checkpoint of an optimizer that had a
            reference shows how far layers have moved since.

    Raises:
        UnusableInputError: the file cannot be read, does not hold exactly one optimizer, or its optimizer remembers no
            gradients.
        StateDictError: the optimizer is of another kind.

    Example:
        >>> import tempfile, torch
        >>> weight = torch.nn.Parameter(torch.ones(2, 2))
        >>> optimizer = torch.optim.AdamW([weight])
        >>> weight.grad = torch.full((2, 2), 0.5)
        >>> optimizer.step()
        >>> with tempfile.NamedTemporaryFile(suffix=".pt") as file:
        ...     torch.save(optimizer.state_dict(), file.name)
        ...     evidence = from_checkpoint(file.name, reference="none")
        >>> evidence.steps, round(evidence.snapshots[0].layers[0].scale, 3)
        (1, 0.5)
    """
    path = Path(path)
    state_dict = read_optimizer(path).state_dict
    kind = kind_of(state_dict)
    remembering = kind.state_keys[-1]
    groups: list[GroupSettings] = []
    layers: list[LayerGradients] = []
    steps = 0
    for number, group in enumerate(state_dict["param_groups"]):
        betas = _betas(group)
        lr, degree = _lr_of_adam(group)
        members: list[LayerGradients] = []
        for name, state in _states(state_dict, group):
            if state.get(remembering) is None:
                continue
            squares, age = _mean_squares(state, remembering, betas)
            mean = float(squares.mean()) if squares.size else 0.0
            if not math.isfinite(mean):
                raise UnusableInputError(f"{path}: the state of {name} is not finite")
            if mean == 0:
                continue  # it never had a gradient
            shape, against = tuple(state[remembering].shape), _reference(state, reference)
            low, high = (None, None) if remembering == MOMENTUM else coordinate_range(squares)
            members.append(LayerGradients(name, number, shape, math.sqrt(mean), against, low, high))
            steps = max(steps, age)
        groups.append(GroupSettings(betas, lr * typical_scale(members) ** degree if members else lr))
        layers += members
    if not layers:
        raise UnusableInputError(f"{path}: its optimizer ({kind.label}) remembers no gradients")
    source = f"{path}: the state of {kind.label}" + (f" after {steps:,} steps" if steps else "")
    snapshot = Snapshot(steps, compared(layers), (None,) * len(groups))
    rough = ROUGH_FROM_MOMENTUM if remembering == MOMENTUM else {}
    return Evidence(source, steps or None, reference, tuple(groups), (snapshot,), UNSEEN, rough)


def _betas(group: dict[str, Any]) -> Pair:
    """The betas of the first stage; an average that torch's optimizer does not have gets beta1 = 0 or the default beta2."""
    if "betas" in group:
        return parse_betas(group["betas"], group.get("stages", 1))[0]
    return (0.0, group["alpha"]) if "alpha" in group else (group["momentum"], new_group(Equipoise)["betas"][1])


def _lr_of_adam(group: dict[str, Any]) -> tuple[float, float]:
    """The learning rate at which Adam's updates are as large as those of the run, if gradients have scale 1; and its degree.

    For gradients of another scale it is that learning rate times scale^degree.
    """
    lr = float(group.get("initial_lr", group["lr"]))
    if "exponent" in group:
        return lr, scale_degree(group["exponent"], group["stages"]) if group["reference"] == "none" else 0.0
    if "momentum" in group and "alpha" not in group:  # SGD
        return lr * (1 - group["dampening"]) / (1 - group["momentum"]), 1.0
    return lr, 0.0


def _states(state_dict: dict[str, Any], group: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The name and the state of every parameter of a group; the state of a parameter that never had a gradient is empty."""
    for identifier, name in zip(group["params"], group.get("param_names", group["params"]), strict=True):
        yield str(name), state_dict["state"].get(identifier, {})


def _mean_squares(state: dict[str, Any], key: str, betas: Pair) -> tuple[NDArray[np.float64], int]:
    """The mean square of the gradients per coordinate, and over how many steps it was taken; 0 where that is not known."""
    values = as_real(state[key]).double().numpy()
    if key == MOMENTUM:
        return values**2, 0
    age = int(state["step"]) - state.get("born_exp_avg_sq", 0)
    return (values / rules.correction(betas[1], age), age) if age > 0 else (values, 0)


def _reference(state: dict[str, Any], reference: rules.Reference) -> float | None:
    if reference == "none":
        return 1.0
    return math.sqrt(float(rules.reference(state["reference"]))) if "reference" in state else None
