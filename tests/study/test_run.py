"""Whole studies in real processes: complete, paired, resumable after any end, and honest about failures."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from equipoise.errors import ArgumentError, StabilityWarning, StudyStoppedError, UnusableInputError
from equipoise.hyperparameters import Hyperparameters
from equipoise.study import Analysis, read_study
from equipoise.study import run as run_study
from equipoise.study._store import sqlite_url

from .conftest import StudyWriter
from .recorder import Recorder, run

ALL_TRIALS = 2 * 2 * 2 + 2 * 3  # arms x learning rates x tuning seeds, then arms x seeds
FEW = ("seeds = 3\ntuning_seeds = 2\nlearning_rates = [0.01, 0.1]", "seeds = 2\ntuning_seeds = 1\nlearning_rates = [0.1]")
FEW_TRIALS = 2 * 1 * 1 + 2 * 2


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, Analysis, Recorder]:
    """A study that one worker has run, for tests that change nothing of it: its file, the outcome, and what was told."""
    path = StudyWriter(tmp_path_factory.mktemp("finished"))()
    return path, *run(path, workers=1)


def test_every_trial_runs_once_and_a_second_run_repeats_none(finished):
    path, first, recorder = finished
    executed = path.with_name("executed.log")
    assert recorder.phases == [("tuning", 8, 0), ("comparison", 6, 0)]
    assert len(executed.read_text().splitlines()) == ALL_TRIALS
    second, recorder = run(path)
    assert recorder.phases == [("tuning", 8, 8), ("comparison", 6, 6)]
    assert len(executed.read_text().splitlines()) == ALL_TRIALS
    assert first == second


def test_every_arm_meets_the_same_fresh_seeds(finished):
    compared = finished[2].cells[8:]
    seeds = {arm: {cell.assignment.seed for cell in compared if cell.arm == arm} for arm in ("adamw", "quarter")}
    assert seeds["adamw"] == seeds["quarter"] == {10_000, 10_001, 10_002}


def test_the_learning_rate_with_the_best_tuning_mean_is_compared(finished):
    _, analysis, _ = finished
    for arm in analysis.arms:
        assert arm.tuned.chosen == arm.tuned.rates[arm.tuned.means.index(min(arm.tuned.means))]


def test_the_number_of_workers_does_not_change_the_outcome(finished, write_study, executed):
    _, one, _ = finished
    several, _ = run(write_study(), workers=3)
    assert len(executed()) == ALL_TRIALS
    assert [arm.values for arm in one.arms] == [arm.values for arm in several.arms]


def test_more_seeds_run_only_what_is_new(write_study, executed):
    run(write_study(FEW))
    run(write_study(FEW, ("\nseeds = 2", "\nseeds = 4")))
    assert len(executed()) == FEW_TRIALS + 2 * 2


def test_a_diverged_seed_counts_with_the_worst_value_seen_and_is_said(write_study):
    task = """
def train(trial):
    diverges = trial.seed == 10001 and trial.learning_rate == 0.1
    for epoch in trial.epochs():
        trial.report(loss=float("nan") if diverges and epoch == 2 else (1 + trial.seed % 10_000 / 1000) / trial.learning_rate)
