"""Training checkpoints: read without running what is in them, and written again with another optimizer's state."""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch.optim import Optimizer

from equipoise._files import replacing
from equipoise.errors import UnusableInputError
from equipoise.migrate._conversions import is_state_dict
from equipoise.migrate._migration import migrate_state


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


class Migrated(NamedTuple):
    """What was changed in a checkpoint."""

    where: str
    """The place of the optimizer's state dict; empty if it is the checkpoint itself."""
    old: dict[str, Any]
    new: dict[str, Any]


def migrate_file(source: Path, target: Path, to: type[Optimizer], **hyperparameters: Any) -> Migrated:
    """Write a checkpoint again, with the state dict of :func:`migrate_state` in the place of its optimizer's.

    The state dict may stand at any depth; everything else stays as it is, but that all tensors are on the CPU.

    Args:
        source: loaded with ``weights_only=True``: nothing in it is executed.
        target: must not exist.
        to: as for :func:`migrate`.
        hyperparameters: as for :func:`migrate`.

    Raises:
        UnusableInputError: the source cannot be read, or has not one optimizer in it; the target exists or cannot be written.
        StateDictError: as :func:`migrate_state`.
        ArgumentError: as :func:`migrate_state`.
    """
    if target.exists():
        raise UnusableInputError(f"{target} exists: choose another name, nothing is overwritten")
    try:
        holder = {"": read_checkpoint(source)}
    except OSError as error:
        raise UnusableInputError(f"{source} cannot be read: {error.strerror or error}") from None
    found = list(find_optimizers(holder, ""))
    if len(found) != 1:
        places = f", at {', '.join(where for where, _, _ in found)}; migrate_state takes one at a time" if found else ""
        raise UnusableInputError(f"{source} holds {len(found)} state dicts of optimizers{places}: accepted is one")
    where, container, key = found[0]
    old = container[key]
    container[key] = migrate_state(old, to, **hyperparameters)
    with replacing(target) as file:
        torch.save(holder[""], file)
    return Migrated(where, old, container[key])


def find_optimizers(node: Any, where: str) -> Iterator[tuple[str, Any, Any]]:
    """Every state dict of an optimizer below a node: its place, what it is in, and under which key."""
    pairs = cast("Iterable[tuple[Any, Any]]", node.items() if isinstance(node, dict) else enumerate(node))
    for key, value in pairs:
        place = f"{where}[{key}]" if isinstance(node, list) else f"{where}.{key}".lstrip(".")
        if is_state_dict(value):
            yield place, node, key
        elif isinstance(value, (dict, list)):
            yield from find_optimizers(value, place)
