"""A long file of lines that another process appends to, read part by part."""

from __future__ import annotations

import hashlib
import io
import os
from itertools import accumulate
from pathlib import Path

from equipoise.errors import UnusableInputError

ENOUGH_FOR_A_LINE = 1 << 12
"""So many bytes are read to find a line."""


def opened(path: Path) -> io.BufferedReader:
    """The file of a run, open for reading.

    Raises:
        UnusableInputError: there is no such file.
    """
    try:
        return path.open("rb")
    except OSError as error:
        raise UnusableInputError(f"{path.parent} holds no run: {path.name}: {error.strerror}") from None


class LineFile:
    """The file of a run, open.

    Args:
        path: the path of the file.

    Raises:
        UnusableInputError: there is no such file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = opened(path)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @property
    def size(self) -> int:
        """The number of bytes that the file has now."""
        return os.fstat(self._file.fileno()).st_size

    @property
    def replaced(self) -> bool:
        """Whether another file has taken its place."""
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return False
        return not os.path.samestat(there, os.fstat(self._file.fileno()))

    def whole_lines(self, place: int, length: int) -> list[tuple[int, bytes]]:
        """The first line that begins at a place or after it, and the whole lines that follow.

        Returns:
            The place and the text of each whole line from there that ends within `length` bytes, or, if there is none, within
            twice as many.
        """
        before = min(place, 1)  # a line may begin right here
        part = os.pread(self._file.fileno(), length + before, place - before)
        begin = part.find(b"\n") + 1 if before else 0
        whole = part[begin : part.rfind(b"\n") + 1]
        if whole or len(part) < length + before:
            lines = whole.splitlines(keepends=True)
            ends = accumulate(map(len, lines), initial=place - before + begin)
            return list(zip(ends, lines, strict=False))
        return self.whole_lines(place, 2 * length)

    def fingerprint(self, position: int) -> str:
        """Tells the file up to a position from any other, by its beginning, which has the time of the run, and its end
        there."""
        ends = [os.pread(self._file.fileno(), min(4096, position), at) for at in (0, max(0, position - 4096))]
        return hashlib.sha256(b"".join(ends)).hexdigest()
