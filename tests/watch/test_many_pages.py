"""Many pages of one run: each gets what is new, and what they ask alike is answered once."""

import asyncio
import http.client
import signal
from contextlib import ExitStack

from equipoise.watch import Run
from equipoise.watch._page_data import Selection, ServedRuns
from tests.watch.serving import served, settled, write


def test_what_pages_ask_alike_is_answered_once_for_all_of_them(tmp_path, monkeypatch):
    write(tmp_path, range(1, 11))
    answered = []
    update = ServedRuns._update
    monkeypatch.setattr(ServedRuns, "_update", lambda *asked: answered.append(asked) or update(*asked))

    async def look():
        runs = ServedRuns([Run(tmp_path)])
        following = asyncio.create_task(runs.follow())
        pages = [runs.updates(Selection(), "") for _ in range(50)]
        for page in pages:
            assert await anext(page) == "retry: 1000\n\n"
        await asyncio.gather(*(until(page, '"step":10,') for page in pages))
        before = len(answered)
        write(tmp_path, [11])
        await asyncio.gather(*(until(page, '"step":11,') for page in pages))
        following.cancel()
        runs.close()
        return before, len(answered) - before

    first, then = asyncio.run(look())
    assert first < 50
    assert then <= 4  # the header and the reading may come apart, and pages may have asked before and after


async def until(page, text):
    while text not in await anext(page):
        pass


def test_while_200_pages_are_open_a_new_reading_reaches_all_of_them_and_ctrl_c_ends_the_server(tmp_path):
    write(tmp_path, range(1, 11))
    with served(tmp_path) as (server, port), ExitStack() as opened:
        settled(port, 10)
        streams = []
        for _ in range(200):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            opened.callback(connection.close)
            connection.request("GET", "/updates")
            streams.append(connection.getresponse())
        write(tmp_path, [11])
        for stream in streams:
            while b'"step":11,' not in stream.readline():
                pass
        server.send_signal(signal.SIGINT)
        assert server.wait(timeout=60) == 0


def test_a_page_of_more_runs_than_anybody_can_look_at_is_refused(tmp_path, run):
    write(tmp_path, [1])
    assert run("watch", "--web", *[tmp_path] * 101) == (
        2,
        "",
        "error: a page shows up to 100 runs, not 101: name fewer, or use --once or --json\n",
    )
