"""A run of torch's optimizers continues as SMES or k-Adam with everything that its state has learnt, and back.

Torch's optimizers are special cases of the update rule (``_to_family.py`` says which). Where the old and the new optimizer can
express the same case, the next update is the one that the old optimizer would have made.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch.optim import Optimizer

from equipoise.errors import ArgumentError, UnusableInputError
from equipoise.migrate._checkpoint import read_optimizer, write_checkpoint
from equipoise.migrate._group_values import Values, argument_names, new_group
from equipoise.migrate._kinds import KIND_OF_CLASS, OptimizerKind, optimizer_class
from equipoise.migrate._saved import SavedOptimizer, check_number, parse_state_dict
from equipoise.optim._optimizer import Equipoise


def convert_optimizer(optimizer: Optimizer, to: type[Optimizer] | str, **hyperparameters: Any) -> Any:
    """Make an optimizer of another class on the same parameters, which continues where `optimizer` stands.

    Where both classes can express the present update rule, the next update is the one that `optimizer` would have made. State
    is copied. Schedulers, hooks and gradient scalers belong to the optimizer that they were made for: make them anew.

    Args:
        optimizer: ``torch.optim.Adam``, ``AdamW``, ``SGD``, ``RMSprop``, or an optimizer of this package.
        to: the class to continue with, or its name: "equipoise", "smes", "kadam", "adamw", "adam", "rmsprop" or "sgd".
        hyperparameters: arguments of that class, for every parameter group. An argument that is left out keeps the value that
            each group has. Exponent, stages and reference of SMES and KAdam are exceptions: they have their own defaults.

    Returns:
        An instance of `to`.

    Raises:
        StateDictError: the optimizer is no special case of the update rule (AMSGrad, Nesterov momentum, ...), or `to` cannot
            express the one that it is.
        ArgumentError: an argument is outside of what is accepted, or `lr` is missing where the present one loses its meaning.

    Example:
        A run of AdamW continues as 2-Adam, whose second stage begins now:

        >>> import torch
        >>> weight = torch.nn.Parameter(torch.ones(3))
        >>> optimizer = torch.optim.AdamW([weight], lr=0.01)
        >>> for _ in range(5):
        ...     weight.grad = weight.detach().clone()
        ...     optimizer.step()
        >>> optimizer = convert_optimizer(optimizer, to="kadam", k=2)
        >>> optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["stages"]
        (0.01, 2)
        >>> {key: value for key, value in optimizer.state[weight].items() if key.endswith("_2")}
        {'exp_avg_2': tensor([0., 0., 0.]), 'exp_avg_sq_2': tensor([0., 0., 0.]), 'born_exp_avg_2': 5, 'born_exp_avg_sq_2': 5}
    """
    done = _convert(parse_state_dict(optimizer.state_dict()), to, hyperparameters)
    new: Any = done.new_class([{"params": group["params"]} for group in optimizer.param_groups], **done.arguments)
    # Equipoise copies what it loads, torch does not.
    new.load_state_dict(done.state_dict if issubclass(done.new_class, Equipoise) else copy.deepcopy(done.state_dict))
    return new


def convert_state_dict(state_dict: Mapping[str, Any], to: type[Optimizer] | str, **hyperparameters: Any) -> dict[str, Any]:
    """Convert the state dict of an optimizer to the state dict of another class.

    The result is the state dict of what :func:`convert_optimizer` makes. It shares no memory with the present one.

    Args:
        state_dict: of ``torch.optim.Adam``, ``AdamW``, ``SGD``, ``RMSprop``, or an optimizer of this package.
        to: as for :func:`convert_optimizer`.
        hyperparameters: as for :func:`convert_optimizer`.

    Raises:
        StateDictError: as for :func:`convert_optimizer`, and where it is no state dict of such an optimizer.
        ArgumentError: as for :func:`convert_optimizer`.

    Example:
        >>> import torch
        >>> weight = torch.nn.Parameter(torch.ones(2))
        >>> optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.5)
        >>> weight.grad = torch.tensor([1.0, 4.0])
        >>> optimizer.step()
        >>> converted = convert_state_dict(optimizer.state_dict(), to="equipoise")
        >>> [converted["param_groups"][0][name] for name in ("lr", "betas", "exponent")]
        [0.2, (0.5, 0.999), 0.0]
        >>> converted["state"][0]["exp_avg"]
        tensor([0.5000, 2.0000])
    """
    return copy.deepcopy(_convert(parse_state_dict(state_dict), to, hyperparameters).state_dict)


class ConvertedCheckpoint(NamedTuple):
    """What :func:`convert_checkpoint` did."""

    place: str
    """Where the optimizer's state dict stands in the checkpoint, as ``trainer.optimizers[0]``; empty if it is all of it."""
    old_optimizer: str
    """The name of its class. Two classes that save the same values are both named: "AdamW or Adam"."""
    new_optimizer: str
    """The name of the new class."""
    state_dict: dict[str, Any]
    """The new state dict."""


