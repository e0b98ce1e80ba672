"""Training checkpoints: read without running what is in them, and searched for the one optimizer in them."""

from __future__ import annotations

import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import torch

from equipoise._files import checked_tree, open_regular, replacing
from equipoise._words import listed, printable
from equipoise.errors import StateDictError, UnusableInputError
from equipoise.migrate._saved import SavedOptimizer, is_state_dict, parse_state_dict


class ObjectsInCheckpointError(UnusableInputError):
    """A checkpoint holds more than tensors and plain values, and was not opened."""


def read_checkpoint(path: Path, map_location: str | None = "cpu") -> Any:
    """What a torch checkpoint holds, loaded with ``weights_only=True``, as a tree within limits.

    Storages of the present format stay in the file until they are used.

    Raises:
        ObjectsInCheckpointError: it holds more than tensors and plain values.
        UnusableInputError: it cannot be read, is empty or damaged, or exceeds a limit.
    """
    with open_regular(path) as file:
        if not file.read(1):
            raise UnusableInputError(f"{path} is empty: looked for a checkpoint")
        is_archive = _is_archive(file, path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the file's age; what matters is below
            content = torch.load(path, map_location=map_location, weights_only=True, mmap=is_archive)
    except pickle.UnpicklingError as error:
        refused = re.search(r"GLOBAL ([\w.]+)", str(error))
        raise ObjectsInCheckpointError(
            f"{path} was not opened: it holds {refused[1] if refused else 'something else than tensors and plain values'},"
            " and loading that could run code (weights_only=True)"
        ) from None
    except Exception as error:  # damaged files raise anything
        reason = printable(f"{type(error).__name__}: {error}".partition("\n")[0])
        raise UnusableInputError(f"{path} is not a torch checkpoint, or a damaged one ({reason})") from None
    return checked_tree(content, path)


def write_checkpoint(path: Path, content: Any) -> None:
    """Write what ``torch.load`` reads, whole or not at all.

    Raises:
        UnusableInputError: the place cannot be written to.
    """
    with replacing(path) as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:  # torch makes one of what a file raises
            raise error.__context__ if isinstance(error.__context__, OSError) else error from None


class OptimizerInCheckpoint(NamedTuple):
    """The one optimizer in a checkpoint."""

    place: str
    """Where its state dict stands, as ``trainer.optimizers[0]``; empty if the checkpoint is the state dict."""
    saved: SavedOptimizer
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
        StateDictError: that is of another kind, or something in it is missing or cannot be.
    """
    content = read_checkpoint(path)
    found = list(_optimizers(content, "", ()))
    if len(found) != 1:
        places = f", at {listed([place for place, _, _ in found], 3)}" if found else ""
        raise UnusableInputError(
            f"{path} holds {len(found)} state dicts of optimizers{places}: accepted is exactly one; save the one that you mean"
            " to a file of its own"
        )
    place, keys, state_dict = found[0]
    try:
        return OptimizerInCheckpoint(place, parse_state_dict(state_dict), content, keys)
    except StateDictError as error:
        raise StateDictError(f"{path}{f', at {place}' if place else ''}: {error}") from None


def _is_archive(file: BinaryIO, path: Path) -> bool:
    """Whether a checkpoint is of torch's present format.

    Raises:
        UnusableInputError: it is an archive that unfolds to more than the file has: torch stores its entries as they are.
    """
    try:
        if not zipfile.is_zipfile(file):
            return False
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise UnusableInputError(f"{path} is not a torch checkpoint, or a damaged one ({printable(str(error))})") from None
    declared, size = sum(entry.file_size for entry in entries), os.fstat(file.fileno()).st_size
    if declared > size or any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise UnusableInputError(
            f"{path} is a compressed archive, which unfolds from {size:,} to {declared:,} bytes: accepted are checkpoints as"
            " torch.save writes them"
        )
    return True


def _optimizers(node: Any, place: str, keys: tuple[Any, ...]) -> Iterator[tuple[str, tuple[Any, ...], Any]]:
    """Every state dict of an optimizer at or below a node of a checkpoint: its place, the keys that lead there, itself."""
    if is_state_dict(node):
        yield place, keys, node
    elif isinstance(node, dict):
        for key, value in cast("dict[Any, Any]", node).items():
            yield from _optimizers(value, f"{place}.{printable(str(key))}".lstrip("."), (*keys, key))
    elif isinstance(node, list):
        for index, value in enumerate(cast("list[Any]", node)):
            yield from _optimizers(value, f"{place}[{index}]", (*keys, index))
