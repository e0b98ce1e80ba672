"""What a task sees of its trial, and what comes home from it."""

from __future__ import annotations

import math

import pytest
import torch

from equipoise.errors import ArgumentError
from equipoise.study._cells import Assignment
from equipoise.study._task_source import TaskSource
from equipoise.study._worker import DivergedError, Report, Trial


def make_trial(**changes) -> tuple[Trial, list[Report]]:
    values = {
        "task": TaskSource("task.py", "train", ""),
        "metric": "loss",
        "epochs": 3,
        "optimizer": "torch.optim.SGD",
        "arguments": {"momentum": 0.5},
        "learning_rate": 0.25,
        "seed": 7,
    }
    sent: list[Report] = []
    return Trial(Assignment(**{**values, **changes}), sent.append), sent


def test_the_optimizer_is_the_arms_at_the_trials_learning_rate():
    trial, _ = make_trial()
    optimizer = trial.optimizer([torch.nn.Parameter(torch.zeros(2))])
    assert type(optimizer) is torch.optim.SGD
    assert (optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]) == (0.25, 0.5)


def test_epochs_are_counted_from_one_and_reports_carry_them():
    trial, sent = make_trial()
    for epoch in trial.epochs():
        trial.report(loss=1 / epoch)
    assert sent == [Report(1, {"loss": 1.0}), Report(2, {"loss": 0.5}), Report(3, {"loss": 1 / 3})]


def test_a_task_without_epochs_reports_for_the_first():
    trial, sent = make_trial()
    trial.report(score=1)
    assert sent == [Report(1, {"score": 1.0})]


def test_a_tensor_is_reported_as_its_number():
    trial, sent = make_trial()
    trial.report(loss=torch.tensor(0.5, requires_grad=True))
    assert sent == [Report(1, {"loss": 0.5})]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_ends_the_trial_as_diverged_after_it_was_sent(value):
    trial, sent = make_trial()
    with pytest.raises(DivergedError, match="loss"):
        trial.report(loss=value, accuracy=0.5)
    assert trial.diverged
    assert sent[0].metrics.keys() == {"loss", "accuracy"}


def test_an_optimizer_that_does_not_exist_is_an_error_of_its_name():
    with pytest.raises(AttributeError, match="AdamWW"):
        make_trial(optimizer="torch.optim.AdamWW")[0].optimizer([])


def controlled(**controller) -> tuple[Trial, list[Report], torch.optim.Optimizer]:
    given = {"exponent": 0.5}
    trial, sent = make_trial(optimizer="equipoise.SMES", arguments=given, controller=controller)
    return trial, sent, trial.optimizer([torch.nn.Parameter(torch.ones(2)) for _ in range(2)])


def test_a_controller_on_losses_is_told_those_that_the_task_reports():
    trial, sent, optimizer = controlled(name="equipoise.balance.GeneralizationController", rate=0.125)
    for _ in trial.epochs():
        trial.report(loss=0.5, validation_loss=1.0)
    assert [report.metrics["exponent"] for report in sent] == [0.375, 0.25, 0.125]
    assert optimizer.param_groups[0]["exponent"] == 0.125


def test_a_controller_on_losses_says_which_the_task_did_not_report():
    trial, _, _ = controlled(name="equipoise.balance.GeneralizationController")
    with pytest.raises(ArgumentError, match="include validation_loss, which GeneralizationController works on"):
        trial.report(loss=0.5)


def test_a_controller_on_gradients_works_in_the_steps_of_the_optimizer():
    trial, sent, optimizer = controlled(name="equipoise.balance.SpreadController", every=1, rate=0.125)
    first, second = optimizer.param_groups[0]["params"]
    first.grad = second.grad = torch.ones(2)  # no spread at all
    optimizer.step()
    trial.report(loss=1.0)
    assert sent == [Report(1, {"loss": 1.0, "exponent": 0.375})]
