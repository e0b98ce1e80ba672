"""The optimizers that a study file can name: each can be made everywhere in its space, and learns."""

from __future__ import annotations

import pkgutil
from pathlib import Path

import pytest
import torch

from equipoise.errors import ArgumentError
from equipoise.study._arms.ready_made import READY_MADE
from equipoise.study._cells import Assignment, Table
from equipoise.study._processes.rehearsal import probe
from equipoise.study._spec import Study
from equipoise.study._task_source import locate_task
from equipoise.study._tasks.digits import digits
from equipoise.study._worker import Report, Trial, build_optimizer

RATES = {"sgd": 0.1, "lion": 3e-3, "schedule-free": 0.03, "prodigy": 1.0, "adafactor": 0.1}
"""Where 0.01 does not suit."""


def assignments(name: str, **keys) -> list[Assignment]:
    """What the trials of an arm are that says nothing but the optimizer's name."""
    arms = [{"name": "own", "optimizer": name, "baseline": True}, {"name": "other", "optimizer": "sgd"}]
    head = {"name": "s", "task": "digits", "metric": "accuracy", "select_by": "validation_accuracy", "goal": "maximize"}
    study = Study.model_validate({**head, "epochs": 2, "seeds": 2, "tuning_seeds": 1, "arm": arms, **keys})
    cells = Table(study, locate_task(study.task, Path())).plan_tuning()
    return [cell.assignment for cell in cells if cell.arm == "own"]


@pytest.mark.parametrize("name", READY_MADE)
def test_a_ready_made_optimizer_learns_the_digits(name):
    (assigned,) = assignments(name, learning_rates=[RATES.get(name, 0.01)])
    reports: list[Report] = []
    torch.manual_seed(0)
    digits(Trial(assigned, reports.append))
    assert [report.epoch for report in reports] == [1, 2]
    assert reports[-1].metrics["accuracy"] > 0.8  # guessing: 0.1


@pytest.mark.parametrize("name", READY_MADE)
def test_a_ready_made_optimizer_can_be_made_everywhere_in_its_space(name):
    for assigned in assignments(name, points=4):
        optimizer, _ = build_optimizer(assigned, probe(), pkgutil.resolve_name)
        for group in optimizer.param_groups:
            assert (group["lr"], group["weight_decay"]) == (assigned.point["lr"], assigned.point["weight_decay"])


@pytest.mark.parametrize("name", READY_MADE)
def test_a_misspelled_argument_is_refused_with_what_was_meant(name):
    (assigned,) = assignments(name, learning_rates=[0.1])
    assigned.arguments["weight_decya"] = 0.1
    with pytest.raises(ArgumentError, match=r"weight_decya = 0.1 is not accepted: .*: did you mean 'weight_decay'\?"):
        build_optimizer(assigned, probe(), pkgutil.resolve_name)


def test_schedule_free_has_no_schedule_and_a_warm_up():
    assigned, *_ = assignments("schedule-free", points=1)
    assert (assigned.schedule, assigned.warmup) == ("constant", 0.05)
    assigned, *_ = assignments("adamw", points=1)
    assert (assigned.schedule, assigned.warmup) == (None, 0.0)
