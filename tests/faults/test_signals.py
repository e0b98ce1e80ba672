"""However a process that trains is ended, what it has told is there, and it can go on from there."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from equipoise.monitor import Warn

from .training import STEPS, Run, same, steps_read

ROOT = Path(__file__).parents[2]

CTRL_C = -signal.SIGINT if find_spec("tabulate") is None else 1
"""How a process ends that Ctrl-C has stopped: 1 where the package tabulate is installed, because torch imports it at exit, and
the eval in that import makes Python forget why the process ends."""
PATIENCE = 120
"""Seconds until a child that should have ended is taken to hang; nothing is measured by it."""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="has other signals")


@contextmanager
def child(folder, steps, sink="none"):
    """A process that trains."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.child", str(folder), str(steps), sink],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def told_until(process, line):
    """What it has told up to a line."""
    told = []
    while told[-1:] != [line]:
        told.append(next(process.stdout).strip())
    return told


def ended(process):
    """What it told before it ended by itself, and what it complained of."""
    out, err = process.communicate(timeout=PATIENCE)
    return out.split(), err


def assert_nothing_is_lost(folder, told):
    """Every step that was told of is in the run file, and at most the steps since the last snapshot are to be made again."""
    last = max(int(step) for step in told if step.isdigit())
    read = steps_read(folder)
    assert read == list(range(1, len(read) + 1))
    assert last <= len(read) <= last + 1
    again = Run(Warn(), folder=folder).resume()
    assert last - 2 < again.monitor.steps <= last + 1
    with again.monitor:
        again.train(last + 5)
    assert same(again.state(), Run(Warn()).train(last + 5).state())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_process_that_is_ended_while_it_trains_loses_nothing_that_it_has_told(tmp_path, number):
    with child(tmp_path, 10**9) as process:
        told = told_until(process, "20")
        process.send_signal(number)
        rest, err = ended(process)
    assert process.returncode == (CTRL_C if number == signal.SIGINT else -number)
    assert err.count("KeyboardInterrupt") == (number == signal.SIGINT)
    assert_nothing_is_lost(tmp_path, told + rest)


def test_ctrl_c_for_the_second_time_waits_for_nobody_and_loses_nothing_either(tmp_path):
    with child(tmp_path, 10**9, "ends never") as process:
        told = told_until(process, "20")
        process.send_signal(signal.SIGINT)
        told += told_until(process, "closing")
        process.send_signal(signal.SIGINT)
        _, err = ended(process)
    assert process.returncode == CTRL_C
    assert err.count("KeyboardInterrupt") == 2
    assert "was not finished in time" not in err  # it would have said so, had it waited
    assert_nothing_is_lost(tmp_path, told)


def test_a_sink_that_hangs_keeps_a_process_neither_from_training_nor_from_ending(tmp_path):
    with child(tmp_path, STEPS, "hangs") as process:
        told, err = ended(process)
    assert process.returncode == 0
    assert told == [*map(str, range(1, STEPS + 1)), "done"]
    assert err.count("gets no more readings, training goes on: it was not finished in time") == 1
    assert_nothing_is_lost(tmp_path, told)
