"""An output that cannot be written ends every command with an exit code and at most one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.study.report.made import make_store

COMMANDS = ["--help", "study --help", "check --betas 0.9 0.999", "study status widgets.db"]
"""Those of argparse, a plain one, and one that prints with rich."""

FULL = Path("/dev/full")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("widgets")
    make_store(folder / "widgets.db").close()
    return folder


def call(folder, command, **streams):
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    arguments = [sys.executable, "-m", "equipoise", *command.split()]
    return subprocess.run(arguments, cwd=folder, env=environment, check=False, timeout=120, **streams)


@pytest.mark.skipif(not FULL.exists(), reason="needs the device of Linux that is always full")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_device_is_one_line_and_exit_code_3(folder, command):
    with FULL.open("wb") as output:
        done = call(folder, command, stdout=output, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (3, b"error: the output cannot be written: No space left on device\n")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_reader_that_has_left_is_no_error(folder, command):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as output:
        done = call(folder, command, stdout=output, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(not FULL.exists(), reason="needs the device of Linux that is always full")
def test_messages_that_cannot_be_written_are_no_other_error(folder):
    with FULL.open("wb") as output:
        done = call(folder, "check absent.json", stdout=subprocess.PIPE, stderr=output)
    assert (done.returncode, done.stdout) == (3, b"")
