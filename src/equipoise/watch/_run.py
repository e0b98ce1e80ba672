"""A run on disk, followed while it is written.

What was understood of a long file is kept beside it, in an index, ``watch.npz``, so that the next look at the run starts there.
The index may be deleted at any time.
"""

from __future__ import annotations

import copy
import io
import json
import logging
import time
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import numpy as np

from equipoise._files import replace_file
from equipoise.errors import UnusableInputError
from equipoise.monitor._measuring.readings import Reading
from equipoise.monitor._recording.run_file import (
    FILE,
    READING_BEGINS,
    RunInfo,
    header_of,
    reading_of,
    series_names,
    series_values,
)
from equipoise.watch._line_file import ENOUGH_FOR_A_LINE, LineFile
from equipoise.watch._overview import NEVER, Overview
from equipoise.watch._records import checked_header

INDEX = "watch.npz"
PART_BYTES = 1 << 18
"""So many bytes are taken in at a time, and so many from the end of the file belong to a sample."""
SAMPLE_PLACES = 512
"""So many places of a file that is too long to wait for are sampled."""
WINDOW_BYTES = 8 << 20
"""So many bytes at most are read for a closer look at some steps."""
SAMPLE_SECONDS = 15.0
"""A sample is taken again after so many seconds."""
INDEX_BYTES = 64 << 20
"""After so many bytes the index is written again. To read fewer takes a second or two."""
EVENTS_KEPT = 500
"""So many different verdicts and actions are remembered."""

READING_KEYS = {"step", "time", "made", "metrics", "groups", "tensors"}
"""What the line of a reading has at least."""

_log = logging.getLogger("equipoise")


