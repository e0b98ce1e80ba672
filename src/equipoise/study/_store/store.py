"""Where finished trials are kept: a SQLite file (in WAL mode), or any database that SQLAlchemy reaches."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    event,
    insert,
    select,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from equipoise.errors import UnusableInputError
from equipoise.study._cells import Cell, Cost, Result
from equipoise.study._names import LONGEST_NAME

METADATA = MetaData()

TRIALS = Table(
    "trial",
    METADATA,
    Column("key", String(64), primary_key=True),
    Column("study", Text, nullable=False),
    Column("arm", Text, nullable=False),
    Column("learning_rate", Float, nullable=False),
    Column("seed", Integer, nullable=False),
    Column("status", String(16), nullable=False),
    Column("seconds", Float, nullable=False),
    Column("finished_at", DateTime(timezone=True), nullable=False),
    Column("assignment", Text, nullable=False),
)

READINGS = Table(
    "reading",
    METADATA,
    Column("trial", String(64), ForeignKey("trial.key"), primary_key=True),
    Column("epoch", Integer, primary_key=True),
    Column("name", String(LONGEST_NAME), primary_key=True),
    Column("value", Float),  # NULL is NaN, which SQLite does not have
)

COSTS = Table(
    "cost",
    METADATA,
    Column("trial", String(64), ForeignKey("trial.key"), primary_key=True),
    Column("memory", BigInteger, nullable=False),
    Column("state", BigInteger, nullable=False),
    Column("parameters", BigInteger, nullable=False),
)


class Store:
    """Finished trials by their key. Each is written in one transaction, synced to disk: it is there whole or not at all."""

    def __init__(self, url: str) -> None:
        """Open, and create what is missing.

        Args:
            url: of SQLAlchemy, as ``sqlite:///study.db``.

        Raises:
            UnusableInputError: the database cannot be opened.
        """
        try:
            address = make_url(url)
        except SQLAlchemyError:
            raise UnusableInputError("the store is not a URL of SQLAlchemy, as sqlite:///study.db") from None
        try:
            self.engine = create_engine(address)
            if self.engine.dialect.name == "sqlite":
                event.listen(self.engine, "connect", _configure_sqlite)
            METADATA.create_all(self.engine)
        except (SQLAlchemyError, ImportError) as error:
            reason = error.orig if isinstance(error, DBAPIError) else error
            raise UnusableInputError(f"the store {address} cannot be opened: {reason}") from error  # hides a password

    def close(self) -> None:
        """Close the connections to the database."""
        self.engine.dispose()

    def add(self, study: str, cell: Cell) -> None:
        """Keep the result of a cell. A trial that another process finished meanwhile is left as it is."""
        assignment, result = cell.assignment, cell.result
        assert result is not None  # only finished trials are kept
        key = assignment.key
        row: dict[str, Any] = {
            "key": key,
            "study": study,
            "arm": cell.arm,
            "learning_rate": assignment.learning_rate,
            "seed": assignment.seed,
            "status": "diverged" if result.diverged else "finished",
            "seconds": result.seconds,
            "finished_at": datetime.now(UTC),
            "assignment": json.dumps(asdict(assignment), sort_keys=True),
        }
        readings = [
            {"trial": key, "epoch": epoch, "name": name, "value": None if math.isnan(value) else value}
            for name, curve in result.curves.items()
            for epoch, value in curve.items()
        ]
        try:
            with self.engine.begin() as connection:
                connection.execute(insert(TRIALS), row)
                if readings:
                    connection.execute(insert(READINGS), readings)
                if result.cost is not None:
                    connection.execute(insert(COSTS), {"trial": key, **asdict(result.cost)})
        except IntegrityError:
            if not self.results([key]):
                raise

    def fill(self, cells: Sequence[Cell]) -> None:
        """Give the cells whose trials are kept their results."""
        found = self.results(cell.assignment.key for cell in cells)
        for cell in cells:
            cell.result = found.get(cell.assignment.key, cell.result)

    def results(self, keys: Iterable[str]) -> dict[str, Result]:
        """The finished trials among `keys`."""
        wanted = set(keys)
        found: dict[str, Result] = {}
        with self.engine.connect() as connection:
            for key, status, seconds in connection.execute(select(TRIALS.c.key, TRIALS.c.status, TRIALS.c.seconds)):
                if key in wanted:
                    found[key] = Result(status == "diverged", seconds)
            for key, *cost in connection.execute(select(COSTS.c.trial, COSTS.c.memory, COSTS.c.state, COSTS.c.parameters)):
                if key in found:
                    found[key].cost = Cost(*cost)
            rows = select(READINGS.c.trial, READINGS.c.name, READINGS.c.epoch, READINGS.c.value)
            for key, name, epoch, value in connection.execute(rows.order_by(READINGS.c.epoch)):
                if key in found:
                    found[key].curves.setdefault(name, {})[epoch] = math.nan if value is None else value
        return found


def sqlite_url(path: Path) -> str:
    """The URL of a SQLite file."""
    return f"sqlite:///{path}"


def _configure_sqlite(connection: Any, _: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()
