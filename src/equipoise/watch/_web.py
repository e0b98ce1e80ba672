"""``equipoise watch --web``: runs on a page that this machine serves to itself, and that follows them.

The page asks for ``/updates``, a stream of server-sent events. Each is one run as it is now: of its curves, only the buckets
that are new since the event before. An event's id says how far the page is, so that a connection that was lost continues where
it ended.

Whoever may connect to this machine's 127.0.0.1 may read the page, and nobody else: a page of another site that makes the
browser ask here under its own name (DNS rebinding) is refused by the name. Text of runs is only ever put into text nodes, and
the page's policy lets it load nothing, run no script but its own, and connect to nobody else.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

from equipoise._html import render
from equipoise.errors import MissingExtraError, UnusableInputError
from equipoise.watch._naming import COLUMNS
from equipoise.watch._page_data import Selection, ServedRuns
from equipoise.watch._run import Run

try:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.requests import Request
    from starlette.responses import Response, StreamingResponse
    from starlette.routing import Route
except ModuleNotFoundError as error:
    raise MissingExtraError("the page of a run", "watch") from error

HOST = "127.0.0.1"


def application(served: ServedRuns, when_done: Callable[[asyncio.Task[None]], None]) -> Starlette:
    """The page, the stream of its updates, and its closer looks.

    Args:
        served: the runs.
        when_done: what to do when nobody reads them any more.
    """

    async def page(_: Request) -> Response:
        once = secrets.token_urlsafe(16)
        policy = (
            f"default-src 'none'; script-src 'nonce-{once}'; style-src 'nonce-{once}'; connect-src 'self'; base-uri 'none';"
            " form-action 'none'; frame-ancestors 'none'"
        )
        headers = {"Content-Security-Policy": policy, "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
        content = render("equipoise.watch", "page/page.html", nonce=once, columns=COLUMNS)
        return Response(content, media_type="text/html", headers=headers | {"X-Content-Type-Options": "nosniff"})

    async def updates(request: Request) -> Response:
        try:
            selection = Selection.parse(request.query_params.get("show", "{}"))
        except ValueError as error:
            return Response(str(error), 400)
        stream = served.updates(selection, request.headers.get("last-event-id", ""))
        return StreamingResponse(stream, media_type="text/event-stream", headers={"Cache-Control": "no-store"})

    async def window(request: Request) -> Response:
        asked = request.query_params
        try:
            number, first, last = (int(asked[name]) for name in ("of", "first", "last"))
            found = await served.call(served.window, number, Selection.parse(asked.get("show", "{}")), first, last)
        except (ValueError, LookupError) as error:
            return Response(str(error), 400)
        return Response(json.dumps(found), media_type="application/json", headers={"Cache-Control": "no-store"})

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        following = asyncio.create_task(served.follow())
        following.add_done_callback(when_done)
        yield
        following.cancel()
        served.close()

    return Starlette(
        routes=[Route("/", page), Route("/updates", updates), Route("/window", window)],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"], www_redirect=False)],
        lifespan=lifespan,
    )


def serve(runs: Sequence[Run], port: int = 0) -> None:
    """Serve a page that follows runs at 127.0.0.1, and print its address, until interrupted.

    Args:
        runs: at least one run.
        port: the port of the page; 0 takes one that is free.

    Raises:
        UnusableInputError: the port is taken.
    """
    failures = list[BaseException]()

    def stop(following: asyncio.Task[None]) -> None:
        """End the server: no page may look as if the runs were still read."""
        server.should_exit = True
        if not following.cancelled() and (error := following.exception()):
            failures.append(error)

    with socket.socket() as here, suppress(KeyboardInterrupt):
        here.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            here.bind((HOST, port))
        except OSError as error:
            raise UnusableInputError(f"port {port} cannot be used: {error.strerror}") from None
        here.listen()  # from now on a browser waits rather than fails
        served = ServedRuns(runs, lambda: server.should_exit)
        server = uvicorn.Server(uvicorn.Config(application(served, stop), log_level="warning", timeout_graceful_shutdown=2))
        print(f"http://{HOST}:{here.getsockname()[1]}/  (Ctrl-C ends)", flush=True)
        server.run(sockets=[here])
    if failures:
        raise failures[0]
