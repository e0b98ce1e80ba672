"""The text that the transformers read."""

import hashlib
import platform
import sysconfig
from pathlib import Path

import pytest
import torch

from reproductions import text


def test_the_text_is_the_listed_files_of_the_standard_library_and_nothing_else():
    found = text.load()
    library = Path(sysconfig.get_path("stdlib"))
    contents = [(library / name).read_bytes() for name in text.FILES]
    assert list(text.FILES) == sorted(set(text.FILES))
    assert found.sha256 == hashlib.sha256(b"".join(contents)).hexdigest()
    assert bytes(found.validation.tolist()) == b"".join(content for i, content in enumerate(contents) if i % 10 == 9)
    assert len(found.training) + len(found.validation) == sum(map(len, contents)) > 2_000_000
    assert int(torch.cat([found.training, found.validation]).max()) < text.VOCABULARY


@pytest.mark.skipif(platform.python_version() not in text.KNOWN, reason="the documented hash is that of another Python")
def test_the_hash_is_the_documented_one():
    assert text.load().sha256 == text.KNOWN[platform.python_version()]


def test_what_follows_a_window_is_the_window_one_character_later():
    codes = torch.arange(100)
    inputs, following = text.windows(codes, 50, 7, torch.Generator().manual_seed(0))
    assert inputs.shape == following.shape == (50, 7)
    assert torch.equal(following, inputs + 1)
