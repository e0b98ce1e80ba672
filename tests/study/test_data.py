"""Original files become arrays, byte by byte; whatever else they hold becomes one line that names the file."""

from __future__ import annotations

import gzip
import os
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest

from equipoise.errors import UnusableInputError
from equipoise.study._data import DATASETS, Mail, Pictures, Text, digest_of, file_of, load, require, save
from equipoise.study._data import files as limits
from equipoise.study._data.cifar import CIFAR_10, CIFAR_100

from .originals import (
    PER_BATCH,
    cifar_batches,
    cifar_binary,
    cifar_python,
    english,
    idx_bytes,
    messages,
    pickled,
    picture,
    pictures,
    read,
    write_folder,
    write_idx,
    write_tar,
)

CIFAR = {"cifar-10": CIFAR_10, "cifar-100": CIFAR_100}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("EQUIPOISE_DATA", str(tmp_path / "data"))


def refused(name: str, path: Path, words: str) -> None:
    with pytest.raises(UnusableInputError, match=words) as error:
        read(name, path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("zipped", [True, False])
def test_every_picture_comes_out_of_idx_files_as_it_went_in(tmp_path, zipped):
    written = write_idx(tmp_path / "idx", zipped=zipped)
    found = read("fashion-mnist", tmp_path / "idx")
    assert isinstance(found, Pictures)
    assert found.classes == 10
    for half, pixels, labels in (
        ("train", found.training_pixels, found.training_labels),
        ("t10k", found.test_pixels, found.test_labels),
    ):
        assert np.array_equal(pixels[:, 0], written[f"{half}-images-idx3-ubyte"])
        assert np.array_equal(labels, written[f"{half}-labels-idx1-ubyte"])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no IDX file"),
        (struct.pack(">4I", 0x0D03, 40, 28, 28), "no IDX file of unsigned bytes in 3 dimensions"),
        (struct.pack(">4I", 0x0803, 40, 28, 28), "has 0 values, though it says 40 x 28 x 28"),
        (struct.pack(">4I", 0x0803, *[2**32 - 1] * 3), "though it says 4294967295"),
        (idx_bytes(np.zeros((39, 28, 28), np.uint8)), "39 pictures and 40 labels"),
        (gzip.compress(bytes(1000))[:20], "is damaged"),
    ],
)
def test_idx_files_that_are_not_what_they_say_are_refused(tmp_path, content, words):
    write_idx(tmp_path, zipped=False)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(content)
    refused("fashion-mnist", tmp_path, words)


def test_a_missing_idx_file_is_named(tmp_path):
    refused("fashion-mnist", tmp_path, "has no train-images-idx3-ubyte and no train-images-idx3-ubyte.gz")


@pytest.mark.parametrize("name", CIFAR)
def test_both_versions_of_cifar_and_their_unpacked_folders_give_the_same_pictures(tmp_path, name):
    archive = CIFAR[name]
    batches = cifar_batches(archive)
    python = {f"cifar/{each}": pickled(batch) for each, batch in batches.items()}
    binary = cifar_binary(archive, batches)
    found = read(name, write_tar(tmp_path / "python.tar.gz", python))
    assert isinstance(found, Pictures)
    assert found.classes == archive.classes
    parts = [batches[each] for each in archive.training]
    assert found.training_labels.tolist() == [label for part in parts for label in part[archive.key]]
    # Row-major planes, red first: the byte at 1024 is the green one of the upper left corner.
    pixels = np.concatenate([part[b"data"] for part in parts])
    assert found.training_pixels[:, 1, 0, 0].tolist() == pixels[:, 1024].tolist()
    assert found.test_pixels[:, 2, 31, 30].tolist() == batches[archive.test][b"data"][:, -2].tolist()
    for other in (
        write_tar(tmp_path / "binary.tar.gz", binary),
        write_folder(tmp_path / "python", python),
        write_folder(tmp_path / "binary", binary) / "cifar-batches-bin",
    ):
        assert digest_of(read(name, other)) == digest_of(found)


def test_pictures_that_were_stored_column_by_column_are_read_as_such(tmp_path):
    batches = cifar_batches(CIFAR_100)
    expected = read("cifar-100", write_tar(tmp_path / "a.tar", {name: pickled(batch) for name, batch in batches.items()}))
    batches["train"][b"data"] = np.asfortranarray(batches["train"][b"data"])
    found = read("cifar-100", write_tar(tmp_path / "b.tar", {name: pickled(batch) for name, batch in batches.items()}))
    assert digest_of(found) == digest_of(expected)


