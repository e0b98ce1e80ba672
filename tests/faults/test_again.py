"""Trouble that comes again is met so many times, and then the run is stopped, with a report and a state to go on from."""

import pytest

from equipoise.errors import RunStoppedError
from equipoise.monitor import LowerRate, Rollback, Stop, Warn

from .training import Run, bad_gradient, events, leap, same, steps_read


def test_after_one_divergence_and_a_rollback_nothing_is_lost(tmp_path):
    run = Run(Rollback(), folder=tmp_path, snapshot_every=10)
    with run.monitor:
        run.train(40, faults=[(25, leap)])
    [action] = events(tmp_path, "action")
    assert (action["action"], action["to_step"]) == ("rollback", 21)
    assert [verdict["verdict"] for verdict in action["verdicts"]] == ["divergence"]
    assert same(run.state(), Run(Warn(), snapshot_every=10).train(40).state())


def test_divergence_again_and_again_ends_in_a_stop_with_a_report_and_a_good_snapshot(tmp_path):
    report = tmp_path / "report.md"
    policy = Rollback(remedies=(LowerRate(0.5),), limit=2, otherwise=Stop(report=report))
    run = Run(policy, folder=tmp_path, snapshot_every=10)
    with pytest.raises(RunStoppedError, match="Trouble again, after 2 rollbacks") as stopped, run.monitor:
        run.train(80, faults=[(25, leap)] * 80)
    assert str(report) in str(stopped.value)
    actions = events(tmp_path, "action")
    assert [action["action"] for action in actions] == ["rollback", "rollback", "stop"]
    assert [action["to_step"] for action in actions] == [21, 11, None]  # further back when that was not good enough
    text = report.read_text()
    assert all(action["message"] in text for action in actions[:2])
    assert "loss has risen to" in text
    assert f"The newest is of step 21, in {tmp_path / 'snapshots'}." in text
    assert steps_read(tmp_path)[-1] == actions[-1]["step"]
    # From there on without the fault, and with the learning rate of the first rollback or the second.
    later = Run(Warn(), folder=tmp_path).resume()
    assert later.monitor.steps == 21
    assert later.optimizer.param_groups[0]["lr"] < 0.02 / 4
    with later.monitor:
        later.train(40)
    assert not later.monitor.verdicts


def test_a_remedy_counts_once_also_when_the_process_has_died_between_two_rollbacks(tmp_path):
    policy = Rollback(remedies=(LowerRate(0.5),))
    run = Run(policy, folder=tmp_path)
    run.train(8, faults=[(6, bad_gradient), (7, bad_gradient)])
    assert run.rate.base_lrs == [0.02 / 4]
    run.monitor.close()  # and that is the end of that process
    again = Run(policy, folder=tmp_path).resume()
    assert again.rate.base_lrs == [0.02 / 4]
    with again.monitor:
        again.train(9, faults=[(9, bad_gradient)])
    assert again.rate.base_lrs == [0.02 / 8]
