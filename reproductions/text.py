"""Real text that every machine has: source files of Python's own standard library, one token per character (ASCII).

The list of files is fixed; their content differs a little between versions of Python, so results state `Text.sha256`.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from torch import Tensor

from equipoise.study._tasks.source_files import FILES as FILES
from equipoise.study._tasks.source_files import codes, sources
from equipoise.study._tasks.source_files import windows as windows
from equipoise.study._tasks.transformer import VOCABULARY as VOCABULARY

KNOWN = {"3.11.7": "b8af2fc2fb2762d815baf64451d23dcebc811a66d090c32d0b6d28cf0132911c"}
"""SHA-256 of the text, by version of Python."""


class Text(NamedTuple):
    """The characters of all files in a row, as int64 codes; every tenth file is for validation."""

    training: Tensor
    validation: Tensor
    sha256: str


def load() -> Text:
    """Read the files of the running Python."""
    contents = sources()
    training = b"".join(content for index, content in enumerate(contents) if index % 10 != 9)
    return Text(codes(training), codes(b"".join(contents[9::10])), hashlib.sha256(b"".join(contents)).hexdigest())
