"""The IDX files of MNIST, Fashion-MNIST and their kin: four files, gzipped or not.

Source: Xiao, Rasul and Vollgraf, Fashion-MNIST, arXiv 1708.07747; the format is LeCun's.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np

from equipoise.errors import UnusableInputError
from equipoise.study._data.contents import Bytes, Pictures
from equipoise.study._data.files import unfolded

LABELS, PICTURES = 0x801, 0x803
"""Unsigned bytes, in one dimension and in three."""


def read(folder: Path) -> Pictures:
    """Read ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte`` and the two of ``t10k``, each with or without ``.gz``.

    Raises:
        UnusableInputError: one is missing or damaged, or they do not belong together.
    """
    parts = [
        array
        for half in ("train", "t10k")
        for array in (
            _array(folder, f"{half}-images-idx3-ubyte", PICTURES)[:, None],
            _array(folder, f"{half}-labels-idx1-ubyte", LABELS),
        )
    ]
    try:
        return Pictures(*parts)
    except ValueError as error:
        raise UnusableInputError(f"{folder}: {error}") from None


def _array(folder: Path, name: str, magic: int) -> Bytes:
    path = next((path for path in (folder / name, folder / f"{name}.gz") if path.exists()), None)
    if path is None:
        raise UnusableInputError(f"{folder} has no {name} and no {name}.gz")
    content = unfolded(path)
    dimensions = magic & 0xFF
    if len(content) < 4 + 4 * dimensions or struct.unpack(">I", content[:4]) != (magic,):
        raise UnusableInputError(f"{path} is no IDX file of unsigned bytes in {dimensions} dimensions")
    shape = struct.unpack(f">{dimensions}I", content[4 : 4 + 4 * dimensions])
    array = np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions)
    if len(array) != math.prod(shape):
        raise UnusableInputError(f"{path} has {len(array):,} values, though it says {' x '.join(map(str, shape))}")
    return array.reshape(shape)
