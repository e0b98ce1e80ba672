"""Real text that every machine has: source files of Python's own standard library, one token per character (ASCII).

The list of files is fixed; their content differs a little between versions of Python, so results state `Text.sha256`.
"""

from __future__ import annotations

import hashlib
import sysconfig
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

VOCABULARY = 128
"""Tokens are ASCII codes."""

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

KNOWN = {"3.11.7": "b8af2fc2fb2762d815baf64451d23dcebc811a66d090c32d0b6d28cf0132911c"}
"""SHA-256 of the text, by version of Python."""


class Text(NamedTuple):
    """The characters of all files in a row, as int64 codes; every tenth file is for validation."""

    training: Tensor
    validation: Tensor
    sha256: str


def load() -> Text:
    """Read the files of the running Python."""
    library = Path(sysconfig.get_path("stdlib"))
    contents = [(library / name).read_bytes() for name in FILES]
    assert all(content.isascii() for content in contents)
    validation = b"".join(contents[9::10])
    training = b"".join(content for index, content in enumerate(contents) if index % 10 != 9)
    return Text(_codes(training), _codes(validation), hashlib.sha256(b"".join(contents)).hexdigest())


def batch(codes: Tensor, size: int, context: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Random windows: inputs and the characters that follow them, both of shape (size, context)."""
    starts = torch.randint(len(codes) - context, (size, 1), generator=generator)
    window = codes[starts + torch.arange(context + 1)]
    return window[:, :-1], window[:, 1:]


def _codes(content: bytes) -> Tensor:
    return torch.frombuffer(bytearray(content), dtype=torch.uint8).long()
