"""The kinds of optimizers that can be converted, in one table: how each is recognised, read and written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from equipoise.errors import ArgumentError, StateDictError
from equipoise.migrate import _from_family as from_family
from equipoise.migrate import _to_family as to_family
from equipoise.migrate._checkpoint import is_state_dict
from equipoise.migrate._group_values import Conversion, Values
from equipoise.optim._optimizer import SMES, Equipoise, KAdam


class OptimizerKind(NamedTuple):
    """Optimizers whose state dicts have the same form."""

    label: str
    """The names of its classes, for people."""
    classes: tuple[type[Optimizer], ...]
    group_keys: frozenset[str]
    """Keys of a parameter group by which the kind is recognised."""
    state_keys: tuple[str, ...]
    """Keys of a parameter's state."""
    to_family: Callable[[Values], Conversion]
    """From a parameter group of this kind to one of :class:`~equipoise.Equipoise`."""
    from_family: Callable[[Values, type[Optimizer], Values], Conversion]
    """From a parameter group of :class:`~equipoise.Equipoise`, for a class of this kind and the hyperparameters that were asked
    for, to arguments of that class."""


FAMILY = OptimizerKind(
    "Equipoise, SMES or KAdam",
    (Equipoise, SMES, KAdam),
    frozenset({"exponent", "stages", "reference"}),
    ("step", "exp_avg", "exp_avg_sq"),
    to_family.from_equipoise,
    from_family.to_equipoise,
)
KINDS = (
    FAMILY,
    OptimizerKind(
        "AdamW or Adam",
        (AdamW, Adam),
        frozenset({"betas", "amsgrad"}),
        ("step", "exp_avg", "exp_avg_sq"),
        to_family.from_adam,
        from_family.to_adam,
    ),
    OptimizerKind(
        "RMSprop",
        (RMSprop,),
        frozenset({"alpha", "centered"}),
        ("step", "square_avg"),
        to_family.from_rmsprop,
        from_family.to_rmsprop,
    ),
    OptimizerKind(
        "SGD",
        (SGD,),
        frozenset({"dampening", "nesterov"}),
        ("momentum_buffer",),
        to_family.from_sgd,
        from_family.to_sgd,
    ),
)
KIND_OF_CLASS: Mapping[type[Optimizer], OptimizerKind] = MappingProxyType(
    {each: kind for kind in KINDS for each in kind.classes}
)
CLASS_OF_NAME: Mapping[str, type[Optimizer]] = MappingProxyType({each.__name__.lower(): each for each in KIND_OF_CLASS})
"""The names by which users ask for a class, in Python and on the command line."""


def optimizer_class(to: type[Optimizer] | str) -> type[Optimizer]:
    """The class of that name, or the class itself.

    Raises:
        ArgumentError: nothing can be converted to it.
    """
    found = CLASS_OF_NAME.get(to) if isinstance(to, str) else to
    if found is None or found not in KIND_OF_CLASS:
        raise ArgumentError("to", to, f"one of {', '.join(CLASS_OF_NAME)}, or the class of that name")
    return found


def kind_of(state_dict: Any) -> OptimizerKind:
    """Which kind of optimizer saved a state dict.

    Raises:
        StateDictError: none that can be converted.
    """
    if not is_state_dict(state_dict):
        raise StateDictError("what was given is no state_dict() of an optimizer, with state and param_groups")
    for kind in KINDS:
        if all(kind.group_keys <= set(group) for group in state_dict["param_groups"]):
            return kind
    names = sorted({str(name) for group in state_dict["param_groups"] for name in group} - {"params"})
    raise StateDictError(
        f"the state dict is of another optimizer (its groups have {', '.join(names)}): accepted are"
        f" {', '.join(each.__name__ for each in KIND_OF_CLASS)}"
    )
