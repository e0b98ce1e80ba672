"""The values of a parameter group: what a class of optimizers accepts and makes of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import torch
from torch.optim import Optimizer

from equipoise.errors import EquipoiseError, StateDictError

Values: TypeAlias = dict[str, Any]
"""The values of a parameter group, or the state of one parameter."""


class Conversion(NamedTuple):
    """A parameter group as another optimizer has it."""

    group: Values
    """Its values. Learning rates need not be among them: they follow from `lr_factor`."""
    convert_state: Callable[[Values], Values]
    """Makes the other optimizer's state of one parameter from the present optimizer's."""
    lr_factor: Any = 1
    """What the other optimizer's learning rates are multiplied by."""


def argument_names(to: type[Optimizer]) -> list[str]:
    """The names of the hyperparameters that a class takes."""
    return [name for name in inspect.signature(to).parameters if name != "params"]


def new_group(to: type[Optimizer], **arguments: Any) -> Values:
    """The values of a parameter group of a new optimizer, which checks the arguments.

    Raises:
        ArgumentError: one of this package does not accept them.
        StateDictError: one of torch does not.
    """
    make: Any = to
    try:
        group = dict(make([torch.nn.Parameter(torch.empty(0))], **arguments).param_groups[0])
    except EquipoiseError:
        raise
    except (TypeError, ValueError) as error:
        raise StateDictError(f"torch.optim.{to.__name__} does not accept these values: {error}") from None
    del group["params"]
    return group
