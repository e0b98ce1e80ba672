"""What was understood of a long run file, kept beside it, so that the next look at the run starts there.

The index may be deleted at any time, and one that is damaged is not used. It begins with a JSON object: how far the file was
read, and the places of the lines that still matter, which are read from the file itself. The overviews follow it as plain
bytes, and a checksum ends it.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from equipoise._files import open_regular, replacing
from equipoise.errors import UnusableInputError
from equipoise.watch._overview import Overview

INDEX = "watch.index"
FORMAT = 1
HEAD_BYTES = 256 << 20
"""So long the JSON object may be. Names take most of it."""
CHECKSUM = hashlib.sha256
CHECKSUM_BYTES = CHECKSUM().digest_size

_log = logging.getLogger("equipoise")


def write_index(folder: Path, state: Mapping[str, Any], overviews: Mapping[str, Overview]) -> int:
    """Keep an index.

    Args:
        folder: of the run. If it cannot be written to, there is no index.
        state: what JSON has.
        overviews: by name.

    Returns:
        Its size in bytes.
    """
    sizes = {name: overview.sizes() for name, overview in overviews.items()}
    head = json.dumps({"format": FORMAT, "state": state, "overviews": sizes}).encode() + b"\n"
    checksum = CHECKSUM()
    try:
        with replacing(folder / INDEX) as file:
            for piece in chain([head], *(overview.pieces() for overview in overviews.values())):
                checksum.update(piece)
                file.write(piece)
            file.write(checksum.digest())
            return file.tell()
    except UnusableInputError as error:
        _log.info("the index is not kept: %s", error)
        return 0


def read_index(folder: Path) -> tuple[Mapping[str, Any], dict[str, Overview]] | None:
    """The state and the overviews of an index; None where there is none, or a damaged one."""
    try:
        with open_regular(folder / INDEX) as file:
            checksum, before = CHECKSUM(), b""
            while part := file.read(1 << 20):
                checksum.update(before[:-CHECKSUM_BYTES])
                before = before[-CHECKSUM_BYTES:] + part
            checksum.update(before[:-CHECKSUM_BYTES])
            if checksum.digest() != before[-CHECKSUM_BYTES:]:
                return None
            file.seek(0)
            found = json.loads(file.readline(HEAD_BYTES))
            if found["format"] != FORMAT:
                return None
            return found["state"], {name: Overview.load(sizes, file) for name, sizes in found["overviews"].items()}
    except (UnusableInputError, OSError, ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
        return None
