"""What a study will take is what it takes, and what it can show is what its power says."""

from __future__ import annotations

import json
import re

import pytest

from equipoise.study import read_study
from equipoise.study._preparing.plan import plan
from equipoise.study._preparing.timing import UNSURE, Timing
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


def test_extensions_and_retries_are_counted_as_what_may_come(write_study):
    path = write_study(("epochs = 3", "epochs = 3\nextend = 2\nretries = 1"))
    planned = plan(read_study(path), timing=Timing({"adamw": [1.0]}), workers=1)
    assert (planned.tuning_trials, planned.further_trials) == (8, 2 * 1 * 2 * 2)
    assert "Up to 8 trials more while a best value lies at an edge of what was tried." in planned.sentences
    assert "A trial that fails is tried again up to 1 time." in planned.sentences
    assert planned.time.seconds == 14 * 3
    assert planned.time.most == pytest.approx((14 + 8) * 3 * 2 * UNSURE)


def test_arms_take_their_own_time_and_workers_share_it(write_study):
    timing = Timing({"adamw": [1.0, 1.0, 4.0], "quarter": [3.0]})  # per epoch
    one, two = (plan(read_study(write_study()), timing=timing, workers=workers).time for workers in (1, 2))
    assert (one.timed, one.shortest, one.longest) == (4, 3.0, 9.0)
    assert (one.seconds, two.seconds) == (14 * 3 * 2.0, 7 * 3 * 2.0)
    assert one.least == pytest.approx(14 * 3 * 2.0 / UNSURE)
    assert one.most == pytest.approx(14 * 3 * 3.5 * UNSURE)


def test_a_probe_runs_one_trial_of_every_arm_and_the_study_does_not_run_it_again(finished):
    assert sorted(finished.probed) == ["0.01 0", "0.01 0"]
    assert len(finished.executed) == 8 + 6


def test_a_plan_of_a_study_that_was_run_has_its_times_and_its_spread(finished, run):
    code, out, _ = run("study", "plan", finished.folder / "study.toml", "--probe", "--difference", "0.5", "--json")
    found = json.loads(out)
    assert (code, found["time"]["timed"], found["spread_is_seen"]) == (0, 14, True)
    reported = json.loads(run("study", "report", finished.folder / "study.toml", "--json")[1])
    (quarter,) = (arm for arm in reported["arms"] if arm["name"] == "quarter")
    assert found["detectable"] == pytest.approx(quarter["detectable_difference"])
    assert found["seeds_needed"] >= 2
    assert len((finished.folder / "executed.log").read_text().splitlines()) == 8 + 6  # the probe had nothing to run
    out = run("study", "plan", finished.folder / "study.toml")[1]
    assert re.search(r"One trial takes .* \(14 kept trials timed\)\. 14 trials on \d+ workers? take about .* \(between ", out)


def test_seeds_and_detectable_differences_belong_together(write_study):
    found = plan(read_study(write_study()), spread=0.5, difference=1.0)
    assert found.detectable == pytest.approx(0.5 * found.detectable_in_spreads)
    assert power(found.detectable_in_spreads, 3, 1) == pytest.approx(POWER, abs=1e-6)
    assert found.seeds_needed == 5
    assert "A difference of 1 takes 5 seeds." in found.sentences
    assert "more than 10,000 seeds" in plan(read_study(write_study()), spread=1.0, difference=1e-6).sentences[-1]


def test_the_command_says_the_plan_and_runs_nothing(write_study, executed, run):
    path = write_study()
    code, out, err = run("study", "plan", path, "--spread", "0.02")
    assert code == 0
    assert err == "How long it takes is not known yet: --probe times the first trial of every arm, and keeps it.\n"
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
