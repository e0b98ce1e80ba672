"""Where readings go: a file that is the truth, and threads of their own for whoever else wants to know.

**What a crash costs.** A line is handed to the operating system by one write, so that whatever happens to the process, even
kill -9, costs nothing that was written. The disk is waited for when the file is opened and closed and after every action of a
guard, not after every reading: losing power may cost the seconds that the system had not written yet (30 on Linux), and half a
line, which is removed when the file is opened again. Waiting after every line would make training wait for the disk.
"""

from __future__ import annotations

import atexit
import logging
import mmap
import os
import queue
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from equipoise.monitor._measuring.readings import Reading
from equipoise.monitor._recording.run_file import FILE, Event, RunInfo, event_line, header_line, reading_line

if sys.platform != "win32":
    import fcntl

WAITING = 1000
"""Records that may wait for a sink; one that lets more pile up hangs, or will never keep up."""
PATIENCE = 30.0
"""Seconds that the end of a run waits for all sinks together: a logger may have to begin its run, and to send what waits."""

_log = logging.getLogger("equipoise")


class Sink(Protocol):
    """Somewhere that records go."""

    def open(self, run: RunInfo) -> None:
        """A run begins, or goes on with other tensors after a close."""
        ...

    def write(self, record: Reading | Event) -> None:
        """Keep a record: a reading, or an event of it, which comes after it."""
        ...

    def close(self) -> None:
        """The run ends."""
        ...


class JsonLines:
    """A sink that appends to ``folder/readings.jsonl``, which ``equipoise watch`` reads.

    Args:
        folder: of the run; made if it is missing. A run that is resumed with the same folder goes on in the same file.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._tensors: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"JsonLines({str(self.folder)!r})"

    def open(self, run: RunInfo) -> None:
        """Append the header, after removing half a line that a crash may have left.

        Raises:
            OSError: the folder cannot be written to, or another process writes to it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._file = open(self.folder / FILE, "a+b", buffering=0)  # noqa: SIM115 (open as long as the run)
        try:
            if sys.platform != "win32":
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._remove_torn_line()
            self._tensors = run.tensors
            self._append(header_line(run))
            os.fsync(self._file.fileno())
        except BaseException:
            self._file.close()
            raise

    def write(self, record: Reading | Event) -> None:
        """Append a line.

        Raises:
            OSError: it could not be written; the file ends with the line before it, and is closed.
        """
        if isinstance(record, Reading):
            self._append(reading_line(record, self._tensors))
            return
        self._append(event_line(record))
        if type(record).__name__ == "Action":
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Wait for the disk."""
        with self._file:
            os.fsync(self._file.fileno())

    def _append(self, line: str) -> None:
        end = os.fstat(self._file.fileno()).st_size
        rest = memoryview(line.encode() + b"\n")
        try:
            while rest:  # once, but for a disk that is full
                rest = rest[self._file.write(rest) :]
        except OSError:
            self._file.truncate(end)
            self._file.close()  # nobody else will, of a sink that is dropped
            raise

    def _remove_torn_line(self) -> None:
        size = os.fstat(self._file.fileno()).st_size
        if size == 0:
            return
        with mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            end = content.rfind(b"\n") + 1
        if end < size:
            self._file.truncate(end)
            _log.warning("%s ended in the middle of a line; its %d bytes were removed", self._file.name, size - end)


class SinkSet:
    """Sinks that cannot stop training. One that raises is reported once, in the log, and dropped. All but :class:`JsonLines`
    run in a thread of their own: one that hangs is dropped when :data:`WAITING` records wait for it, and does not keep the
    run from ending.

    Args:
        sinks: any number.
        patience: seconds that :meth:`close` waits for all of them together.
    """

    def __init__(self, sinks: Sequence[Sink], *, patience: float = PATIENCE) -> None:
        self._lanes = [_Lane(sink) if isinstance(sink, JsonLines) else _Thread(sink) for sink in sinks]
        self._patience = patience
        self._open = False

    @property
    def dropped(self) -> list[Sink]:
        """The sinks that failed or hung."""
        return [lane.sink for lane in self._lanes if lane.dropped]

    def open(self, run: RunInfo) -> None:
        """Open every sink; they are closed at the interpreter's end, if not before."""
        self._open = True
        atexit.register(self.close)
        for lane in self._lanes:
            lane.call("open", run)

    def write(self, record: Reading | Event) -> None:
        """Give a record to every sink that is left."""
        for lane in self._lanes:
            lane.call("write", record)

    def close(self) -> None:
        """Close every sink that is left, and wait for those that have something to finish. Doing it again changes nothing."""
        if not self._open:
            return
        self._open = False
        atexit.unregister(self.close)
        for lane in self._lanes:
            lane.call("close")
        deadline = time.monotonic() + self._patience
        for lane in self._lanes:
            lane.finish(deadline)


class _Lane:
    """The way to one sink, which is blocked for good when the sink fails."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.dropped = False

    def call(self, method: str, *arguments: Any) -> None:
        if not self.dropped:
            self._make(method, *arguments)

    def finish(self, deadline: float) -> None:
        """What is left to wait for: nothing."""

    def _make(self, method: str, *arguments: Any) -> None:
        try:
            getattr(self.sink, method)(*arguments)
        except Exception as error:
            self._drop(f"{method} failed: {type(error).__name__}: {error}")

    def _drop(self, reason: str) -> None:
        self.dropped = True
        _log.warning("%r gets no more readings, training goes on: %s", self.sink, reason)


class _Thread(_Lane):
    """Calls wait in a queue, which a daemon thread works off: the interpreter does not wait for it at its end."""

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