class Attack:
    """Unpickled without care, makes a folder."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


def test_a_pickle_that_asks_for_anything_else_is_refused_and_not_run(tmp_path):
    target = tmp_path / "made by the pickle"
    attack = pickle.dumps([Attack(target)], protocol=2)
    path = write_tar(tmp_path / "cifar.tar.gz", {**cifar_python(CIFAR_10), "data_batch_3": attack})
    with pytest.raises(UnusableInputError, match=rf"{os.mkdir.__module__}\.mkdir.*refused"):
        read("cifar-10", path)
    assert not target.exists()
    pickle.loads(attack)
    assert target.exists()  # the pickle is a real attack


@pytest.mark.parametrize("name", ["numpy.core.multiarray\nscalar", "numpy\nload", "builtins\neval", "__builtin__\neval"])
def test_names_beside_the_three_of_an_array_are_refused(tmp_path, name):
    path = write_tar(tmp_path / "cifar.tar.gz", {"data_batch_1": b"\x80\x02c" + name.encode() + b"\n."})
    with pytest.raises(UnusableInputError, match="refused"):
        read("cifar-10", path)


def test_a_pickle_cannot_ask_for_a_table_of_gigabytes(tmp_path):
    """The unpickler of C makes one as large as the largest number that a value is remembered by."""
    path = write_tar(tmp_path / "cifar.tar.gz", {"data_batch_1": b"\x80\x02Nr\xff\xff\xff\x7f."})
    refused("cifar-10", path, "data_batch_1 is not a batch of pictures")


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
def test_a_batch_that_is_not_what_it_should_be_is_named(tmp_path, change):
    batches = cifar_batches(CIFAR_10)
    batches["data_batch_2"].update(change)
    path = write_tar(tmp_path / "cifar.tar.gz", {name: pickled(batch) for name, batch in batches.items()})
    refused("cifar-10", path, "data_batch_2 is not a batch of pictures")


def test_a_missing_or_damaged_archive_is_named(tmp_path):
    refused("cifar-10", tmp_path / "none.tar.gz", "cannot be read: No such file")
    whole = write_tar(tmp_path / "whole.tar.gz", cifar_python(CIFAR_10))
    (tmp_path / "half.tar.gz").write_bytes(whole.read_bytes()[:2000])
    refused("cifar-10", tmp_path / "half.tar.gz", "is no folder and no tar archive")
    without = {name: content for name, content in cifar_python(CIFAR_10).items() if not name.endswith("test_batch")}
    refused("cifar-10", write_tar(tmp_path / "without.tar.gz", without), "has no test_batch")
    refused(
        "cifar-10", write_tar(tmp_path / "other.tar.gz", {"readme.txt": b""}), "holds no pictures.*or the batches data_batch_1"
    )
    (tmp_path / "binary").mkdir()
    (tmp_path / "binary" / "data_batch_1.bin").write_bytes(bytes(3072))
    refused("cifar-10", tmp_path / "binary", "data_batch_1.bin is not a batch of pictures")


def test_an_archive_that_unfolds_to_more_than_it_may_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "MOST_BYTES", 10**6)
    bomb = write_tar(tmp_path / "bomb.tar.gz", {"data_batch_1": bytes(10**7)})
    assert bomb.stat().st_size < 20_000
    refused("cifar-10", bomb, "unfolds to more than 1,000,000 bytes")
    entry = tarfile.TarInfo("a")
    entry.type, entry.size = tarfile.XHDTYPE, 10**9  # an extended header: whoever lists the archive has to read it
    (tmp_path / "header.tar.gz").write_bytes(gzip.compress(entry.tobuf(tarfile.USTAR_FORMAT) + bytes(2 * 10**6)))
    refused("cifar-10", tmp_path / "header.tar.gz", "unfolds to more than 1,000,000 bytes")
    write_idx(tmp_path / "idx")
    (tmp_path / "idx" / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes(10**7)))
    with pytest.raises(UnusableInputError, match="unfolds to more than 1,000,000 bytes"):
        read("fashion-mnist", tmp_path / "idx")


def test_links_out_of_a_folder_and_in_an_archive_are_not_followed(tmp_path):
    (tmp_path / "secret.txt").write_bytes(english())
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "link.txt").symlink_to(tmp_path / "secret.txt")
    refused("text", tmp_path / "folder", "has 0 .txt files")


def test_a_folder_of_pictures_and_an_archive_of_it_are_the_same(tmp_path):
    found = read("pictures", write_folder(tmp_path / "mine", pictures()))
    assert isinstance(found, Pictures)
    assert found.training_pixels.shape == (30, 3, 6, 8)
    assert found.training_labels.tolist() == [0] * 10 + [1] * 10 + [2] * 10  # blue, grey, red
    assert found.training_pixels[0, :, 3, 4].tolist() == [0, 0, 255]
    shuffled = dict(sorted(pictures().items(), reverse=True))
    assert digest_of(read("pictures", write_tar(tmp_path / "mine.tar.gz", shuffled))) == digest_of(found)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"train/red/0.png": b"not a picture"}, r"train/red/0\.png is no picture"),
        ({"train/red/0.png": b"GIF89a" + bytes(50)}, "is no picture"),
        ({"train/red/0.png": picture((0, 0, 0), (8, 7))}, "must be of one size; there are 6 x 8, 7 x 8"),
        ({"train/red/0.png": picture((0, 0, 0), (20_000, 5_000))}, r"train/red/0\.png is no picture: .*decompression bomb"),
        ({"train/red/0.png": picture((0, 0, 0), (257, 1))}, "257 x 1 pixels: accepted are 256 each way"),
        ({"test/green/0.png": picture((0, 0, 0))}, "test/green has no train/green"),
    ],
)
def test_pictures_that_do_not_belong_together_are_refused(tmp_path, change, words):
    refused("pictures", write_folder(tmp_path / "mine", {**pictures(1), **change}), words)


def test_cifar_as_pictures_must_be_of_its_size_and_classes(tmp_path):
    refused("cifar-10", write_folder(tmp_path / "mine", pictures(1)), "accepted are 10 classes of 32 x 32")


def test_text_is_a_file_or_all_txt_files_of_a_folder_in_the_order_of_their_names(tmp_path):
    halves = {"b/2.txt": english(60_000), "a/1.txt": b"first" + english(60_000), "c.md": b"\xff"}
    found = read("text", write_folder(tmp_path / "books", halves))
    assert isinstance(found, Text)
    assert found.text.tobytes() == halves["a/1.txt"] + halves["b/2.txt"]
    (tmp_path / "one").write_bytes(found.text.tobytes())
    assert digest_of(read("text", tmp_path / "one")) == digest_of(found)


def test_text_that_is_too_short_or_no_utf_8_is_refused(tmp_path):
    (tmp_path / "short.txt").write_bytes(english(99_999))
    refused("text", tmp_path / "short.txt", "has 99,999 bytes: at least 100,000 are needed")
    (tmp_path / "latin.txt").write_bytes(english() + "é".encode("latin-1"))
    refused("text", tmp_path / "latin.txt", r"latin\.txt is not UTF-8 text \(byte 120000\)")


def test_mail_is_its_subject_and_body_by_the_words_that_two_messages_have(tmp_path):
    found = read("mail", write_tar(tmp_path / "mail.tgz", messages()))
    assert isinstance(found, Mail)
    assert found.labels.tolist() == [0] * 24 + [1] * 24
    # Seven words are in all 48 messages, two in 24, and ten, "ab" to "abab...", in two each.
    assert set(found.words[0][:8].tolist()) == {1, 2, 3, 4, 5, 6, 7, 9}
    assert set(found.words[24][:8].tolist()) == {1, 2, 3, 4, 5, 6, 7, 8}
    assert found.words.max() == 9 + 10
    assert not found.words[0][8:].any()
    assert digest_of(read("mail", write_folder(tmp_path / "mail", messages()))) == digest_of(found)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "is not valid JSON"),
        (b"[]", "has no text"),
        (b'{"text": 3}', "has no text"),
        (b"[" * 10**5, "is nested too deep"),
    ],
)
def test_a_message_that_is_no_message_is_named(tmp_path, content, words):
    found = {**messages(2), "package/data/spam-1/00001.aa.json": content}
    refused("mail", write_tar(tmp_path / "mail.tgz", found), rf"spam-1/00001\.aa\.json {words}")


def test_mail_of_one_kind_is_refused(tmp_path):
    ham = {name: content for name, content in messages(2).items() if "ham" in name}
    refused("mail", write_tar(tmp_path / "mail.tgz", ham), "does not hold messages of both kinds")


def test_what_is_kept_comes_back_and_is_the_same_file_every_time(tmp_path):
    found = read("mail", write_tar(tmp_path / "mail.tgz", messages()))
    path = save("mail", found)
    first = path.read_bytes()
    assert path == require("mail") == tmp_path / "data" / "mail.npz"
    assert digest_of(load(path, Mail)) == digest_of(found)
    save("mail", found)
    assert path.read_bytes() == first


@pytest.mark.parametrize("damage", [lambda whole: b"", lambda whole: whole[:-30], lambda whole: whole.replace(b"|u1", b"|i1")])
def test_a_damaged_file_in_the_folder_is_one_line(tmp_path, damage):
    path = save("mail", read("mail", write_tar(tmp_path / "mail.tgz", messages())))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UnusableInputError, match=r"mail\.npz is damaged .* read the original files again"):
        load(path, Mail)


def test_a_file_in_the_folder_is_not_unpickled(tmp_path):
    (tmp_path / "data").mkdir()
    np.savez(file_of("text"), text=np.array([Attack(tmp_path / "made")], object))
    with pytest.raises(UnusableInputError, match="damaged"):
        load(file_of("text"), Text)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("name", DATASETS)
def test_data_that_are_missing_are_asked_for_with_the_command_that_gets_them(name):
    with pytest.raises(UnusableInputError, match=f"the data '{name}' are not there .* equipoise data {name} --from "):
        require(name)


def test_the_folder_is_that_of_the_setting_or_of_the_users_data(monkeypatch, tmp_path):
    assert file_of("mail") == tmp_path / "data" / "mail.npz"
    monkeypatch.delenv("EQUIPOISE_DATA")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    assert file_of("mail") == tmp_path / "share" / "equipoise" / "mail.npz"
    monkeypatch.delenv("XDG_DATA_HOME")
    assert file_of("mail") == Path.home() / ".local" / "share" / "equipoise" / "mail.npz"
