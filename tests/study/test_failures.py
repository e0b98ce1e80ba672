"""A trial that fails in any way is recorded with its reason, stops no other, and is what the next run tries again."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest

from equipoise.errors import StudyStoppedError, UnusableInputError
from equipoise.study._processes.rehearsal import made_of

from .recorder import Recorder, run

WAYS = {
    "raise RuntimeError('out of luck')": "RuntimeError: out of luck (task.py, line ",
    "sys.exit(0)": "SystemExit: 0 (task.py, line ",
    "os._exit(0)": "its process ended by itself with exit code 0",
    "os.kill(os.getpid(), 9)": "its process was ended by SIGKILL, as the system does where memory runs out",
    "ctypes.string_at(0)": "its process was ended by SIGSEGV, a fault in compiled code",
    "time.sleep(1000)": "it neither reported nor printed anything for 10 s (timeout)",
    "print('x' * 100_000_000); raise RuntimeError('after much noise')": "RuntimeError: after much noise (task.py, line ",
    "trial.report(loss='low')": "loss = 'low' is not accepted: loss must be a number, or a tensor of one element",
    "input('go on? ')": "EOFError: EOF when reading a line (task.py, line ",
}
"""What a comparison seed of the second arm does in its second epoch, and what is said of it."""

TASK = """
import ctypes, os, sys, time
from pathlib import Path

import torch

FOLDER = Path(__file__).parent

def train(trial):
    with (FOLDER / "executed.log").open("a") as log:
        log.write(f"{trial.learning_rate} {trial.seed}\\n")
    arm = type(trial.optimizer([torch.nn.Parameter(torch.zeros(2))])).__name__
    for epoch in trial.epochs():
        print("epoch", epoch)
        if epoch == 2 and arm == "SMES" and not (FOLDER / "mended").exists():
            fail(trial)
        trial.report(loss=2.0 if arm == "AdamW" else 1.0 + trial.seed % 7 / 100)

