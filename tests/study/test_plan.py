"""What a study will take is what it takes, and what it can show is what its power says."""

from __future__ import annotations

import json

import pytest

from equipoise.study import read_study
from equipoise.study._preparing.plan import plan
from equipoise.study._statistics.power import POWER, power


def test_the_trials_are_those_that_the_study_runs(write_study, executed, run):
    path = write_study(("\nseeds = 3", "\nseeds = 2"), ("tuning_seeds = 2", "tuning_seeds = 1"), ("epochs = 3", "epochs = 2"))
    planned = plan(read_study(path))
    assert run("study", "run", path)[0] == 0
    assert len(executed()) == planned.tuning_trials + planned.comparison_trials == 8
    assert planned.epochs == 8 * 2


def test_shortened_trials_count_with_their_epochs(write_study):
    study = read_study(write_study(("epochs = 3", "epochs = 8\nhalving = 2")))
    assert [rung.stop_after for rung in study.rungs] == [4, None]
    assert plan(study).tuning_trials == 2 * 2 * 2 + 1 * 2 * 2
    assert plan(study).epochs == 8 * 4 + 4 * 8 + 6 * 8


def test_seeds_and_detectable_differences_belong_together(write_study):
    found = plan(read_study(write_study()), spread=0.5, difference=1.0)
    assert found.detectable == pytest.approx(0.5 * found.detectable_in_spreads)
    assert power(found.detectable_in_spreads, 3, 1) == pytest.approx(POWER, abs=1e-6)
    assert found.seeds_needed == 5
    assert "A difference of 1 takes 5 seeds." in found.sentences
    assert "more than 10,000 seeds" in plan(read_study(write_study()), spread=1.0, difference=1e-6).sentences[-1]


def test_the_command_says_the_plan_and_runs_nothing(write_study, executed, run):
    path = write_study()
    code, out, _ = run("study", "plan", path, "--spread", "0.02")
    assert code == 0
    assert out == (
        "14 trials, 42 epochs: 8 trials to tune the arms, 6 to compare them.\n"
        "A true difference of 3.3 times its spread between seeds is shown with 80 % probability.\n"
        "With a spread of 0.02 that is a difference of 0.065.\n"
    )
    assert json.loads(run("study", "plan", path, "--json")[1])["detectable"] is None
    assert executed() == []


@pytest.mark.parametrize("arguments", [("--difference", "1"), ("--spread", "0"), ("--spread", "nan"), ("--spread", "inf")])
def test_what_cannot_be_planned_with_is_refused(write_study, run, arguments):
    code, out, err = run("study", "plan", write_study(), *arguments)
    assert (code, out) == (2, "")
    assert arguments[0].lstrip("-") in err
