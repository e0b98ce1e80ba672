"""What a guard does about trouble in real training: exactly what its policy says, so many times, and never in silence."""

import logging
import math
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional

from equipoise import SMES, KAdam, theory
from equipoise.balance import Cosine, Scheduler, SpreadController
from equipoise.errors import ArgumentError, RunStoppedError, StateDictError
from equipoise.monitor import Guard, LowerRate, Monitor, MoveInside, Rollback, Skip, Snapshots, Stop, Warn

from .test_verdicts import reading


class Run:
    """Training of a real model with all that has a state: dropout, batch statistics, shuffled data, schedules, a controller."""

    def __init__(self, policy, *, every=1, snapshot_every=4, dtype=torch.float32, **options):
        torch.manual_seed(0)
        self.model = nn.Sequential(
            nn.Linear(8, 32), nn.BatchNorm1d(32), nn.Tanh(), nn.Dropout(0.3), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1)
        ).to(dtype)
        self.optimizer = SMES(self.model.parameters(), lr=0.01, exponent=0.25, **options)
        self.inputs = torch.randn(64, 8, dtype=dtype)
        self.targets = self.inputs.sum(1, keepdim=True).sin()
        self.rate = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, 100)
        self.betas = Scheduler(self.optimizer, beta2=Cosine(0.99, 0.999, steps=100))
        objects = {"model": self.model, "optimizer": self.optimizer, "rate": self.rate, "betas": self.betas}
        if "reference" in options:
            objects["controller"] = SpreadController(self.optimizer, tolerance=0.05, every=2)
        self.snapshots = Snapshots(objects, every=snapshot_every)
        self.guard = Guard(policy, snapshots=self.snapshots)
        self.monitor = Monitor(self.optimizer, self.model, every=every, guard=self.guard)
        self.position = 0
        self.losses = []

    def rewind(self, step):
        self.position = step

    def train(self, position, *, loss_at=(), gradient_at=(), again=False):
        """Up to a position in the data; NaN in the loss, or in one gradient, at some, the first time or also again."""
        loss_at, gradient_at = set(loss_at), set(gradient_at)
        while self.position < position:
            chosen = torch.randperm(64)[:16]
            self.position += 1
            loss = functional.mse_loss(self.model(self.inputs[chosen]), self.targets[chosen])
            self.optimizer.zero_grad()
            loss.backward()
            if self.position in gradient_at:
                gradient_at.remove(self.position)
                self.model[4].weight.grad[3, 4] = math.nan
            self.optimizer.step()
            self.rate.step()
            self.betas.step()
            if self.position in loss_at:
                loss_at -= set() if again else {self.position}
                loss = loss * math.nan
            self.losses.append(loss.item())
            self.monitor.step(loss=loss)

    def state(self):
        state = self.optimizer.state_dict()
        kept = [value for each in state["state"].values() for value in each.values() if isinstance(value, torch.Tensor)]
        tensors = [*self.model.state_dict().values(), *kept, torch.get_rng_state()]
        groups = [{key: value for key, value in group.items() if key != "params"} for group in state["param_groups"]]
        return [tensor.clone() for tensor in tensors], groups, self.rate.state_dict(), self.betas.last_step, self.monitor.steps


def assert_same(one, other):
    assert one[1:] == other[1:]
    assert len(one[0]) == len(other[0])
    assert all(map(torch.equal, one[0], other[0]))


KINDS = {
    "float32": {},
    "with a controller": {"reference": "none"},
    "bfloat16, rounded at random": {"dtype": torch.bfloat16, "rounding": "stochastic", "state_dtype": torch.bfloat16},
}


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
def test_after_a_rollback_in_which_nothing_was_changed_the_run_is_the_same_to_the_last_bit(options):
    alone = Run(Warn(), **options)
    alone.train(20)
    run = Run(Rollback(), **options)
    run.guard.on_trouble = Rollback(rewind=run.rewind)
    run.train(20, loss_at=[7], gradient_at=[14])
    assert run.guard.rollbacks == 2
    assert run.losses[7:9] == alone.losses[5:7]  # after step 7 it went back to step 5
    assert_same(run.state(), alone.state())
    assert [each.step for each in run.monitor.history] == list(range(1, 21))


def test_a_rollback_goes_to_the_newest_state_that_no_trouble_speaks_against():
    run = Run(Rollback(), snapshot_every=1)
    run.train(6, loss_at=[6])
    assert run.monitor.steps == 5
    assert run.snapshots.steps == [1, 4, 5]
    assert [verdict.kind for verdict in run.monitor.verdicts] == ["nonfinite-loss"]


def test_a_rollback_for_divergence_goes_to_before_the_first_of_the_losses_that_show_it():
    guard = Guard(Rollback(), snapshots=Snapshots({"model": nn.Linear(1, 1)}, every=1, keep=9))
    readings = []
    for step in range(1, 16):
        readings.append(reading(step, 1.0 if step < 13 else 4.0))
        _, action = guard.consider(readings)
    assert (action.kind, action.to_step) == ("rollback", 10)  # seen at 15, in the losses of 11 to 15


