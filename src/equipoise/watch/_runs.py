"""Runs on disk, read back: record by record, or followed while they are written.

What a follower has understood of a long file it keeps beside it, in ``watch.npz``, so that the next one starts there. It may be
deleted at any time.
"""

from __future__ import annotations

import copy
import io
import json
import logging
import time
import zipfile
from collections.abc import Generator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import numpy as np

from equipoise._files import replace_file
from equipoise.errors import UnusableInputError
from equipoise.monitor._measuring.readings import Reading
from equipoise.monitor._recording.run_file import FILE, FORMAT, RunInfo, header_of, reading_of, series_names, series_values
from equipoise.watch._line_file import GLANCE, LineFile, opened
from equipoise.watch._overview import Overview

INDEX = "watch.npz"
PART = TAIL = 1 << 18
"""Bytes that are taken in at a time, of a whole file and, to begin with, of its end."""
GLANCES = 512
"""Places that are looked at in a file that is too long to wait for."""
CLOSE = 8 << 20
"""Bytes that are read for a closer look at some steps."""
LOOK_AGAIN = 15.0
"""Seconds after which a glance is repeated."""
WORTH_KEEPING = 64 << 20
"""Bytes that are read again rather than kept in an index: a second or two."""
EVENTS = 500
"""Different verdicts and actions that are remembered."""

PARTS = {"step", "time", "made", "metrics", "groups", "tensors"}
"""Of the line of a reading."""

_log = logging.getLogger("equipoise")


def records(folder: str | Path) -> Generator[RunInfo | Reading | dict[str, Any]]:
    """Everything that a run has written, in order: headers, readings, and verdicts and actions as they stand in the file.
    Half a line at the end, which is being written or was torn, does not count.

    Raises:
        UnusableInputError: there is no run, or a line of it is none of ours.

    Example:
        >>> from equipoise.monitor._recording.sinks import JsonLines
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     sink = JsonLines(folder)
        ...     sink.open(RunInfo("mine", 0.0, {}, ("w",), ((2, 3),), (0,)))
        ...     sink.write(Reading(1, 60.0, True, {"loss": 0.5}, (), {}))
        ...     sink.close()
        ...     for record in records(folder):
        ...         print(record)
        RunInfo(name='mine', started=0.0, versions={}, tensors=('w',), shapes=((2, 3),), group_of=(0,))
        Reading(step=1, time=60.0, made=True, metrics={'loss': 0.5}, groups=(), tensors={})
    """
    path = Path(folder) / FILE
    header: RunInfo | None = None
    with opened(path) as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            try:
                parsed = json.loads(line)
                if parsed["kind"] == "run":
                    header = _checked_header(parsed)
                    yield header
                elif parsed["kind"] != "reading":
                    yield parsed
                elif header is not None:
                    yield reading_of(parsed, header.tensors)
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                raise UnusableInputError(f"{path}, line {number}: not a line of a run: {error}") from None


