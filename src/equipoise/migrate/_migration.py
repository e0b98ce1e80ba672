"""Into this family in mid-run, and back: a run of torch's optimizers goes on as SMES or k-Adam with all that it has learnt.

Where the old and the new optimizer stand at the same point of the family (``_conversions.py`` says where torch's do), the
next update is the one that would have been made without the change.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from torch.optim import Optimizer

from equipoise.errors import ArgumentError, StateDictError
from equipoise.migrate._conversions import CLASSES, Values, accepted, kind_of, new_group
from equipoise.optim._optimizer import Equipoise


def migrate(optimizer: Optimizer, to: type[Optimizer], **hyperparameters: Any) -> Any:
    """An optimizer of another class on the same parameters, which goes on where `optimizer` stands.

    Where that is a point that both classes have, its next update is the one that `optimizer` would have made. State is copied.
    Schedulers, hooks and gradient scalers stay with the optimizer that they were made for: make them anew.

    Args:
        optimizer: ``torch.optim.Adam``, ``AdamW``, ``SGD``, ``RMSprop``, or one of this package.
        to: the class to go on with, one of the same.
        hyperparameters: arguments of that class, for every parameter group. What is left out stays as it is in each group, but
            for what makes SMES and KAdam what they are, exponent, stages and reference, which have their own defaults.

    Returns:
        An instance of `to`.

    Raises:
        StateDictError: the optimizer is not in the family (AMSGrad, Nesterov momentum, ...), or `to` is not where it stands.
        ArgumentError: an argument outside of what is accepted, or no `lr` where the present one loses its meaning (E3).

    Example:
        A run of AdamW goes on as 2-Adam, whose second stage begins now:

        >>> import torch
        >>> from equipoise import KAdam
        >>> weight = torch.nn.Parameter(torch.ones(3))
        >>> optimizer = torch.optim.AdamW([weight], lr=0.01)
        >>> for _ in range(5):
        ...     weight.grad = weight.detach().clone()
        ...     optimizer.step()
        >>> optimizer = migrate(optimizer, to=KAdam, k=2)
        >>> optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["stages"]
        (0.01, 2)
        >>> {key: value for key, value in optimizer.state[weight].items() if key.endswith("_2")}
        {'exp_avg_2': tensor([0., 0., 0.]), 'exp_avg_sq_2': tensor([0., 0., 0.]), 'born_exp_avg_2': 5, 'born_exp_avg_sq_2': 5}
    """
    converted, arguments = _convert(optimizer.state_dict(), to, hyperparameters)
    new: Any = to([{"params": group["params"]} for group in optimizer.param_groups], **arguments)
    # Equipoise copies what it loads, torch does not.
    new.load_state_dict(converted if issubclass(to, Equipoise) else copy.deepcopy(converted))
    return new


def migrate_state(state_dict: Mapping[str, Any], to: type[Optimizer], **hyperparameters: Any) -> dict[str, Any]:
    """The state dict of what :func:`migrate` makes, from that of the present optimizer alone; it shares no memory with it.

    Args:
        state_dict: of ``torch.optim.Adam``, ``AdamW``, ``SGD``, ``RMSprop``, or an optimizer of this package.
        to: as for :func:`migrate`.
        hyperparameters: as for :func:`migrate`.

    Raises:
        StateDictError: as :func:`migrate`, and where it is no state dict of such an optimizer.
        ArgumentError: as :func:`migrate`.

    Example:
        >>> import torch
        >>> weight = torch.nn.Parameter(torch.ones(2))
        >>> optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.5)
        >>> weight.grad = torch.tensor([1.0, 4.0])
        >>> optimizer.step()
        >>> migrated = migrate_state(optimizer.state_dict(), to=Equipoise)
        >>> [migrated["param_groups"][0][name] for name in ("lr", "betas", "exponent")]
        [0.2, (0.5, 0.999), 0.0]
        >>> migrated["state"][0]["exp_avg"]
        tensor([0.5000, 2.0000])
    """
    return copy.deepcopy(_convert(state_dict, to, hyperparameters)[0])


def _convert(
    state_dict: Mapping[str, Any], to: type[Optimizer], hyperparameters: Mapping[str, Any]
) -> tuple[dict[str, Any], Values]:
    """The new state dict, which may share memory with the present one, and arguments that make such an optimizer."""
    if to not in CLASSES:
        raise ArgumentError("to", to, f"one of the classes {', '.join(each.__name__ for each in CLASSES)}")
    for name, value in hyperparameters.items():
        if name not in accepted(to):
            raise ArgumentError(name, value, f"left out for {to.__name__}, which takes {', '.join(accepted(to))}")
    source = kind_of(state_dict)
    own = {"params", "initial_lr", *new_group(source.classes[0])}
    memory = dict(state_dict["state"])
    converted: dict[str, Any] = {"state": {}, "param_groups": []}
    made: list[Values] = []
    for saved in state_dict["param_groups"]:
        values, read = source.read(saved)
        arguments, write = CLASSES[to].write(values, to, dict(hyperparameters))
        rate = {name: hyperparameters.get("lr", arguments.pop(name)) for name in ("initial_lr",) if name in arguments}
        made.append({**arguments, **hyperparameters})
        new = new_group(to, **made[-1])
        CLASSES[to].read(new)  # which refuses what was asked for and is not in the family
        users = {name: value for name, value in saved.items() if name not in own}
        converted["param_groups"].append({**users, **new, **rate, "params": saved["params"]})
        for identifier in saved["params"]:
            # torch's SGD remembers None of a parameter without a gradient.
            remembered = {key: value for key, value in memory.pop(identifier, {}).items() if value is not None}
            if remembered:
                if lacking := [key for key in source.remembered if key not in remembered]:
                    raise StateDictError(f"the state of parameter {identifier} lacks {lacking[0]}: it has {list(remembered)}")
                converted["state"][identifier] = write(read(remembered))
    if memory:
        raise StateDictError(f"the state dict remembers parameters that none of its groups has: {', '.join(map(repr, memory))}")
    return converted, made[0]
