"""What a trial offers a task for its arm: a schedule with a warm-up, the weights to evaluate, the model for roles."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from equipoise.errors import ArgumentError
from equipoise.study._arms.schedule import factor
from equipoise.study._cells import Assignment
from equipoise.study._task_source import TaskSource
from equipoise.study._worker import Report, Trial


def make_trial(optimizer: str = "torch.optim.SGD", **changes) -> tuple[Trial, list[Report]]:
    sent: list[Report] = []
    task = TaskSource("task.py", "train", "")
    return Trial(Assignment(task, "loss", 2, optimizer, {}, 0.5, 7, **changes), sent.append), sent


shares = st.floats(0, 0.99)
schedules = st.sampled_from(["constant", "cosine", "linear"])


@given(st.integers(1, 300), schedules, shares)
def test_a_schedule_rises_to_one_and_never_rises_again(steps, schedule, warmup):
    factors = [factor(step, steps=steps, schedule=schedule, warmup=warmup) for step in range(steps + 1)]
    rising = round(warmup * steps)
    assert factors[:rising] == pytest.approx([(step + 1) / rising for step in range(rising)])
    assert max(factors) == 1.0
    assert all(later <= earlier for earlier, later in zip(factors[rising:], factors[rising + 1 :], strict=False))
    if rising < steps:
        assert factors[-1] == pytest.approx(1.0 if schedule == "constant" else 0.0, abs=1e-12)


def test_the_cosine_is_torchs():
    weight = nn.Parameter(torch.zeros(1))
    trial, _ = make_trial()
    own, other = trial.optimizer([weight]), torch.optim.SGD([weight], lr=0.5)
    scheduler = trial.scheduler(own, 10, default="cosine")
    torchs = torch.optim.lr_scheduler.CosineAnnealingLR(other, 10)
    for _ in range(10):
        assert own.param_groups[0]["lr"] == pytest.approx(other.param_groups[0]["lr"])
        for each in (own, other, scheduler, torchs):
            each.step()


def test_the_arms_schedule_goes_before_the_tasks():
    trial, _ = make_trial(schedule="linear")
    optimizer = trial.optimizer([nn.Parameter(torch.zeros(1))])
    scheduler = trial.scheduler(optimizer, 4, default="cosine")
    optimizer.step()
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] == 0.5 * 3 / 4


def test_a_trial_that_is_stopped_early_has_the_schedule_of_the_whole():
    trial, _ = make_trial(schedule="linear", stop_after=1)
    optimizer = trial.optimizer([nn.Parameter(torch.zeros(1))])
    scheduler = trial.scheduler(optimizer, trial.total_epochs)
    for _ in trial.epochs():
        optimizer.step()
        scheduler.step()
    assert optimizer.param_groups[0]["lr"] == 0.5 / 2


def test_a_warm_up_alone_goes_before_the_schedule_of_the_task():
    trial, sent = make_trial(warmup=0.5)
    optimizer = trial.optimizer([nn.Parameter(torch.zeros(1))])
    trial.scheduler(optimizer, 4)
    trial.report(loss=1.0)
    assert sent[0].metrics == {"loss": 1.0, "learning_rate": 0.25}


def test_schedule_free_is_evaluated_at_other_weights_than_it_trains():
    trial, _ = make_trial("pytorch_optimizer.ScheduleFreeAdamW")
    weight = nn.Parameter(torch.ones(4))
    optimizer = trial.optimizer([weight])
    for _ in range(3):
        optimizer.zero_grad()
        weight.square().sum().backward()
        optimizer.step()
    trained = weight.detach().clone()
    with trial.evaluation():
        evaluated = weight.detach().clone()
        trial.report(loss=weight.square().sum())
    torch.testing.assert_close(weight.detach(), trained)
    assert not torch.allclose(evaluated, trained)


def test_a_metric_of_the_weights_that_schedule_free_trains_is_refused():
    trial, sent = make_trial("pytorch_optimizer.ScheduleFreeAdamW", select_by="validation_loss")
    trial.optimizer([nn.Parameter(torch.ones(4))])
    trial.report(training_loss=1.0)
    with pytest.raises(ArgumentError, match=r"\['loss'\].*measured inside of `with trial.evaluation\(\):`: ScheduleFreeAdamW"):
        trial.report(loss=1.0)
    with pytest.raises(ArgumentError, match=r"\['validation_loss'\]"):
        trial.report(validation_loss=1.0)
    assert [report.metrics for report in sent] == [{"training_loss": 1.0}]


def test_an_optimizer_with_one_kind_of_weights_is_evaluated_as_it_is():
    trial, sent = make_trial()
    weight = nn.Parameter(torch.ones(4))
    trial.optimizer([weight])
    with trial.evaluation():
        assert torch.equal(weight, torch.ones(4))
    trial.report(loss=1.0)
    assert len(sent) == 1


@pytest.mark.parametrize("given_as", ["model", "parameters", "named_parameters"])
def test_every_optimizer_can_be_made_for_a_model_or_its_parameters(given_as):
    model = nn.Linear(3, 2)
    trial, _ = make_trial("torch.optim.AdamW")
    given = model if given_as == "model" else getattr(model, given_as)()
    (group,) = trial.optimizer(given).param_groups
    assert group["params"] == [model.weight, model.bias]


def test_an_optimizer_that_goes_by_roles_gets_the_model_and_prints_its_split(capsys):
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    trial, _ = make_trial("equipoise.study._arms.muon.Muon")
    trial.optimizer(model)
    assert capsys.readouterr().out == "Muon: 0.weight (matrix)\nAdamW: 0.bias (vector), 1.weight (head), 1.bias (vector)\n"
    with pytest.raises(ArgumentError, match=r"trial\.optimizer\(model\)"):
        trial.optimizer(model.parameters())
