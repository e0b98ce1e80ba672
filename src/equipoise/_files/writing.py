"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from equipoise.errors import UnusableInputError


@contextmanager
def replacing(path: Path) -> Generator[BinaryIO]:
    """A file to write to, under a temporary name; synced and renamed at the end, so that neither a reader nor a crash ever
    meets half of it.

    Raises:
        UnusableInputError: the place cannot be written to.
    """
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        finally:
            Path(temporary).unlink(missing_ok=True)
    except OSError as error:
        raise UnusableInputError(f"{path} cannot be written: {error.strerror or error}") from None


def replace_file(path: Path, content: bytes) -> None:
    """Write as :func:`replacing` does.

    Raises:
        UnusableInputError: the place cannot be written to.
    """
    with replacing(path) as file:
        file.write(content)
