"""The state dict of an optimizer, checked: it may be from a damaged file, and whoever has a `SavedOptimizer` trusts it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from equipoise import rules
from equipoise._words import listed, printable
from equipoise.errors import ArgumentError, StateDictError
from equipoise.hyperparameters import Hyperparameters
from equipoise.migrate._group_values import Values, new_group
from equipoise.migrate._kinds import FAMILY, KIND_OF_CLASS, KINDS, OptimizerKind
from equipoise.optim._groups import checked_stages
from equipoise.optim._optimizer import Equipoise
from equipoise.optim._state import refuse_other_stages, suffixes

MOMENTS = ("exp_avg", "square_avg", "momentum_buffer")
"""What the keys of averages begin with: each has the shape of its parameter."""
SWITCHES = ("amsgrad", "centered", "nesterov", "decoupled_weight_decay")
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128)
"""What averages are kept in; 8 bits are too few for torch to compute with."""
MOST_STEPS = 2**53
"""Beyond it a double does not count."""


class SavedParameter(NamedTuple):
    """One parameter of a saved optimizer."""

    identifier: int | str
    """What the state dict calls it."""
    name: str
    """Its name where the optimizer was given names, else its identifier."""
    state: Values
    """Empty if it never had a gradient; else with all that its kind of optimizer needs, averages of one shape."""


class SavedGroup(NamedTuple):
    """One parameter group of a saved optimizer."""

    values: Values
    """Without the parameters: hyperparameters in the range that their kind of optimizer accepts, and what users added."""
    parameters: list[SavedParameter]


class SavedOptimizer(NamedTuple):
    """What a state dict says."""

    kind: OptimizerKind
    groups: list[SavedGroup]


def is_state_dict(value: Any) -> bool:
    """Whether a value has the form of an optimizer's state dict."""
    if not isinstance(value, Mapping):
        return False
    mapping = cast("Mapping[Any, Any]", value)
    groups = mapping.get("param_groups")
    return "state" in mapping and isinstance(groups, (list, tuple)) and len(cast("list[Any]", groups)) > 0


def parse_state_dict(state_dict: Any) -> SavedOptimizer:
    """Check a state dict.

    Raises:
        StateDictError: it is none, or of an optimizer that cannot be converted, or something in it is missing or cannot be.
    """
    if not is_state_dict(state_dict):
        raise StateDictError("what was given is no state_dict() of an optimizer, with state and param_groups")
    groups: list[Values] = []
    for number, group in enumerate(state_dict["param_groups"]):
        if not isinstance(group, Mapping) or not all(isinstance(key, str) for key in cast("Mapping[Any, Any]", group)):
            raise StateDictError(f"group {number} is no mapping of names to values")
        groups.append(dict(cast("Mapping[str, Any]", group)))
    kind = _kind(groups)
    states = state_dict["state"]
    if not isinstance(states, Mapping):
        raise StateDictError(f"its state is of type {type(states).__name__}: accepted is a mapping of parameters to states")
    left: dict[Any, Any] = dict(cast("Mapping[Any, Any]", states))
    parsed: list[SavedGroup] = []
    seen: set[int | str] = set()
    for number, group in enumerate(groups):
        identifiers, names = _identifiers(group, number)
        if len({*identifiers, *seen}) < len(identifiers) + len(seen):
            raise StateDictError(f"group {number} has a parameter that it, or another group, has already")
        seen.update(identifiers)
        _check_values(group, number, kind)
        parameters = [
            SavedParameter(identifier, name, _state(left.pop(identifier, {}), identifier, kind, group))
            for identifier, name in zip(identifiers, names, strict=True)
        ]
        numbers = {key: _number(group[key]) for key in kind.numbers if key != "lr"}  # which may be a tensor that moves
        values = {key: value for key, value in group.items() if key != "params"}
        parsed.append(SavedGroup(values | numbers, parameters))
    if left:
        raise StateDictError(
            f"the state dict remembers parameters that none of its groups has: {listed([*map(ascii, left)], 3)}"
        )
    return SavedOptimizer(kind, parsed)


def check_number(name: str, value: Any, least: float, below: float) -> None:
    """Refuse what is no finite number in a range.

    Raises:
        ArgumentError: it is not.
    """
    number = _number(value)
    if number is None or not (math.isfinite(number) and least <= number < below):
        limits = [text for text, limit in ((" of at least 0", least), (f" below {below:g}", below)) if math.isfinite(limit)]
        raise ArgumentError(name, value, "a finite number" + "".join(limits))


def _kind(groups: list[Values]) -> OptimizerKind:
    for kind in KINDS:
        if all(kind.group_keys <= set(group) for group in groups):
            return kind
    names = sorted({name for group in groups for name in group} - {"params"})
    raise StateDictError(
        f"the state dict is of another optimizer (its groups have {printable(', '.join(names))}): accepted are"
        f" {', '.join(each.__name__ for each in KIND_OF_CLASS)}"
    )


