"""What the page of ``equipoise watch --web`` is sent of each run, and when."""

from __future__ import annotations

import asyncio
import json
import math
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise._json import plain
from equipoise.monitor._recording.run_file import GROUP_INDICATORS, INDICATORS
from equipoise.watch._overview import Overview
from equipoise.watch._run import Run

EVERY = 0.25
"""Seconds between two looks at the runs, and at what a page does not have yet."""
PAUSE = 0.05
"""Seconds for which no page must have asked before more is read: a page that waits for the next run comes first."""
HEARTBEAT = 15.0
"""After so many seconds of silence something is sent, to notice a page that is gone."""
SHOWN_EVENTS = 100
"""A page gets so many of the newest verdicts and actions of a run."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What a page shows in detail."""

    run: int
    """The run whose tensors are in the table."""
    group: int
    """The group whose curves are drawn, of every run."""
    tensor: str
    """The tensor whose curves are drawn, of every run."""

    @classmethod
    def parse(cls, asked: Mapping[str, str]) -> Selection:
        """The selection in the query parameters of a request.

        Raises:
            ValueError: a number that is none.
        """
        return cls(int(asked.get("run", "0")), int(asked.get("group", "0")), asked.get("tensor", ""))

    def series(self, overview: Overview) -> list[str]:
        """The names of the series that are drawn."""
        wanted = [name for name in overview.row if name.startswith("metrics/")]
        wanted += [f"group {self.group}/{name}" for name in (*GROUP_INDICATORS, "exponent of stage 1")]
        wanted += [f"{name}/{self.tensor}" for name in INDICATORS]
        return [name for name in wanted if name in overview.row]


class ServedRuns:
    """The runs that are served. Only one thread touches them, so that the server's own is always free."""

    def __init__(self, runs: Sequence[Run], stopping: Callable[[], bool] = lambda: False) -> None:
        self.runs = runs
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
                yield ": still there\n\n"
                silence = 0.0
            await asyncio.sleep(EVERY)
            silence += EVERY

    def _update(self, number: int, run: Run, selection: Selection, before: str) -> tuple[dict[str, Any] | None, str]:
        """What a page does not have yet of a run, if anything, and a key that says what it has then."""
        shown = run.to_show()
        overview = shown.overview
        kind = f"sample{run.samples}" if shown is not run else ""
        buckets = f"{self._name}.{run.generation}.{kind}.{overview.width}"
        key = f"{buckets} {overview.count} {run.position}"
        if key == before:
            return None, key
        message: dict[str, Any] = {
            "run": number,
            "name": run.name,
            "folder": str(run.folder),
            "readings": None if shown is not run else overview.count,
            "progress": round(run.position / run.size, 2) if shown is not run else 1,
            "unreadable": run.unreadable,
            "events": list(shown.events.values())[-SHOWN_EVENTS:],
        }
        known, _, rest = before.partition(" ")
        count = int(rest.partition(" ")[0]) if known == buckets else -1
        if count != overview.count:
            selection = self._with_tensor(selection)
            first = max(0, count) // overview.width
            message |= {"tensor": selection.tensor, "first": first, **curves(overview, selection, first)}
            last = shown.last
            if last is not None:
                message |= {"step": last.step, "time": last.time, "made": last.made, "groups": len(last.groups)}
                if number == selection.run:
                    message["tensors"] = {name: list(plain(tensor).values()) for name, tensor in last.tensors.items()}
        return message, key

    def _with_tensor(self, selection: Selection) -> Selection:
        """The selection with a tensor: a page that has just been opened does not know which there are."""
        header = self.runs[selection.run].to_show().header if 0 <= selection.run < len(self.runs) else None
        return replace(selection, tensor=selection.tensor or (header.tensors[0] if header and header.tensors else ""))

    def window(self, number: int, selection: Selection, first: int, last: int) -> dict[str, Any] | None:
        """The curves of a run between two steps, of every reading; None where there are too many, and the overview must do."""
        overview = self.runs[number].window(first, last)
        return None if overview is None else curves(overview, selection, 0)

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(cancel_futures=True)


def curves(overview: Overview, selection: Selection, first: int) -> dict[str, Any]:
    """The buckets of an overview from `first` on: their steps, and for each series the lowest values, the highest values, and
    the buckets with values that are not finite."""
    some = slice(first, overview.used)
    series: dict[str, Any] = {}
    for name in selection.series(overview):
        row = overview.row[name]
        nonfinite = (first + np.flatnonzero(overview.nonfinite[row, some])).tolist()
        series[name] = [_numbers(overview.low[row, some]), _numbers(overview.high[row, some]), nonfinite]
    return {"steps": overview.steps[:, some].tolist(), "series": series}


def _numbers(values: NDArray[np.float64]) -> list[float | None]:
    return [None if math.isnan(value) else float(f"{value:.6g}") for value in values.tolist()]
