"""A process that is struck at any point of its writing leaves a run that goes on as if nothing had been."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from equipoise.monitor import Warn

from .training import STEPS, Run, same, steps_read, unfaulted

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")


@pytest.mark.parametrize(
    ("struck_by", "end"), [("SIGKILL", "killed"), pytest.param("SIGINT", "interrupted", marks=pytest.mark.faults)]
)
def test_kill_9_and_ctrl_c_at_every_point_of_a_snapshot_and_a_rollback_lose_nothing(tmp_path, struck_by, end):
    arguments = [sys.executable, "-m", "tests.faults.struck", str(tmp_path), str(int(getattr(signal, struck_by)))]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}  # a fork has no threads but its own
    done = subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    ends = json.loads(done.stdout)
    assert ends == [end] * (len(ends) - 1) + ["undisturbed"]
    assert len(ends) > 40  # a snapshot is written there, and two are removed
    went_back_to = set()
    for number in range(1, len(ends) + 1):
        folder = tmp_path / str(number)
        before = steps_read(folder)
        run = Run(Warn(), folder=folder).resume()
        went_back_to.add(run.monitor.steps)
        with run.monitor:
            run.train()
        assert same(run.state(), unfaulted())
        after = steps_read(folder)
        assert after[: len(before)] == before
        assert set(after) == set(range(1, STEPS + 1))
        assert sorted(path.name for path in (folder / "snapshots").iterdir()) == [
            f"{step:09d}.rank0.{suffix}" for step in (9, 11) for suffix in ("json", "pt")
        ]  # and nothing half written
    assert went_back_to == {3, 5}
