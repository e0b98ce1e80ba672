"""What the theory says of a parameter group: of this package's optimizers, and of those of torch that are special cases.

Nothing here depends on where gradients come from, so weight decay that is added to them changes nothing. AMSGrad only makes
updates smaller.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from equipoise._words import listed, memory
from equipoise.errors import ArgumentError, StateDictError
from equipoise.hyperparameters import Hyperparameters
from equipoise.migrate._kinds import KIND_OF_CLASS
from equipoise.monitor._measuring.optimizers.reading_state import leaves_update, plain
from equipoise.monitor._measuring.quantities import GroupValues
from equipoise.optim._optimizer import Equipoise


def group_values(optimizer: torch.optim.Optimizer, group: Mapping[str, Any], lr: float, *, changed: bool) -> GroupValues:
    """What a group of any optimizer holds in one step.

    Args:
        optimizer: decides what the values mean.
        group: the values of the group.
        lr: its learning rate as a number; NaN where it has none.
        changed: whether betas were seen to change since the moments began.
    """
    hyperparameters = stages_of(optimizer, group)
    decay = group.get("weight_decay")
    # Weight decay that goes through the moments has a norm of its own.
    decoupled = isinstance(optimizer, Equipoise) or type(optimizer) is torch.optim.AdamW or not decay
    return GroupValues(
        lr=lr,
        weight_decay=float(decay or 0.0) if decoupled else math.nan,
        hyperparameters=hyperparameters,
        referenced=group.get("reference", "none") != "none",
        changed=changed,
    )


def stages_of(optimizer: torch.optim.Optimizer, group: Mapping[str, Any]) -> Hyperparameters | None:
    """The stages that a group's updates come from; None where the theory does not know the optimizer.

    Example:
        >>> weight = torch.nn.Parameter(torch.ones(1))
        >>> adam = torch.optim.Adam([weight], weight_decay=0.1)
        >>> stages_of(adam, adam.param_groups[0])
        Hyperparameters(betas=((0.9, 0.999),), exponents=(0.5,))
        >>> adadelta = torch.optim.Adadelta([weight])
        >>> print(stages_of(adadelta, adadelta.param_groups[0]))
        None
    """
    if isinstance(optimizer, Equipoise):
        return Hyperparameters.of_group(group)
    kind = KIND_OF_CLASS.get(type(optimizer))
    if kind is None:
        return None
    try:
        return Hyperparameters.of_group(kind.to_family({**group, "weight_decay": 0.0, "amsgrad": False}).group)
    except (ArgumentError, StateDictError):  # as RMSprop with momentum
        return None


def first_betas(group: Mapping[str, Any]) -> Any:
    """The betas of a group, or what torch's RMSprop calls its second one."""
    return group.get("betas", group.get("alpha"))


def is_corrected(optimizer: torch.optim.Optimizer) -> bool:
    """Whether the second moment is divided by its bias correction at the age that the state's ``step`` gives."""
    return isinstance(optimizer, Equipoise) or type(optimizer) in (torch.optim.Adam, torch.optim.AdamW)


def notes_on(optimizer: torch.optim.Optimizer) -> tuple[str, ...]:
    """What is not known of an optimizer, or known in another way than of those of this package, in sentences.

    Example:
        >>> for note in notes_on(torch.optim.Adadelta([torch.nn.Parameter(torch.ones(1))])):
        ...     print(note)  # doctest: +ELLIPSIS
        The update of Adadelta is the change of the parameters, weight decay included. ...
        No stability margin and no update bound is known of Adadelta: the theory covers ...
    """
    if isinstance(optimizer, Equipoise):
        return ()
    name, groups = type(optimizer).__name__, list(enumerate(optimizer.param_groups))
    found: list[str] = []
    if copied := [number for number, group in groups if not leaves_update(optimizer, group)]:
        size = sum(plain(each).nbytes for number in copied for each in groups[number][1]["params"])
        found.append(
            f"The update of {name}{_of_groups(copied, len(groups))} is the change of the parameters, weight decay included."
            f" Steps that are read need memory for a copy of them, {memory(size)}."
        )
    if unknown := [number for number, group in groups if stages_of(optimizer, group) is None]:
        found.append(
            f"No stability margin and no update bound is known of {name}{_of_groups(unknown, len(groups))}: the theory covers"
            " Adam, AdamW, SGD without Nesterov's momentum, and RMSprop without momentum that is not centered."
        )
    return tuple(found)


def _of_groups(numbers: Sequence[int], count: int) -> str:
    """Which groups, unless it is all of them."""
    return "" if len(numbers) == count else f" in {listed([f'group {number}' for number in numbers], 3)}"
