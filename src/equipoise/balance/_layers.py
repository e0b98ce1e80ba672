"""Parameter groups by layer: an exponent, stages, a learning rate and a decay for each kind of parameter."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from numbers import Real
from typing import Any, NamedTuple, TypeAlias

from torch import nn

from equipoise._words import listed
from equipoise.errors import ArgumentError
from equipoise.hyperparameters import Pair

Claim: TypeAlias = str | type[nn.Module]
"""A regular expression that is searched in the name of a parameter, or the type of a module that it lies in, at any depth."""

BIASES = r"bias[^.]*$"
EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag, r"embed[^.]*$")


@dataclass(frozen=True)
class Rule:
    """The hyperparameters of all parameters that it claims. What is None has the value given to the optimizer.

    Args:
        claims: a regular expression, searched in the full name of a parameter ("" is found in every name); a type of module,
            for all parameters inside of such modules; or a tuple of these, any of which claims.
        exponent: p, or one per stage.
        stages: k.
        betas: (beta1, beta2), or one such pair per stage.
        lr_scale: the group's learning rate, in units of that given to :func:`layerwise`.
        weight_decay: decoupled.

    Raises:
        ArgumentError: `claims` or `lr_scale` is something else. The optimizer checks the others.
    """

    claims: Claim | tuple[Claim, ...]
    exponent: float | tuple[float, ...] | None = None
    stages: int | None = None
    betas: Pair | tuple[Pair, ...] | None = None
    lr_scale: float = 1.0
    weight_decay: float | None = None

    def __post_init__(self) -> None:
        accepted = "a regular expression, a type of torch.nn.Module, or a tuple of at least one of these"
        if not self.alternatives:
            raise ArgumentError("claims", self.claims, accepted)
        for claim in self.alternatives:
            if isinstance(claim, str):
                try:
                    re.compile(claim)
                except re.error as error:
                    raise ArgumentError("claims", claim, f"{accepted} ({error})") from None
            elif not (isinstance(claim, type) and issubclass(claim, nn.Module)):
                raise ArgumentError("claims", claim, accepted)
        if isinstance(self.lr_scale, bool) or not isinstance(self.lr_scale, Real) or not 0 <= self.lr_scale < math.inf:
            raise ArgumentError("lr_scale", self.lr_scale, "a finite number of at least 0")

    @property
    def alternatives(self) -> tuple[Claim, ...]:
        """What it claims, as a tuple."""
        return self.claims if isinstance(self.claims, tuple) else (self.claims,)

    @property
    def name(self) -> str:
        """What it claims, for reading."""
        return " | ".join(each if isinstance(each, str) else each.__name__ for each in self.alternatives) or "all others"

    def matches(self, place: Place) -> bool:
        """Whether it claims what is in this place, unless a rule before it does."""
        return any(
            re.search(claim, place.name) if isinstance(claim, str) else any(issubclass(owner, claim) for owner in place.owners)
            for claim in self.alternatives
        )


class Place(NamedTuple):
    """Where a parameter is in a model."""

    name: str
    """In full, as ``blocks.0.norm.weight``."""
    owners: tuple[type[nn.Module], ...]
    """The types of the modules that it lies in, the model first."""


def layerwise(model: nn.Module, rules: Sequence[Rule], *, lr: float | None = None) -> list[dict[str, Any]]:
    """Parameter groups for an optimizer: one per rule, in their order, named after what the rule claims.

    The first rule that matches a parameter claims it: special rules come before general ones. Every parameter is claimed, and
    only once: one that several modules share, as a tied embedding, is matched by any of its names and modules.

    Args:
        model: all of its parameters are grouped, frozen ones too.
        rules: those of :func:`presets`, or your own.
        lr: the learning rate that every `lr_scale` multiplies. Without it the groups have that of the optimizer.

    Raises:
        ArgumentError: parameters that no rule claims (all of them are listed), a rule that claims none, a scale without `lr`.

    Example:
        >>> from equipoise import SMES
        >>> model = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 2))
        >>> rules = [Rule((nn.LayerNorm, "bias$"), exponent=0.5, weight_decay=0.0), Rule("^3", lr_scale=0.1), Rule("")]
        >>> optimizer = SMES(layerwise(model, rules, lr=0.01), weight_decay=0.1)
        >>> for group in optimizer.param_groups:
        ...     print(group["name"], group["param_names"], group["exponent"], group["lr"], group["weight_decay"])
        LayerNorm | bias$ ['1.bias', '2.weight', '2.bias', '3.bias'] 0.5 0.01 0.0
        ^3 ['3.weight'] 0.25 0.001 0.1
        all others ['0.weight', '1.weight'] 0.25 0.01 0.1
    """
    if lr is None and any(rule.lr_scale != 1 for rule in rules):
        raise ArgumentError("lr", lr, "given where a rule scales it")
    parameters = _parameters(model)
    claimed, unclaimed = _claimed(parameters, rules)
    if unclaimed:
        accepted = f"such that every parameter is claimed; Rule('') at the end would claim the rest: {', '.join(unclaimed)}"
        raise ArgumentError("rules", [rule.name for rule in rules], accepted)
    for rule, members in zip(rules, claimed, strict=True):
        if not members:
            taken = [places[0].name for places in parameters.values() if any(map(rule.matches, places))]
            reason = f"rules before it claim {', '.join(taken)}" if taken else f"the model has {_some(parameters)}"
            raise ArgumentError("rules", rule.name, f"such that each claims a parameter; this one claims none: {reason}")
    return [_group(rule, members, lr) for rule, members in zip(rules, claimed, strict=True)]


def presets(model: nn.Module, *, exponent: float = 0.5) -> list[Rule]:
    """Rules that suit most models: no decay, and an exponent of their own, for norms, biases and embeddings.

    Norms are the innermost layers with "norm" in the name of their type; biases and embeddings are parameters with that word in
    their own name, and the embeddings of ``torch.nn``. All others have the optimizer's values. 1/2 is Adam's exponent, which
    hinders the rows of an embedding that are seldom seen the least: they move at a relative rate f^(1-p) (E7). Kinds that the
    model lacks are left out.

    Args:
        model: to be given to :func:`layerwise`, with these rules, and your own before them.
        exponent: of norms, biases and embeddings.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
        >>> [rule.name for rule in presets(model)]
        ['BatchNorm1d', 'bias[^.]*$', 'all others']
        >>> groups = layerwise(model, [Rule("^2", lr_scale=0.1), *presets(model)], lr=0.01)
    """
    leaves = (type(module) for module in model.modules() if next(module.children(), None) is None)
    norms = tuple(dict.fromkeys(kind for kind in leaves if "norm" in kind.__name__.lower()))
    kinds = (norms, BIASES, EMBEDDINGS) if norms else (BIASES, EMBEDDINGS)
    rules = [*(Rule(kind, exponent=exponent, weight_decay=0.0) for kind in kinds), Rule("")]
    claimed, _ = _claimed(_parameters(model), rules)
    return [rule for rule, members in zip(rules, claimed, strict=True) if members]


def _parameters(model: nn.Module) -> dict[nn.Parameter, list[Place]]:
    """All places of every parameter, in the order of ``model.named_parameters()``."""
    modules: dict[str, nn.Module] = dict(model.named_modules(remove_duplicate=False))  # pyright: ignore[reportUnknownArgumentType]
    found: dict[nn.Parameter, list[Place]] = {}
    for path, module in modules.items():
        ancestors = ["", *accumulate(path.split("."), lambda outer, inner: f"{outer}.{inner}")] if path else [""]
        owners = tuple(type(modules[ancestor]) for ancestor in ancestors)
        for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            found.setdefault(parameter, []).append(Place(f"{path}.{name}" if path else name, owners))
    return found


def _claimed(
    parameters: Mapping[nn.Parameter, Sequence[Place]], rules: Sequence[Rule]
) -> tuple[list[list[tuple[str, nn.Parameter]]], list[str]]:
    """The named parameters of each rule, and the names that are left."""
    claimed: list[list[tuple[str, nn.Parameter]]] = [[] for _ in rules]
    unclaimed: list[str] = []
    for parameter, places in parameters.items():
        name = places[0].name
        members = next((each for rule, each in zip(rules, claimed, strict=True) if any(map(rule.matches, places))), None)
        if members is None:
            unclaimed.append(name)
        else:
            members.append((name, parameter))
    return claimed, unclaimed


def _group(rule: Rule, members: list[tuple[str, nn.Parameter]], lr: float | None) -> dict[str, Any]:
    values = {
        "exponent": rule.exponent,
        "stages": rule.stages,
        "betas": rule.betas,
        "lr": None if lr is None else lr * rule.lr_scale,
        "weight_decay": rule.weight_decay,
    }
    return {"params": members, "name": rule.name, **{key: value for key, value in values.items() if value is not None}}


def _some(parameters: Mapping[nn.Parameter, Sequence[Place]]) -> str:
    names = [places[0].name for places in parameters.values()]
    return listed(names, 5) or "no parameters"
