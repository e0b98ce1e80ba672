"""``equipoise watch --web``: runs on a page that this machine serves to itself, and that follows them.

The page asks for ``/events``, a stream of server-sent events. Each is one run as it is now: of its curves, only the buckets
that are new since the event before. An event's id says how far the page is, so that a connection that was lost continues where
it ended.

Whoever may connect to this machine's 127.0.0.1 may read the page, and nobody else: a page of another site that makes the
browser ask here under its own name (DNS rebinding) is refused by the name. Text of runs is only ever put into text nodes, and
the page's policy lets it load nothing, run no script but its own, and connect to nobody else.
"""

from __future__ import annotations

import asyncio
import json
import math
import secrets
import socket
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from numpy.typing import NDArray
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from equipoise._json import plain
from equipoise.errors import UnusableInputError
from equipoise.monitor._recording.run_file import GROUP_INDICATORS, INDICATORS
from equipoise.watch._overview import Overview
from equipoise.watch._runs import Run

TEMPLATE = Path(__file__).with_name("page.html")
HOST = "127.0.0.1"
EVERY = 0.25
"""Seconds between two looks at the runs, and at what a page does not have yet."""
PAUSE = 0.05
"""Seconds without a page that asks, before more is read: a page needs its answer for the next run."""
HEARTBEAT = 15.0
"""Seconds of silence after which something is sent, to notice a page that is gone."""
SHOWN_EVENTS = 100
"""Verdicts and actions of a run that a page gets, the newest."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What a page shows in detail."""

    run: int
    """Whose tensors are in the table."""
    group: int
    """The group whose curves are drawn, of every run."""
    tensor: str
    """The tensor whose curves are drawn, of every run."""

    @classmethod
    def of(cls, request: Request) -> Choice:
        """What a request asks for.

        Raises:
            ValueError: a number that is none.
        """
        asked = request.query_params
        return cls(int(asked.get("run", "0")), int(asked.get("group", "0")), asked.get("tensor", ""))

    def series(self, overview: Overview) -> list[str]:
        """The names of what is drawn."""
        wanted = [name for name in overview.row if name.startswith("metrics/")]
        wanted += [f"group {self.group}/{name}" for name in (*GROUP_INDICATORS, "exponent of stage 1")]
        wanted += [f"{name}/{self.tensor}" for name in INDICATORS]
        return [name for name in wanted if name in overview.row]


