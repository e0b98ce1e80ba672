"""Whatever strikes a study, every finished trial is kept once, and the verdict is that of an undisturbed run."""

from __future__ import annotations

import random
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest

from equipoise.errors import StudyStoppedError
from equipoise.study import run
from equipoise.study._store import patience as patience_module
from equipoise.study._store import store as store_module
from equipoise.study._store import turn as turn_module
from tests.study.recorder import Recorder

from .studies import Struck, strike
from .test_disk import full


class Filling(Recorder):
    """Lets the database's file grow no more once a trial is finished."""

    def __init__(self, file):
        super().__init__()
        self.file = file
        self.disk = ExitStack()

    def finished(self, cell):
        super().finished(cell)
        if len(self.cells) == 1:
            self.disk.enter_context(full(self.file.stat().st_size))


def undisturbed(folder, like: Struck) -> Struck:
    whole = Struck(folder, like.seeds, like.pause)
    process = whole.start()
    process.communicate(timeout=600)
    assert process.returncode == 0
    return whole


@pytest.mark.faults
def test_kill_9_of_runners_and_trials_loses_nothing_and_repeats_nothing(tmp_path):
    struck = Struck(tmp_path / "struck", seeds=3, pause=0.1)
    strike(struck, 3, random.Random(1))
    assert len(struck.seen) == struck.trials
    assert struck.readings() == undisturbed(tmp_path / "whole", struck).readings()


@pytest.mark.faults
def test_kill_9_at_fifty_random_moments_loses_nothing_and_repeats_nothing(tmp_path):
    rng = random.Random(50)
    runners, strikes = 0, 0
    whole = None
    for number in range(5):
        struck = Struck(tmp_path / f"struck-{number}", seeds=12, pause=0.1)
        runners += strike(struck, 10, rng)
        strikes += 10
        assert len(struck.seen) == struck.trials
        whole = whole or undisturbed(tmp_path / "whole", struck)
        assert struck.readings() == whole.readings()
    assert strikes == 50
    assert 10 <= runners <= 40


@pytest.mark.faults
def test_two_runners_at_once_take_turns_and_train_everything_once(tmp_path):
    struck = Struck(tmp_path / "struck", seeds=3, pause=0.1)
    both = [struck.start() for _ in range(2)]
    said = [process.communicate(timeout=600)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert len(struck.processes()) == struck.trials
    assert sum("has been running this study since" in each for each in said) == 1


@pytest.mark.faults
def test_a_full_disk_costs_no_finished_trial(tmp_path, monkeypatch):
    monkeypatch.setattr(patience_module, "PATIENCE", 1.0)
    struck = Struck(tmp_path / "struck", seeds=3, pause=0.0)
    study = struck.folder / "study.toml"
    filling = Filling(struck.folder / "struck.db-wal")
    with filling.disk, pytest.raises(StudyStoppedError, match=r"for 1 s: disk I/O error; results are in \S+struck.spool"):
        run(study, progress=filling)
    assert list((struck.folder / "struck.spool").iterdir())
    analysis = run(study)
    assert analysis.missing == ()
    assert len(struck.processes()) == struck.trials  # nothing that was finished was trained again


def test_a_clock_that_jumps_changes_nothing(tmp_path, monkeypatch):
    class Jumping(datetime):
        jumps = 0

        @classmethod
        def now(cls, tz=None):
            cls.jumps += 1
            return datetime.now(UTC) + timedelta(days=3650 * (-1) ** cls.jumps)

    monkeypatch.setattr(store_module, "datetime", Jumping)
    monkeypatch.setattr(turn_module, "datetime", Jumping)
    struck = Struck(tmp_path / "struck", seeds=2, pause=0.0)
    first = run(struck.folder / "study.toml")
    assert run(struck.folder / "study.toml") == first
    assert len(struck.processes()) == struck.trials
    assert Jumping.jumps >= struck.trials


def test_a_trial_that_closes_every_file_that_it_does_not_know_is_a_failure_and_no_more(tmp_path):
    struck = Struck(tmp_path / "struck", seeds=3, pause=0.0)
    task = struck.folder / "task.py"
    task.write_text(task.read_text().replace("    model =", "    if trial.seed == 10_001: os.closerange(3, 1000)\n    model ="))
    analysis = run(struck.folder / "study.toml")
    assert {cell.assignment.seed for cell in analysis.missing} == {10_001}
