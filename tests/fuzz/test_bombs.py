"""What unfolds to gigabytes, never ends, or is no file is refused in one short line, with 1 GiB of memory."""

import json
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from equipoise import SMES

from .answers import assert_short_line
from .checkpoints import written

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")

ROOT = Path(__file__).parents[2]


def pickled(body):
    """A checkpoint in torch's first format, whose content is what these instructions of a pickle make."""
    magic, protocol, system = (
        pickle.dumps(value, protocol=2) for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    )
    return magic + protocol + system + b"\x80\x02" + body + b"." + pickle.dumps([], protocol=2)


def laughs(levels=30):
    """Lists of ten times the list before."""
    body = b"]q\x00K\x01a"
    for level in range(1, levels):
        body += b"](" + b"h" + bytes([level - 1]) + (b"h" + bytes([level - 1])) * 9 + b"e" + b"q" + bytes([level])
    return pickled(body)


def zip_bomb(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("archive/data.pkl", "w") as entry:
        for _ in range(32):
            entry.write(bytes(2**22))


def with_values(**values):
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = SMES([weight])
    weight.grad = torch.ones(3)
    optimizer.step()
    state_dict = optimizer.state_dict()
    state_dict["param_groups"][0].update(values)
    return written(state_dict)


def large_storage():
    """A file that says it has 2^31 - 1 numbers, and has 77."""
    small = written({"w": torch.ones(77)}, present_format=False)
    assert small.count(b"KM") >= 1
    return small.replace(b"KM", b"J\xff\xff\xff\x7f")


FILES = {
    "laughs.pt": laughs(),
    "deep.pt": pickled(b"]" * 100_000 + b"a" * 99_999),
    "itself.pt": pickled(b"]q\x00h\x00a"),
    "stages.pt": with_values(stages=10**9),
    "wide.pt": written({"state": {}, "param_groups": [{"betas": torch.ones(1).expand(10**6, 10**6), "amsgrad": False}]}),
    "storage.pt": large_storage(),
    "list.pt": pickled(b"](" + b"]" * 500_000 + b"e"),
    "aliases.yaml": "\n".join(
        ["a0: &a0 [1]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 30))]
    ).encode(),
    "merges.yaml": "\n".join(
        ["a0: &a0 {x: 1}", *(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 10)}]}}" for i in range(1, 30))]
    ).encode(),
    "deep.yaml": b"- " * 100_000,
    "base60.yaml": b"a: 1" + b":59" * 300_000,
    "stages.toml": b"betas = [0.9, 0.99]\nstages = 1000000000",
    "stages.json": json.dumps([{"betas": [0.9, 0.99], "k": 1000}] * 20_000).encode(),
    "dotted.toml": b"a." * 400_000 + b"a = 1",
    "deep.toml": b"a = " + b"[" * 400_000,
    "deep.json": b"[" * 1_000_000,
    "digits.json": b"[" + b"1" * 5000 + b"]",
    "large.json": b"[" + b"1, " * 700_000 + b"1]",
    "nul.json": b'{"betas": \x00}',
}
"""Each is a few kilobytes to megabytes."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bombs")
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    zip_bomb(folder / "zip.pt")
    os.mkfifo(folder / "pipe.json")
    os.mkfifo(folder / "pipe.pt")
    (folder / "zero.pt").symlink_to("/dev/zero")
    (folder / "zero.toml").symlink_to("/dev/zero")
    (folder / "folder.pt").mkdir()
    (folder / "circle.pt").symlink_to(folder / "circle.pt")
    return folder


def commands(folder):
    for path in sorted(folder.iterdir()):
        yield ["check", str(path)]
        if path.suffix == ".pt":
            yield ["migrate", str(path), str(folder / "out.pt"), "--to", "smes"]
        if path.suffix == ".pt" and not path.is_dir() and path.name != "circle.pt":  # a run, and a task
            yield ["recommend", str(path)]
    yield ["check", "--betas", "0.9", "0.999", "--stages", "1000000000"]


def test_every_bomb_is_refused_in_one_short_line(folder):
    given = list(commands(folder))
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.bounded"],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=300,
        check=True,
    )
    for command, (code, messages, _) in zip(given, json.loads(done.stdout), strict=True):
        assert code == 2, (command, code)
        assert_short_line(messages)
    assert not (folder / "out.pt").exists()
