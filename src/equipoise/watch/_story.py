"""What the lines of a run's file have said so far."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from equipoise.monitor._measuring.readings import Reading
from equipoise.monitor._recording.run_file import GROUP_INDICATORS, INDICATORS, RunInfo, series_names
from equipoise.watch._file.lines import EventLine, ReadingLine, VerdictLine, parse_line
from equipoise.watch._overview import Overview

EVENTS_KEPT = 500
"""So many different verdicts and actions are remembered."""
REFUSALS_KEPT = 5
"""So many of the lines that cannot be read are remembered, with what is wrong."""
CURVES = 200_000
"""So many metrics and numbers of groups a run may have."""
TENSORS = 100_000
"""So many tensors a run may have."""


class Story:
    """What is known of a run from lines of its file. A line that does not belong to a run is counted, and those around it are
    taken in. Where the run was started again in the same file, the newest start is told.

    Args:
        folder: the folder of the run.
        header: the header of the first lines, if it is not among them.
    """

    def __init__(self, folder: Path, header: RunInfo | None = None) -> None:
        self.folder = folder
        self.generation = 0
        """How often the run began anew."""
        self._begin(header)

    def _begin(self, header: RunInfo | None = None) -> None:
        self.header = header
        self._header_place = 0
        self._header_is_new = False
        """Whether no reading has followed the header yet."""
        self.lines: int = 0
        """How many lines were taken in."""
        self.unreadable = 0
        """How many of them do not belong to a run."""
        self.refusals: tuple[tuple[int, str], ...] = ()
        """The first of those: their numbers, and what is wrong."""
        self._begin_readings()

    def _begin_readings(self) -> None:
        self.generation += 1
        self.overview = Overview()
        """The curves of metrics and parameter groups."""
        self.tensors = Overview(len(INDICATORS))
        """The curves of tensors, with a kind for each indicator. They are many, so that they may have fewer buckets."""
        self.newest: tuple[RunInfo, ReadingLine] | None = None
        """The newest reading as it stands in the file, and the header that it belongs to."""
        self._newest_places = 0, 0
        self._last: Reading | None = None
        self._events: dict[int, tuple[int, EventLine]] = {}

    @property
    def name(self) -> str:
        """The name of the run, or of its folder as long as there is no header."""
        return self.header.name if self.header else self.folder.resolve().name

    @property
    def last(self) -> Reading | None:
        """The newest reading."""
        if self._last is None and self.newest is not None:
            header, line = self.newest
            self._last = line.reading(header)
        return self._last

    @property
    def events(self) -> list[EventLine]:
        """Verdicts and actions as they stand in the file. Of a verdict that lasts, only the newest line."""
        return [event for _, event in self._events.values()]

    @property
    def verdicts(self) -> list[VerdictLine]:
        """The verdicts on the newest reading, as they stand in the file."""
        _, newest = self._newest_places
        return [event for place, event in self._events.values() if event["kind"] == "verdict" and place > newest]

    def take(self, lines: Iterable[tuple[int, bytes]]) -> None:
        """Take in lines, each with the place where it begins."""
        waiting: list[tuple[int, ReadingLine, list[str]]] = []
        for place, line in lines:
            self.lines += 1
            try:
                found = parse_line(line, self.header)
                if isinstance(found, ReadingLine):
                    series = self._series(found)
                    self._begin_anew_if_started_again(found.step)
                    waiting.append((place, found, series))
                elif isinstance(found, RunInfo):
                    self._add(waiting)
                    waiting = []
                    self._check_tensors(found)
                    self.header, self._header_place, self._header_is_new = found, place, True
                else:
                    self._remember(place, found)
            except ValueError as error:
                self.refuse(str(error))
        self._add(waiting)

    def refuse(self, why: str) -> None:
        """Count the newest line as one that does not belong to a run."""
        self.unreadable += 1
        self.refusals = (*self.refusals, (self.lines, why))[:REFUSALS_KEPT]

    def _series(self, reading: ReadingLine) -> list[str]:
        """The names of the numbers of a reading that are none of tensors."""
        series = series_names(reading.metrics, [len(group.exponent) for group in reading.groups], ())
        known = self.overview.place_of
        if len(known) + len(series) > CURVES and len(known.keys() | series) > CURVES:
            raise ValueError(f"with it the run would have more than {CURVES:,} metrics and numbers of groups")
        return series

    def _check_tensors(self, header: RunInfo) -> None:
        if len(self.tensors.place_of.keys() | header.tensors) > TENSORS:
            raise ValueError(f"with it the run would have more than {TENSORS:,} tensors")

    def _begin_anew_if_started_again(self, step: int) -> None:
        """Forget what was before a header if the first reading after it has the first step of all: that is another start."""
        if self._header_is_new and self.overview.count and step <= self.overview.steps[0, 0]:
            self._begin_readings()
        self._header_is_new = False

    def _remember(self, place: int, event: EventLine) -> None:
        same = hash(
            (event["verdict"], event["where"], event["since"])
            if event["kind"] == "verdict"
            else (event["action"], event["step"])
        )
        self._events.pop(same, None)
        self._events[same] = place, event
        if len(self._events) > EVENTS_KEPT:
            del self._events[next(iter(self._events))]

    def _add(self, readings: Sequence[tuple[int, ReadingLine, list[str]]]) -> None:
        """Add readings, each with its place and series, to the overviews, in as few pieces as there are sets of series."""
        if not readings:
            return
        assert self.header is not None, "a reading before every header is refused"
        for (series, measured), group in groupby(readings, lambda each: (each[2], each[1].seen.size)):
            places, some, _ = zip(*group, strict=True)
            steps = [one.step for one in some]
            self.overview.add(steps, places, series, [_values(one) for one in some])
            if measured:
                missing = np.stack([np.repeat(~one.seen, len(INDICATORS)) for one in some])
                self.tensors.add(steps, places, self.header.tensors, [one.tensors.T.ravel() for one in some], missing)
        place, line, _ = readings[-1]
        self.newest, self._newest_places, self._last = (self.header, line), (self._header_place, place), None

    def state(self) -> dict[str, Any]:
        """What :meth:`restore` has to know beside the overviews: counts, and the places of the lines that still matter."""
        newest = self._newest_places if self.newest else ()
        header = () if self.header is None or self._header_place in newest else (self._header_place,)
        return {
            "lines": self.lines,
            "unreadable": self.unreadable,
            "refusals": self.refusals,
            "places": [*newest, *(place for place, _ in self._events.values()), *header],
        }

    def restore(self, state: Mapping[str, Any], overview: Overview, tensors: Overview, line_at: Callable[[int], bytes]) -> None:
        """Go on where a state was made.

        Args:
            state: of this file.
            overview: of metrics and parameter groups.
            tensors: of tensors.
            line_at: reads the line at a place of the file.

        Raises:
            ValueError: it is the state of another file.
        """
        self.take((int(place), line_at(int(place))) for place in state["places"])
        if self.unreadable:
            raise ValueError("lines that do not belong to a run")
        self.overview, self.tensors = overview, tensors
        self.lines, self.unreadable = int(state["lines"]), int(state["unreadable"])
        self.refusals = tuple((int(number), str(why)) for number, why in state["refusals"])


def _values(reading: ReadingLine) -> list[float]:
    """The numbers of a reading that are none of tensors, in the order of their series."""
    values = list(reading.metrics.values())
    for group in reading.groups:
        values += [getattr(group, name) for name in GROUP_INDICATORS]
        for exponent, betas in zip(group.exponent, group.betas, strict=True):
            values += (exponent, *betas)
    return values
