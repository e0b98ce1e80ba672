"""CIFAR-10 and CIFAR-100, read from a local copy of the original archives; nothing is downloaded.

The archives are gzipped tars of Python 2 pickles. A pickle can run any code, so only what makes up these files is let
through: dictionaries, lists, numbers, byte strings, and the raw bytes of numpy arrays.

Source: Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
"""

from __future__ import annotations

import hashlib
import pickle
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from equipoise.errors import UnusableInputError


@dataclass(frozen=True)
class Archive:
    """What one of the original files contains."""

    file: str
    md5: str
    """The checksum of the file that its authors publish."""
    folder: str
    training: tuple[str, ...]
    test: str
    labels: bytes
    """Under which key a batch keeps its labels."""
    classes: int


CIFAR_10 = Archive(
    file="cifar-10-python.tar.gz",
    md5="c58f30108f718f92721af3b95e74349a",
    folder="cifar-10-batches-py",
    training=tuple(f"data_batch_{number}" for number in range(1, 6)),
    test="test_batch",
    labels=b"labels",
    classes=10,
)
CIFAR_100 = Archive(
    file="cifar-100-python.tar.gz",
    md5="eb9058c3a382ffc7106e4002c42a8d85",
    folder="cifar-100-python",
    training=("train",),
    test="test",
    labels=b"fine_labels",
    classes=100,
)


class Images(NamedTuple):
    """Pictures and what they show."""

    pixels: Tensor
    """uint8, shape (number, 3, 32, 32): red, green, blue; rows from the top."""
    labels: Tensor
    """int64, shape (number,)."""


def read(archive: Archive, folder: Path) -> tuple[Images, Images]:
    """The training and the test images.

    Args:
        archive: which of the two.
        folder: where the ``.tar.gz`` lies.

    Raises:
        UnusableInputError: the file is missing, is not a gzipped tar, lacks a batch, or a batch is not what it should be.
    """
    path = folder / archive.file
    try:
        with tarfile.open(path, "r:gz") as tar:
            parts = [_batch(tar, archive, name) for name in archive.training]
            test = _batch(tar, archive, archive.test)
    except (OSError, EOFError, tarfile.TarError, KeyError) as error:
        raise UnusableInputError(f"{path}: cannot be read: {error}") from error
    return Images(torch.cat([part.pixels for part in parts]), torch.cat([part.labels for part in parts])), test


def provenance(archive: Archive, folder: Path) -> str:
    """Whether the file is the one that its authors publish, in a sentence.

    Raises:
        UnusableInputError: the file cannot be read.
    """
    path = folder / archive.file
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "md5").hexdigest()
    except OSError as error:
        raise UnusableInputError(f"{path}: cannot be read: {error.strerror}") from None
    same = "the original's" if found == archive.md5 else f"not the original's, which is {archive.md5}"
    return f"{path}: its md5 is {found}, {same}"


def _batch(tar: tarfile.TarFile, archive: Archive, name: str) -> Images:
    member = f"{archive.folder}/{name}"
    file = tar.extractfile(member)
    if file is None:
        raise UnusableInputError(f"{archive.file}: {member} is not a file")
    try:
        batch = _Unpickler(file, encoding="bytes").load()
        pixels, labels = batch[b"data"].pixels(), batch[archive.labels]
        if len(labels) != len(pixels) or not all(0 <= label < archive.classes for label in labels):
            raise ValueError(f"{archive.labels} must be {len(pixels)} numbers below {archive.classes}")
        return Images(pixels, torch.tensor(labels, dtype=torch.int64))
    except UnusableInputError:
        raise
    except Exception as error:  # what is damaged raises nearly anything
        raise UnusableInputError(f"{archive.file}: {member} is not a batch of pictures: {error!r}") from error


class _Numpy:
    """Stands for everything that a pickle asks of numpy: keeps what it is given and runs nothing."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state

    def pixels(self) -> Tensor:
        """The pixels in an array of bytes, one picture per row."""
        _, (number, size), kind, by_columns, content = self.state
        if kind.arguments[0] != b"u1":
            raise ValueError(f"b'data' must be of type u1, not {kind.arguments[0]}")
        array = np.frombuffer(content, np.uint8).reshape(number, size, order="F" if by_columns else "C")
        return torch.from_numpy(array.copy()).reshape(number, 3, 32, 32)


class _Unpickler(pickle.Unpickler):
    """Reads plain values and numpy arrays, and refuses every other name."""

    NAMES = frozenset({("numpy.core.multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype")})

    def find_class(self, module: str, name: str) -> Any:
        """What a name in the pickle stands for."""
        if (module, name) not in self.NAMES:
            raise UnusableInputError(f"a pickle asks for {module}.{name}, which pictures do not need: refused")
        return _Numpy