class Run:
    """A run that is followed. :meth:`read` takes in what is new, a part at a time. A context manager, which closes its file.

    Args:
        folder: of the run.

    Raises:
        UnusableInputError: it holds no run.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._path = self.folder / FILE
        self.beginnings = 0
        """How often the file turned out to be another one than before."""
        self._start()
        self._load()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _start(self) -> None:
        self._file = LineFile(self._path)
        self.size = self._file.size
        self.position = 0
        """Bytes taken in."""
        self._kept = 0
        self.unreadable = 0
        """Lines that are none of ours."""
        self.header: RunInfo | None = None
        self.overview = Overview()
        self._last: dict[str, Any] | None = None
        self.events: dict[str, dict[str, Any]] = {}
        """Verdicts and actions as they stand in the file. Of a verdict that goes on, only what was said last."""
        self._glance: tuple[float, Run] | None = None
        self.glances = 0
        """How many there were."""
        self.beginnings += 1

    @property
    def name(self) -> str:
        """As the run calls itself, or that of the folder."""
        return self.header.name if self.header else self.folder.resolve().name

    @property
    def last(self) -> Reading | None:
        """The newest reading."""
        return reading_of(self._last, self.header.tensors) if self._last and self.header else None

    @property
    def verdicts(self) -> list[dict[str, Any]]:
        """Those of the newest reading."""
        step = self._last["step"] if self._last else None
        return [event for event in self.events.values() if event["kind"] == "verdict" and event["step"] == step]

    def read(self) -> bool:
        """Take in the next part of the file, about :data:`PART` bytes.

        Returns:
            Whether there was anything new.
        """
        self.size = self._file.size
        if self.size < self.position or (self.size == self.position and self._file.replaced):
            self._file.close()
            self._start()
        _, part = self._file.whole_lines(self.position, PART)
        self.position += len(part)
        self._take(part.splitlines())
        if self.position - self._kept > WORTH_KEEPING:
            self._keep()
        return bool(part)

    @property
    def behind(self) -> bool:
        """Whether so much has not been taken in yet that a glance helps."""
        return self.size - self.position > WORTH_KEEPING

    def seen(self) -> Run:
        """What can be shown now: this run, or, while it is far behind, the last glance at it."""
        if not self.behind:
            self._glance = None
        elif self._glance is None or time.monotonic() > self._glance[0] + LOOK_AGAIN:
            self._glance = time.monotonic(), self.glance()
            self.glances += 1
        return self._glance[1] if self._glance else self

    def glance(self) -> Run:
        """The run as a sample of readings shows it, from :data:`GLANCES` places all over the file and from its end. It takes
        milliseconds where :meth:`read` takes minutes, and can miss a spike. For showing, not for reading on."""
        seen = copy.copy(self)
        seen.overview, seen.events, seen._last = Overview(), {}, None
        newest = max(0, self.size - TAIL)
        places = np.linspace(0, newest, GLANCES).astype(int).tolist()
        lines = [line for place in places for line in self._file.whole_lines(place, GLANCE)[1].splitlines()[:1]]
        seen._take(lines + self._file.whole_lines(newest, TAIL)[1].splitlines())
        return seen

    def window(self, first: int, last: int) -> Overview | None:
        """Every reading from one step to another, or None where they take more than :data:`CLOSE` bytes. A step that a rollback
        repeated far from there may be missed: the places are found by bisection."""
        begin, end = self._file.place_of(first), self._file.place_of(last + 1)
        if end - begin > CLOSE:
            return None
        seen = copy.copy(self)
        seen.overview, seen.events = Overview(), {}
        seen._take(self._file.whole_lines(begin, end - begin)[1].splitlines() if end > begin else [])
        return seen.overview

    def _take(self, lines: list[bytes]) -> None:
        waiting: list[dict[str, Any]] = []
        for line in lines:
            try:
                parsed = json.loads(line)
                kind = parsed["kind"]
                if kind == "reading":
                    if not parsed.keys() >= PARTS:
                        raise KeyError
                    waiting.append(parsed)
                elif kind == "run":
                    self._add(waiting)
                    self.header = _checked_header(parsed)
                    waiting = []
                else:
                    self._remember(parsed)
            except (ValueError, LookupError, TypeError):
                self.unreadable += 1
        self._add(waiting)

    def _remember(self, event: dict[str, Any]) -> None:
        same = [event.get(name) for name in ("kind", event["kind"], "where", "since")]
        key = json.dumps(same if event["kind"] == "verdict" else [*same, event["step"]])
        self.events.pop(key, None)
        self.events[key] = event
        if len(self.events) > EVENTS:
            del self.events[next(iter(self.events))]

    def _add(self, readings: list[dict[str, Any]]) -> None:
        """Add readings to the overview, in as few pieces as there are different sets of tensors and groups."""
        if not readings or self.header is None:
            return
        metrics = list(dict.fromkeys(name for reading in readings for name in reading["metrics"]))
        begin = 0
        for end in range(1, len(readings) + 1):
            if end == len(readings) or _shape(readings[end]) != _shape(readings[begin]):
                some = readings[begin:end]
                tensors = self.header.tensors if some[0]["tensors"] else ()
                names = series_names(metrics, [len(group["exponent"]) for group in some[0]["groups"]], tensors)
                for reading in some:
                    found = reading["metrics"]
                    reading["metrics"] = {name: found.get(name) for name in metrics}
                try:
                    self.overview.add([one["step"] for one in some], names, [series_values(one) for one in some])
                except (ValueError, LookupError, TypeError):
                    self.unreadable += len(some)
                begin = end
        last = readings[-1]
        last["metrics"] = {name: value for name, value in last["metrics"].items() if value is not None}
        self._last = last

    def _keep(self) -> None:
        """Save what was understood."""
        state = {
            "position": self.position,
            "seal": self._file.seal(self.position),
            "unreadable": self.unreadable,
            "last": self._last,
            "events": list(self.events.items()),
            "header": asdict(self.header) if self.header else None,
        }
        content = io.BytesIO()
        arrays = {"state": np.frombuffer(json.dumps(state).encode(), np.uint8), **self.overview.to_arrays()}
        np.savez(content, allow_pickle=False, **arrays)
        self._kept = self.position
        try:
            replace_file(self.folder / INDEX, content.getvalue())
        except UnusableInputError as error:
            _log.info("the index is not kept: %s", error)

    def _load(self) -> None:
        """Go on where a saved state of this very file ends, if there is one."""
        try:
            with (self.folder / INDEX).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                state = json.loads(arrays["state"].tobytes())
                if state["position"] > self.size or state["seal"] != self._file.seal(state["position"]):
                    return
                header, overview = header_of(state["header"]), Overview.from_arrays(arrays)
        except (OSError, EOFError, ValueError, LookupError, TypeError, zipfile.BadZipFile):
            return
        self.header, self.overview = header, overview
        self.position = self._kept = state["position"]
        self.unreadable, self._last, self.events = state["unreadable"], state["last"], dict(state["events"])


def _checked_header(line: Mapping[str, Any]) -> RunInfo:
    if line["format"] != FORMAT:
        raise ValueError(f"format {line['format']}, and only {FORMAT} is known")
    return header_of(line)


def _shape(reading: Mapping[str, Any]) -> tuple[bool, list[int]]:
    return bool(reading["tensors"]), [len(group["exponent"]) for group in reading["groups"]]