def test_trouble_again_before_a_new_snapshot_goes_to_the_one_before():
    run = Run(Rollback(limit=9), snapshot_every=2)
    run.train(6, loss_at=[6])
    assert run.monitor.steps == 5
    assert run.snapshots.steps == [1, 3, 5]
    run.train(7, loss_at=[7])
    assert run.monitor.steps == 3
    run.train(9, loss_at=[8, 9])
    assert run.monitor.steps == 1  # there is none before


def test_without_rewind_the_batches_since_the_snapshot_are_skipped(caplog):
    run = Run(Rollback())
    run.train(8, loss_at=[8])
    assert (run.monitor.steps, run.position) == (5, 8)
    assert "Back from step 8 to step 5, rollback 1 of at most 3. The data stay where they are." in caplog.text


def test_lower_rate_lowers_it_for_the_schedule_too_and_once_more_at_every_rollback():
    alone, run = Run(Warn()), Run(Rollback())
    run.guard.on_trouble = Rollback(rewind=run.rewind, remedies=(LowerRate(0.5),))
    alone.train(12)
    run.train(12, loss_at=[7, 8])
    expected = alone.optimizer.param_groups[0]["lr"] / 4
    assert run.optimizer.param_groups[0]["lr"] == pytest.approx(expected, rel=1e-12)
    assert run.rate.base_lrs == [0.01 / 4]


@pytest.mark.parametrize("schedule", ["OneCycleLR", "SequentialLR", "LambdaLR", "ReduceLROnPlateau"])
def test_lower_rate_halves_all_that_a_schedule_will_write(schedule):
    def made():
        optimizer = SMES([nn.Parameter(torch.ones(1))], lr=0.1)
        kinds = torch.optim.lr_scheduler
        if schedule == "OneCycleLR":
            return optimizer, kinds.OneCycleLR(optimizer, 0.5, total_steps=20)
        if schedule == "SequentialLR":
            parts = [kinds.LinearLR(optimizer, total_iters=5), kinds.ExponentialLR(optimizer, 0.9)]
            return optimizer, kinds.SequentialLR(optimizer, parts, [5])
        if schedule == "LambdaLR":
            return optimizer, kinds.LambdaLR(optimizer, lambda step: 1 / (step + 1))
        return optimizer, kinds.ReduceLROnPlateau(optimizer, patience=1)

    def rates(optimizer, scheduler, steps):
        for _ in range(steps):
            optimizer.step()
            scheduler.step(*([1.0] if schedule == "ReduceLROnPlateau" else []))
            yield optimizer.param_groups[0]["lr"]

    whole, half = made(), made()
    list(rates(*whole, 3))
    list(rates(*half, 3))
    LowerRate(0.5)({"optimizer": half[0], "scheduler": half[1]}, 1)
    for one, other in zip(rates(*whole, 12), rates(*half, 12), strict=True):
        assert other == pytest.approx(one / 2, rel=1e-12)


@pytest.mark.parametrize("value", ["beta1", "beta2", "exponent"])
@pytest.mark.parametrize("stages", [1, 2])
def test_move_inside_makes_every_group_stable_and_moves_nothing_else(value, stages):
    with warnings.catch_warnings(action="ignore"):
        optimizer = KAdam([nn.Parameter(torch.ones(1))], betas=(0.95, 0.7), k=stages)
    group = optimizer.param_groups[0]
    before = {key: group[key] for key in ("betas", "exponent")}
    said = MoveInside(value)({"optimizer": optimizer}, 1)
    assert theory.assess(group["betas"], group["exponent"], stages).stable
    assert (group["exponent"] == before["exponent"]) == (value != "exponent")
    assert (group["betas"] == before["betas"]) == (value == "exponent")
    assert value in said
    optimizer.step()  # what it wrote is accepted


def test_move_inside_says_where_no_value_is_stable():
    with warnings.catch_warnings(action="ignore"):
        optimizer = SMES([nn.Parameter(torch.ones(1))], exponent=0.6)
    assert "beta1 stays 0.9, as no value of it alone is stable" in MoveInside("beta1")({"optimizer": optimizer}, 1)


def test_skip_leaves_all_as_it_is_and_counts_and_says_it(caplog):
    run = Run(Skip(limit=2))
    run.train(4)
    before = [value.clone() for value in run.model.parameters()], run.optimizer.state_dict()
    run.train(5, gradient_at=[5])
    after = [value.clone() for value in run.model.parameters()], run.optimizer.state_dict()
    assert all(map(torch.equal, before[0], after[0]))
    for number, state in before[1]["state"].items():
        assert all(torch.equal(value, after[1]["state"][number][key]) for key, value in state.items())
    assert run.guard.skipped == 1
    assert "parameter 4 of group 0: this step is not made (1 of at most 2)" in caplog.text
    assert run.monitor.last.made is False
    run.train(8)
    assert all(parameter.isfinite().all() for parameter in run.model.parameters())


