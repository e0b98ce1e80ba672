"""What trials print: a file for each, of bounded size."""

from __future__ import annotations

import os
import re
from pathlib import Path

from equipoise._words import printable
from equipoise.study._cells import Cell

LARGEST = 4_000_000
"""Bytes. A log that grows beyond loses its beginning."""

SHOWN_LINES, SHOWN_BYTES = 30, 20_000


def log_of(cell: Cell, folder: Path) -> Path:
    """The file for what a trial prints, named so that a person finds it."""
    words = re.sub(r"[^A-Za-z0-9._=-]+", "-", cell.label).strip("-.")[:100]
    return folder / f"{words}.{cell.assignment.key[:8]}.log"


def bounded_size(log: Path) -> int:
    """The size of a log, 0 where there is none; one that is too large is made smaller first."""
    try:
        size = log.stat().st_size
        if size > LARGEST:
            kept = _last_bytes(log, LARGEST // 4)
            with log.open("r+b") as file:  # the trial appends: it goes on at what is the end then
                file.truncate(0)
            with log.open("ab") as file:
                file.write(b"[what was printed before is gone: the log was too large]\n" + kept)
            size = log.stat().st_size
    except OSError:
        return 0
    return size


def end_of(log: Path) -> str:
    """The last lines of a log, harmless in a terminal."""
    try:
        text = _last_bytes(log, SHOWN_BYTES).decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(printable(line.expandtabs()) for line in text.splitlines()[-SHOWN_LINES:])


def _last_bytes(log: Path, count: int) -> bytes:
    with log.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - count))
        return file.read()