def fail(trial):
"""

ONE_POINT = ("tuning_seeds = 2\nlearning_rates = [0.01, 0.1]", "tuning_seeds = 1\nlearning_rates = [0.1]\ntimeout = 10")
SEEDS = len(WAYS) + 2


def by_seed(ways: list[str]) -> str:
    return TASK + "".join(f"    if trial.seed == {10_000 + number}:\n        {way}\n" for number, way in enumerate(ways))


def test_every_way_to_fail_is_recorded_with_its_reason_and_the_others_go_on(write_study, executed):
    path = write_study(ONE_POINT, ("\nseeds = 3", f"\nseeds = {SEEDS}"), task=by_seed(list(WAYS)))
    analysis, recorder = run(path, workers=4)
    failures = {int(label.rpartition("=")[2]) - 10_000: failure for label, failure, _ in recorder.failures}
    said = [failures[number].reason for number in range(len(WAYS))]
    assert [reason in each for reason, each in zip(WAYS.values(), said, strict=True)] == [True] * len(WAYS), said
    # What it printed is in a file of its own, of bounded size; its end is shown, with where it was.
    output = [failures[number].output for number in range(len(WAYS))]
    assert output[0].splitlines()[:2] == ["epoch 1", "epoch 2"]
    assert "RuntimeError: out of luck" in output[0]
    assert "Segmentation fault" in output[4]
    assert 'task.py", line' in output[5]  # where it hung
    assert max(map(len, output)) < 10_000
    assert max(log.stat().st_size for log in path.with_name("store.logs").iterdir()) < 5_000_000
    # The verdict is of the seeds that are there, and says what is missing and what that does to it.
    assert [len(arm.seeds) for arm in analysis.arms] == [SEEDS, 2]
    assert analysis.remarks[0].startswith(
        f"{len(WAYS)} of {2 + 2 * SEEDS} trials failed and are missing: quarter lr=0.1 seed=1"
    )
    assert any(
        f"quarter is compared on 2 of {SEEDS} seeds. If the missing ones counted as loss = 2, the worst" in remark
        for remark in analysis.remarks
    )
    # Running again tries those that failed, and no other.
    before = len(executed())
    (path.with_name("mended")).touch()
    analysis, _ = run(path, workers=4)
    assert analysis.missing == ()
    assert len(executed()) - before == len(WAYS)


def test_a_trial_that_fails_is_tried_again_as_often_as_the_study_says(write_study, executed):
    flaky = by_seed(["if not (FOLDER / 'once').exists(): (FOLDER / 'once').touch(); raise RuntimeError('once')"])
    analysis, recorder = run(write_study(ONE_POINT, ("\nseeds", "\nretries = 1\nseeds"), task=flaky))
    assert [again for _, _, again in recorder.failures] == [True]
    assert analysis.missing == ()
    assert len(executed()) == 2 + 2 * 3 + 1


def test_a_trial_that_reports_nothing_has_failed_and_the_others_go_on(write_study):
    task = TASK.replace("    for epoch", "    if arm == 'SMES' and trial.seed == 10_001: return\n    for epoch") + "    pass\n"
    analysis, _ = run(write_study(ONE_POINT, task=task))
    assert [cell.label for cell in analysis.missing] == ["quarter lr=0.1 seed=10001"]
    assert analysis.missing[0].failure.reason == "the task never reported 'loss'; it reported nothing"


def test_a_metric_that_the_task_never_reports_stops_the_study_at_the_first_trial(write_study, executed):
    path = write_study(('metric = "loss"', 'metric = "los"'))
    with pytest.raises(StudyStoppedError, match=r"never reported 'los'; it reported \['loss'\]: did you mean 'loss'"):
        run(path, workers=1)
    assert len(executed()) == 1
    # It was said before any trial was run.
    recorder = Recorder()
    with pytest.raises(StudyStoppedError):
        run(path, recorder, workers=1)
    # Beside the task's file it names whatever else the trials' server has imported, as another study in this process may ask.
    [doubt] = [each for each in recorder.told if "may never" in each]
    assert re.fullmatch(
        r"warning: the task may never report 'los', because (\S+, )*task.py does not contain that name: did you mean 'loss'\?",
        doubt,
    )


def test_a_metric_whose_name_the_task_puts_together_is_not_doubted():
    assert made_of("validation_accuracy", {"validation_", "accuracy", "loss"})
    assert not made_of("validation_acuracy", {"validation_", "accuracy", "loss"})


def test_a_metric_that_kept_trials_never_reported_is_refused_before_any_trial_is_run(write_study, executed):
    run(write_study(ONE_POINT))
    before = len(executed())
    with pytest.raises(UnusableInputError, match=r"is kept, and the task never reported 'losss'; it reported \['loss'\]"):
        run(write_study(ONE_POINT, ('metric = "loss"', 'metric = "losss"')))
    assert len(executed()) == before


def test_a_trial_that_leaves_a_thread_and_a_child_is_kept_at_once_and_both_are_ended(write_study, tmp_path):
    left = """
        import subprocess, threading
        threading.Thread(target=time.sleep, args=(1000,)).start()
        child = subprocess.Popen(["sleep", "1000"])
        (FOLDER / "children").open("a").write(f"{child.pid}\\n")
"""
    task = TASK.replace("    for epoch", f"    if arm == 'SMES' and trial.seed == 10_000:{left}    for epoch") + "    pass\n"
    analysis, _ = run(write_study(ONE_POINT, task=task))
    assert analysis.missing == ()
    [child] = map(int, (tmp_path / "children").read_text().split())
    assert not running(child)


def test_a_loader_with_workers_works_inside_of_a_trial_as_in_a_script(write_study):
    task = """
import torch

class Numbers(torch.utils.data.Dataset):
    def __len__(self): return 8
    def __getitem__(self, index): return torch.tensor(float(index))

def train(trial):
    for epoch in trial.epochs():
        loader = torch.utils.data.DataLoader(Numbers(), num_workers=2, batch_size=2)
        trial.report(loss=sum(batch.sum() for batch in loader))
"""
    analysis, _ = run(write_study(ONE_POINT, ("\nseeds = 3", "\nseeds = 2"), task=task))
    assert analysis.arms[0].values == (28.0, 28.0)


def running(process: int) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.kill(process, 0)
            if "\nState:\tZ" in Path(f"/proc/{process}/status").read_text():
                return False
        except (ProcessLookupError, FileNotFoundError):
            return False
        time.sleep(0.05)
    return True
