"""Sinks: where the readings and verdicts of a run go. None of them can stop training."""

from __future__ import annotations

import atexit
import logging
import queue
import threading
import time
from collections.abc import Sequence
from typing import Any, Protocol

from equipoise.monitor._measuring.readings import Reading
from equipoise.monitor._recording.json_lines import JsonLines
from equipoise.monitor._recording.run_file import Event, RunInfo

WAITING = 1000
"""So many records may wait for a sink. One that lets more pile up hangs, or will never keep up."""
PATIENCE = 30.0
"""Seconds that the end of a run waits for all sinks together: a logger may have to begin its run, and to send what waits."""

_log = logging.getLogger("equipoise")


class Sink(Protocol):
    """A place where readings and events go."""

    def open(self, run: RunInfo) -> None:
        """Begin a run, or go on with other tensors after a close."""
        ...

    def write(self, record: Reading | Event) -> None:
        """Keep a reading, or an event that belongs to the reading before it."""
        ...

    def close(self) -> None:
        """End the run."""
        ...


class SinkSet:
    """Several sinks, none of which can stop training.

    A sink that raises is reported once, in the log, and dropped. All but :class:`JsonLines` run in a thread of their own: one
    that hangs is dropped when :data:`WAITING` records wait for it, and does not keep the run from ending.

    Args:
        sinks: any number of them.
        patience: seconds that :meth:`close` waits for all of them together.
    """

    def __init__(self, sinks: Sequence[Sink], *, patience: float = PATIENCE) -> None:
        self._callers = [_SinkCaller(sink) if isinstance(sink, JsonLines) else _ThreadedSinkCaller(sink) for sink in sinks]
        self._patience = patience
        self._open = False

    @property
    def dropped(self) -> list[Sink]:
        """The sinks that failed or hung."""
        return [caller.sink for caller in self._callers if caller.dropped]

    def open(self, run: RunInfo) -> None:
        """Open every sink; they are closed at the interpreter's end, if not before."""
        self._open = True
        atexit.register(self.close)
        for caller in self._callers:
            caller.call("open", run)

    def write(self, record: Reading | Event) -> None:
        """Give a record to every sink that is left."""
        for caller in self._callers:
            caller.call("write", record)

    def close(self) -> None:
        """Close every sink that is left, and wait for those that have something to finish. Doing it again changes nothing."""
        if not self._open:
            return
        self._open = False
        atexit.unregister(self.close)
        for caller in self._callers:
            caller.call("close")
        deadline = time.monotonic() + self._patience
        for caller in self._callers:
            caller.finish(deadline)


class _SinkCaller:
    """Calls one sink, until it fails."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.dropped = False

    def call(self, method: str, *arguments: Any) -> None:
        if not self.dropped:
            self._make(method, *arguments)

    def finish(self, deadline: float) -> None:
        """Wait until the sink has finished, but not longer than to the deadline. Here there is nothing to wait for."""

    def _make(self, method: str, *arguments: Any) -> None:
        try:
            getattr(self.sink, method)(*arguments)
        except Exception as error:
            self._drop(f"{method} failed: {type(error).__name__}: {error}")

    def _drop(self, reason: str) -> None:
        _log.warning("%r gets no more readings, training goes on: %s", self.sink, reason)
        self.dropped = True  # last: whoever sees it finds the reason in the log


class _ThreadedSinkCaller(_SinkCaller):
    """Calls one sink in a daemon thread, for which the interpreter does not wait at its end. Calls wait in a queue."""

    def __init__(self, sink: Sink) -> None:
        super().__init__(sink)
        self._calls: queue.Queue[tuple[Any, ...]] = queue.Queue(WAITING)
        self._thread = threading.Thread(target=self._work, name=f"{sink!r}", daemon=True)

    def call(self, method: str, *arguments: Any) -> None:
        if self.dropped:
            return
        if method == "open":
            self._thread.start()
        try:
            self._calls.put_nowait((method, *arguments))
        except queue.Full:
            self._drop(f"it hangs or cannot keep up, {WAITING} records wait for it")

    def finish(self, deadline: float) -> None:
        if self.dropped:
            return
        while self._thread.is_alive() and (left := deadline - time.monotonic()) > 0:
            self._thread.join(min(left, 0.1))  # Ctrl-C just before a wait does not end it
        if self._thread.is_alive():
            self._drop(f"it was not finished in time, {self._calls.qsize()} calls still wait for it")

    def _drop(self, reason: str) -> None:
        super()._drop(reason)
        with self._calls.mutex:
            self._calls.queue.clear()  # nobody will work it off

    def _work(self) -> None:
        method = ""
        while method != "close" and not self.dropped:
            method, *arguments = self._calls.get()
            if not self.dropped:
                self._make(method, *arguments)
