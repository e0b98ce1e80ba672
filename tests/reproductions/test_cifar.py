"""The loader reads archives in the original format, and runs nothing that they contain."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import tarfile
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from equipoise.errors import UnusableInputError
from equipoise.study._cells import Assignment
from equipoise.study._spec import TaskSource
from equipoise.study._worker import Report, Trial
from reproductions import cifar, tasks
from reproductions.cifar import CIFAR_10, CIFAR_100, Archive

PER_BATCH = 12


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


def batches(archive: Archive) -> dict[str, dict[bytes, object]]:
    """Random pictures, every batch with the keys of the original."""
    random = np.random.default_rng(0)
    found = {}
    for name in (*archive.training, archive.test):
        pixels = random.integers(256, size=(PER_BATCH, 3072), dtype=np.uint8)
        labels = random.integers(archive.classes, size=PER_BATCH).tolist()
        found[name] = {
            b"batch_label": b"testing batch",
            b"filenames": [b"a.png"] * PER_BATCH,
            archive.labels: labels,
            b"data": pixels,
        }
    return found


def write(folder: Path, archive: Archive, contents: dict[str, bytes]) -> Path:
    path = folder / archive.file
    with tarfile.open(path, "w:gz") as tar:
        for name, content in contents.items():
            entry = tarfile.TarInfo(f"{archive.folder}/{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path


def generate(folder: Path, archive: Archive) -> dict[str, dict[bytes, object]]:
    found = batches(archive)
    write(folder, archive, {name: pickled(batch) for name, batch in found.items()})
    return found


@pytest.mark.parametrize("archive", [CIFAR_10, CIFAR_100])
def test_every_picture_comes_out_of_an_archive_as_it_went_in(archive: Archive, tmp_path: Path):
    written = generate(tmp_path, archive)
    training, test = cifar.read(archive, tmp_path)
    names = iter(written)
    for images, count in ((training, len(archive.training)), (test, 1)):
        parts = [written[next(names)] for _ in range(count)]
        pixels = np.concatenate([part[b"data"] for part in parts])
        assert images.pixels.shape == (count * PER_BATCH, 3, 32, 32)
        assert images.labels.tolist() == [label for part in parts for label in part[archive.labels]]
        # Row-major planes, red first: the byte at 1024 is the green one of the upper left corner.
        assert images.pixels[:, 1, 0, 0].tolist() == pixels[:, 1024].tolist()
        assert images.pixels[:, 2, 31, 30].tolist() == pixels[:, -2].tolist()


class Attack:
    """Unpickled without care, makes a folder."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


def test_a_pickle_that_asks_for_anything_else_is_refused_and_not_run(tmp_path: Path):
    target = tmp_path / "made by the pickle"
    attack = pickle.dumps([Attack(target)], protocol=2)
    contents = {name: pickled(batch) for name, batch in batches(CIFAR_10).items()}
    write(tmp_path, CIFAR_10, {**contents, "data_batch_3": attack})
    with pytest.raises(UnusableInputError, match=rf"{os.mkdir.__module__}\.mkdir.*refused"):
        cifar.read(CIFAR_10, tmp_path)
    assert not target.exists()
    pickle.loads(attack)
    assert target.exists()  # the pickle is a real attack


@pytest.mark.parametrize("name", ["numpy.core.multiarray\nscalar", "numpy\nload", "builtins\neval", "__builtin__\neval"])
def test_names_beside_the_three_of_an_array_are_refused(name: str, tmp_path: Path):
    contents = {batch: b"\x80\x02c" + name.encode() + b"\n." for batch in batches(CIFAR_10)}
    write(tmp_path, CIFAR_10, contents)
    with pytest.raises(UnusableInputError, match="refused"):
        cifar.read(CIFAR_10, tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {b"data": np.zeros((PER_BATCH, 3071), np.uint8)},
        {b"data": np.zeros((PER_BATCH, 3072), np.int8)},
        {b"data": np.zeros(PER_BATCH * 3072, np.uint8)},
        {b"data": [1, 2, 3]},
        {b"labels": [0] * (PER_BATCH - 1)},
        {b"labels": [0] * (PER_BATCH - 1) + [10]},
        {b"labels": [b"frog"] * PER_BATCH},
    ],
)
def test_a_batch_that_is_not_what_it_should_be_is_named(change: dict, tmp_path: Path):
    found = batches(CIFAR_10)
    found["data_batch_2"].update(change)
    write(tmp_path, CIFAR_10, {name: pickled(batch) for name, batch in found.items()})
    with pytest.raises(UnusableInputError, match="data_batch_2 is not a batch of pictures"):
        cifar.read(CIFAR_10, tmp_path)


def test_pictures_that_were_stored_column_by_column_are_read_as_such(tmp_path: Path):
    found = batches(CIFAR_100)
    generate(tmp_path, CIFAR_100)
    expected, _ = cifar.read(CIFAR_100, tmp_path)
    found["train"][b"data"] = np.asfortranarray(found["train"][b"data"])
    write(tmp_path, CIFAR_100, {name: pickled(batch) for name, batch in found.items()})
    assert torch.equal(cifar.read(CIFAR_100, tmp_path)[0].pixels, expected.pixels)


def test_a_missing_or_damaged_archive_is_named(tmp_path: Path):
    with pytest.raises(UnusableInputError, match="cifar-10-python"):
        cifar.read(CIFAR_10, tmp_path)
    generate(tmp_path, CIFAR_10)
    path = tmp_path / CIFAR_10.file
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(UnusableInputError, match="cifar-10-python"):
        cifar.read(CIFAR_10, tmp_path)
    contents = {name: pickled(batch) for name, batch in batches(CIFAR_10).items() if name != "test_batch"}
    write(tmp_path, CIFAR_10, contents)
    with pytest.raises(UnusableInputError, match="test_batch"):
        cifar.read(CIFAR_10, tmp_path)
    write(tmp_path, CIFAR_10, {**contents, "test_batch": b"not a pickle"})
    with pytest.raises(UnusableInputError, match="test_batch is not a batch of pictures"):
        cifar.read(CIFAR_10, tmp_path)


def test_the_checksum_is_reported_and_nothing_else(tmp_path: Path):
    generate(tmp_path, CIFAR_10)
    digest = hashlib.md5((tmp_path / CIFAR_10.file).read_bytes()).hexdigest()
    said = cifar.provenance(CIFAR_10, tmp_path)
    assert digest in said
    assert "not the original's" in said


def test_a_trial_of_cifar_trains_on_an_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    generate(tmp_path, CIFAR_100)
    monkeypatch.setenv(tasks.ARCHIVES, str(tmp_path))
    reports: list[Report] = []
    torch.manual_seed(0)
    assigned = Assignment(TaskSource("", "", ""), "accuracy", 2, "torch.optim.Adam", {}, 1e-3, 0)
    tasks.cifar100_norm(Trial(assigned, reports.append))
    assert [report.epoch for report in reports] == [1, 2]
    assert 0 < reports[1].metrics["loss"] < reports[0].metrics["loss"]