class Run:
    """A run that is followed while it is written.

    :meth:`read` takes in what is new, a part at a time. Use it as a context manager, which closes the file at the end. Where
    the run was started again in the same folder, the newest start is shown.

    Args:
        folder: the folder of the run.

    Raises:
        UnusableInputError: the folder holds no run.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._path = self.folder / FILE
        self.generation = 0
        """How often the run began: with another file, or again in the same one."""
        self._start()
        self._read_index()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _start(self) -> None:
        self._file = LineFile(self._path)
        self.size = self._file.size
        self.position = 0
        """How many bytes of the file were taken in."""
        self._indexed = 0
        self.unreadable = 0
        """How many lines do not belong to a run."""
        self.header: RunInfo | None = None
        self._header_is_new = False
        """Whether no reading has followed the header yet."""
        self.overview = Overview()
        self._last: dict[str, Any] | None = None
        self.events: dict[str, dict[str, Any]] = {}
        """Verdicts and actions as they stand in the file. Of a verdict that lasts, only the newest line."""
        self.verdicts: list[dict[str, Any]] = []
        """The verdicts on the newest reading, as they stand in the file."""
        self._sample: tuple[float, Run] | None = None
        self.samples = 0
        """How many samples were taken."""
        self.generation += 1

    @property
    def name(self) -> str:
        """The name of the run, or of its folder as long as there is no header."""
        return self.header.name if self.header else self.folder.resolve().name

    @property
    def last(self) -> Reading | None:
        """The newest reading."""
        return reading_of(self._last, self.header.tensors) if self._last and self.header else None

    def read(self) -> bool:
        """Take in the next part of the file, about ``PART_BYTES`` bytes.

        Returns:
            Whether there was anything new.
        """
        self.size = self._file.size
        if self.size < self.position or (self.size == self.position and self._file.replaced):
            self._file.close()
            self._start()
        lines = self._file.whole_lines(self.position, PART_BYTES)
        self.position += sum(len(line) for _, line in lines)
        self._take(lines)
        if self.position - self._indexed > INDEX_BYTES:
            self._write_index()
        return bool(lines)

    @property
    def behind(self) -> bool:
        """Whether so much has not been taken in yet that a sample helps."""
        return self.size - self.position > INDEX_BYTES

    def to_show(self) -> Run:
        """What can be shown now: this run, or, while it is far behind, a sample of it."""
        if not self.behind:
            self._sample = None
        elif self._sample is None or time.monotonic() > self._sample[0] + SAMPLE_SECONDS:
            self._sample = time.monotonic(), self.sample()
            self.samples += 1
        return self._sample[1] if self._sample else self

    def sample(self) -> Run:
        """The run as some of its readings show it, from ``SAMPLE_PLACES`` places all over the file and from its end.

        It takes milliseconds where :meth:`read` takes minutes, and can miss a spike. Show it, but do not read on with it.
        """
        seen = copy.copy(self)
        seen.overview, seen.events, seen.verdicts, seen._last = Overview(), {}, [], None
        newest = max(0, self.size - PART_BYTES)
        places = np.linspace(0, newest, SAMPLE_PLACES, endpoint=False).astype(int).tolist()
        # Two lines of each place, for one may be a header or a verdict.
        lines = [line for place in places for line in self._file.whole_lines(place, ENOUGH_FOR_A_LINE)[:2]]
        seen._take(lines + self._file.whole_lines(newest, PART_BYTES))
        return seen

    def window(self, first: int, last: int) -> Overview | None:
        """Every reading from one step to another, and some around them, those of abandoned attempts too; None where one would
        have to read more than ``WINDOW_BYTES`` bytes to find them."""
        shown = self.to_show()
        whole = shown.overview
        begins = whole.steps[0, : whole.used]
        ends = np.maximum(whole.steps[1, : whole.used], np.append(begins[1:], NEVER))  # of a sample, what lies between too
        places = np.append(whole.places[: whole.used], self.size)
        wanted = np.flatnonzero((begins <= last) & (ends >= first))
        if (places[wanted + 1] - places[wanted]).sum() > WINDOW_BYTES:
            return None
        lines = [
            (place, line)
            for begin, end in zip(places[wanted].tolist(), places[wanted + 1].tolist(), strict=True)
            for place, line in self._file.whole_lines(begin, end - begin)
            if line.startswith(READING_BEGINS)
        ]
        seen = copy.copy(shown)
        seen.overview = Overview()
        seen._take(lines)
        return seen.overview

    def _take(self, lines: Iterable[tuple[int, bytes]]) -> None:
        """Take in lines, each with the place where it begins."""
        waiting: list[tuple[int, dict[str, Any]]] = []
        for place, line in lines:
            try:
                parsed = json.loads(line)
                kind = parsed["kind"]
                if kind == "reading":
                    if not parsed.keys() >= READING_KEYS:
                        raise KeyError
                    self._begin_anew_if_started_again(parsed["step"])
                    self.verdicts = []
                    waiting.append((place, parsed))
                elif kind == "run":
                    self._add(waiting)
                    self.header, self._header_is_new = checked_header(parsed), True
                    waiting = []
                else:
                    self._remember(parsed)
            except (ValueError, LookupError, TypeError):
                self.unreadable += 1
        self._add(waiting)

    def _begin_anew_if_started_again(self, step: int) -> None:
        """Forget what was before a header if the first reading after it has the first step of all: that is another start."""
        if self._header_is_new and self.overview.count and step <= self.overview.steps[0, 0]:
            self.overview, self.events, self.verdicts = Overview(), {}, []
            self.generation += 1
        self._header_is_new = False

    def _remember(self, event: dict[str, Any]) -> None:
        if event["kind"] == "verdict":
            self.verdicts.append(event)
        same = [event.get(name) for name in ("kind", event["kind"], "where", "since")]
        key = json.dumps(same if event["kind"] == "verdict" else [*same, event["step"]])
        self.events.pop(key, None)
        self.events[key] = event
        if len(self.events) > EVENTS_KEPT:
            del self.events[next(iter(self.events))]

    def _add(self, found: list[tuple[int, dict[str, Any]]]) -> None:
        """Add readings, each with its place, to the overview, in as few pieces as there are different sets of tensors and
        groups."""
        if not found or self.header is None:
            return
        places, readings = zip(*found, strict=True)
        metrics = list(dict.fromkeys(name for reading in readings for name in reading["metrics"]))
        begin = 0
        for end in range(1, len(readings) + 1):
            if end == len(readings) or _tensors_and_stages(readings[end]) != _tensors_and_stages(readings[begin]):
                some = readings[begin:end]
                tensors = self.header.tensors if some[0]["tensors"] else ()
                names = series_names(metrics, [len(group["exponent"]) for group in some[0]["groups"]], tensors)
                for reading in some:
                    given = reading["metrics"]
                    reading["metrics"] = {name: given.get(name) for name in metrics}
                try:
                    steps, values = [one["step"] for one in some], [series_values(one) for one in some]
                    self.overview.add(steps, places[begin:end], names, values)
                except (ValueError, LookupError, TypeError):
                    self.unreadable += len(some)
                begin = end
        last = readings[-1]
        last["metrics"] = {name: value for name, value in last["metrics"].items() if value is not None}
        self._last = last

    def _write_index(self) -> None:
        """Keep what was understood of the file so far."""
        state = {
            "position": self.position,
            "fingerprint": self._file.fingerprint(self.position),
            "unreadable": self.unreadable,
            "last": self._last,
            "events": list(self.events.items()),
            "verdicts": self.verdicts,
            "header": asdict(self.header) if self.header else None,
            "header_is_new": self._header_is_new,
        }
        content = io.BytesIO()
        arrays = {"state": np.frombuffer(json.dumps(state).encode(), np.uint8), **self.overview.to_arrays()}
        np.savez(content, allow_pickle=False, **arrays)
        self._indexed = self.position
        try:
            replace_file(self.folder / INDEX, content.getvalue())
        except UnusableInputError as error:
            _log.info("the index is not kept: %s", error)

    def _read_index(self) -> None:
        """Go on where the index of this very file ends, if there is one."""
        try:
            with (self.folder / INDEX).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                state = json.loads(arrays["state"].tobytes())
                if state["position"] > self.size or state["fingerprint"] != self._file.fingerprint(state["position"]):
                    return
                header, overview = header_of(state["header"]), Overview.from_arrays(arrays)
                header_is_new, verdicts = bool(state["header_is_new"]), list(state["verdicts"])
        except (OSError, EOFError, ValueError, LookupError, TypeError, zipfile.BadZipFile):
            return
        self.header, self._header_is_new, self.overview = header, header_is_new, overview
        self.position = self._indexed = state["position"]
        self.unreadable, self._last, self.events = state["unreadable"], state["last"], dict(state["events"])
        self.verdicts = verdicts


def read_to_the_end(runs: Sequence[Run]) -> Sequence[Run]:
    """Take in everything that the runs have written."""
    while sum(run.read() for run in runs):
        pass
    return runs


def _tensors_and_stages(reading: Mapping[str, Any]) -> tuple[bool, list[int]]:
    return bool(reading["tensors"]), [len(group["exponent"]) for group in reading["groups"]]
