"""What the page of ``equipoise watch --web`` is sent of each run, and when."""

from __future__ import annotations

import asyncio
import json
import math
import re
import secrets
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from equipoise._json import plain
from equipoise._words import printable
from equipoise.monitor._recording.run_file import GROUP_INDICATORS, INDICATORS, RunInfo
from equipoise.watch._file.lines import EventLine, ReadingLine
from equipoise.watch._naming import COLUMNS, folder_names
from equipoise.watch._overview import Curve, Overview
from equipoise.watch._run import Run
from equipoise.watch._story import Story

EVERY = 0.25
"""Seconds between two looks at the runs, and at what a page does not have yet."""
HEARTBEAT = 2.0
"""After so many seconds of silence something is sent, so that the server notices a page that is gone, and the page a server."""
SHOWN_EVENTS = 100
"""A page gets so many of the newest verdicts and actions of a run."""
SHOWN_NAMES = 3
"""A page gets the names of so many of the tensors that a verdict is about."""
SHOWN_TEXT = 2000
"""A page gets so many characters of a message."""
SHOWN_METRICS = 24
"""A page gets the curves of so many metrics."""
SHOWN_TENSORS = 50
"""A page gets so many rows of the table of tensors."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What a page shows in detail."""

    run: int = 0
    """The run whose tensors are in the table."""
    group: int = 0
    """The group whose curves are drawn, of every run."""
    tensor: str = ""
    """The tensor whose curves are drawn, of every run; if empty, the first one of the run."""
    metrics: str = ""
    """Part of the names of the metrics whose curves are drawn."""
    tensors: str = ""
    """Part of the names of the tensors in the table."""
    page: int = 0
    """The part of the table that is shown."""

    @classmethod
    def parse(cls, text: str) -> Selection:
        """The selection in the query of a request, a JSON object: only JSON carries every name, halves of surrogate pairs too.

        Raises:
            ValueError: it is none.
        """
        found: Any = json.loads(text)
        kinds: dict[str, Any] = {field.name: type(field.default) for field in fields(cls)}
        if not isinstance(found, dict):
            raise ValueError(f"a selection must be an object, not {text}")
        asked = cast("dict[str, Any]", found)
        if any(type(value) is not kinds.get(name) for name, value in asked.items()):
            raise ValueError(f"a selection has {', '.join(kinds)}, and not what is in {text}")
        return cls(**asked)


