"""What the page of ``equipoise watch --web`` is sent of each run, and when."""

from __future__ import annotations

import asyncio
import json
import math
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise._json import plain
from equipoise._words import printable
from equipoise.monitor._measuring.readings import Reading
from equipoise.monitor._recording.run_file import GROUP_INDICATORS, INDICATORS
from equipoise.watch._naming import COLUMNS, folder_names
from equipoise.watch._overview import Overview
from equipoise.watch._run import Run

EVERY = 0.25
"""Seconds between two looks at the runs, and at what a page does not have yet."""
PAUSE = 0.05
"""Seconds for which no page must have asked before more is read: a page that waits for the next run comes first."""
HEARTBEAT = 5.0
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
        found = json.loads(text)
        kinds = {field.name: type(field.default) for field in fields(cls)}
        if type(found) is not dict or any(type(value) is not kinds.get(name) for name, value in found.items()):
            raise ValueError(f"not a selection: {text}")
        return cls(**found)


class ServedRuns:
    """The runs that are served. Only one thread touches them, so that the server's own is always free."""

    def __init__(self, runs: Sequence[Run], stopping: Callable[[], bool] = lambda: False) -> None:
        self.runs = runs
        self._folders = folder_names([run.folder for run in runs])
        self._stopping = stopping
        self._thread = ThreadPoolExecutor(1, "runs")
        self._asked = 0.0  # when a page last did
        self._name = secrets.token_hex(4)  # another server may have understood a run in other buckets

    async def follow(self) -> None:
        """Take in what the runs write, for ever, and serve pages first."""
        while True:
            new = False
            for run in self.runs:
                while time.monotonic() < self._asked + PAUSE:
                    await asyncio.sleep(PAUSE / 5)
                new |= await self.call(run.read)
            if not new:
                await asyncio.sleep(EVERY)

    async def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function in the thread of the runs."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    async def updates(self, selection: Selection, last: str) -> AsyncGenerator[str]:
        """Server-sent events, from where the last one left off."""
        known = dict(part.split(" ", 1) for part in last.split(",") if " " in part)
        silence = HEARTBEAT
        yield "retry: 1000\n\n"
        while not self._stopping():
            for number, run in enumerate(self.runs):
                self._asked = time.monotonic()
                before = known.get(str(number), "")
                found, known[str(number)] = await self.call(self._update, number, run, selection, before)
                if found is not None:
                    place = ",".join(f"{number} {key}" for number, key in known.items())
                    yield f"id: {place}\ndata: {json.dumps(found, allow_nan=False, separators=(',', ':'))}\n\n"
                    silence = 0.0
            if silence >= HEARTBEAT:
                yield "event: alive\ndata: \n\n"
                silence = 0.0
            await asyncio.sleep(EVERY)
            silence += EVERY

    def _update(self, number: int, run: Run, selection: Selection, before: str) -> tuple[dict[str, Any] | None, str]:
        """What a page does not have yet of a run, if anything, and a key that says what it has then."""
        shown = run.to_show()
        overview = shown.overview
        kind = f"sample{run.samples}" if shown is not run else ""
        buckets = f"{self._name}.{run.generation}.{kind}.{overview.width}"
        key = f"{buckets} {overview.used} {overview.count} {run.position}"
        if key == before:
            return None, key
        message: dict[str, Any] = {
            "run": number,
            "name": run.name,
            "folder": self._folders[number],
            "path": str(run.folder.absolute()),
            "started": run.header.started if run.header else None,
            "readings": None if shown is not run else overview.count,
            "progress": round(run.position / run.size, 2) if shown is not run else 1,
            "unreadable": run.unreadable,
            "verdicts": [_brief(verdict) for verdict in shown.verdicts[:SHOWN_EVENTS]],
            "events": [_brief(event) for event in list(shown.events.values())[-SHOWN_EVENTS:]],
        }
        known, _, rest = before.partition(" ")
        used, _, rest = rest.partition(" ")
        if known != buckets or rest.partition(" ")[0] != str(overview.count):
            # The newest bucket that the page has may have more in it now.
            first = max(0, int(used) - 1) if known == buckets else 0
            selection = self._with_tensor(selection)
            metrics = matching((name for name in overview.row if name.startswith("metrics/")), selection.metrics)
            message |= {
                "tensor": selection.tensor,
                "metrics": len(metrics),
                "first": first,
                **curves(overview, overview, [*metrics[:SHOWN_METRICS], *series_of(selection)], first),
            }
            if (last := shown.last) is not None:
                message |= {"step": last.step, "time": last.time, "made": last.made, "groups": len(last.groups)}
                if number == selection.run:
                    message["tensors"] = _table(last, shown, selection)
        return message, key

    def _with_tensor(self, selection: Selection) -> Selection:
        """The selection with a tensor: a page that has just been opened does not know which there are."""
        header = self.runs[selection.run].to_show().header if 0 <= selection.run < len(self.runs) else None
        return replace(selection, tensor=selection.tensor or (header.tensors[0] if header and header.tensors else ""))

    def window(self, number: int, selection: Selection, first: int, last: int) -> dict[str, Any] | None:
        """The curves of a run between two steps, of every reading; None where there are too many, and the overview must do."""
        run = self.runs[number]
        overview = run.window(first, last)
        if overview is None:
            return None
        metrics = matching((name for name in overview.row if name.startswith("metrics/")), selection.metrics)
        return curves(overview, run.to_show().overview, [*metrics[:SHOWN_METRICS], *series_of(selection)], 0)

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(cancel_futures=True)


