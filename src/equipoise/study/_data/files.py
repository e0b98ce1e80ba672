"""The files in a folder or in an archive, one after the other, within limits."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

from equipoise._files import open_regular, read_regular
from equipoise._words import printable
from equipoise.errors import UnusableInputError
from equipoise.study._data.folder import MOST_BYTES

GZIP = b"\x1f\x8b"


def files_in(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the wanted files in a folder, or in a tar archive that may be gzipped.

    Links are not followed. Names have slashes, and are relative to the folder or the root of the archive.

    Args:
        path: of the folder or the archive.
        wanted: says of a name whether its content is.

    Raises:
        UnusableInputError: something cannot be read, is no archive, or has more than :data:`MOST_BYTES`.
    """
    return _in_folder(path, wanted) if path.is_dir() else _in_archive(path, wanted)


def unfolded(path: Path) -> bytes:
    """The content of a file, which may be gzipped.

    Raises:
        UnusableInputError: it cannot be read, is damaged, or has more than :data:`MOST_BYTES`.
    """
    with open_regular(path, MOST_BYTES) as file:
        try:
            content = _unzipped(file).read(MOST_BYTES + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise UnusableInputError(f"{path} is damaged: {error}") from None
    if len(content) > MOST_BYTES:
        raise _too_much(path)
    return content


def _in_folder(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    left = MOST_BYTES
    for place, folders, names in os.walk(path):
        folders.sort()
        for file in (Path(place, name) for name in sorted(names)):
            name = file.relative_to(path).as_posix()
            if wanted(name) and not file.is_symlink():
                content = read_regular(file, left)
                left -= len(content)
                yield name, content


def _in_archive(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    with open_regular(path) as file:
        try:
            stream = cast("BinaryIO", _Bounded(_unzipped(file), path))
            with tarfile.open(fileobj=stream, mode="r|") as tar:
                for member in tar:
                    name = member.name.removeprefix("./")
                    if member.isreg() and not member.issparse() and wanted(name):
                        content = tar.extractfile(member)
                        assert content is not None  # it is a regular file
                        yield name, content.read()
        except UnusableInputError:
            raise
        except (OSError, EOFError, ValueError, tarfile.TarError, zlib.error) as error:
            raise UnusableInputError(f"{path} is no folder and no tar archive: {printable(str(error))}") from None


def _unzipped(file: io.BufferedReader) -> BinaryIO:
    zipped = file.peek(2)[:2] == GZIP
    return cast("BinaryIO", gzip.GzipFile(fileobj=file)) if zipped else file


class _Bounded:
    """A stream that ends with an error where it is longer than a data set may be: few bytes can unfold to many."""

    def __init__(self, stream: BinaryIO, path: Path) -> None:
        self._stream, self._path, self._left = stream, path, MOST_BYTES

    def read(self, size: int) -> bytes:
        """The next bytes."""
        content = self._stream.read(size)
        self._left -= len(content)
        if self._left < 0:
            raise _too_much(self._path)
        return content


def _too_much(path: Path) -> UnusableInputError:
    return UnusableInputError(f"{path} unfolds to more than {MOST_BYTES:,} bytes")