"""
    analysis, _ = run(write_study(task=task))
    assert [arm.diverged for arm in analysis.arms] == [1, 1]
    # The worst of the whole study is a tuning trial at the lower learning rate: (1 + 1/1000) / 0.01.
    assert analysis.arms[0].values == pytest.approx((10.0, 100.1, 10.02))
    assert "adamw: 1 of 3 seeds diverged, each counted as loss = 100.1, the worst value seen." in analysis.remarks


def test_a_study_file_may_say_what_divergence_counts(write_study):
    task = "def train(trial): trial.report(loss=float('inf') if trial.seed == 10001 else 1.0)\n"
    analysis, _ = run(write_study(('goal = "minimize"', 'goal = "minimize"\ndiverged = 9.0'), task=task))
    assert analysis.arms[0].values == (1.0, 9.0, 1.0)


def test_a_learning_rate_that_diverges_is_not_chosen(write_study):
    task = "def train(trial): trial.report(loss=float('inf') if trial.learning_rate > 0.05 else 1.0)\n"
    analysis, _ = run(write_study(task=task))
    assert [arm.tuned.chosen for arm in analysis.arms] == [0.01, 0.01]
    assert analysis.arms[0].tuned.diverged == (0, 2)


def test_a_study_in_which_everything_diverges_says_so(write_study):
    with pytest.raises(StudyStoppedError, match="every one diverged"):
        run(write_study(task="def train(trial): trial.report(loss=float('nan'))\n"))


def test_an_optimizer_that_cannot_be_made_is_refused_before_any_trial(write_study, executed):
    with pytest.raises(UnusableInputError, match=r"arm 'quarter': equipoise.SMES cannot be made: .*exponentt"):
        run(write_study(("exponent = ", "exponentt = ")))
    assert executed() == []


def test_a_controller_that_cannot_be_made_is_refused_before_any_trial(write_study, executed):
    controller = '{ name = "equipoise.balance.HypergradientController", evry = 1 }'
    with pytest.raises(UnusableInputError, match=r"equipoise.SMES with equipoise.balance.Hyper\w+ cannot be made: .*evry"):
        run(write_study(("exponent = 0.25", f"exponent = 0.25\ncontroller = {controller}")))
    assert executed() == []


def test_an_arms_controller_moves_its_exponent_and_the_exponents_are_kept(write_study):
    controller = '{ name = "equipoise.balance.HypergradientController", every = 1 }'
    analysis, _ = run(write_study(FEW, ("exponent = 0.25", f"exponent = 0.25\ncontroller = {controller}")))
    curves = [result.curves["exponent"] for result in analysis.arms[1].results]
    assert all(curve[1] == 0.25 and curve[3] != 0.25 for curve in curves)
    assert all("exponent" not in result.curves for result in analysis.arms[0].results)


def test_an_arm_outside_of_the_stable_region_is_warned_about_once(write_study):
    _, recorder = run(write_study(FEW, ("exponent = 0.25", "exponent = 0.5\nbetas = [0.95, 0.7]")))
    [warning] = [each for each in recorder.warnings if "nats" in each]
    assert "arm 'quarter'" in warning
    assert "-0.1270 nats per step" in warning


def test_too_few_seeds_are_said_to_be_too_few(finished):
    _, analysis, _ = finished
    assert analysis.remarks[0].startswith("3 seeds are few for 1 comparison(s): a difference must be 3.3 times")


def test_a_killed_run_leaves_no_process_and_the_next_one_continues(finished, write_study, executed):
    slow = write_study().with_name("task.py").read_text() + "        import time; time.sleep(0.1)\n"
    path = write_study(task=slow)
    command = [sys.executable, "-m", "equipoise", "study", "run", str(path), "--workers", "2", "--store"]
    command.append(sqlite_url(path.with_name("store.db")))
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
    while len(executed()) < 6:
        time.sleep(0.02)
        assert process.poll() is None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    while _members(process.pid):  # ends: every trial's process goes with the runner
        time.sleep(0.05)
    begun = executed()
    analysis, recorder = run(path)
    already = recorder.phases[0][2]
    assert 0 < already < 8
    # What had finished is not executed again; what was cut short is.
    assert len(executed()) - len(begun) == ALL_TRIALS - already
    _, uninterrupted, _ = finished
    assert [arm.values for arm in analysis.arms] == [arm.values for arm in uninterrupted.arms]


def test_run_takes_a_path_keeps_the_trials_beside_it_and_writes_a_report_only_if_asked(write_study, tmp_path, capfd):
    path = write_study(FEW)
    analysis = run_study(str(path))
    assert [len(arm.values) for arm in analysis.arms] == [2, 2]
    assert {file.suffix for file in tmp_path.iterdir()} >= {".db", ".logs"}
    assert not list(tmp_path.glob("*.html"))
    assert run_study(path, report=tmp_path / "shown.html") == analysis
    assert analysis.headline in (tmp_path / "shown.html").read_text()
    assert capfd.readouterr() == ("", "")  # stderr is no terminal here


def test_run_takes_a_study_and_the_folder_of_its_task(write_study, executed, tmp_path):
    path = write_study(FEW)
    (tmp_path / "trials").mkdir()
    store = sqlite_url(tmp_path / "trials" / "kept.db")
    first = run_study(read_study(path), folder=tmp_path, store=store)
    assert run_study(path, store=store) == first
    assert len(executed()) == FEW_TRIALS
    assert {file.name for file in (tmp_path / "trials").iterdir()} == {"kept.db", "kept.logs"}


def test_a_number_of_workers_that_is_none_is_refused_before_any_trial(write_study, executed):
    with pytest.raises(ArgumentError, match="workers = 0 is not accepted"):
        run(write_study(), workers=0)
    assert executed() == []


def test_run_without_a_terminal_warns_as_python_does(write_study):
    with pytest.warns(StabilityWarning, match=r"arm 'quarter': .*-0\.1270 nats per step"):
        run_study(write_study(FEW, ("exponent = 0.25", "exponent = 0.5\nbetas = [0.95, 0.7]")))


def test_the_hyperparameters_of_the_arms_are_recorded(write_study):
    changed = FEW, ("equipoise.SMES", "equipoise.KAdam"), ("exponent = 0.25", "k = 2\nbetas = [[0.9, 0.99], [0.5, 0.6]]")
    analysis, _ = run(write_study(*changed))
    assert analysis.hyperparameters == {
        "adamw": Hyperparameters.parse((0.9, 0.999)),
        "quarter": Hyperparameters.parse([(0.9, 0.99), (0.5, 0.6)], stages=2),
    }
    assert run(write_study(*changed))[0].hyperparameters == analysis.hyperparameters  # of a finished study as well


def test_an_optimizer_with_another_rule_has_no_hyperparameters(write_study):
    analysis, _ = run(write_study(FEW, ("equipoise.SMES", "torch.optim.SGD"), ("exponent = 0.25\n", "")))
    assert list(analysis.hyperparameters) == ["adamw"]


def _members(session: int) -> list[int]:
    """The live processes of a session."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        try:
            state, _, _, own = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
        except (OSError, ValueError):
            continue
        if entry.name.isdigit() and int(own) == session and state != "Z":
            found.append(int(entry.name))
    return found
