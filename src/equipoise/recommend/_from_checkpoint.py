"""Evidence from a checkpoint: the state of an optimizer remembers its gradients."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch.optim import SGD, RMSprop

from equipoise import rules
from equipoise.errors import UnusableInputError
from equipoise.hyperparameters import Pair, parse_betas
from equipoise.migrate._checkpoint import read_optimizer
from equipoise.migrate._group_values import Values, new_group
from equipoise.migrate._kinds import FAMILY, OptimizerKind
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
        StateDictError: the optimizer is of another kind, or something in its state is missing or cannot be.

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
    saved = read_optimizer(path).saved
    remembering = saved.kind.state_keys[-1]
    groups: list[GroupSettings] = []
    layers: list[LayerGradients] = []
    steps = 0
    for number, group in enumerate(saved.groups):
        betas = _betas(saved.kind, group.values)
        lr, degree = _lr_of_adam(saved.kind, group.values)
        members: list[LayerGradients] = []
        for _, name, state in group.parameters:
            if not state:
                continue
            squares, age = _mean_squares(state, remembering, betas)
            mean = float(squares.mean()) if squares.size else 0.0
            if not math.isfinite(mean) or (squares < 0).any():
                raise UnusableInputError(f"{path}: the state of {name} has squares that are negative or not finite")
            if mean == 0:
                continue  # it never had a gradient
            shape, against = tuple(state[remembering].shape), _reference(state, reference)
            low, high = (None, None) if remembering == MOMENTUM else coordinate_range(squares)
            members.append(LayerGradients(name, number, shape, math.sqrt(mean), against, low, high))
            steps = max(steps, age)
        groups.append(GroupSettings(betas, lr * typical_scale(members) ** degree if members else lr))
        layers += members
    if not layers:
        raise UnusableInputError(f"{path}: its optimizer ({saved.kind.label}) remembers no gradients")
    source = f"{path}: the state of {saved.kind.label}" + (f" after {steps:,} steps" if steps else "")
    snapshot = Snapshot(steps, compared(layers), (None,) * len(groups))
    rough = ROUGH_FROM_MOMENTUM if remembering == MOMENTUM else {}
    return Evidence(source, steps or None, reference, tuple(groups), (snapshot,), UNSEEN, rough)


def _betas(kind: OptimizerKind, group: Values) -> Pair:
    """The betas of the first stage; an average that torch's optimizer does not have gets beta1 = 0 or the default beta2."""
    if RMSprop in kind.classes:
        return 0.0, group["alpha"]
    if SGD in kind.classes:
        return group["momentum"], new_group(Equipoise)["betas"][1]
    return parse_betas(group["betas"], group["stages"] if kind is FAMILY else 1)[0]


def _lr_of_adam(kind: OptimizerKind, group: Values) -> tuple[float, float]:
    """The learning rate at which Adam's updates are as large as those of the run, if gradients have scale 1; and its degree.

    For gradients of another scale it is that learning rate times scale^degree.
    """
    lr = float(group.get("initial_lr", group["lr"]))
    if kind is FAMILY:
        return lr, scale_degree(group["exponent"], group["stages"]) if group["reference"] == "none" else 0.0
    if SGD in kind.classes:
        return lr * (1 - group["dampening"]) / (1 - group["momentum"]), 1.0
    return lr, 0.0


def _mean_squares(state: Values, key: str, betas: Pair) -> tuple[NDArray[np.float64], int]:
    """The mean square of the gradients per coordinate, and over how many steps it was taken; 0 where that is not known."""
    values = as_real(state[key]).double().numpy()
    age = 0 if key == MOMENTUM else max(0, int(state["step"]) - state.get("born_exp_avg_sq", 0))
    with np.errstate(over="ignore"):  # what is not finite is refused
        squares = values**2 if key == MOMENTUM else values / rules.correction(betas[1], age) if age else values
    return squares, age


def _reference(state: Values, reference: rules.Reference) -> float | None:
    """The root of the reference scale that a parameter had, if it had one."""
    if reference == "none":
        return 1.0
    return math.sqrt(float(rules.reference(state["reference"]))) or None if "reference" in state else None
