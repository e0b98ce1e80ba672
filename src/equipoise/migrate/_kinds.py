"""The kinds of optimizers that can be converted, in one table: how each is recognised, read and written."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from equipoise.errors import ArgumentError
from equipoise.migrate import _from_family as from_family
from equipoise.migrate import _to_family as to_family
from equipoise.migrate._group_values import Conversion, Values
from equipoise.optim._optimizer import SMES, Equipoise, KAdam


class OptimizerKind(NamedTuple):
    """Optimizers whose state dicts have the same form."""

    label: str
    """The names of its classes, for people."""
    classes: tuple[type[Optimizer], ...]
    group_keys: frozenset[str]
    """Keys of a parameter group by which the kind is recognised."""
    numbers: Mapping[str, tuple[float, float]]
    """Values of every parameter group that are finite numbers: the least, and what all are below. Betas are apart."""
    state_keys: tuple[str, ...]
    """Keys of a parameter's state."""
    to_family: Callable[[Values], Conversion]
    """From a parameter group of this kind to one of :class:`~equipoise.Equipoise`."""
    from_family: Callable[[Values, type[Optimizer], Values], Conversion]
    """From a parameter group of :class:`~equipoise.Equipoise`, for a class of this kind and the hyperparameters that were asked
    for, to arguments of that class."""


# A linear schedule of the learning rate that ends at 0 may end at -1e-18, by rounding.
LR, NOT_NEGATIVE, FRACTION = (-1e-12, math.inf), (0.0, math.inf), (0.0, 1.0)

FAMILY = OptimizerKind(
    "Equipoise, SMES or KAdam",
    (Equipoise, SMES, KAdam),
    frozenset({"exponent", "stages", "reference"}),
    {"lr": LR, "eps": NOT_NEGATIVE, "weight_decay": LR},
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
        {"lr": LR, "eps": NOT_NEGATIVE, "weight_decay": LR},
        ("step", "exp_avg", "exp_avg_sq"),
        to_family.from_adam,
        from_family.to_adam,
    ),
    OptimizerKind(
        "RMSprop",
        (RMSprop,),
        frozenset({"alpha", "centered"}),
        {"lr": LR, "alpha": FRACTION, "eps": NOT_NEGATIVE, "weight_decay": LR, "momentum": NOT_NEGATIVE},
        ("step", "square_avg"),
        to_family.from_rmsprop,
        from_family.to_rmsprop,
    ),
    OptimizerKind(
        "SGD",
        (SGD,),
        frozenset({"dampening", "nesterov"}),
        {"lr": LR, "momentum": FRACTION, "dampening": (-math.inf, 1.0), "weight_decay": LR},
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
