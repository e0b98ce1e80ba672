"""Whole suites, run in processes of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import closing

import pytest

from equipoise.errors import StudyStoppedError, UnusableInputError
from equipoise.study import run_suite
from equipoise.study._report.status import read_status
from equipoise.study._store import Store, sqlite_url
from tests.study.recorder import Recorder

TASKS = '''
import os
import time
from pathlib import Path

import torch


def train(trial):
    with Path(__file__).with_name("executed.log").open("a") as log:
        log.write(f"{trial.seed}\\n")
    time.sleep(float(os.environ.get("PAUSE", 0)))
    centre, weight = torch.randn(5), torch.nn.Parameter(torch.zeros(5))
    optimizer = trial.optimizer([weight])
    for epoch in trial.epochs():
        loss = ((weight - centre) ** 2).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        trial.report(loss=loss, quality=-loss)


def unlucky(trial):
    """Fails with one arm on one of the seeds that compare."""
    if trial.seed == 10_001 and trial.learning_rate == 0.3:
        raise RuntimeError("out of luck")
    train(trial)


def hopeless(trial):
    raise RuntimeError("never")
'''

SUITE = """
name = "two"
epochs = 2
seeds = 3
tuning_seeds = 1

[[task]]
name = "loss"
task = "tasks.py:train"
metric = "loss"
goal = "minimize"

[[task]]
name = "quality"
task = "tasks.py:train"
metric = "quality"
goal = "maximize"
epochs = 3

[[arm]]
name = "adamw"
optimizer = "torch.optim.AdamW"
baseline = true
learning_rates = [0.1]

[[arm]]
name = "sgd"
optimizer = "torch.optim.SGD"
learning_rates = [0.3]
"""

PLANNED = {"tuning": 2, "comparison": 6}
"""Trials of each task."""


def write(folder, *changes):
    (folder / "tasks.py").write_text(TASKS)
    text = SUITE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = folder / "two.toml"
    path.write_text(text)
    return path


def command(path, *options):
    return [sys.executable, "-m", "equipoise", "study", "run", str(path), "--workers", "2", *options]


def executed(folder):
    log = folder / "executed.log"
    return len(log.read_text().splitlines()) if log.exists() else 0


def test_no_trial_of_any_task_is_run_if_one_of_them_cannot_be(tmp_path):
    path = write(tmp_path, ('"tasks.py:train"\nmetric = "quality"', '"absent.py:train"\nmetric = "quality"'))
    with pytest.raises(UnusableInputError, match=r"absent\.py cannot be read"):
        run_suite(path)
    assert executed(tmp_path) == 0


class Impatient(Recorder):
    """Ends a suite when its first task begins."""

    def tell(self, message):
        super().tell(message)
        if message.startswith("task "):
            raise StudyStoppedError("enough")


def test_every_task_is_planned_before_the_first_one_begins(tmp_path):
    path = write(tmp_path)
    with pytest.raises(StudyStoppedError, match="enough"):
        run_suite(path, progress=Impatient())
    with closing(Store(sqlite_url(tmp_path / "two.db"), tmp_path)) as store:
        for task in ("loss", "quality"):
            assert {phase: found.planned for phase, found in read_status(store, f"two.{task}").phases.items()} == PLANNED


@pytest.mark.long
def test_a_suite_that_was_interrupted_goes_on_to_the_same_numbers(tmp_path):
    found = []
    for name in ("whole", "interrupted"):
        folder = tmp_path / name
        folder.mkdir()
        path = write(folder)
        if name == "interrupted":
            slow = os.environ | {"PAUSE": "0.3"}
            process = subprocess.Popen(command(path), stderr=subprocess.PIPE, text=True, env=slow, start_new_session=True)
            while executed(folder) < 10:  # of the second task
                time.sleep(0.02)
                assert process.poll() is None
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=60)
            assert process.returncode == 3
            assert "error: task quality: stopped by Ctrl-C" in said
            assert executed(folder) < 16
        done = subprocess.run(command(path, "--json"), capture_output=True, text=True, timeout=300, check=True)
        assert executed(folder) == 16
        found.append(json.loads(done.stdout) | {"report": ""})
    assert found[0] == found[1]
    assert found[0]["undecided"] == {}


@pytest.mark.long
def test_a_trial_that_is_missing_is_named_with_its_task_and_a_hopeless_task_stops_no_other(tmp_path):
    hopeless = (
        '[[task]]\nname = "hopeless"\ntask = "tasks.py:hopeless"\nmetric = "loss"\ngoal = "minimize"\n\n[[task]]\nname = "loss"'
    )
    path = write(
        tmp_path, ('[[task]]\nname = "loss"', hopeless), ('train"\nmetric = "quality"', 'unlucky"\nmetric = "quality"')
    )
    done = subprocess.run(command(path, "--json"), capture_output=True, text=True, timeout=300)
    assert done.returncode == 3
    found = json.loads(done.stdout)
    assert list(found["tasks"]) == ["loss", "quality"]
    assert "2 trials failed, too many for any comparison" in done.stderr
    assert list(found["undecided"]) == ["hopeless"]
    assert found["headline"].endswith("; 1 task without a verdict.")
    assert any(
        remark.startswith("quality: 1 of 8 trials failed and are missing: sgd lr=0.3 seed=10001 (RuntimeError: out of luck")
        for remark in found["remarks"]
    )
    assert (tmp_path / "two.report.html").exists()