def _identifiers(group: Values, number: int) -> tuple[list[int | str], list[str]]:
    """What a group calls its parameters, and their names."""
    identifiers: Any = group.get("params")
    if not isinstance(identifiers, (list, tuple)) or not all(isinstance(each, (int, str)) for each in identifiers):  # pyright: ignore[reportUnknownVariableType]
        raise StateDictError(f"group {number} has no list of parameters: accepted is params, a list of numbers or names")
    names: Any = group.get("param_names", identifiers)
    if not isinstance(names, (list, tuple)) or len(names) != len(identifiers):  # pyright: ignore[reportUnknownArgumentType]
        raise StateDictError(f"group {number} has param_names that are not one name for each of its parameters")
    return list(identifiers), [str(name) for name in cast("list[Any]", names)]  # pyright: ignore[reportUnknownArgumentType]


def _check_values(group: Values, number: int, kind: OptimizerKind) -> None:
    try:
        for name, (least, below) in kind.numbers.items():
            if name not in group:
                raise StateDictError(f"group {number} lacks {name}")
            check_number(name, group[name], least, below)
        if "initial_lr" in group:
            check_number("initial_lr", group["initial_lr"], *kind.numbers["lr"])
        for name in SWITCHES:
            if not isinstance(group.get(name), (int, type(None))):
                raise ArgumentError(name, group[name], "True or False")
        if kind is FAMILY:
            checked_stages({**new_group(Equipoise), **group})
        elif "betas" in group:
            Hyperparameters.parse(group["betas"])
    except ArgumentError as error:
        raise StateDictError(f"group {number}: {error}") from None


def _state(saved: Any, identifier: int | str, kind: OptimizerKind, group: Values) -> Values:
    """The state of one parameter, without values of None, which torch's SGD saves of a parameter that had no gradient."""
    place = f"the state of parameter {printable(str(identifier), 80)}"
    if not isinstance(saved, Mapping) or not all(isinstance(key, str) for key in cast("Mapping[Any, Any]", saved)):
        raise StateDictError(f"{place} is no mapping of names to values")
    state: Values = {
        key: value.detach() if isinstance(value, Tensor) else value
        for key, value in cast("Mapping[str, Any]", saved).items()
        if value is not None
    }
    if not state:
        return state
    needed = kind.state_keys
    if kind is FAMILY:
        refuse_other_stages(state, group["stages"])
        needed = ("step", *(key + suffix for suffix in suffixes(group["stages"]) for key in ("exp_avg", "exp_avg_sq")))
    lacking = [key for key in needed if key not in state]
    if lacking:
        raise StateDictError(f"{place} lacks {lacking[0]}: it has {printable(', '.join(state))}")
    shape = None
    for key, value in state.items():
        if key == "step":
            count = _number(value)
            if count is None or not (0 <= count <= MOST_STEPS and count == int(count)):
                raise StateDictError(f"{place} has a step that is no whole number from 0 to 2**53")
        elif key.startswith("born_"):
            if not (isinstance(value, int) and abs(value) <= MOST_STEPS):
                raise StateDictError(f"{place} has a {printable(key, 80)} that is no whole number from -2**53 to 2**53")
        elif key.startswith(MOMENTS):
            _check_moment(value, key, place)
            shape = value.shape if shape is None else shape
            if value.shape != shape:
                raise StateDictError(f"{place} has averages of shapes {tuple(shape)} and {tuple(value.shape)}: they must agree")
        elif key.startswith("reference"):
            state[key] = _reference(value, key, place)
    return state


def _check_moment(value: Any, key: str, place: str) -> None:
    """Refuse what is no average: a tensor of numbers, with memory for each of them."""
    if isinstance(value, DTensor):
        return  # of an optimizer in this process
    if (
        not isinstance(value, Tensor)
        or value.dtype not in DTYPES
        or value.layout is not torch.strided
        or value.is_meta
        or value.untyped_storage().nbytes() < value.numel() * value.element_size()
    ):
        raise StateDictError(f"{place} has a {printable(key, 80)} that is no tensor of numbers, each with a memory of its own")


def _reference(value: Any, key: str, place: str) -> Tensor:
    """What a reference scale is taken from; one number, as earlier versions kept it, for all steps."""
    shapes = ((), (rules.REFERENCE_STEPS,))
    if isinstance(value, Tensor) and value.is_floating_point() and not value.is_meta and value.shape in shapes:
        squares = value.double().expand(rules.REFERENCE_STEPS)
        if squares.isfinite().all() and squares[0] >= 0 and (squares.diff() >= 0).all():
            return value.expand(rules.REFERENCE_STEPS).clone() if value.dim() == 0 else value
    raise StateDictError(
        f"{place} has a {printable(key, 80)} that is not {rules.REFERENCE_STEPS} finite numbers in ascending order"
    )


def _number(value: Any) -> float | None:
    """A value as a float, if it is a real number or a tensor of one."""
    if isinstance(value, Tensor) and value.numel() == 1 and not value.is_meta:
        value = value.item()
    return float(value) if isinstance(value, Real) else None
