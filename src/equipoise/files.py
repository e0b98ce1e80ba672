"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from equipoise.errors import UnusableInputError


def replace_file(path: Path, content: bytes) -> None:
    """Write under a temporary name, sync and rename, so that neither a reader nor a crash ever meets half of a file.

    Raises:
        UnusableInputError: the place cannot be written to.
    """
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        finally:
            Path(temporary).unlink(missing_ok=True)
    except OSError as error:
        raise UnusableInputError(f"{path} cannot be written: {error.strerror or error}") from None
