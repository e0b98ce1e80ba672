"""Folders of pictures: ``train/CLASS/`` and ``test/CLASS/``, as a folder or as a tar archive."""

from __future__ import annotations

import importlib
import io
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from equipoise._words import printable
from equipoise.errors import MissingExtraError, UnusableInputError
from equipoise.study._data.contents import MOST_CLASSES, Bytes, Pictures
from equipoise.study._data.files import files_in

PLACE = re.compile(r"(?:.*/)?(train|test)/([^/]+)/[^/]+\.(?:png|jpe?g)", re.IGNORECASE)
LONGEST_SIDE = 256
"""In pixels."""


def read(path: Path) -> Pictures:
    """Read PNG and JPEG pictures, all of one size, as red, green and blue. Classes are numbered by their names' order.

    Raises:
        UnusableInputError: a picture is damaged or of another size, there are none, or too many classes.
        MissingExtraError: Pillow is not installed.
    """
    found: dict[str, dict[tuple[str, str], Bytes]] = {"train": {}, "test": {}}
    for name, content in files_in(path, lambda name: PLACE.fullmatch(name) is not None):
        match = PLACE.fullmatch(name)
        assert match is not None  # it was wanted
        found[match[1].lower()][match[2], name] = _pixels(content, f"{path}: {printable(name)}")
    classes = sorted({label for label, _ in found["train"]})
    if not classes or not found["test"]:
        raise UnusableInputError(f"{path} holds no pictures: looked for train/CLASS/ and test/CLASS/ with .png, .jpg and .jpeg")
    if len(classes) > MOST_CLASSES:
        raise UnusableInputError(f"{path} has {len(classes):,} classes: accepted are {MOST_CLASSES}")
    if unknown := sorted({label for label, _ in found["test"]} - set(classes)):
        raise UnusableInputError(f"{path}: test/{printable(unknown[0])} has no train/{printable(unknown[0])}")
    sizes = {pixels.shape for half in found.values() for pixels in half.values()}
    if len(sizes) > 1:
        shown = ", ".join(sorted(f"{height} x {width}" for _, height, width in sizes)[:3])
        raise UnusableInputError(f"{path}: the pictures must be of one size; there are {shown}")
    parts: list[Bytes] = []
    for half in found.values():
        places = sorted(half)
        parts.append(np.stack([half[place] for place in places]))
        parts.append(np.array([classes.index(label) for label, _ in places], np.uint8))
    return Pictures(*parts)


def _pixels(content: bytes, source: str) -> Bytes:
    pillow = _pillow()
    try:
        with warnings.catch_warnings(action="error"), pillow.open(io.BytesIO(content), formats=("PNG", "JPEG")) as image:
            size = image.size
            pixels = np.asarray(image.convert("RGB")) if max(size) <= LONGEST_SIDE else None
    except Exception as error:  # what is damaged raises nearly anything
        raise UnusableInputError(f"{source} is no picture: {printable(str(error))}") from None
    if pixels is None:
        raise UnusableInputError(f"{source} has {size[0]} x {size[1]} pixels: accepted are {LONGEST_SIDE} each way")
    return pixels.transpose(2, 0, 1)


def _pillow() -> Any:
    try:
        return importlib.import_module("PIL.Image")
    except ImportError:
        raise MissingExtraError("reading pictures", "study") from None
