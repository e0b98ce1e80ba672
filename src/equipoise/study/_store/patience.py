"""What a database cannot do now it may do in a moment: it is asked again, and whoever waits is told."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError

from equipoise.errors import StudyStoppedError

PATIENCE = 60.0
"""Seconds."""

PASSING = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_PROTOCOL")
"""The beginnings of the names of SQLite's errors that may pass."""

PASSING_STATES = ("08", "40", "53", "55P03", "57", "58")
"""Those of PostgreSQL's: of the connection, between transactions, for want of resources, a lock, a shutdown, its system."""

T = TypeVar("T")


def patiently(do: Callable[[], T], store: str, tell: Callable[[str], None]) -> T:
    """Do it; while the database is locked, full or out of reach, again, for :data:`PATIENCE` seconds.

    Args:
        do: may be done again after it failed.
        store: what the database is called.
        tell: is told once that it must wait.

    Raises:
        StudyStoppedError: it could not be done in that time.
        DBAPIError: waiting would not help.
    """
    deadline, pause, told = time.monotonic() + PATIENCE, 0.05, False
    while True:
        try:
            return do()
        except (OperationalError, InterfaceError) as error:
            if not _may_pass(error):
                raise
            if time.monotonic() > deadline:
                raise StudyStoppedError(f"the store {store} could not be used for {PATIENCE:g} s: {why(error)}") from error
            if not told:
                tell(f"the store {store} cannot be used now: {why(error)}; trying again for {PATIENCE:g} s")
                told = True
        time.sleep(pause)
        pause = min(2 * pause, 2.0)


def why(error: SQLAlchemyError | ImportError) -> str:
    """The database's own words, in one line."""
    words: object = error.orig if isinstance(error, DBAPIError) else error
    # A server also quotes our statement; the first of its words say what is wrong.
    said: str | None = getattr(getattr(words, "diag", None), "message_primary", None)
    return " ".join(str(said or words).split())


def _may_pass(error: OperationalError | InterfaceError) -> bool:
    """SQLite calls a missing table as operational as a lock, and so does PostgreSQL; but both say what it is."""
    name: str | None = getattr(error.orig, "sqlite_errorname", None)
    if name is not None:
        return name.startswith(PASSING)
    state: str | None = getattr(error.orig, "sqlstate", None)
    return state is None or state.startswith(PASSING_STATES)  # a server that is out of reach says nothing
