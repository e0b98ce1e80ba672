"""What each parameter of a model is for, by the name and the use of the module that it is in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast

from torch import nn
from torch.nn.modules.conv import _ConvNd  # pyright: ignore[reportPrivateUsage]  # what the six convolutions have in common

from equipoise.balance._layers import EMBEDDINGS, Match, Place, places_of

Role: TypeAlias = Literal["matrix", "kernel", "embedding", "head", "vector", "other"]
"""A matrix between hidden layers, a kernel of a convolution between them, a table of embeddings, the layer that makes the
output, a parameter of fewer than two dimensions, or one of more than two that is no kernel."""

HEAD = re.compile(r"(?:\w+_)?head|classifier|unembed(?:ding)?|logits|fc_out")
"""The name of a module whose last matrix makes the output of the model."""


@dataclass(frozen=True)
class Parameter:
    """A parameter of a model and its role."""

    name: str
    role: Role
    value: nn.Parameter


def roles(model: nn.Module) -> list[Parameter]:
    """Every parameter of a model with its role, in the order of the model.

    A parameter that several modules share, as a table of embeddings that also makes the output, is an embedding if one of them
    uses it so. The head is what ``model.get_output_embeddings()`` gives, as in transformers; else the last matrix in each
    module with a head's name; else the last matrix of the model.

    Example:
        >>> model = nn.Sequential(nn.Embedding(100, 8), nn.Linear(8, 8), nn.LayerNorm(8), nn.Linear(8, 100, bias=False))
        >>> [(parameter.name, parameter.role) for parameter in roles(model)]
        [('0.weight', 'embedding'), ('1.weight', 'matrix'), ('1.bias', 'vector'), ('2.weight', 'vector'), \
('2.bias', 'vector'), ('3.weight', 'head')]
    """
    found = places_of(model)
    heads = _heads(model)
    return [Parameter(where[0].name, _role(value, where, heads), value) for value, where in found.items()]


def _role(value: nn.Parameter, where: list[Place], heads: set[nn.Parameter]) -> Role:
    if value.ndim < 2:
        return "vector"
    if any(map(Match(EMBEDDINGS).fits, where)):
        return "embedding"
    if value in heads:
        return "head"
    if value.ndim == 2:
        return "matrix"
    return "kernel" if issubclass(where[0].owners[-1], _ConvNd) else "other"


def _heads(model: nn.Module) -> set[nn.Parameter]:
    output = cast("nn.Module | None", model.get_output_embeddings()) if hasattr(model, "get_output_embeddings") else None  # pyright: ignore
    if output is not None:
        return set(output.parameters())
    matrices = {name: value for name, value in model.named_parameters(remove_duplicate=False) if value.ndim >= 2}
    last: dict[str, nn.Parameter] = {}
    for name, value in matrices.items():
        segments = name.split(".")[:-1]
        named = next((index for index, segment in enumerate(segments) if HEAD.fullmatch(segment)), None)
        if named is not None:
            last[".".join(segments[: named + 1])] = value
    return set(last.values()) or set(list(matrices.values())[-1:])
