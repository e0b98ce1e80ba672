"""A text from a file, or from all ``.txt`` files in a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from equipoise._files import read_regular
from equipoise._words import printable
from equipoise.errors import UnusableInputError
from equipoise.study._data.contents import Text
from equipoise.study._data.files import files_in
from equipoise.study._data.folder import MOST_BYTES

SHORTEST = 100_000
"""In bytes: a tenth of it is for validation, another for the test."""


def read(path: Path) -> Text:
    """Read a file in UTF-8, or the ``.txt`` files at any depth of a folder, in the order of their names.

    Raises:
        UnusableInputError: something cannot be read or is not UTF-8, or there is too little text.
    """
    if path.is_dir():
        parts = sorted(files_in(path, lambda name: name.endswith(".txt")))
    else:
        parts = [(path.name, read_regular(path, MOST_BYTES))]
    for name, content in parts:
        try:
            content.decode()
        except UnicodeDecodeError as error:
            raise UnusableInputError(f"{path}: {printable(name)} is not UTF-8 text (byte {error.start})") from None
    text = b"".join(content for _, content in parts)
    if len(text) < SHORTEST:
        what = f"{len(parts)} .txt files, which have" if path.is_dir() else ""
        raise UnusableInputError(f"{path} has {what}{' ' if what else ''}{len(text):,} bytes: at least {SHORTEST:,} are needed")
    return Text(np.frombuffer(text, np.uint8))
