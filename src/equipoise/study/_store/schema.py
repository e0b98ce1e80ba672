"""The tables of a store, and how one of an earlier version becomes one of this."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
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
    TypeDecorator,
    delete,
    func,
    insert,
    inspect,
    select,
    text,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, Dialect

from equipoise.errors import UnusableInputError
from equipoise.study._cells import Assignment
from equipoise.study._names import LONGEST_NAME
from equipoise.study._sources import code_digest, source_name
from equipoise.study._task_source import TaskSource


class Moment(TypeDecorator[datetime]):
    """A time, in UTC wherever it comes from: SQLite knows no zones, and a server answers in its own."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """What the database has as a time in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


SCHEMA = 2
"""1 had no version, and the hash of the task's file in the key of every trial."""

METADATA = MetaData()

VERSION = Table("equipoise", METADATA, Column("schema", Integer, primary_key=True))

TRIALS = Table(
    "trial",
    METADATA,
    Column("key", String(64), primary_key=True),  # of its assignment
    Column("code", String(64), nullable=False),  # of the sources that it ran
    Column("former", String(64)),  # the key that it had until it was to be run anew
    Column("study", Text, nullable=False),
    Column("arm", Text, nullable=False),
    Column("learning_rate", Float, nullable=False),
    Column("seed", Integer, nullable=False),
    Column("status", String(16), nullable=False),
    Column("seconds", Float, nullable=False),
    Column("finished_at", Moment, nullable=False),
    Column("assignment", Text, nullable=False),
)

READINGS = Table(
    "reading",
    METADATA,
    # In the order in which they are asked for: the curve of a number is in one place.
    Column("trial", String(64), ForeignKey("trial.key"), primary_key=True),
    Column("name", String(LONGEST_NAME), primary_key=True),
    Column("epoch", Integer, primary_key=True),
    Column("value", Float),  # NULL is NaN, which SQLite does not have
    sqlite_with_rowid=False,  # half the size
)

COSTS = Table(
    "cost",
    METADATA,
    Column("trial", String(64), ForeignKey("trial.key"), primary_key=True),
    Column("memory", BigInteger, nullable=False),
    Column("state", BigInteger, nullable=False),
    Column("parameters", BigInteger, nullable=False),
)

FAILURES = Table(
    "failure",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("trial", String(64), nullable=False, index=True),  # the key of its assignment
    Column("study", Text, nullable=False),
    Column("arm", Text, nullable=False),
    Column("learning_rate", Float, nullable=False),
    Column("seed", Integer, nullable=False),
    Column("failed_at", Moment, nullable=False),
    Column("reason", Text, nullable=False),
    Column("log", Text, nullable=False),
    Column("output", Text, nullable=False),
)

CODES = Table(
    "code",
    METADATA,
    Column("code", String(64), primary_key=True),
    Column("name", String(4096), primary_key=True),
    Column("sha256", String(64), nullable=False),
)

SOURCES = Table("source", METADATA, Column("sha256", String(64), primary_key=True), Column("text", Text, nullable=False))

RUNNERS = Table(
    "runner",
    METADATA,
    Column("study", String(LONGEST_NAME), primary_key=True),
    Column("token", String(32), nullable=False),
    Column("host", Text, nullable=False),
    Column("process", Integer, nullable=False),
    Column("since", Moment, nullable=False),
    Column("beat", Integer, nullable=False),  # grows as long as it runs
)


INSERTS = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
"""Both databases can leave out what is there, each in its own way."""

ONE_AT_A_TIME = 0x65717569706F6973
"""The number of the lock under which tables are made, on a server that has several clients: "equipois" in ASCII."""


def prepare(connection: Connection, folder: Path) -> None:
    """Make the tables that are missing.

    Args:
        connection: in a transaction.
        folder: of the study.

    Raises:
        UnusableInputError: the database has tables of these names that are others, or is of a later version.
    """
    if connection.dialect.name == "postgresql":
        encoding = connection.scalar(text("SHOW server_encoding"))
        if encoding != "UTF8":
            raise UnusableInputError(
                f"its encoding is {encoding}, which has not every character; createdb --encoding=UTF8 --template=template0 NAME"
                " makes one that has"
            )
        connection.execute(select(func.pg_advisory_xact_lock(ONE_AT_A_TIME)))
    inspector = inspect(connection)
    present = {
        table: {column["name"] for column in inspector.get_columns(table.name)}
        for table in METADATA.sorted_tables
        if inspector.has_table(table.name)
    }
    lacking = {table.name: {column.name for column in table.columns} - columns for table, columns in present.items()}
    version = connection.scalar(select(VERSION.c.schema)) if VERSION in present and not lacking["equipoise"] else None
    if version is not None and version > SCHEMA:
        raise UnusableInputError(f"it is of a later version of Equipoise (schema {version}; this one knows {SCHEMA})")
    earlier = VERSION not in present and lacking.get("trial") == {"code", "former"}
    if earlier:
        lacking["trial"] = set()
    for name, columns in lacking.items():
        if columns:
            raise UnusableInputError(f"its table {name!r} is another program's: it has no column {', '.join(sorted(columns))}")
    if earlier:
        _from_first(connection, folder)
    METADATA.create_all(connection)
    if version is None:
        connection.execute(insert(VERSION), {"schema": SCHEMA})


def insert_missing(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows, but for those whose keys are there: another process may have inserted them a moment ago."""
    if rows:
        connection.execute(INSERTS[connection.dialect.name](table).on_conflict_do_nothing(), rows)


def rename(connection: Connection, trial: str, key: str, **values: Any) -> None:
    """Give a trial another key, with all that belongs to it, and other values in its own row."""
    row = connection.execute(select(TRIALS).where(TRIALS.c.key == trial)).mappings().one()
    connection.execute(insert(TRIALS), {**row, **values, "key": key})
    for table in (READINGS, COSTS):
        connection.execute(update(table).where(table.c.trial == trial).values(trial=key))
    connection.execute(delete(TRIALS).where(TRIALS.c.key == trial))


def _from_first(connection: Connection, folder: Path) -> None:
    """Give the trials of a store of schema 1 what they lack. The text of their tasks was not kept."""
    connection.exec_driver_sql("ALTER TABLE trial ADD COLUMN code VARCHAR(64) NOT NULL DEFAULT ''")
    connection.exec_driver_sql("ALTER TABLE trial ADD COLUMN former VARCHAR(64)")
    METADATA.create_all(connection)
    known: set[str] = set()
    for key, assignment in connection.execute(select(TRIALS.c.key, TRIALS.c.assignment)).all():
        values: dict[str, Any] = json.loads(assignment)
        former = values.pop("task")
        task = TaskSource(former["module"], former["function"], str(folder))
        name = _file_of(task)
        code = code_digest({name: former["sha256"]})
        if code not in known:
            known.add(code)
            connection.execute(insert(CODES), {"code": code, "name": name, "sha256": former["sha256"]})
        rename(connection, key, Assignment(task=task, **values).key, code=code)


def _file_of(task: TaskSource) -> str:
    """The name of the file that defines a task, as :class:`Sources` notes it."""
    if task.module.endswith(".py"):
        return task.place
    found = importlib.util.find_spec(task.module)
    if found is None or found.origin is None:
        return task.module
    return source_name(Path(found.origin), Path(task.folder))
