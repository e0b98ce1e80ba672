"""Nothing depends on what time it is: clocks are set, and leap."""

import itertools
import json
import os
import time

import pytest

from equipoise.monitor import Rollback, Warn
from equipoise.monitor._recording.run_file import FILE

from .training import SNAPSHOTS, STEPS, Run, bad_gradient, same, steps_read, unfaulted


def lines_but_for_times(folder):
    lines = [json.loads(line) for line in (folder / FILE).read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in ("time", "started")} for line in lines]


@pytest.mark.parametrize("leaps", [[2e9, 1e9], [1e9, -5.0, 0.0, 4e10], [1e9]], ids=["backwards", "far away", "standing still"])
def test_a_clock_that_leaps_changes_no_reading_no_verdict_and_no_action(tmp_path, monkeypatch, leaps):
    def trained(folder):
        run = Run(Rollback(), folder=folder)
        with run.monitor:
            run.train(faults=[(8, bad_gradient)])
        assert same(run.state(), unfaulted())
        return lines_but_for_times(folder)

    usual = trained(tmp_path / "usual")
    clock = itertools.cycle(leaps)
    monkeypatch.setattr(time, "time", lambda: next(clock))
    assert trained(tmp_path / "leaping") == usual
    assert steps_read(tmp_path / "leaping") == [*range(1, 9), *range(8, STEPS + 1)]


def test_the_newest_snapshot_is_that_of_the_latest_step_whatever_the_times_of_its_files(tmp_path):
    Run(Warn(), folder=tmp_path).train(8).monitor.close()
    for age, path in enumerate(sorted((tmp_path / SNAPSHOTS).iterdir())):
        os.utime(path, (1e9 - 1e6 * age,) * 2)
    run = Run(Warn(), folder=tmp_path).resume()
    assert run.monitor.steps == 7
    with run.monitor:
        run.train()
    assert same(run.state(), unfaulted())