class Watched:
    """The runs that are served. Everything that touches them happens in one thread, so that the server's own is always free."""

    def __init__(self, runs: Sequence[Run], stopping: Callable[[], bool] = lambda: False) -> None:
        self.runs = runs
        self._stopping = stopping
        self._thread = ThreadPoolExecutor(1, "runs")
        self._asked = 0.0  # when a page last did
        self._name = secrets.token_hex(4)  # another server may have understood a run in other buckets

    async def follow(self) -> None:
        """Take in what the runs write, for ever, and let pages go first."""
        while True:
            new = False
            for run in self.runs:
                while time.monotonic() < self._asked + PAUSE:
                    await asyncio.sleep(PAUSE / 5)
                new |= await self.call(run.read)
            if not new:
                await asyncio.sleep(EVERY)

    async def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """A function's value, from the thread of the runs."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    async def events(self, choice: Choice, last: str) -> AsyncGenerator[str]:
        """Server-sent events from where the last one left off."""
        known = dict(part.split(" ", 1) for part in last.split(",") if " " in part)
        silence = HEARTBEAT
        yield "retry: 1000\n\n"
        while not self._stopping():
            for number, run in enumerate(self.runs):
                self._asked = time.monotonic()
                before = known.get(str(number), "")
                found, known[str(number)] = await self.call(self._update, number, run, choice, before)
                if found is not None:
                    place = ",".join(f"{number} {key}" for number, key in known.items())
                    yield f"id: {place}\ndata: {json.dumps(found, allow_nan=False, separators=(',', ':'))}\n\n"
                    silence = 0.0
            if silence >= HEARTBEAT:
                yield ": still there\n\n"
                silence = 0.0
            await asyncio.sleep(EVERY)
            silence += EVERY

    def _update(self, number: int, run: Run, choice: Choice, before: str) -> tuple[dict[str, Any] | None, str]:
        """What a page does not have yet of a run, if anything, and the key to what it has then."""
        seen = run.seen()
        overview = seen.overview
        kind = f"glance{run.glances}" if seen is not run else ""
        generation = f"{self._name}.{run.beginnings}.{kind}.{overview.width}"
        key = f"{generation} {overview.count} {run.position}"
        if key == before:
            return None, key
        message: dict[str, Any] = {
            "run": number,
            "name": run.name,
            "folder": str(run.folder),
            "readings": None if seen is not run else overview.count,
            "progress": round(run.position / run.size, 2) if seen is not run else 1,
            "unreadable": run.unreadable,
            "events": list(seen.events.values())[-SHOWN_EVENTS:],
        }
        known, _, rest = before.partition(" ")
        count = int(rest.partition(" ")[0]) if known == generation else -1
        if count != overview.count:
            choice = self._with_tensor(choice)
            first = max(0, count) // overview.width
            message |= {"tensor": choice.tensor, "first": first, **drawn(overview, choice, first)}
            last = seen.last
            if last is not None:
                message |= {"step": last.step, "time": last.time, "made": last.made, "groups": len(last.groups)}
                if number == choice.run:
                    message["tensors"] = {name: list(plain(tensor).values()) for name, tensor in last.tensors.items()}
        return message, key

    def _with_tensor(self, choice: Choice) -> Choice:
        """A page that has just been opened does not know what there is to choose."""
        header = self.runs[choice.run].seen().header if 0 <= choice.run < len(self.runs) else None
        return replace(choice, tensor=choice.tensor or (header.tensors[0] if header and header.tensors else ""))

    def window(self, number: int, choice: Choice, first: int, last: int) -> dict[str, Any] | None:
        """The curves of a run between two steps, of every reading; None where there are too many, and the overview must do."""
        overview = self.runs[number].window(first, last)
        return None if overview is None else drawn(overview, choice, 0)

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(cancel_futures=True)


def drawn(overview: Overview, choice: Choice, first: int) -> dict[str, Any]:
    """The buckets of an overview from one on: their steps, and for each series the lowest values, the highest, and the buckets
    with values that are not finite."""
    some = slice(first, overview.used)
    series: dict[str, Any] = {}
    for name in choice.series(overview):
        row = overview.row[name]
        unusual = (first + np.flatnonzero(overview.unusual[row, some])).tolist()
        series[name] = [_numbers(overview.low[row, some]), _numbers(overview.high[row, some]), unusual]
    return {"steps": overview.steps[:, some].tolist(), "series": series}


def _numbers(values: NDArray[np.float64]) -> list[float | None]:
    return [None if math.isnan(value) else float(f"{value:.6g}") for value in values.tolist()]


def application(watched: Watched) -> Starlette:
    """The page, its events, and its closer looks."""

    async def page(_: Request) -> Response:
        once = secrets.token_urlsafe(16)
        policy = (
            f"default-src 'none'; script-src 'nonce-{once}'; style-src 'nonce-{once}'; connect-src 'self'; base-uri 'none';"
            " form-action 'none'; frame-ancestors 'none'"
        )
        headers = {"Content-Security-Policy": policy, "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
        content = TEMPLATE.read_text(encoding="utf-8").replace("NONCE", once)
        return Response(content, media_type="text/html", headers=headers | {"X-Content-Type-Options": "nosniff"})

    async def events(request: Request) -> Response:
        try:
            choice = Choice.of(request)
        except ValueError as error:
            return Response(str(error), 400)
        stream = watched.events(choice, request.headers.get("last-event-id", ""))
        return StreamingResponse(stream, media_type="text/event-stream", headers={"Cache-Control": "no-store"})

    async def window(request: Request) -> Response:
        asked = request.query_params
        try:
            number, first, last = (int(asked[name]) for name in ("of", "first", "last"))
            found = await watched.call(watched.window, number, Choice.of(request), first, last)
        except (ValueError, LookupError) as error:
            return Response(str(error), 400)
        return JSONResponse(found, headers={"Cache-Control": "no-store"})

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        following = asyncio.create_task(watched.follow())
        yield
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following
        watched.close()

    return Starlette(
        routes=[Route("/", page), Route("/events", events), Route("/window", window)],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"], www_redirect=False)],
        lifespan=lifespan,
    )


def serve(runs: Sequence[Run], port: int = 0) -> None:
    """Serve the page at 127.0.0.1, and say where, until interrupted.

    Args:
        runs: at least one.
        port: 0 for one that is free.

    Raises:
        UnusableInputError: the port is taken.
    """
    with socket.socket() as here, suppress(KeyboardInterrupt):
        here.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            here.bind((HOST, port))
        except OSError as error:
            raise UnusableInputError(f"port {port} cannot be used: {error.strerror}") from None
        here.listen()  # from now on a browser waits rather than fails
        watched = Watched(runs, lambda: server.should_exit)
        server = uvicorn.Server(uvicorn.Config(application(watched), log_level="warning", timeout_graceful_shutdown=2))
        print(f"http://{HOST}:{here.getsockname()[1]}/  (Ctrl-C ends)", flush=True)
        server.run(sockets=[here])
