"""Real text that every machine has: source files of Python's standard library, which differ a little between its versions."""

from __future__ import annotations

import re
import sysconfig
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from equipoise.study._tasks.training import Data, Examples, accuracy, cross_entropy, split, train
from equipoise.study._tasks.transformer import Size, Transformer
from equipoise.study._worker import Trial

# fmt: off
FILES = (
    "argparse.py", "ast.py", "base64.py", "bdb.py", "bisect.py", "calendar.py", "cmd.py", "code.py", "codecs.py",
    "compileall.py", "configparser.py", "contextlib.py", "copy.py", "csv.py", "dataclasses.py", "difflib.py", "dis.py",
    "doctest.py", "enum.py", "filecmp.py", "fileinput.py", "fnmatch.py", "gettext.py", "graphlib.py", "gzip.py",
    "hashlib.py", "hmac.py", "imaplib.py", "inspect.py", "ipaddress.py", "linecache.py", "locale.py", "mailbox.py",
    "mimetypes.py", "netrc.py", "ntpath.py", "numbers.py", "operator.py", "optparse.py", "os.py", "pdb.py", "pickle.py",
    "pickletools.py", "pkgutil.py", "platform.py", "plistlib.py", "poplib.py", "posixpath.py", "pprint.py", "pyclbr.py",
    "queue.py", "random.py", "reprlib.py", "sched.py", "selectors.py", "shelve.py", "shutil.py", "smtplib.py",
    "socketserver.py", "string.py", "subprocess.py", "tarfile.py", "tempfile.py", "textwrap.py",
)
# fmt: on
"""Pure Python, ASCII only, present from 3.11 on; in alphabetic order."""

SMALL = Size(width=32, depth=2, heads=2, context=32, batch=8)
STEPS_PER_EPOCH = 25
"""Random windows have no epochs of their own: so many steps count as one."""


def characters(trial: Trial) -> None:
    """The next character, from a small transformer without normalization layers; reports accuracy."""
    _predict(trial, nn.Identity)


def characters_layernorm(trial: Trial) -> None:
    """The same with LayerNorm; reports accuracy."""
    _predict(trial, nn.LayerNorm)


def words(trial: Trial) -> None:
    """Which of 64 files twelve words in a row are from, by the mean of their embeddings; reports accuracy.

    Most words are rare: in most steps their embeddings have no gradient.
    """
    passages = _passages()
    network = nn.Sequential(nn.EmbeddingBag(int(passages.inputs.max()) + 1, 32), nn.Linear(32, len(FILES)))
    train(trial, network, split(passages, training=6000, validation=1000, batch=64), cross_entropy, accuracy)


def sources() -> list[bytes]:
    """The contents of :data:`FILES` in the running Python."""
    library = Path(sysconfig.get_path("stdlib"))
    contents = [(library / name).read_bytes() for name in FILES]
    assert all(content.isascii() for content in contents)
    return contents


def codes(text: bytes) -> Tensor:
    """The characters as int64."""
    return torch.frombuffer(bytearray(text), dtype=torch.uint8).long()


def windows(text: Tensor, number: int, context: int, generator: torch.Generator | None = None) -> Examples:
    """Random windows of a text, and the characters that follow theirs, both of shape (number, context)."""
    starts = torch.randint(len(text) - context, (number, 1), generator=generator)
    window = text[starts + torch.arange(context + 1)]
    return Examples(window[:, :-1], window[:, 1:])


class Windows:
    """Batches of random windows, without end."""

    def __init__(self, text: Tensor, size: Size, steps: int = STEPS_PER_EPOCH) -> None:
        self._text, self._size, self._steps = text, size, steps

    def __len__(self) -> int:
        return self._steps

    def __iter__(self) -> Iterator[Examples]:
        for _ in range(self._steps):
            yield self.draw(self._size.batch)

    def draw(self, number: int) -> Examples:
        """Draw a number of windows."""
        return windows(self._text, number, self._size.context)


def _predict(trial: Trial, norm: type[nn.Module]) -> None:
    """Train on nine of ten files, one half of the others' text is for validation, the other for the test."""
    contents = sources()
    seen = codes(b"".join(content for number, content in enumerate(contents) if number % 10 != 9))
    unseen = codes(b"".join(contents[9::10]))
    validation, test = (Windows(half, SMALL).draw(128) for half in unseen.tensor_split(2))
    train(trial, Transformer(SMALL, norm), Data(Windows(seen, SMALL), validation, test), cross_entropy, accuracy)


def _passages() -> Examples:
    """Twelve words in a row, as numbers in the order of their frequency, and the number of the file."""
    found = [re.findall(r"[A-Za-z_]+", source.decode("ascii")) for source in sources()]
    counts = Counter(word for words in found for word in words)
    numbers = {word: number for number, (word, _) in enumerate(counts.most_common())}
    files = [torch.tensor([numbers[word] for word in words[: len(words) // 12 * 12]]).view(-1, 12) for words in found]
    return Examples(torch.cat(files), torch.cat([torch.full((len(rows),), number) for number, rows in enumerate(files)]))