def test_skip_acts_on_steps_that_are_not_read_and_tells_at_the_next_reading():
    run = Run(Skip(limit=3), every=4)
    seen = []
    consider = run.guard.consider
    run.guard.consider = lambda history: seen.append(consider(history)) or seen[-1]
    run.train(8, gradient_at=[2, 3, 5])
    assert [(action.kind, action.step) for _, action in seen] == [("skip", 4), ("skip", 8)]
    assert seen[0][1].message.startswith("2 step(s)")


def test_a_gradient_too_large_to_square_is_no_reason_to_skip():
    run = Run(Skip())
    run.optimizer.zero_grad()
    for parameter in run.model.parameters():
        parameter.grad = torch.full_like(parameter, 1e30)
    run.guard.before_step(run.optimizer)
    assert run.guard.skipped == 0
    assert all(parameter.grad is not None for parameter in run.model.parameters())


def test_more_skips_than_the_limit_stop_the_run_with_a_report(tmp_path):
    path = tmp_path / "report.md"
    run = Run(Skip(limit=1, otherwise=Stop(report=path)))
    run.train(5, gradient_at=[5])
    with pytest.raises(RunStoppedError, match="More steps were dropped than the limit allows"):
        run.train(8, gradient_at=[7])
    assert run.position == 7
    assert "parameter 4 of group 0" in path.read_text()


def test_trouble_that_comes_again_and_again_stops_the_run_with_a_report(tmp_path):
    path = tmp_path / "report.md"
    run = Run(Rollback())
    run.guard.on_trouble = Rollback(rewind=run.rewind, remedies=(LowerRate(),), limit=2, otherwise=Stop(report=path))
    with pytest.raises(RunStoppedError, match="Trouble again, after 2 rollbacks") as stopped:
        run.train(7, loss_at=[6], again=True)
    assert str(path) in str(stopped.value)
    report = path.read_text()
    assert "# equipoise stopped run Sequential at step 6" in report
    assert "since step 6: loss is nan." in report
    assert "Back from step 6 to step 5, rollback 1 of at most 2" in report
    assert "The learning rates are 0.25 times" in report
    assert "The newest is of step 1, in memory." in report  # it had not recovered
    assert run.guard.state_dict() == {"skipped": 0, "rollbacks": 2, "recovery": run.guard.state_dict()["recovery"]}


def test_stop_tells_the_sinks_and_writes_its_report_before_it_raises(tmp_path):
    told = []

    class Sink:
        def open(self, run):
            pass

        def write(self, record):
            told.append(record)

        def close(self):
            pass

    run = Run(Stop(report=tmp_path / "missing" / "report.md"))
    run.monitor._given_sinks = (Sink(),)
    run.monitor._sinks = run.monitor._opened_sinks()
    with pytest.raises(RunStoppedError, match=r"not written: .*missing"):
        run.train(3, loss_at=[2])
    run.monitor.close()
    assert [record.kind for record in told if hasattr(record, "kind")] == ["nonfinite-loss", "stop"]


def test_trouble_before_there_is_a_snapshot_stops_the_run(tmp_path):
    run = Run(Rollback(otherwise=Stop(report=tmp_path / "report.md")))
    with pytest.raises(RunStoppedError, match="No rollback: there is no snapshot to go back to"):
        run.train(1, loss_at=[1])


def test_a_snapshot_before_the_first_step_is_one_to_go_back_to():
    run = Run(Rollback())
    run.snapshots.take(0)
    run.train(1, loss_at=[1])
    assert run.monitor.steps == 0


def test_warn_acts_once_on_what_goes_on_and_logs_it(caplog):
    guard = Guard(Warn())
    actions = []
    with caplog.at_level(logging.WARNING):
        for step, loss in enumerate([1.0, math.nan, math.nan, 1.0, math.nan], 1):
            actions.append(guard.consider([reading(step, loss)])[1])
    assert [action and action.kind for action in actions] == [None, "warn", None, None, "warn"]
    assert caplog.text.count("loss is nan.") == 2


def test_only_good_states_are_kept():
    run = Run(Warn(), snapshot_every=1)
    run.train(4, loss_at=[3])
    assert run.snapshots.steps == [1, 2, 4]


def test_what_was_used_up_of_the_limits_survives_a_restart():
    guard = Guard(Skip())
    guard.load_state_dict({"skipped": 3, "rollbacks": 1})
    assert guard.state_dict() == {"skipped": 3, "rollbacks": 1, "recovery": None}
    with pytest.raises(StateDictError, match="skips"):
        guard.load_state_dict({"skips": 3})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Guard(Rollback()), "snapshots = None .* given with Rollback"),
        (lambda: Skip(limit=0), "limit = 0 .* at least 1"),
        (lambda: Rollback(limit=True), "limit = True"),
        (lambda: LowerRate(1.0), "factor = 1.0 .* in \\(0, 1\\)"),
        (lambda: MoveInside("eps"), "value = 'eps'"),
    ],
)
def test_what_is_not_accepted_is_refused(make, message):
    with pytest.raises(ArgumentError, match=message):
        make()
