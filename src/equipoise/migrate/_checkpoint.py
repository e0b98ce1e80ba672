"""Training checkpoints: read without running what is in them, and searched for the one optimizer in them."""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch

from equipoise.errors import UnusableInputError


def read_checkpoint(path: Path) -> Any:
    """What a torch checkpoint holds, on the CPU, loaded with ``weights_only=True``.

    Raises:
        UnusableInputError: it is empty, damaged, or holds more than tensors and plain values.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:  # torch's own message about a missing file is longer
        if not file.read(1):
            raise UnusableInputError(f"{path} is empty: looked for a checkpoint with parameter groups")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the file's age; what matters is below
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        refused = re.search(r"GLOBAL ([\w.]+)", str(error))
        raise UnusableInputError(
            f"{path} was not opened: it holds {refused[1] if refused else 'something else than tensors and plain values'},"
            " and loading that could run code (weights_only=True). Accepted are the state_dict() of an optimizer, checkpoints"
            " made of such, and training arguments as JSON or YAML"
        ) from None
    except Exception as error:  # damaged files raise anything
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:160]
        raise UnusableInputError(f"{path} is not a torch checkpoint, or a damaged one ({reason})") from None


class OptimizerInCheckpoint(NamedTuple):
    """The one optimizer in a checkpoint."""

    place: str
    """Where its state dict stands, as ``trainer.optimizers[0]``; empty if the checkpoint is the state dict."""
    state_dict: dict[str, Any]
    content: Any
    """Everything in the checkpoint."""
    keys: tuple[Any, ...]
    """The keys and indices that lead from the content to the state dict."""

    def content_with(self, state_dict: dict[str, Any]) -> Any:
        """The content, in which the optimizer's state dict is replaced by another one."""
        if not self.keys:
            return state_dict
        node, last = self.content, self.keys[-1]
        for key in self.keys[:-1]:
            node = node[key]
        node[last] = state_dict
        return self.content


def read_optimizer(path: Path) -> OptimizerInCheckpoint:
    """The one optimizer in a checkpoint, at any depth.

    Raises:
        UnusableInputError: the file cannot be read, or does not hold exactly one state dict of an optimizer.
    """
    try:
        content = read_checkpoint(path)
    except OSError as error:
        raise UnusableInputError(f"{path} cannot be read: {error.strerror or error}") from None
    found = list(_optimizers(content, content, "", ()))
    if len(found) != 1:
        places = f", at {', '.join(one.place for one in found)}" if found else ""
        raise UnusableInputError(
            f"{path} holds {len(found)} state dicts of optimizers{places}: accepted is exactly one; save the one that you mean"
            " to a file of its own"
        )
    return found[0]


def is_state_dict(value: Any) -> bool:
    """Whether a value has the form of an optimizer's state dict."""
    if not isinstance(value, Mapping):
        return False
    mapping = cast("Mapping[Any, Any]", value)
    return "state" in mapping and bool(mapping.get("param_groups"))


def _optimizers(node: Any, content: Any, place: str, keys: tuple[Any, ...]) -> Iterator[OptimizerInCheckpoint]:
    """Every state dict of an optimizer at or below a node of a checkpoint."""
    if is_state_dict(node):
        yield OptimizerInCheckpoint(place, node, content, keys)
    elif isinstance(node, dict):
        for key, value in cast("dict[Any, Any]", node).items():
            yield from _optimizers(value, content, f"{place}.{key}".lstrip("."), (*keys, key))
    elif isinstance(node, list):
        for index, value in enumerate(cast("list[Any]", node)):
            yield from _optimizers(value, content, f"{place}[{index}]", (*keys, index))
