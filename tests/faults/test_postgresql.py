"""A study on a PostgreSQL server: whatever strikes the server or a runner, every finished trial is kept once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from .studies import Struck


def begun(struck: Struck, trials: int) -> None:
    deadline = time.monotonic() + 300
    while len(struck.processes()) < trials and time.monotonic() < deadline:
        time.sleep(0.05)


def undisturbed(folder, like: Struck) -> Struck:
    """The same study with its store in a file."""
    whole = Struck(folder, like.seeds, like.pause)
    process = whole.start()
    _, said = process.communicate(timeout=600)
    assert process.returncode == 0, said
    return whole


def verdict(struck: Struck) -> dict[str, object]:
    """What the report says, but for places and times."""
    command = [sys.executable, "-m", "equipoise", "study", "report", str(struck.folder / "study.toml"), "--json"]
    done = subprocess.run([*command, "--store", struck.store], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    return {key: value for key, value in found.items() if key not in ("report", "status")}


@pytest.mark.long
def test_two_runners_and_a_server_that_loses_its_power_twice_train_everything_once(tmp_path, postgresql):
    struck = Struck(tmp_path / "struck", seeds=3, pause=0.3, store=postgresql.place())
    both = [struck.start() for _ in range(2)]
    begun(struck, 3)
    struck.look()
    postgresql.restart()
    begun(struck, 8)
    struck.look()
    postgresql.stop()
    time.sleep(3)
    postgresql.start()
    said = [process.communicate(timeout=600)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert "trying again for 60 s" in "".join(said)
    assert sum("has been running this study since" in each for each in said) == 1
    struck.look()
    assert len(struck.seen) == len(struck.processes()) == struck.trials
    whole = undisturbed(tmp_path / "whole", struck)
    assert struck.readings() == whole.readings()
    assert verdict(struck) == verdict(whole)


@pytest.mark.long
def test_after_kill_9_of_a_runner_the_next_one_takes_over(tmp_path, postgresql):
    struck = Struck(tmp_path / "struck", seeds=2, pause=0.2, store=postgresql.place())
    killed = struck.start()
    begun(struck, 5)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    struck.look()
    assert struck.seen
    following = struck.start()
    _, said = following.communicate(timeout=600)
    assert following.returncode == 0, said
    assert "waiting until it ends, or gives no sign of life for 30 s" in said
    struck.look()
    assert len(struck.seen) == struck.trials
    assert struck.readings() == undisturbed(tmp_path / "whole", struck).readings()
