"""A guard does not lose a run: it sees settings that jump in the same step, and a run that does not recover."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from equipoise import SMES
from equipoise.balance import Linear, Scheduler
from equipoise.monitor import Guard, JsonLines, LowerRate, Monitor, Rollback, Snapshots, Thresholds, Warn, judge
from equipoise.monitor._measuring.settings import Settings
from equipoise.watch import Run, records, show

from .samples import reading, tensor


class Value:
    """Something with a state."""

    value = 0

    def state_dict(self):
        return {"value": self.value}

    def load_state_dict(self, state_dict):
        self.value = state_dict["value"]


def guarded(losses, *, keep=9, limit=9):
    """The actions of a guard on a run of which only the loss is known, until it has gone through it, and the guard."""
    guard = Guard(Rollback(limit=limit), snapshots=Snapshots({"value": Value()}, every=1, keep=keep))
    readings, actions, step = [], [], 0
    for loss in losses:
        step += 1
        readings.append(reading(step, loss, names=()))
        _, action = guard.consider(readings)
        if action is not None and action.to_step is not None:
            actions.append((action.verdicts[0].kind, action.to_step))
            step = action.to_step
            readings = [each for each in readings if each.step <= step]
    return actions, guard


def noisy(level, count, number=0):
    return (level * (1 + 0.05 * torch.randn(count, generator=torch.Generator().manual_seed(number)))).tolist()


# Recovery.


def test_a_run_that_does_not_come_back_to_its_loss_goes_back_further(caplog):
    spoiled = noisy(3.08, 20, 1)  # the state of step 30 was spoiled already, although its loss, of before the step, was not
    falling = [2.65 + 1.5 * math.exp(-step / 6) for step in range(30)]
    actions, guard = guarded([*falling, math.nan, *spoiled, *noisy(2.6, 10, 2)])
    assert [kind for kind, _ in actions] == ["nonfinite-loss", "not-recovered"]
    assert actions[0][1] == 30 > actions[1][1]
    assert "loss is 3." in caplog.text
    assert "20 readings after the run went back to step 30: it did not recover the 2." in caplog.text
    assert guard.state_dict()["recovery"] is None
    assert guard.snapshots.steps[-1] > 30


def test_a_run_that_comes_back_to_its_loss_is_fine_and_takes_snapshots_again(caplog):
    caplog.set_level("WARNING")
    actions, guard = guarded([*noisy(2.65, 30), math.nan, *noisy(2.65, 4, 1)])
    assert len(actions) == 1
    assert guard.snapshots.steps[-1] == 30  # not yet: four readings decide nothing
    actions, guard = guarded([*noisy(2.65, 30), math.nan, *noisy(2.65, 40, 1)])
    assert len(actions) == 1
    assert guard.snapshots.steps[-1] == 70
    assert "loss is at 2." in caplog.text


@pytest.mark.parametrize("number", range(20))
def test_noise_is_no_failure_to_recover(number):
    losses = [*noisy(2.65, 30, number), math.nan, *noisy(2.65, 60, 100 + number)]
    assert len(guarded(losses)[0]) == 1


def test_what_is_to_be_recovered_survives_a_restart_and_is_not_known_without_a_loss():
    _, guard = guarded([*noisy(2.65, 30), math.nan])
    again = Guard(Warn())
    again.load_state_dict(guard.state_dict())
    assert again.state_dict() == guard.state_dict()
    assert again.state_dict()["recovery"][0] == 30
    again.load_state_dict({"skipped": 0, "rollbacks": 1})  # of an earlier version
    assert again.state_dict()["recovery"] is None
    guard = Guard(Rollback(), snapshots=Snapshots({"value": Value()}, every=1))
    fine = reading(1, metrics={}, tensors={"w": tensor(nonfinite_fraction=0.0)})
    guard.consider([fine])
    assert guard.consider([fine, reading(2, metrics={})])[1].kind == "rollback"
    assert guard.state_dict()["recovery"] is None


# Jumps.


def jumps(optimizer, schedule, steps=60):
    settings, found = Settings((), 3.0), []
    for _ in range(steps):
        found += settings.look(optimizer.param_groups)
        optimizer.step()
        schedule()
    return found


@pytest.mark.parametrize(
    "make",
    [
        lambda optimizer: lr_scheduler.LinearLR(optimizer, 1e-3, total_iters=20),
        lambda optimizer: lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, step / 20)),
        lambda optimizer: lr_scheduler.LambdaLR(optimizer, lambda step: 0.001 if step < 30 else 1.0),
        lambda optimizer: lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=61, div_factor=1e4),
        lambda optimizer: lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 10),
        lambda optimizer: lr_scheduler.CyclicLR(optimizer, 0.01, 0.1, step_size_up=10, cycle_momentum=False),
        lambda optimizer: lr_scheduler.StepLR(optimizer, 20, 0.01),
        lambda optimizer: lr_scheduler.ReduceLROnPlateau(optimizer),
    ],
)
def test_the_schedules_of_torch_do_not_jump(make):
    optimizer = torch.optim.AdamW(nn.Linear(2, 1).parameters(), lr=0.1)
    schedule = make(optimizer)
    takes_loss = isinstance(schedule, lr_scheduler.ReduceLROnPlateau)
    assert jumps(optimizer, lambda: schedule.step(1.0) if takes_loss else schedule.step()) == []


def test_a_warm_up_by_hand_and_a_scheduler_of_ours_do_not_jump():
    optimizer = torch.optim.AdamW(nn.Linear(2, 1).parameters(), lr=0.0)
    step = 0

    def warm_up():
        nonlocal step
        step += 1
        optimizer.param_groups[0]["lr"] = 0.1 * min(1.0, step / 20)

    assert jumps(optimizer, warm_up) == []
    ours = SMES(nn.Linear(2, 1).parameters())
    scheduler = Scheduler(ours, beta2=Linear(0.9, 0.999, steps=2))
    settings = Settings([scheduler], 3.0)
    found = []
    for _ in range(2):
        found += settings.look(ours.param_groups)
        ours.step()
        scheduler.step()
    found += settings.look(ours.param_groups)
    assert found == []


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("lr", 1.0, "lr of group 0 goes from 0.01 to 1"),
        ("lr", torch.tensor(1.0), "lr of group 0 goes from 0.01 to 1"),
        ("weight_decay", 1.0, "weight_decay of group 0 goes from 0.01 to 1"),
        ("betas", (0.9, 0.9), "beta2 of group 0 goes from 0.999 to 0.9"),
        ("betas", (0.99, 0.999), "beta1 of group 0 goes from 0.9 to 0.99"),
    ],
)
def test_a_setting_that_jumps_is_a_verdict_in_the_same_step(key, value, said, tmp_path):
    model = nn.Linear(2, 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    with Monitor(optimizer, model, every=100, sinks=[JsonLines(tmp_path)]) as monitor:
        for number in range(8):
            if number == 5:
                optimizer.param_groups[0][key] = value
            model(torch.ones(1, 2)).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
            found = monitor.step(loss=1.0)
            assert (found is not None) == (number == 5)
            if found is not None:
                assert found.made
                assert found.tensors["weight"].update_rms > 0
                [verdict] = monitor.verdicts
    assert (verdict.kind, verdict.severity, verdict.step, verdict.where) == ("jump", "trouble", 6, ("group 0",))
    assert said in verdict.message
    [kept] = [each for each in records(tmp_path) if hasattr(each, "metrics")]
    assert judge([kept])[0].kind == "jump"  # the file has all that it is judged by


def test_a_batch_that_jumps_is_a_warning():
    model = nn.Linear(2, 1)
    with Monitor(torch.optim.AdamW(model.parameters()), model, every=100) as monitor:
        assert monitor.step(batch_size=32) is None
        assert monitor.step(batch_size=7) is None  # the last one of an epoch
        assert monitor.step(batch_size=256).made is False
    assert [(verdict.kind, verdict.severity) for verdict in monitor.verdicts] == [("jump", "warning")]


@pytest.mark.parametrize(("optimizer_class", "lr"), [(torch.optim.AdamW, 0.01), (torch.optim.SGD, 0.3), (SMES, 0.01)])
def test_a_run_survives_a_learning_rate_that_jumps(optimizer_class, lr, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")

    def trained(jump, guard):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 1))
        optimizer = optimizer_class(model.parameters(), lr=lr)
        snapshots = Snapshots({"model": model, "optimizer": optimizer})
        policy = Guard(Rollback((LowerRate(0.5),)), snapshots=snapshots) if guard else None
        inputs = torch.randn(64, 8)
        targets = inputs.sum(1, keepdim=True).sin()
        sinks = [JsonLines(tmp_path)] if guard else []
        with Monitor(optimizer, model, every=5, guard=policy, sinks=sinks, name="mine") as monitor:
            for number in range(160):
                if number == jump:  # a script that sets it once
                    optimizer.param_groups[0]["lr"] = 100 * lr
                loss = nn.functional.mse_loss(model(inputs), targets)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                monitor.step(loss=loss)
        return loss.item(), monitor

    usual, _ = trained(None, False)
    lost, _ = trained(100, False)
    saved, monitor = trained(100, True)
    assert max(usual, saved) < 0.15
    assert not lost < 5 * saved
    assert monitor.guard.rollbacks == 1
    assert (monitor.steps, monitor.loop_steps) == (160 - 1 - 100 + monitor.guard._returned, 160)
    with Run(tmp_path) as run:
        show([run])
    printed = " ".join(capsys.readouterr().out.split())
    assert "of the training loop)" in printed
    assert "The training loop has made 101 steps, and counts on." in printed


def test_messages_name_the_package_and_the_run(caplog):
    model = nn.Linear(2, 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    with Monitor(optimizer, model, every=1, guard=Guard(Warn()), name="mine") as monitor:
        monitor.step(loss=math.nan)
    assert "equipoise, run mine, step 1: loss is nan." in caplog.text


def test_a_threshold_says_what_a_jump_is():
    optimizer = torch.optim.AdamW((model := nn.Linear(2, 1)).parameters(), lr=0.01)
    with Monitor(optimizer, model, every=100, guard=Guard(Warn(), thresholds=Thresholds(jump=200.0))) as monitor:
        for lr in (0.01, 1.0):
            optimizer.param_groups[0]["lr"] = lr
            optimizer.step()
            assert monitor.step() is None
