"""A trial that was cut short goes on after its last finished epoch, and ends as if nothing had been."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from equipoise.study._cells import Assignment
from equipoise.study._checkpoint import Checkpoint
from equipoise.study._store import sqlite_url
from equipoise.study._task_source import TaskSource
from equipoise.study._worker import Report, Trial

from .recorder import run

ONE_POINT = ("tuning_seeds = 2\nlearning_rates = [0.01, 0.1]", "tuning_seeds = 1\nlearning_rates = [0.1]")

TASK = """
import os, random, time
from pathlib import Path

import torch

LOG = Path(__file__).with_name("executed.log")

def train(trial):
    model = torch.nn.Linear(4, 1)
    optimizer = trial.optimizer(model.parameters())
    done = trial.resume(model=model, optimizer=optimizer)
    for epoch in trial.epochs():
        with LOG.open("a") as log:
            log.write(f"{trial.seed} {epoch}\\n")
        loss = (model(torch.randn(8, 4)) ** 2).mean() + random.random()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        time.sleep(PAUSE)
        trial.report(loss=loss)
"""


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_a_trial_that_is_cut_short_in_any_epoch_ends_as_if_it_had_not_been(tmp_path, cut):
    def attempt(folder, last=None):
        torch.manual_seed(0)
        sent: list[Report] = []
        arguments = {"momentum": 0.5}
        assigned = Assignment(TaskSource("task.py", "train", ""), "loss", 4, "torch.optim.SGD", arguments, 0.1, 0)
        trial = Trial(assigned, sent.append, checkpoint=Checkpoint(folder))
        weight = torch.nn.Parameter(torch.randn(3))
        optimizer = trial.optimizer([weight])
        state = torch.nn.ParameterList([weight])
        trial.resume(weights=state, optimizer=optimizer)
        for epoch in trial.epochs():
            if epoch == last:
                return sent
            loss = (weight * torch.randn(3)).square().sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            trial.report(loss=loss)
        return sent

    whole = attempt(tmp_path / "whole")
    assert attempt(tmp_path / "cut", cut + 1) == whole[:cut]
    assert attempt(tmp_path / "cut") == whole


@pytest.mark.faults
def test_a_study_that_is_killed_goes_on_inside_of_its_trials(write_study, executed, tmp_path):
    path = write_study(ONE_POINT, ("epochs = 3", "epochs = 6"), ("seeds = 3", "seeds = 2"), task=TASK.replace("PAUSE", "0.15"))
    command = [sys.executable, "-m", "equipoise", "study", "run", str(path), "--workers", "1", "--store"]
    command.append(sqlite_url(path.with_name("store.db")))
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
    while len(executed()) < 4:
        time.sleep(0.02)
        assert process.poll() is None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(1)  # its trial ends with it
    begun = len(executed())
    analysis, _ = run(path, workers=1)
    cut = executed()[begun - 1].split()
    again = next(line.split() for line in executed()[begun:] if line.split()[0] == cut[0])
    assert int(again[1]) in (int(cut[1]), int(cut[1]) + 1)  # the epoch that was cut short, and none before it
    whole, _ = run(path, existing="fresh")
    assert [arm.values for arm in analysis.arms] == [arm.values for arm in whole.arms]
    assert not any((tmp_path / "store.resume").iterdir())


def test_a_trial_of_changed_code_begins_anew(tmp_path):
    first, second = Checkpoint(tmp_path / "one"), Checkpoint(tmp_path / "other")
    model = torch.nn.Linear(1, 1)
    assert first.resume({"model": model}) == (0, [])
    first.note(1, {"loss": 1.0})
    first.take(1)
    assert Checkpoint(tmp_path / "one").resume({"model": model}) == (1, [(1, {"loss": 1.0})])
    assert second.resume({"model": model}) == (0, [])
    assert Checkpoint(tmp_path / "one").resume({"model": model, "more": model}) == (0, [])
