"""Small data in the formats of the originals, written by the tests."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import struct
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image

from equipoise.study._data import Contents, save
from equipoise.study._data.cifar import CIFAR_10, CIFAR_100, Archive
from equipoise.study._data.known import DATASETS

PER_BATCH = 12
RANDOM = np.random.default_rng(0)


def idx_bytes(array: np.ndarray) -> bytes:
    return struct.pack(f">{1 + array.ndim}I", 0x800 + array.ndim, *array.shape) + array.tobytes()


def write_idx(folder: Path, number: int = 40, *, zipped: bool = True) -> dict[str, np.ndarray]:
    """The four files of Fashion-MNIST, with `number` pictures of 28 x 28 in either half, each as bright as its label."""
    folder.mkdir(parents=True, exist_ok=True)
    written = {}
    for half in ("train", "t10k"):
        labels = (np.arange(number) % 10).astype(np.uint8)
        pictures = (RANDOM.integers(20, size=(number, 28, 28)) + 20 * labels[:, None, None]).astype(np.uint8)
        for name, array in ((f"{half}-images-idx3-ubyte", pictures), (f"{half}-labels-idx1-ubyte", labels)):
            content = idx_bytes(array)
            (folder / (f"{name}.gz" if zipped else name)).write_bytes(gzip.compress(content) if zipped else content)
            written[name] = array
    return written


class Python2Pickler(pickle._Pickler):
    """Writes strings as Python 2 did: as bytes."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_string(self, value: str | bytes) -> None:
        content = value.encode() if isinstance(value, str) else value
        self.write(pickle.BINSTRING + len(content).to_bytes(4, "little") + content)
        self.memoize(value)

    dispatch[str] = dispatch[bytes] = save_string


def pickled(batch: object) -> bytes:
    file = io.BytesIO()
    Python2Pickler(file, protocol=2).dump(batch)
    return file.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")  # numpy's old name


def cifar_batches(archive: Archive) -> dict[str, dict[bytes, object]]:
    """Random pictures, every batch with the keys of the original."""
    found = {}
    for name in (*archive.training, archive.test):
        found[name] = {
            b"batch_label": b"testing batch",
            b"filenames": [b"a.png"] * PER_BATCH,
            archive.key: (np.arange(PER_BATCH) * (archive.classes - 1) // (PER_BATCH - 1)).tolist(),
            b"data": RANDOM.integers(256, size=(PER_BATCH, 3072), dtype=np.uint8),
        }
    return found


def cifar_python(archive: Archive) -> dict[str, bytes]:
    return {f"cifar-batches-py/{name}": pickled(batch) for name, batch in cifar_batches(archive).items()}


def cifar_binary(archive: Archive, batches: dict[str, dict[bytes, object]]) -> dict[str, bytes]:
    """The same pictures as the binary version has them: labels (of CIFAR-100 the coarse one first), then pixels."""
    coarse = bytes(archive.ahead - 1)
    return {
        f"cifar-batches-bin/{name}.bin": b"".join(
            coarse + bytes([label]) + row.tobytes() for label, row in zip(batch[archive.key], batch[b"data"], strict=True)
        )
        for name, batch in batches.items()
    }


def write_tar(path: Path, contents: Mapping[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in contents.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path


def write_folder(path: Path, contents: Mapping[str, bytes]) -> Path:
    for name, content in contents.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def picture(colour: tuple[int, int, int], size: tuple[int, int] = (8, 6)) -> bytes:
    """A PNG of one colour; its size is width and height."""
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


def pictures(per_class: int = 10) -> dict[str, bytes]:
    colours = {"blue": (0, 0, 255), "red": (255, 0, 0), "grey": (99, 99, 99)}
    return {
        f"{half}/{name}/{number}.png": picture(colour)
        for half in ("train", "test")
        for name, colour in colours.items()
        for number in range(per_class)
    }


def messages(number: int = 24) -> dict[str, bytes]:
    """As many messages that are spam as others, as the npm package has them."""
    found = {}
    for at in range(number):
        for group, word in (("easy-ham-1", "meeting"), ("spam-2", "lottery")):
            text = f"Received: from somewhere\nSubject: About the {word}\n\nThe {word} of today, {'ab' * at} and so on.\n"
            found[f"package/data/{group}/{at:05}.aa.json"] = json.dumps({"id": f"{at}", "group": group, "text": text}).encode()
            found[f"package/data/{group}/{at:05}.aa.txt"] = text.encode()
    return found


def english(size: int = 120_000) -> bytes:
    return (b"It was the best of times, it was the worst of times. " * (size // 53 + 1))[:size]


def read(name: str, path: Path) -> Contents:
    return DATASETS[name].read(path)


def write_everything(folder: Path) -> None:
    """Read small originals of every data set, as the command does."""
    write_idx(folder / "idx")
    write_folder(folder / "pictures", pictures())
    (folder / "text.txt").write_bytes(english())
    sources = {
        "fashion-mnist": folder / "idx",
        "cifar-10": write_tar(folder / "cifar-10.tar.gz", cifar_python(CIFAR_10)),
        "cifar-100": write_tar(folder / "cifar-100.tar.gz", cifar_python(CIFAR_100)),
        "pictures": folder / "pictures",
        "tiny-shakespeare": folder / "text.txt",
        "text": folder / "text.txt",
        "mail": write_tar(folder / "mail.tgz", messages()),
    }
    assert sources.keys() == DATASETS.keys()
    for name, path in sources.items():
        save(name, read(name, path))