def matching(names: Iterable[str], part: str) -> list[str]:
    """The names that have a part in them, in capitals or not.

    Example:
        >>> matching(["layer.Weight", "layer.bias"], "weight")
        ['layer.Weight']
    """
    return [name for name in names if part.casefold() in name.casefold()]


def series_of(selection: Selection) -> list[str]:
    """The names of the series of a group and a tensor that are drawn."""
    group = [f"group {selection.group}/{name}" for name in (*GROUP_INDICATORS, "exponent of stage 1")]
    return [*group, *(f"{name}/{selection.tensor}" for name in INDICATORS)]


def curves(overview: Overview, whole: Overview, names: Iterable[str], first: int) -> dict[str, Any]:
    """The buckets of an overview from `first` on: their steps, and for each series the lowest values, the highest values, and
    the buckets with values that are not finite. And which of all buckets were abandoned, as the whole run knows."""
    some = slice(first, overview.used)
    series: dict[str, Any] = {}
    for name in names:
        if name in overview.row:
            row = overview.row[name]
            nonfinite = (first + np.flatnonzero(overview.nonfinite[row, some])).tolist()
            series[name] = [_numbers(overview.low[row, some]), _numbers(overview.high[row, some]), nonfinite]
    abandoned = whole.abandoned(overview.steps[1, : overview.used], overview.places[: overview.used])
    return {"steps": overview.steps[:, some].tolist(), "series": series, "abandoned": np.flatnonzero(abandoned).tolist()}


def _numbers(values: NDArray[np.float64]) -> list[float | None]:
    return [None if math.isnan(value) else float(f"{value:.6g}") for value in values.tolist()]


def _brief(event: Mapping[str, Any]) -> dict[str, Any]:
    """A verdict or an action, with long texts shortened and few of the names of the tensors that it is about."""
    where = event.get("where") or []
    texts = {name: printable(text, SHOWN_TEXT) for name, text in event.items() if isinstance(text, str)}
    numbers = {name: event[name] for name in ("step", "since", "confidence") if name in event}
    return {**texts, **numbers, "where": where[:SHOWN_NAMES], "more": max(0, len(where) - SHOWN_NAMES)}


def _table(reading: Reading, run: Run, selection: Selection) -> dict[str, Any]:
    """The part of the table of tensors that is shown: of those that match, first those that a verdict names."""
    named = {name for verdict in run.verdicts for name in verdict["where"]}
    found = sorted(matching(reading.tensors, selection.tensors), key=lambda name: name not in named)
    page = min(max(0, selection.page), max(0, len(found) - 1) // SHOWN_TENSORS)
    rows = [
        [name, name in named, [plain(getattr(reading.tensors[name], column)) for column in COLUMNS]]
        for name in found[page * SHOWN_TENSORS : (page + 1) * SHOWN_TENSORS]
    ]
    return {"all": len(reading.tensors), "found": len(found), "page": page, "first": page * SHOWN_TENSORS, "rows": rows}
