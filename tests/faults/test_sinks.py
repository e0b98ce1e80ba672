"""Whatever a sink does, training ends as it would have without it, and the run file is whole."""

import threading

import pytest

from equipoise.monitor import Rollback

from .training import STEPS, Run, bad_gradient, events, same, steps_read, unfaulted


class Sink:
    """Fails, or hangs, in one of its methods."""

    def __init__(self, at, fault):
        self._at, self._fault = at, fault

    def _call(self, method):
        if method == self._at:
            self._fault()

    def open(self, run):
        self._call("open")

    def write(self, record):
        self._call("write")

    def close(self):
        self._call("close")


def fails():
    raise ConnectionError("the other end has gone")


@pytest.mark.parametrize("at", ["open", "write", "close"])
def test_a_sink_that_raises_is_said_once_and_changes_nothing(tmp_path, at, caplog):
    run = Run(Rollback(), folder=tmp_path, sinks=[Sink(at, fails)])
    with run.monitor:
        run.train(faults=[(8, bad_gradient)])
    assert same(run.state(), unfaulted())
    assert steps_read(tmp_path) == [*range(1, 9), *range(8, STEPS + 1)]
    assert [action["action"] for action in events(tmp_path, "action")] == ["rollback"]
    assert caplog.text.count("the other end has gone") == 1


@pytest.mark.parametrize("at", ["open", "write"])
def test_a_sink_that_hangs_changes_nothing(tmp_path, at):
    never = threading.Event()
    run = Run(Rollback(), folder=tmp_path, sinks=[Sink(at, never.wait)])
    with run.monitor:
        run.train(faults=[(8, bad_gradient)])
        assert same(run.state(), unfaulted())
        assert steps_read(tmp_path) == [*range(1, 9), *range(8, STEPS + 1)]
        never.set()
