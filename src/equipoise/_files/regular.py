"""Files are opened only if they are regular ones of a bounded size: what a user names may be a pipe or a device."""

from __future__ import annotations

import os
import stat
from io import BufferedReader
from pathlib import Path

from equipoise.errors import UnusableInputError

CONFIGURATION_BYTES = 2**20
"""The largest configuration file. Those of trainers have some kilobytes; YAML of this size takes two seconds to read."""


def open_regular(path: Path, at_most: int | None = None) -> BufferedReader:
    """Open a file for reading, unless it is a folder, a pipe, a device or a socket, which may block or never end.

    Args:
        path: of the file.
        at_most: the number of bytes that it may have.

    Raises:
        UnusableInputError: it cannot be read, is no regular file, or is larger.
    """
    try:
        file = open(path, "rb", opener=_open_without_waiting)  # noqa: SIM115 (the caller closes it)
    except (OSError, ValueError) as error:  # a ValueError: a NUL byte in the name
        raise UnusableInputError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    found = os.fstat(file.fileno())
    if not stat.S_ISREG(found.st_mode):
        file.close()
        raise UnusableInputError(f"{path} is a pipe, a device or a socket: accepted are regular files")
    if at_most is not None and found.st_size > at_most:
        file.close()
        raise _too_large(path, at_most)
    return file


def read_regular(path: Path, at_most: int) -> bytes:
    """The content of a regular file of at most so many bytes.

    Raises:
        UnusableInputError: as :func:`open_regular` says.
    """
    with open_regular(path, at_most) as file:
        try:
            content = file.read(at_most + 1)
        except OSError as error:
            raise UnusableInputError(f"{path} cannot be read: {error.strerror or error}") from None
    if len(content) > at_most:  # it grew, or belongs to a file system that does not know sizes
        raise _too_large(path, at_most)
    return content


def read_text(path: Path, at_most: int = CONFIGURATION_BYTES) -> str:
    """The content of a text file in UTF-8, with or without a byte order mark.

    Raises:
        UnusableInputError: as :func:`open_regular` says, or it is not UTF-8.
    """
    try:
        return read_regular(path, at_most).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnusableInputError(f"{path} is not UTF-8 text (byte {error.start} is {error.object[error.start]:#04x})") from None


def _open_without_waiting(path: str, flags: int) -> int:
    """Open a pipe at once, although nobody writes to it."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _too_large(path: Path, at_most: int) -> UnusableInputError:
    return UnusableInputError(f"{path} is too large: accepted are files of up to {at_most:,} bytes")
