"""What ``equipoise study new`` writes runs as it is."""

from __future__ import annotations

import json
import runpy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from equipoise.study import Trial, read_study
from equipoise.study._cells import Table
from equipoise.study._preparing.new import KINDS
from equipoise.study._task_source import locate_task

KEYS_TO_SHORTEN = ("epochs=1", "points=1", "seeds=2")


@pytest.mark.parametrize("kind", KINDS)
def test_a_task_trains_and_reports_what_its_study_asks_for(run, tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    code, out, _ = run("study", "new", "first", "--kind", kind)
    assert code == 0
    assert "equipoise study run first.toml" in out
    study = read_study(Path("first.toml"))
    planned = Table(study, locate_task(study.task, tmp_path)).plan_tuning()
    assert len({cell.assignment.key for cell in planned}) == 18
    reports = []
    torch.manual_seed(0)
    runpy.run_path("first_task.py")["train"](Trial(replace(planned[0].assignment, epochs=2), reports.append))
    assert [report.epoch for report in reports] == [1, 2]
    assert {"loss", study.metric, study.selection.metric} <= reports[-1].metrics.keys()
    assert reports[-1].metrics["loss"] < reports[0].metrics["loss"]
    commented = Path("first.toml").read_text()
    for key in ("margin", "target", "extend", "retries"):
        commented = commented.replace(f"# {key} =", f"{key} =")
    Path("second.toml").write_text(commented)
    assert read_study(Path("second.toml")).retries == 1


def test_nothing_is_overwritten(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("first_task.py").write_text("mine")
    code, _, err = run("study", "new", "first")
    assert (code, err) == (2, "error: first_task.py exists: choose another name, nothing is overwritten\n")
    assert not Path("first.toml").exists()
    assert run("study", "new", "../first")[2].startswith(
        "error: name = '../first' is not accepted: name must be made of letters"
    )


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_a_new_study_is_planned_and_run(run, tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    assert run("study", "new", "first", "--kind", kind)[0] == 0
    changes = [argument for change in KEYS_TO_SHORTEN for argument in ("--set", change)]
    assert run("study", "fork", "first.toml", "short", *changes)[0] == 0
    code, out, _ = run("study", "plan", "short.toml", "--probe", "--json")
    assert (code, json.loads(out)["time"]["timed"]) == (0, 3)
    code, out, err = run("study", "run", "short.toml", "--json", "--quiet")
    assert code == 0
    assert "warning" not in err.replace("warning: 2 seeds are few", "")
    assert len(json.loads(out)["arms"]) == 3
