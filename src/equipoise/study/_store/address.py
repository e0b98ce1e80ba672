"""Where a store is: a SQLite file, or a database of a PostgreSQL server. Its passwords are shown nowhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.exc import SQLAlchemyError

from equipoise.errors import MissingExtraError, UnusableInputError
from equipoise.study._spec import Study

DRIVERS = {name: name.partition("+")[0] for name in ("sqlite", "sqlite+pysqlite", "postgresql", "postgresql+psycopg")}
"""The beginning of a URL -> the kind of database that is reached through the one driver that we test."""

SQLITE: Mapping[str, Any] = {"timeout": 1.0}
POSTGRESQL: Mapping[str, Any] = {"connect_timeout": 10, "tcp_user_timeout": 30_000, "application_name": "equipoise"}
"""A server that does not answer is given up after so many seconds, or milliseconds, unless the URL says otherwise."""


@dataclass(frozen=True)
class Address:
    """A database by its URL."""

    url: URL
    given: str
    """The URL as it was written."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a URL.

        Raises:
            UnusableInputError: it is none, or that of another kind of database.
        """
        accepted = "must be a URL, as sqlite:///study.db or postgresql://user@host/database"
        try:
            url = make_url(text)
        except (SQLAlchemyError, ValueError):  # the latter for a port that is no number
            raise UnusableInputError(f"the store {accepted}") from None
        if url.drivername not in DRIVERS:
            raise UnusableInputError(f"the store {accepted}; it begins with {url.drivername!r}")
        if "@" in (url.host or ""):
            raise UnusableInputError("the store: an @ in a user's name or a password must be written as %40")
        return cls(url, text)

    @property
    def on_server(self) -> bool:
        """Whether it is a database of a server."""
        return DRIVERS[self.url.drivername] == "postgresql"

    @property
    def name(self) -> str:
        """The URL without its passwords."""
        return self.url.update_query_dict(dict.fromkeys(self._in_query, "hidden")).render_as_string()

    @property
    def _in_query(self) -> list[str]:
        """The keys of passwords that stand behind the question mark."""
        return [key for key in self.url.query if "password" in key]

    def hide(self, text: str) -> str:
        """A text without the passwords that the URL holds, wherever they stand in it."""
        text = text.replace(self.given, self.name)
        for password in (self.url.password, *map(self.url.query.get, self._in_query)):
            text = text.replace(str(password), "***") if password else text
        return text

    def engine(self) -> Engine:
        """What reaches it.

        Raises:
            MissingExtraError: the driver is not installed.
        """
        if not self.on_server:
            engine = create_engine(self.url, connect_args={**SQLITE})
            event.listen(engine, "connect", _configure_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
            return engine
        own = {key: value for key, value in POSTGRESQL.items() if key not in self.url.query}
        try:
            return create_engine(self.url.set(drivername="postgresql+psycopg"), connect_args=own)
        except ImportError as error:
            raise MissingExtraError("a store on a PostgreSQL server", "postgres") from error


def store_url(study: Study, folder: Path) -> str:
    """The URL of the SQLite file in a folder that keeps the trials of a study, if nobody names another store."""
    return sqlite_url(folder / f"{study.store or study.name}.db")


def sqlite_url(path: Path) -> str:
    """The URL of a SQLite file."""
    return f"sqlite:///{path}"


def sqlite_file(url: str) -> Path | None:
    """The file of a store; None where it is no SQLite file.

    Raises:
        UnusableInputError: it is not the URL of a store.
    """
    address = Address.parse(url)
    file = address.url.database
    return None if address.on_server or file in (None, "", ":memory:") else Path(file)


def _configure_sqlite(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # transactions begin where SQLAlchemy says, also for what changes tables
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")
