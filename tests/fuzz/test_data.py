"""Original files of a data set that are nearly right are read, or refused in one short line."""

import gzip
import io
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from equipoise.study._data.cifar import CIFAR_10, CIFAR_100
from tests.study.originals import (
    cifar_batches,
    cifar_binary,
    english,
    idx_bytes,
    messages,
    pickled,
    pictures,
    write_folder,
    write_tar,
)

from .answers import answered


def jpeg(colour):
    file = io.BytesIO()
    Image.new("RGB", (16, 16), colour).save(file, "JPEG")
    return file.getvalue()


def originals():
    """The files of each data set by their names, in all formats."""
    ten, hundred = cifar_batches(CIFAR_10), cifar_batches(CIFAR_100)
    labels = (np.arange(20) % 10).astype(np.uint8)
    bright = np.repeat(labels, 784).reshape(20, 28, 28)
    idx = {f"{half}-images-idx3-ubyte": idx_bytes(bright) for half in ("train", "t10k")}
    idx |= {f"{half}-labels-idx1-ubyte.gz": gzip.compress(idx_bytes(labels)) for half in ("train", "t10k")}
    return [
        ("fashion-mnist", idx),
        ("cifar-10", {name: pickled(batch) for name, batch in ten.items()}),
        ("cifar-10", cifar_binary(CIFAR_10, ten)),
        ("cifar-100", {name: pickled(batch) for name, batch in hundred.items()}),
        ("cifar-100", cifar_binary(CIFAR_100, hundred)),
        ("pictures", pictures(2)),
        ("pictures", {f"{half}/a/{name}.jpg": jpeg((9, 99, 0)) for half in ("train", "test") for name in "ab"}),
        ("text", {"a.txt": english(), "b.txt": b"and more"}),
        ("mail", messages(3)),
    ]


ORIGINALS = originals()
CONTAINERS = ("folder", "archive")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EQUIPOISE_DATA", str(tmp_path_factory.mktemp("data")))
        yield tmp_path_factory.mktemp("originals")


@st.composite
def damages(draw):
    """The number of what is read, from what, and how one of its files, or the whole archive, is changed."""
    number = draw(st.integers(0, len(ORIGINALS) - 1))
    name, files = ORIGINALS[number]
    container = draw(st.sampled_from(CONTAINERS if name not in ("fashion-mnist", "text") else CONTAINERS[:1]))
    damaged = draw(st.sampled_from([*files, None] if container == "archive" else list(files)))
    changes = st.tuples(st.sampled_from(["flip", "set", "cut", "insert", "double"]), st.floats(0, 1), st.integers(0, 255))
    return number, container, damaged, draw(st.lists(changes, max_size=3))


def changed(content, changes):
    for how, where, byte in changes:
        # Half of the changes hit the first kilobyte, where headers are.
        place = int(where * (len(content) - 1)) if byte % 2 else int(where * min(len(content) - 1, 1000))
        match how:
            case "flip":
                content = content[:place] + bytes([content[place] ^ (1 << byte % 8)]) + content[place + 1 :]
            case "set":
                content = content[:place] + bytes([byte]) * 4 + content[place + 4 :]
            case "cut":
                content = content[: max(1, place)]
            case "insert":
                content = content[:place] + bytes([byte]) * 4 + content[place:]
            case "double":
                content = content[:place] + content[place // 2 :]
    return content


@settings(max_examples=max(150, settings().max_examples // 10))
@given(damages())
def test_originals_that_are_nearly_right_are_read_or_refused_in_one_short_line(folder, damage):
    number, container, damaged, changes = damage
    name, files = ORIGINALS[number]
    place = Path(tempfile.mkdtemp(dir=folder))
    files = {each: changed(content, changes) if each == damaged else content for each, content in files.items()}
    if container == "folder":
        source = write_folder(place, files)
    else:
        source = write_tar(place / "original.tar.gz", files)
        if damaged is None:
            source.write_bytes(changed(source.read_bytes(), changes))
    answered("data", name, "--from", source)
