"""Where the data lie: one folder for all studies, and one file for each data set.

The folder is what the environment variable EQUIPOISE_DATA names, else ``equipoise`` in the folder for data of the user's
programs (XDG_DATA_HOME, or ``~/.local/share``).
"""

from __future__ import annotations

import os
import zipfile
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from equipoise._files import open_regular, replacing
from equipoise.errors import UnusableInputError
from equipoise.study._data.contents import Contents, Mail, Pictures, Text, arrays_of

SETTING = "EQUIPOISE_DATA"
MOST_BYTES = 2**30
"""So many bytes a data set has at most, unfolded. CIFAR-10 has 184 million."""

C = TypeVar("C", Pictures, Text, Mail)


def data_folder() -> Path:
    """The folder of all data sets; it need not exist."""
    named = os.environ.get(SETTING)
    home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(named) if named else Path(home) / "equipoise"


def file_of(name: str) -> Path:
    """The file of a data set; it need not exist."""
    return (data_folder() / f"{name}.npz").absolute()


def save(name: str, contents: Contents) -> Path:
    """Write a data set, whole or not at all, in place of what was there.

    Raises:
        UnusableInputError: the folder cannot be written to.
    """
    path = file_of(name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnusableInputError(f"{path.parent} cannot be made: {error.strerror or error}") from None
    with replacing(path) as file:
        np.savez(file, **arrays_of(contents))
    return path


def load(path: Path, kind: type[C]) -> C:
    """A data set that :func:`save` wrote.

    Raises:
        UnusableInputError: it is missing, or is not what was written.
    """
    with open_regular(path, MOST_BYTES) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                if sum(part.file_size for part in archive.infolist()) > MOST_BYTES:
                    raise ValueError(f"unfolds to more than {MOST_BYTES:,} bytes")
                arrays: dict[str, Any] = {}
                for field in fields(kind):
                    with archive.open(f"{field.name}.npy") as part:
                        arrays[field.name] = np.lib.format.read_array(part, allow_pickle=False)
            return kind(**arrays)
        except Exception as error:  # what is damaged raises nearly anything
            said = " ".join(str(error).split())
            raise UnusableInputError(f"{path} is damaged ({said}): read the original files again") from None
