"""CIFAR-10 and CIFAR-100, from the original archives (the python version or the binary one) or from folders of pictures.

The python version consists of Python 2 pickles. A pickle can run any code, so only what makes up these files is let through:
dictionaries, lists, numbers, byte strings, and the raw bytes of numpy arrays.

Source: Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
"""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from equipoise._words import printable
from equipoise.errors import UnusableInputError
from equipoise.study._data import pictures
from equipoise.study._data.contents import Bytes, Pictures, joined
from equipoise.study._data.files import files_in

SIDE, PIXELS = 32, 3 * 32 * 32


@dataclass(frozen=True)
class Archive:
    """What the original files contain."""

    training: tuple[str, ...]
    """The names of the batches; those of the binary version end in ``.bin``."""
    test: str
    key: bytes
    """Under which a batch of the python version keeps its labels."""
    ahead: int
    """Bytes before the pixels of a picture in the binary version; the last of them is the label."""
    classes: int

    def read(self, path: Path) -> Pictures:
        """Read the archive, or the folder that it was unpacked to, or ``train/CLASS/`` and ``test/CLASS/`` with pictures.

        Raises:
            UnusableInputError: a batch is missing or damaged, or there is nothing that could be read.
        """
        names = (*self.training, self.test)
        accepted = {name + suffix for name in names for suffix in ("", ".bin")}
        found: dict[str, tuple[Bytes, Bytes]] = {}
        for place, content in files_in(path, lambda place: place.rpartition("/")[2] in accepted):
            name = place.rpartition("/")[2]
            read = self._binary if name.endswith(".bin") else self._python
            try:
                found[name.removesuffix(".bin")] = read(content)
            except Exception as error:  # what is damaged raises nearly anything
                reason = printable(str(error))
                raise UnusableInputError(f"{path}: {name} is not a batch of pictures: {reason}") from None
        if not found:
            return self._folders(path)
        if missing := [name for name in names if name not in found]:
            raise UnusableInputError(f"{path} has no {missing[0]}")
        pixels, labels = (joined(part) for part in zip(*(found[name] for name in self.training), strict=True))
        try:
            return Pictures(pixels, labels, *found[self.test])
        except ValueError as error:
            raise UnusableInputError(f"{path}: {error}") from None

    def _binary(self, content: bytes) -> tuple[Bytes, Bytes]:
        rows = np.frombuffer(content, np.uint8).reshape(-1, self.ahead + PIXELS)
        return self._checked(rows[:, self.ahead :], rows[:, self.ahead - 1])

    def _python(self, content: bytes) -> tuple[Bytes, Bytes]:
        batch = _Unpickler(io.BytesIO(content), encoding="bytes").load()
        return self._checked(batch[b"data"].bytes(), np.array(batch[self.key], np.int64))

    def _checked(self, pixels: Bytes, labels: np.ndarray[Any, Any]) -> tuple[Bytes, Bytes]:
        if labels.ndim != 1 or len(labels) != len(pixels) or not np.all((labels >= 0) & (labels < self.classes)):
            raise ValueError(f"labels must be {len(pixels)} numbers below {self.classes}")
        return pixels.reshape(-1, 3, SIDE, SIDE), labels.astype(np.uint8)

    def _folders(self, path: Path) -> Pictures:
        try:
            read = pictures.read(path)
        except UnusableInputError as error:
            names = ", ".join((*self.training, self.test))
            raise UnusableInputError(f"{error}; or the batches {names}, with or without .bin") from None
        if read.training_pixels.shape[2:] != (SIDE, SIDE) or read.classes != self.classes:
            raise UnusableInputError(f"{path} holds {read}: accepted are {self.classes} classes of {SIDE} x {SIDE}")
        return read


CIFAR_10 = Archive(tuple(f"data_batch_{number}" for number in range(1, 6)), "test_batch", b"labels", 1, 10)
CIFAR_100 = Archive(("train",), "test", b"fine_labels", 2, 100)


class _Numpy:
    """Stands for everything that a pickle asks of numpy: keeps what it is given and runs nothing."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state

    def bytes(self) -> Bytes:
        """The array, one picture per row."""
        _, (number, size), kind, by_columns, content = self.state
        if kind.arguments[0] != b"u1":
            raise ValueError(f"b'data' must be of type u1, not {kind.arguments[0]}")
        return np.frombuffer(content, np.uint8).reshape(number, size, order="F" if by_columns else "C")


class _Unpickler(pickle._Unpickler):  # pyright: ignore[reportPrivateUsage]  # that in C can be told to take gigabytes
    """Reads plain values and numpy arrays, and refuses every other name."""

    NAMES = frozenset({("numpy.core.multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype")})

    def find_class(self, module: str, name: str) -> Any:
        """What a name in the pickle stands for."""
        if (module, name) not in self.NAMES:
            raise ValueError(f"it asks for {module}.{name}, which is refused")
        return _Numpy
