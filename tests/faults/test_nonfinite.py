"""What is not finite costs nothing: whichever step it comes in, the run ends where one ends to which nothing happened."""

from contextlib import contextmanager

import pytest

from equipoise.monitor import Rollback, Skip, Warn

from .training import (
    STEPS,
    Run,
    bad_batch,
    bad_gradient,
    events,
    overflowing_moment,
    overflowing_step,
    same,
    steps_read,
    unfaulted,
)

FAULTS = {
    "NaN in the loss": (bad_batch(), 1, {"nonfinite-loss"}, ["0.weight", "0.bias", "3.weight", "3.bias"]),
    "NaN in the gradient of one layer": (bad_gradient, 1, {"nonfinite-gradient"}, ["3.weight"]),
    "infinity after the step alone": (
        overflowing_step,
        1,
        {"nonfinite-parameter"},
        ["0.weight", "0.bias", "3.weight", "3.bias"],
    ),
    "infinity in the moments of one layer alone": (overflowing_moment, 1, {"nonfinite-moment"}, ["0.weight"]),
    "NaN in one of three micro-batches": (bad_batch(1), 3, {"nonfinite-loss"}, ["0.weight", "0.bias", "3.weight", "3.bias"]),
}


@contextmanager
def step_left_out(run):
    """By hand, what Skip does."""
    handle = run.optimizer.register_step_pre_hook(lambda *_: run.optimizer.zero_grad())
    yield
    handle.remove()


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize(("fault", "micro_batches", "kinds", "where"), FAULTS.values(), ids=FAULTS)
def test_a_rollback_makes_it_undone_and_says_what_was_where(tmp_path, fault, micro_batches, kinds, where, every):
    run = Run(Rollback(), folder=tmp_path, every=every, micro_batches=micro_batches)
    with run.monitor:
        run.train(faults=[(7, fault)])
    assert same(run.state(), unfaulted(micro_batches))
    [action] = events(tmp_path, "action")
    seen, back = (7, 5) if every == 1 else (9, 6)
    assert (action["action"], action["step"], action["to_step"]) == ("rollback", seen, back)
    assert kinds <= {verdict["verdict"] for verdict in action["verdicts"]}
    if every == 1:
        assert {name for verdict in action["verdicts"] for name in verdict["where"]} == set(where)
    read = [*range(every, seen + 1, every), *range(back + every, STEPS + 1, every)]
    assert steps_read(tmp_path) == read  # what was undone is still there to be read


@pytest.mark.parametrize(("fault", "micro_batches"), [(bad_batch(), 1), (bad_gradient, 1), (bad_batch(1), 3)])
def test_skip_costs_that_step_and_nothing_else(fault, micro_batches):
    run = Run(Skip(), micro_batches=micro_batches).train(faults=[(7, fault)])
    assert run.guard.skipped == 1
    assert same(run.state(), Run(Warn(), micro_batches=micro_batches).train(faults=[(7, step_left_out)]).state())


@pytest.mark.parametrize("fault", [overflowing_step, overflowing_moment])
def test_skip_says_what_it_cannot_prevent_and_keeps_the_last_good_state(caplog, fault):
    run = Run(Skip()).train(8, faults=[(7, fault)])
    assert run.guard.skipped <= 1  # the gradients that come of it
    assert "go back to the last good snapshot" in caplog.text
    assert run.snapshots.steps == [3, 5]
    assert same(run.resume().train().state(), unfaulted())