class ServedRuns:
    """The runs that are served. Only one thread touches them, so that the server's own is always free."""

    def __init__(self, runs: Sequence[Run], stopping: Callable[[], bool] = lambda: False) -> None:
        self.runs = runs
        self._folders = folder_names([run.folder for run in runs])
        self._stopping = stopping
        self._thread = ThreadPoolExecutor(1, "runs")
        self._changes = 0  # how often a run had something new
        self._events: dict[tuple[int, Selection, str], tuple[str, str]] = {}  # since the last change: pages often ask alike
        self._name = secrets.token_hex(4)  # another server may have understood a run in other buckets

    async def follow(self) -> None:
        """Take in what the runs write, for ever. Between two parts of a long file every page that waits has its turn."""
        while True:
            before = self._changes
            for run in self.runs:
                if await self.call(run.read):
                    self._events = {}
                    self._changes += 1
            if self._changes == before:
                await asyncio.sleep(EVERY)

    async def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function in the thread of the runs."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    async def updates(self, selection: Selection, last: str) -> AsyncGenerator[str]:
        """Server-sent events, from where the last one left off."""
        known = dict(part.split(" ", 1) for part in last.split(",") if " " in part)
        seen, silence = -1, HEARTBEAT
        yield "retry: 1000\n\n"
        while not self._stopping():
            if seen != self._changes:
                seen = self._changes
                for event in await self.call(self._news, selection, known):
                    yield event
                    silence = 0.0
            if silence >= HEARTBEAT:
                yield "event: alive\ndata: \n\n"
                silence = 0.0
            await asyncio.sleep(EVERY)
            silence += EVERY

    def _news(self, selection: Selection, known: dict[str, str]) -> list[str]:
        """An event for every run of which a page does not know the newest, and `known` as it is with them."""
        events: list[str] = []
        cache = self._events
        for number, run in enumerate(self.runs):
            asked = number, selection, known.get(str(number), "")
            if asked not in cache:
                cache[asked] = self._update(number, run, selection, asked[2])
            found, known[str(number)] = cache[asked]
            if found:
                place = ",".join(f"{number} {key}" for number, key in known.items())
                events.append(f"id: {place}\ndata: {found}\n\n")
        return events

    def _update(self, number: int, run: Run, selection: Selection, before: str) -> tuple[str, str]:
        """What a page does not have yet of a run, as JSON, empty if it has everything; and a key that says what it has then."""
        shown = run.to_show()
        kind = f"sample{run.samples}" if shown is not run else ""
        start = f"{self._name}.{run.generation}.{kind}"
        sizes = [f"{one.width}.{one.used}" for one in (shown.overview, shown.tensors)]
        key = "/".join([start, *sizes, f"{run.position}.{hash(run.unavailable)}"])
        if key == before:
            return "", key
        selection = self._with_tensor(selection)
        had = before.split("/") if before.startswith(f"{start}/") else ["", "", ""]
        message: dict[str, Any] = {
            "run": number,
            "runs": len(self.runs),
            "name": run.name,
            "folder": self._folders[number],
            "path": str(run.folder.absolute()),
            "started": run.header.started if run.header else None,
            "optimizer": run.header.optimizer if run.header else "",
            "notes": [printable(note, SHOWN_TEXT) for note in (run.header.notes if run.header else ())],
            "progress": run.position / run.size if shown is not run else 1,
            "unavailable": run.unavailable,
            "unreadable": run.unreadable,
            "refusals": [f"line {line:,}: {why}" for line, why in run.refusals],
            "verdicts": [_brief(verdict) for verdict in shown.verdicts[:SHOWN_EVENTS]],
            "events": [_brief(event) for event in shown.events[-SHOWN_EVENTS:]],
            "tensor": selection.tensor,
            "metrics": len(metrics_of(shown, selection)),
            "curves": curves(shown, shown, selection, had[1:3]),
        }
        if shown.newest is not None:
            header, newest = shown.newest
            message |= {
                "step": newest.step,
                "loop_step": newest.loop_step,
                "time": newest.time,
                "made": newest.made,
                "groups": len(newest.groups),
            }
            if number == selection.run:
                named = {name for verdict in shown.verdicts for name in verdict["where"]}
                message["tensors"] = table(header, newest, named, selection)
        return json.dumps(message, allow_nan=False, separators=(",", ":")), key

    def _with_tensor(self, selection: Selection) -> Selection:
        """The selection with a tensor: a page that has just been opened does not know which there are."""
        header = self.runs[selection.run].to_show().header if 0 <= selection.run < len(self.runs) else None
        return replace(selection, tensor=selection.tensor or (header.tensors[0] if header and header.tensors else ""))

    def window(self, number: int, selection: Selection, first: int, last: int) -> list[dict[str, Any]] | None:
        """The curves of a run between two steps, of every reading; None where there are too many, and the overview must do.

        Raises:
            UnusableInputError: the file cannot be read.
        """
        run = self.runs[number]
        seen = run.window(first, last)
        return None if seen is None else curves(seen, run.to_show(), selection, ["", ""])

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(cancel_futures=True)


def metrics_of(story: Story, selection: Selection) -> list[str]:
    """The metrics that are looked for."""
    names = (series.removeprefix("metrics/") for series in story.overview.place_of if series.startswith("metrics/"))
    return matching(names, selection.metrics)


def matching(names: Iterable[str], part: str) -> list[str]:
    """The names that have a part in them, in capitals or not.

    Example:
        >>> matching(["layer.Weight", "layer.bias"], "weight")
        ['layer.Weight']
    """
    return [name for name in names if part.casefold() in name.casefold()]