def convert_checkpoint(
    source: str | Path, target: str | Path, to: type[Optimizer] | str, **hyperparameters: Any
) -> ConvertedCheckpoint:
    """Write a checkpoint again, with its optimizer's state dict converted as :func:`convert_state_dict` does.

    The state dict may stand at any depth. Everything else stays as it is, except that all tensors are on the CPU.

    Args:
        source: the checkpoint, loaded with ``weights_only=True``: nothing in it is executed.
        target: the file to write. It must not exist.
        to: as for :func:`convert_optimizer`.
        hyperparameters: as for :func:`convert_optimizer`.

    Raises:
        UnusableInputError: the source cannot be read or does not hold exactly one optimizer, or the target exists or cannot be
            written.
        StateDictError: as for :func:`convert_state_dict`.
        ArgumentError: as for :func:`convert_optimizer`.

    Example:
        >>> import tempfile, torch
        >>> optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.ones(2))])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     torch.save({"epoch": 3, "optimizer": optimizer.state_dict()}, f"{folder}/old.pt")
        ...     done = convert_checkpoint(f"{folder}/old.pt", f"{folder}/new.pt", to="smes")
        >>> done.place, done.old_optimizer, done.new_optimizer
        ('optimizer', 'AdamW or Adam', 'SMES')
    """
    source, target = Path(source), Path(target)
    if os.path.exists(target):  # Path.exists raises for names that are too long
        raise UnusableInputError(f"{target} exists: choose another name, nothing is overwritten")
    found = read_optimizer(source)
    done = _convert(found.saved, to, hyperparameters)
    write_checkpoint(target, found.content_with(done.state_dict))
    return ConvertedCheckpoint(found.place, done.old_kind.label, done.new_class.__name__, done.state_dict)


class _Converted(NamedTuple):
    state_dict: dict[str, Any]
    """May share memory with the present one."""
    old_kind: OptimizerKind
    new_class: type[Optimizer]
    arguments: Values
    """Make an optimizer of the new class; its state dict has the values of every parameter group."""


def _convert(saved: SavedOptimizer, to: type[Optimizer] | str, hyperparameters: Mapping[str, Any]) -> _Converted:
    new_class = optimizer_class(to)
    old, new = saved.kind, KIND_OF_CLASS[new_class]
    accepted = argument_names(new_class)
    for name, value in hyperparameters.items():
        if name not in accepted:
            raise ArgumentError(name, value, f"left out for {new_class.__name__}, which takes {', '.join(accepted)}")
        if name in new.numbers:
            check_number(name, value, *new.numbers[name])
    old_names = {"initial_lr", *new_group(old.classes[0])}
    converted: dict[str, Any] = {"state": {}, "param_groups": []}
    arguments_of_groups: list[Values] = []
    for values_before, parameters in saved.groups:
        in_family = old.to_family(values_before)
        values = {**in_family.group, **_learning_rates(values_before, in_family.lr_factor)}
        in_new = new.from_family(values, new_class, dict(hyperparameters))
        arguments = {**in_new.group, **_learning_rates(values, in_new.lr_factor), **hyperparameters}
        # A scheduler's starting learning rate is no argument of an optimizer.
        initial = {name: hyperparameters.get("lr", arguments.pop(name)) for name in ("initial_lr",) if name in arguments}
        group = new_group(new_class, **arguments)
        new.to_family(group)  # raises where a hyperparameter that was asked for leaves the family
        arguments_of_groups.append(arguments)
        added_by_user = {name: value for name, value in values_before.items() if name not in old_names}
        identifiers = [parameter.identifier for parameter in parameters]
        converted["param_groups"].append({**added_by_user, **group, **initial, "params": identifiers})
        for identifier, _, state in parameters:
            if state:
                converted["state"][identifier] = in_new.convert_state(in_family.convert_state(state))
    return _Converted(converted, old, new_class, arguments_of_groups[0])


def _learning_rates(group: Values, factor: Any) -> Values:
    """The learning rate of a group, and the one that a scheduler started from if there is one, times a factor."""
    return {name: group[name] * factor for name in ("lr", "initial_lr") if name in group}
