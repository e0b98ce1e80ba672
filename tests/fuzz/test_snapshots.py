"""A run goes on from its newest good snapshot, whatever else is in the folder."""

import contextlib
import hashlib
import json
import os
import shutil

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from equipoise.errors import UnusableInputError
from equipoise.monitor import Snapshots

from .answers import many
from .checkpoints import ODD, change, places, written

FOREIGN = [
    "notes.json", "notes.rank0.json", "config.rank0.json", "1.rank0.json", "00000000x.rank0.json", "9" * 200 + ".rank0.json",
    "000000009.rank1.json", "000000009.rank0.json", "000000000002.rank0.json", "-00000009.rank0.json", ".rank0.json",
]  # fmt: skip
MANIFESTS = [
    b"",
    b"{}",
    b"[]",
    b"null",
    b"[" * 100_000,
    b"1" * 5000,
    b"\xff\xfe",
    b'{"sha256": 1}',
    b'{"sha256": "x"}',
    b"{" * 10,
]


class Counter:
    """Something with a state."""

    def __init__(self, value=0):
        self.value = value

    def state_dict(self):
        return {"value": self.value, "tensor": torch.ones(3)}

    def load_state_dict(self, state_dict):
        self.value = state_dict["value"]


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A folder with the snapshots of steps 1 and 2."""
    folder = tmp_path_factory.mktemp("good")
    counter = Counter()
    snapshots = Snapshots({"counter": counter}, folder=folder)
    for counter.value in (1, 2):
        snapshots.take(counter.value)
    return folder


@st.composite
def damages(draw):
    """What happens to the newest snapshot, and what else lies in the folder."""
    how = draw(st.sampled_from(["manifest", "flip", "cut", "missing", "folder", "pipe", "content", "whole"]))
    foreign = draw(st.dictionaries(st.sampled_from(FOREIGN), st.sampled_from(MANIFESTS), max_size=3))
    return how, draw(st.sampled_from(MANIFESTS)), draw(st.floats(0, 1)), draw(st.sampled_from(ODD)), foreign


def damage(folder, how, manifest, where, odd):
    """Change the snapshot of step 2, such that it is none, unless it is left whole."""
    data, described = folder / "000000002.rank0.pt", folder / "000000002.rank0.json"
    content = data.read_bytes()
    place = int(where * (len(content) - 1))
    if how == "manifest":
        described.write_bytes(manifest)
    elif how in ("flip", "cut"):
        data.write_bytes(content[:place] + (bytes([content[place] ^ 16]) + content[place + 1 :] if how == "flip" else b""))
    elif how in ("missing", "folder", "pipe"):
        data.unlink()
        if how != "missing":
            (os.mkfifo if how == "pipe" else os.mkdir)(data)
    elif how == "content":  # with a manifest to match, as nobody but a forger writes it
        tree = torch.load(data, weights_only=True)
        everywhere = [path for path in places(tree) if path[0] != "objects"]
        change(tree, everywhere[int(where * (len(everywhere) - 1))], odd, ...)
        data.write_bytes(written(tree))
        described.write_text(json.dumps({"sha256": hashlib.sha256(data.read_bytes()).hexdigest()}))


@many
@given(damages())
def test_a_run_goes_on_from_the_newest_good_snapshot(good, damaged):
    how, manifest, where, odd, foreign = damaged
    folder = good.with_name("damaged")
    shutil.copytree(good, folder)
    try:
        damage(folder, how, manifest, where, odd)
        for name, content in foreign.items():
            if not (folder / name).exists():
                (folder / name).write_bytes(content)
        counter = Counter()
        snapshots = Snapshots({"counter": counter}, folder=folder)
        if how == "content":  # of other objects, or of another number of processes, perhaps
            with contextlib.suppress(UnusableInputError):
                assert snapshots.restore().step == counter.value
        else:
            assert snapshots.restore().step == counter.value == (2 if how == "whole" else 1)
    finally:
        shutil.rmtree(folder)
