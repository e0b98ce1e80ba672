"""Parameter groups by layer: an exponent, stages, a learning rate and a decay for each kind of parameter."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from numbers import Real
from typing import Any, NamedTuple, TypeAlias, cast

from torch import nn

from equipoise._words import listed
from equipoise.errors import ArgumentError
from equipoise.hyperparameters import Pair

Claim: TypeAlias = str | type[nn.Module]
"""A regular expression that is searched in the name of a parameter, or the type of a module that it lies in, at any depth."""

BIASES = r"bias[^.]*$"
EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag, r"embed[^.]*$")


@dataclass(frozen=True)
class Match:
    """Gives hyperparameters to the parameters that it claims; those left at None keep the optimizer's value.

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

    def fits(self, place: Place) -> bool:
        """Whether the match claims a parameter in this place, unless a match before it does."""
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


def layerwise(model: nn.Module, matches: Sequence[Match], *, lr: float | None = None) -> list[dict[str, Any]]:
    """Parameter groups for an optimizer: one per match, in their order, named after what the match claims.

    The first match that fits a parameter claims it, so special matches come before general ones. Every parameter is claimed
    exactly once. A parameter that several modules share, such as a tied embedding, is found by any of its names and modules.

    Args:
        model: all of its parameters are grouped, frozen ones too.
        matches: those of :func:`presets`, or your own.
        lr: the learning rate that every `lr_scale` multiplies. Without it the groups have that of the optimizer.

    Raises:
        ArgumentError: parameters that no match claims (all of them are listed), a match that claims none, a scale without `lr`.

    Example:
        >>> from equipoise import SMES
        >>> model = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 2))
        >>> matches = [Match((nn.LayerNorm, "bias$"), exponent=0.5, weight_decay=0.0), Match("^3", lr_scale=0.1), Match("")]
        >>> optimizer = SMES(layerwise(model, matches, lr=0.01), weight_decay=0.1)
        >>> for group in optimizer.param_groups:
        ...     print(group["name"], group["param_names"], group["exponent"], group["lr"], group["weight_decay"])
        LayerNorm | bias$ ['1.bias', '2.weight', '2.bias', '3.bias'] 0.5 0.01 0.0
        ^3 ['3.weight'] 0.25 0.001 0.1
        all others ['0.weight', '1.weight'] 0.25 0.01 0.1
    """
    if lr is None and any(match.lr_scale != 1 for match in matches):
        raise ArgumentError("lr", lr, "given where a match scales it")
    parameters = places_of(model)
    claimed, unclaimed = _claimed(parameters, matches)
    if unclaimed:
        accepted = f"such that every parameter is claimed; Match('') at the end would claim the rest: {', '.join(unclaimed)}"
        raise ArgumentError("matches", [match.name for match in matches], accepted)
    for match, members in zip(matches, claimed, strict=True):
        if not members:
            taken = [places[0].name for places in parameters.values() if any(map(match.fits, places))]
            reason = f"matches before it claim {', '.join(taken)}" if taken else f"the model has {_some(parameters)}"
            raise ArgumentError("matches", match.name, f"such that each claims a parameter; this one claims none: {reason}")
    return [_group(match, members, lr) for match, members in zip(matches, claimed, strict=True)]


def presets(model: nn.Module, *, exponent: float = 0.5) -> list[Match]:
    """Matches that suit most models: no decay, and an exponent of their own, for norms, biases and embeddings.

    Norms are the innermost layers with "norm" in the name of their type; biases and embeddings are parameters with that word in
    their own name, and the embeddings of ``torch.nn``. All others have the optimizer's values. Kinds that the model lacks are
    left out.

    The exponent 1/2, Adam's, slows rare rows of an embedding down the least: a row that a share f of the steps sees moves at a
    relative rate of f^(1-p) (see "Balance numbers" in docs/equations.md).

    Args:
        model: to be given to :func:`layerwise`, with these matches, and your own before them.
        exponent: of norms, biases and embeddings.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
        >>> [match.name for match in presets(model)]
        ['BatchNorm1d', 'bias[^.]*$', 'all others']
        >>> groups = layerwise(model, [Match("^2", lr_scale=0.1), *presets(model)], lr=0.01)
    """
    leaves = (type(module) for module in model.modules() if next(module.children(), None) is None)
    norms = tuple(dict.fromkeys(kind for kind in leaves if "norm" in kind.__name__.lower()))
    kinds = (norms, BIASES, EMBEDDINGS) if norms else (BIASES, EMBEDDINGS)
    matches = [*(Match(kind, exponent=exponent, weight_decay=0.0) for kind in kinds), Match("")]
    claimed, _ = _claimed(places_of(model), matches)
    return [match for match, members in zip(matches, claimed, strict=True) if members]


def places_of(model: nn.Module) -> dict[nn.Parameter, list[Place]]:
    """All places of every parameter, in the order of ``model.named_parameters()``."""
    named = cast("Iterable[tuple[str, nn.Module]]", model.named_modules(remove_duplicate=False))
    modules = dict(named)
    found: dict[nn.Parameter, list[Place]] = {}
    for path, module in modules.items():
        ancestors = ["", *accumulate(path.split("."), lambda outer, inner: f"{outer}.{inner}")] if path else [""]
        owners = tuple(type(modules[ancestor]) for ancestor in ancestors)
        for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            found.setdefault(parameter, []).append(Place(f"{path}.{name}" if path else name, owners))
    return found


def _claimed(
    parameters: Mapping[nn.Parameter, Sequence[Place]], matches: Sequence[Match]
) -> tuple[list[list[tuple[str, nn.Parameter]]], list[str]]:
    """The named parameters of each match, and the names that are left."""
    claimed: list[list[tuple[str, nn.Parameter]]] = [[] for _ in matches]
    unclaimed: list[str] = []
    for parameter, places in parameters.items():
        name = places[0].name
        members = next((each for match, each in zip(matches, claimed, strict=True) if any(map(match.fits, places))), None)
        if members is None:
            unclaimed.append(name)
        else:
            members.append((name, parameter))
    return claimed, unclaimed


def _group(match: Match, members: list[tuple[str, nn.Parameter]], lr: float | None) -> dict[str, Any]:
    values = {
        "exponent": match.exponent,
        "stages": match.stages,
        "betas": match.betas,
        "lr": None if lr is None else lr * match.lr_scale,
        "weight_decay": match.weight_decay,
    }
    return {"params": members, "name": match.name, **{key: value for key, value in values.items() if value is not None}}


def _some(parameters: Mapping[nn.Parameter, Sequence[Place]]) -> str:
    names = [places[0].name for places in parameters.values()]
    return listed(names, 5) or "no parameters"