def curves(story: Story, whole: Story, selection: Selection, sizes: Sequence[str]) -> list[dict[str, Any]]:
    """The curves that are drawn: those of metrics and a group, and those of a tensor, whose buckets are others.

    Args:
        story: what they are of: a whole run or some of its readings.
        whole: the whole run.
        selection: which they are.
        sizes: for either, ``width.used`` of what a page has already, if anything.
    """
    names = [f"metrics/{name}" for name in metrics_of(story, selection)[:SHOWN_METRICS]]
    names += [f"group {selection.group}/{name}" for name in (*GROUP_INDICATORS, "exponent of stage 1")]
    of_run = {name: story.overview.curve(name) for name in names if name in story.overview.place_of}
    tensor, known = selection.tensor, selection.tensor in story.tensors.place_of
    of_tensor = {f"{name}/{tensor}": story.tensors.curve(tensor, kind) for kind, name in enumerate(INDICATORS) if known}
    return [
        _curves(story.overview, whole.overview, of_run, sizes[0]),
        _curves(story.tensors, whole.tensors, of_tensor, sizes[1]),
    ]


def _curves(overview: Overview, whole: Overview, found: Mapping[str, Curve], size: str) -> dict[str, Any]:
    """What a page lacks of some curves, from the newest bucket that it has on: the steps of the buckets, and for each series
    the lowest values, the highest values, and which buckets have values that are not finite. And which of all buckets were
    abandoned."""
    had = re.fullmatch(rf"{overview.width}\.(\d{{1,5}})", size)
    first = max(0, min(int(had[1]), overview.used) - 1) if had else 0
    series: dict[str, Any] = {}
    for name, (low, high, nonfinite) in found.items():
        series[name] = [_numbers(low[first:]), _numbers(high[first:]), (first + np.flatnonzero(nonfinite[first:])).tolist()]
    begins, ends = overview.steps[:, : overview.used]
    abandoned = np.flatnonzero(whole.abandoned(ends, overview.places[: overview.used]))
    steps = [begins[first:].tolist(), ends[first:].tolist()]
    return {"first": first, "steps": steps, "series": series, "abandoned": abandoned.tolist()}


def _numbers(values: NDArray[np.float32]) -> list[float | None]:
    return [None if math.isnan(value) else float(f"{value:.6g}") for value in values.tolist()]


def _brief(event: EventLine) -> dict[str, Any]:
    """A verdict or an action, with long texts shortened and few of the names of the tensors that it is about."""
    found: dict[str, Any] = {
        name: printable(value, SHOWN_TEXT) if isinstance(value, str) else value
        for name, value in event.items()
        if name not in ("where", "verdicts")
    }
    where = event["where"] if event["kind"] == "verdict" else ()
    return found | {"where": where[:SHOWN_NAMES], "more": max(0, len(where) - SHOWN_NAMES)}


def table(header: RunInfo, reading: ReadingLine, named: Collection[str], selection: Selection) -> dict[str, Any]:
    """The part of the table of tensors that is shown.

    Args:
        header: says which tensors there are.
        reading: what was measured of them.
        named: the tensors that a verdict names. They come first.
        selection: which tensors, and which part.
    """
    number = {header.tensors[index]: index for index in np.flatnonzero(reading.seen).tolist()}
    found = sorted(matching(number, selection.tensors), key=lambda name: name not in named)
    first = SHOWN_TENSORS * min(max(0, selection.page), max(0, len(found) - 1) // SHOWN_TENSORS)
    some = found[first : first + SHOWN_TENSORS]
    values = reading.tensors[[INDICATORS.index(column) for column in COLUMNS]][:, [number[name] for name in some]]
    rows = [[name, name in named, plain(row)] for name, row in zip(some, values.T.tolist(), strict=True)]
    return {"all": len(number), "found": len(found), "first": first, "page": first // SHOWN_TENSORS, "rows": rows}
