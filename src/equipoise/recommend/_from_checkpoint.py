"""What the state of an optimizer in a checkpoint tells of its gradients."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise import rules
from equipoise.errors import UnusableInputError
from equipoise.hyperparameters import Pair, parse_betas
from equipoise.migrate._checkpoints import find_optimizers, read_checkpoint
from equipoise.migrate._conversions import FAMILY, kind_of, new_group
from equipoise.optim._optimizer import Equipoise
from equipoise.optim._state import as_real
from equipoise.recommend._evidence import Evidence, Group, Layer, Moment, Number, extent, typical_scale
from equipoise.theory._exponent import scale_degree

UNSEEN: dict[Number, str] = {
    "between": "how far they have moved since a reference would have been taken",
    "within": "SGD keeps no second moments",
    "density": "second moments show rare gradients as small ones",
    "noise": "one state is one sample of the signal",
}
WEAK: dict[Number, str] = {"between": "momentum is one sample, mostly of noise"}
"""Of SGD."""


def from_checkpoint(path: Path, reference: rules.Reference) -> Evidence:
    """Read the second moments in a checkpoint of Adam, AdamW, RMSprop or an optimizer of this package; of SGD its momentum.

    Momentum is one sample of the gradient, mostly of its noise: it has the scale of a layer, not of a coordinate.

    Args:
        path: loaded with ``weights_only=True``: nothing in it is executed.
        reference: for the optimizer that is to be recommended. "initial" needs a run that had one to say how far layers have
            moved since.

    Raises:
        UnusableInputError: it cannot be read, has not one optimizer in it, or one that remembers no gradients.
        StateDictError: the optimizer is of another kind.
    """
    try:
        holder = {"": read_checkpoint(path)}
    except OSError as error:
        raise UnusableInputError(f"{path} cannot be read: {error.strerror or error}") from None
    found = list(find_optimizers(holder, ""))
    if len(found) != 1:
        raise UnusableInputError(f"{path} holds {len(found)} state dicts of optimizers: accepted is one")
    _, container, key = found[0]
    state_dict: dict[str, Any] = container[key]
    kind = kind_of(state_dict)
    remembers = kind.remembered[-1]
    groups: list[Group] = []
    layers: list[Layer] = []
    ages: list[int] = []
    for number, group in enumerate(state_dict["param_groups"]):
        names = group.get("param_names", group["params"])
        betas = _betas(group)
        for identifier, name in zip(group["params"], names, strict=True):
            state = state_dict["state"].get(identifier, {})
            if state.get(remembers) is None:
                continue
            squares, age = _squares(state, remembers, betas)
            mean = float(squares.mean()) if squares.size else 0.0
            if not math.isfinite(mean):
                raise UnusableInputError(f"{path}: the state of {name} is not finite")
            if mean == 0:
                continue  # it never had a gradient
            low, high = (math.nan, math.nan) if remembers == "momentum_buffer" else extent(squares)
            shape = tuple(state[remembers].shape)
            layers.append(Layer(str(name), number, shape, math.sqrt(mean), _reference(state, reference), low, high))
            ages += [age] if age else []
        groups.append(Group(betas, _rate(group, kind is FAMILY, [layer for layer in layers if layer.group == number])))
    if not layers:
        raise UnusableInputError(f"{path}: its {kind.classes[0].__name__} remembers no gradients")
    told = f"{path}: {kind.classes[0].__name__}'s state" + (f" after {max(ages):,} steps" if ages else "")
    moment = Moment(max(ages, default=0), tuple(layers), (math.nan,) * len(groups))
    return Evidence(
        told, moment.step or None, reference, tuple(groups), (moment,), UNSEEN, WEAK if remembers == "momentum_buffer" else {}
    )


def _betas(group: dict[str, Any]) -> Pair:
    if "betas" in group:
        return parse_betas(group["betas"], group.get("stages", 1))[0]
    beta2 = new_group(Equipoise)["betas"][1]
    return (0.0, group["alpha"]) if "alpha" in group else (group["momentum"], beta2)


def _squares(state: dict[str, Any], key: str, betas: Pair) -> tuple[NDArray[np.float64], int]:
    """The mean square of gradients per coordinate, and over how many steps it was taken; 0 is unknown."""
    values = as_real(state[key]).double().numpy()
    if key == "momentum_buffer":
        return values**2, 0
    age = int(state["step"]) - state.get("born_exp_avg_sq", 0)
    return (values / rules.correction(betas[1], age), age) if age > 0 else (values, 0)


def _reference(state: dict[str, Any], reference: rules.Reference) -> float:
    if reference == "none":
        return 1.0
    return math.sqrt(float(state["reference"])) if "reference" in state else math.nan


def _rate(group: dict[str, Any], of_the_family: bool, layers: list[Layer]) -> float:
    """Of Adam, for updates as large as those of the run."""
    rate = float(group.get("initial_lr", group["lr"]))
    if "momentum" in group and "alpha" not in group:
        degree, rate = 1.0, rate * (1 - group["dampening"]) / (1 - group["momentum"])
    else:
        degree = scale_degree(group["exponent"], group["stages"]) if of_the_family and group["reference"] == "none" else 0.0
    return rate * typical_scale(layers) ** degree if layers else rate
