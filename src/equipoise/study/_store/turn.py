"""One runner of a study at a time: who it is stands in the store, with a number that grows as long as it lives.

No clock is trusted that can be set: whoever waits takes the place of a runner whose number has not grown for a while, or whose
process is gone from the same machine.
"""

from __future__ import annotations

import os
import platform
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Self

from sqlalchemy import delete, insert, select, update
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from equipoise.errors import StudyStoppedError
from equipoise.study._store.schema import RUNNERS
from equipoise.study._store.store import Store

BEAT = 5.0
"""Seconds between two signs of life."""

LOOK = 0.5
"""Seconds between two looks at a runner that others wait for."""

GONE = 60
"""A runner is gone after so many looks without a sign of life. While a server is down there are neither looks nor signs."""


class Turn:
    """The right to run a study, as long as it is entered.

    Args:
        store: where runners are.
        study: its name.
        tell: is told who is running, if this one must wait.
        stopped: says whether to give up waiting.

    Raises:
        StudyStoppedError: on entering: it was stopped while it waited.
    """

    def __init__(self, store: Store, study: str, tell: Callable[[str], None], stopped: Callable[[], bool]) -> None:
        self._store, self._study, self._tell, self._stopped = store, study, tell, stopped
        self._token = uuid.uuid4().hex
        self._beaten = 0.0

    def __enter__(self) -> Self:
        seen: tuple[str, int] | None = None  # of the other runner, and how often
        looks, told = 0, False
        while (other := self._take(seen if looks > GONE else None)) is not None:
            looks += 1
            if (other["token"], other["beat"]) != seen:
                seen, looks = (other["token"], other["beat"]), 0
            if not told:
                self._tell(
                    f"process {other['process']} on {other['host']} has been running this study since"
                    f" {other['since']:%Y-%m-%d %H:%M} UTC; waiting until it ends, or gives no sign of life for"
                    f" {GONE * LOOK:g} s"
                )
                told = True
            if self._stopped():
                raise StudyStoppedError("stopped while another process runs this study; nothing was begun")
            time.sleep(LOOK)
        self._beaten = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(SQLAlchemyError), self._store.engine.begin() as connection:  # if it fails, others see that we are gone
            connection.execute(delete(RUNNERS).where(RUNNERS.c.token == self._token))

    def beat(self) -> None:
        """Give a sign of life, if it is time for one.

        Raises:
            StudyStoppedError: another process has taken the place of this one.
        """
        if time.monotonic() - self._beaten < BEAT:
            return
        self._beaten = time.monotonic()
        ours = update(RUNNERS).where(RUNNERS.c.token == self._token).values(beat=RUNNERS.c.beat + 1)
        if self._store.do(lambda connection: connection.execute(ours).rowcount) == 0:
            raise StudyStoppedError("another process runs this study now, as this one gave no sign of life for a while")

    def _take(self, dead: tuple[str, int] | None) -> dict[str, Any] | None:
        """Become the runner, or return who is. `dead` is the token and the number of one that is gone."""
        row = {
            "study": self._study,
            "token": self._token,
            "host": platform.node(),
            "process": os.getpid(),
            "since": datetime.now(UTC),
            "beat": 0,
        }

        def take(connection: Connection) -> dict[str, Any] | None:
            found = connection.execute(select(RUNNERS).where(RUNNERS.c.study == self._study)).mappings().one_or_none()
            if found is not None and found["token"] == self._token:  # kept, though the connection was lost before it said so
                return None
            if found is not None:
                if (found["token"], found["beat"]) != dead and not self._has_ended(found["host"], found["process"]):
                    return dict(found)
                same = RUNNERS.c.token == found["token"], RUNNERS.c.beat == found["beat"]
                if connection.execute(delete(RUNNERS).where(*same)).rowcount == 0:
                    return dict(found)
            connection.execute(insert(RUNNERS), row)
            return None

        try:
            return self._store.do(take)
        except IntegrityError:  # another came first
            return self._take(None)

    def _has_ended(self, host: str, process: int) -> bool:
        """Whether a process was on this machine and is no more. Of others nothing is known.

        Clients of a server may be machines of equal names, as containers are.
        """
        if self._store.address.on_server or host != platform.node():
            return False
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False
