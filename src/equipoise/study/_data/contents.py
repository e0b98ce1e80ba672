"""What a data set holds, as arrays that were checked."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Bytes: TypeAlias = NDArray[np.uint8]

MOST_CLASSES = 256
BAG = 256
"""So many words of a message are looked at."""


@dataclass(frozen=True)
class Pictures:
    """Pictures of one size with labels, those for the test apart.

    Raises:
        ValueError: an array is not what its line says.
    """

    training_pixels: Bytes
    """(number, colours, height, width); rows from the top."""
    training_labels: Bytes
    """(number,), counted from 0."""
    test_pixels: Bytes
    test_labels: Bytes

    def __post_init__(self) -> None:
        for pixels, labels in ((self.training_pixels, self.training_labels), (self.test_pixels, self.test_labels)):
            _check(pixels, "pixels", np.uint8, 4)
            _check(labels, "labels", np.uint8, 1)
            if len(pixels) != len(labels):
                raise ValueError(f"there are {len(pixels):,} pictures and {len(labels):,} labels")
        if self.training_pixels.shape[1:] != self.test_pixels.shape[1:]:
            raise ValueError("the pictures for the test are of another size")
        if set(self.test_labels.tolist()) - set(self.training_labels.tolist()):
            raise ValueError("the test has labels that the training has not")

    @property
    def classes(self) -> int:
        """The number of classes."""
        return int(self.training_labels.max()) + 1

    def __str__(self) -> str:
        size = " x ".join(map(str, self.training_pixels.shape[1:]))
        training, test = len(self.training_labels), len(self.test_labels)
        return f"{training:,} pictures for training and validation, {test:,} for the test, {size}, {self.classes} classes"


@dataclass(frozen=True)
class Text:
    """A text in UTF-8.

    Raises:
        ValueError: it is no array of bytes.
    """

    text: Bytes

    def __post_init__(self) -> None:
        _check(self.text, "text", np.uint8, 1)

    def __str__(self) -> str:
        return f"{len(self.text):,} bytes of text"


@dataclass(frozen=True)
class Mail:
    """Messages as bags of words.

    Raises:
        ValueError: an array is not what its line says.
    """

    words: NDArray[np.int32]
    """(number, BAG): the distinct words of each message, numbered from 1 by how many messages have them; then zeros."""
    labels: Bytes
    """(number,): 1 is spam."""

    def __post_init__(self) -> None:
        _check(self.words, "words", np.int32, 2)
        _check(self.labels, "labels", np.uint8, 1)
        if len(self.words) != len(self.labels):
            raise ValueError(f"there are {len(self.words):,} messages and {len(self.labels):,} labels")
        if self.labels.max() > 1 or self.words.min() < 0:
            raise ValueError("labels are 0 and 1, and words are counted from 0")

    def __str__(self) -> str:
        spam, known = int(self.labels.sum()), int(self.words.max())
        return f"{len(self.labels):,} messages, {spam:,} of them spam, of {known:,} different words"


Contents: TypeAlias = Pictures | Text | Mail


def arrays_of(contents: Contents) -> dict[str, Any]:
    """The arrays by their names."""
    return {field.name: getattr(contents, field.name) for field in fields(contents)}


def digest_of(contents: Contents) -> str:
    """The SHA-256 of what is in the arrays, whatever file they came from."""
    found = hashlib.sha256()
    for name, array in arrays_of(contents).items():
        found.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()


def joined(parts: Sequence[Bytes]) -> Bytes:
    """Several batches as one."""
    return np.concatenate(parts)


def _check(array: NDArray[Any], name: str, kind: type, dimensions: int) -> None:
    if array.dtype != kind or array.ndim != dimensions or array.size == 0:
        raise ValueError(f"{name} are {array.dtype} of shape {array.shape}, not {kind.__name__} of {dimensions} dimensions")
