"""Where finished trials are kept: a SQLite file (in WAL mode), or a database of a PostgreSQL server."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import func, insert, select
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from equipoise.errors import StudyStoppedError, UnusableInputError
from equipoise.study._cells import Cell, Cost, Failure, Result
from equipoise.study._sources import code_digest, digest, read_source
from equipoise.study._store.address import Address
from equipoise.study._store.patience import patiently, why
from equipoise.study._store.schema import CODES, COSTS, FAILURES, READINGS, SOURCES, TRIALS, insert_missing, prepare, rename

AT_ONCE = 500
"""Keys in one question: databases limit them."""

T = TypeVar("T")


@dataclass
class Outdated:
    """Trials that are kept, but of other sources than there are now."""

    keys: list[str] = field(default_factory=list[str])
    since: datetime | None = None
    """When the first of them was finished."""
    texts: dict[str, tuple[str | None, str | None]] = field(default_factory=dict[str, tuple[str | None, str | None]])
    """The text that is kept, and the present one, of every source that differs; None where there is none."""


class Store:
    """Finished trials by their key. Each is written in one transaction, synced to disk: it is there whole or not at all.

    A trial counts only while the sources that it ran are what they were. If they change, it stays in the database, and counts
    again if they are changed back.
    """

    def __init__(self, url: str, folder: Path | None = None, tell: Callable[[str], None] = lambda _: None) -> None:
        """Open, and create what is missing.

        Args:
            url: as ``sqlite:///study.db`` or ``postgresql://user@host/database``.
            folder: of the study, whose sources decide which trials count; by default the working directory.
            tell: is told when the database makes others wait.

        Raises:
            UnusableInputError: the database cannot be opened, or is another program's.
            MissingExtraError: the driver is not installed.
        """
        self._folder = Path().resolve() if folder is None else folder.resolve()
        self._tell = tell
        self.address = Address.parse(url)
        self.name = self.address.name
        self.engine = self.address.engine()
        try:
            self._open()
        except UnusableInputError:
            self.close()
            raise

    def _open(self) -> None:
        if self.address.on_server:
            self._reach()
        try:
            self._patiently(lambda connection: prepare(connection, self._folder))
        except SQLAlchemyError as error:
            raise UnusableInputError(f"the store {self.name} cannot be opened: {why(error)}") from error
        except UnusableInputError as error:
            raise UnusableInputError(f"the store {self.name} cannot be used: {error}") from None

    def _reach(self) -> None:
        """Connect once. A server that has never answered is not waited for: its address may be wrong."""
        try:
            self.engine.connect().close()
        except SQLAlchemyError as error:
            database = self.address.url.database or "NAME"
            raise UnusableInputError(
                f"the store {self.name} cannot be opened: {why(error)}; check that the server runs, that the user and the"
                " password are right (PGPASSWORD and ~/.pgpass count, too), and that the database was made"
                f" (createdb {database})"
            ) from error

    def close(self) -> None:
        """Close the connections to the database."""
        self.engine.dispose()

    def do(self, work: Callable[[Connection], T]) -> T:
        """Do something in one transaction; if the database cannot now, wait and try again.

        Args:
            work: may be done again although it was done: a connection can be lost before the database says that it was.

        Raises:
            StudyStoppedError: the database cannot be used.
            IntegrityError: what was to be kept is kept already.
        """
        try:
            return self._patiently(work)
        except IntegrityError:
            raise
        except DBAPIError as error:
            raise StudyStoppedError(f"the store {self.name} cannot be used: {why(error)}") from error

    def _patiently(self, work: Callable[[Connection], T]) -> T:
        def once() -> T:
            with self.engine.begin() as connection:
                return work(connection)

        return patiently(once, self.name, self._tell)

    def add(self, study: str, cell: Cell, sources: Mapping[str, str] | None = None) -> None:
        """Keep the result of a cell. A trial that another process finished meanwhile is left as it is.

        Args:
            study: its name.
            cell: with its result.
            sources: the text of every source that its trial loaded.

        Raises:
            StudyStoppedError: the database cannot be used.
        """
        self.add_record(record(study, cell, sources or {}))

    def add_record(self, made: Mapping[str, Any]) -> None:
        """Keep what :func:`record` made of a result."""

        def insert_all(connection: Connection) -> None:
            connection.execute(insert(TRIALS), made["trial"])
            if made["readings"]:
                connection.execute(insert(READINGS), made["readings"])
            if made["cost"]:
                connection.execute(insert(COSTS), made["cost"])
            _add_sources(connection, made["trial"]["code"], made["sources"])

        try:
            self.do(insert_all)
        except IntegrityError:
            key = made["trial"]["key"]
            if not self.do(lambda connection: connection.scalar(select(func.count()).where(TRIALS.c.key == key))):
                raise

    def add_failure(self, study: str, cell: Cell) -> None:
        """Keep why an attempt at the trial of a cell failed."""
        assert cell.failure is not None  # it failed
        row = _who(study, cell) | asdict(cell.failure) | {"trial": cell.assignment.key, "failed_at": datetime.now(UTC)}
        self.do(lambda connection: connection.execute(insert(FAILURES), row))

    def fill(self, cells: Sequence[Cell]) -> None:
        """Give the cells whose trials are kept their results, and the others their failures."""
        found = self.results(cell.assignment.key for cell in cells)
        failed = self.failures(cell.assignment.key for cell in cells if cell.assignment.key not in found)
        for cell in cells:
            cell.result = found.get(cell.assignment.key, cell.result)
            cell.failure = failed.get(cell.assignment.key)

    def results(self, keys: Iterable[str]) -> dict[str, Result]:
        """The finished trials among `keys`, each the key of an assignment, whose sources are what they were."""

        def ask(connection: Connection) -> dict[str, Result]:
            current = self._current_codes(connection)
            found: dict[str, Result] = {}
            rows = select(TRIALS.c.key, TRIALS.c.code, TRIALS.c.status, TRIALS.c.seconds)
            rows = rows.add_columns(COSTS.c.memory, COSTS.c.state, COSTS.c.parameters)
            rows = rows.outerjoin_from(TRIALS, COSTS, COSTS.c.trial == TRIALS.c.key)
            for some in portions(keys):
                for key, code, *own in connection.execute(rows.where(TRIALS.c.key.in_(some))):
                    if code in current:
                        found[key] = result_of(*own)
            for some in portions(found):
                values = select(READINGS.c.trial, READINGS.c.name, READINGS.c.epoch, READINGS.c.value)
                values = values.where(READINGS.c.trial.in_(some)).order_by(READINGS.c.epoch)
                for key, name, epoch, value in connection.execute(values):
                    found[key].curves.setdefault(name, {})[epoch] = number(value)
            return found

        keys = list(keys)
        return self.do(ask)

    def failures(self, keys: Iterable[str]) -> dict[str, Failure]:
        """The newest failure of each trial among `keys`."""
        keys = list(keys)
        return self.do(lambda connection: newest_failures(connection, keys))

    def finished_between(self, keys: Iterable[str]) -> tuple[datetime, datetime] | None:
        """When the first and the last of the trials among `keys` were finished; None where there is none."""

        def ask(connection: Connection) -> list[datetime]:
            found: list[datetime] = []
            for some in portions(keys):
                times = select(func.min(TRIALS.c.finished_at), func.max(TRIALS.c.finished_at))
                row = connection.execute(times.where(TRIALS.c.key.in_(some))).one()
                found += [time for time in row if time is not None]
            return found

        found = self.do(ask)
        return (min(found), max(found)) if found else None

    def outdated(self, keys: Iterable[str]) -> Outdated:
        """The kept trials among `keys`, and in what the sources that they ran differ from the present ones."""

        def ask(connection: Connection) -> Outdated:
            found, codes = Outdated(), set[str]()
            current = self._current_codes(connection)
            for some in portions(keys):
                rows = select(TRIALS.c.key, TRIALS.c.code, TRIALS.c.finished_at).where(TRIALS.c.key.in_(some))
                for key, code, time in connection.execute(rows):
                    if code not in current:
                        found.keys.append(key)
                        found.since = time if found.since is None else min(found.since, time)
                        codes.add(code)
            rows = select(CODES.c.name, CODES.c.sha256, SOURCES.c.text).where(CODES.c.code.in_(codes))
            for name, sha256, text in connection.execute(rows.join(SOURCES, SOURCES.c.sha256 == CODES.c.sha256, isouter=True)):
                present = read_source(name, self._folder)
                if present is None or digest(present) != sha256:
                    found.texts[name] = text, present
            return found

        return self.do(ask)

    def set_aside(self, keys: Iterable[str]) -> None:
        """Let trials count no more, so that they are run anew. They stay in the database under other keys."""

        def rename_all(connection: Connection) -> None:
            for some in portions(keys):
                for key in connection.scalars(select(TRIALS.c.key).where(TRIALS.c.key.in_(some))).all():
                    rename(connection, key, uuid.uuid4().hex, former=key)

        self.do(rename_all)

    def keys_of(self, study: str) -> list[str]:
        """The keys of the trials that a study has kept."""
        rows = select(TRIALS.c.key).where(TRIALS.c.study == study, TRIALS.c.former.is_(None))
        return self.do(lambda connection: list(connection.scalars(rows)))

    def _current_codes(self, connection: Connection) -> set[str]:
        """Which of the kept codes consist of the present sources."""
        present: dict[str, str] = {}
        changed: set[str] = set()
        known: set[str] = {code_digest({})}
        for code, name, sha256 in connection.execute(select(CODES.c.code, CODES.c.name, CODES.c.sha256)):
            if name not in present:
                text = read_source(name, self._folder)
                present[name] = "" if text is None else digest(text)
            known.add(code)
            if present[name] != sha256:
                changed.add(code)
        return known - changed


def result_of(status: str, seconds: float, *cost: Any) -> Result:
    """A result without its curves, from what the tables of trials and of costs have: NULL is a cost that is not kept."""
    return Result(status == "diverged", seconds, cost=None if cost[0] is None else Cost(*cost))


def newest_failures(connection: Connection, keys: Iterable[str]) -> dict[str, Failure]:
    """The newest failure of each trial among `keys`."""
    found: dict[str, Failure] = {}
    for some in portions(keys):
        rows = select(FAILURES.c.trial, FAILURES.c.reason, FAILURES.c.log, FAILURES.c.output)
        for key, *failure in connection.execute(rows.where(FAILURES.c.trial.in_(some)).order_by(FAILURES.c.id)):
            found[key] = Failure(*failure)
    return found


def number(value: float | None) -> float:
    """A reading: NULL is NaN, which SQLite does not have."""
    return math.nan if value is None else value


def record(study: str, cell: Cell, sources: Mapping[str, str]) -> dict[str, Any]:
    """The rows that a result becomes, by their tables."""
    assignment, result = cell.assignment, cell.result
    assert result is not None  # only finished trials are kept
    key = assignment.key
    trial = _who(study, cell) | {
        "key": key,
        "code": code_digest({name: digest(text) for name, text in sources.items()}),
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
    cost = None if result.cost is None else {"trial": key, **asdict(result.cost)}
    return {"trial": trial, "readings": readings, "cost": cost, "sources": dict(sources)}


def _who(study: str, cell: Cell) -> dict[str, Any]:
    assignment = cell.assignment
    return {
        "study": study,
        "arm": cell.arm,
        "learning_rate": assignment.learning_rate,
        "seed": assignment.seed,
    }


def _add_sources(connection: Connection, code: str, sources: Mapping[str, str]) -> None:
    """Keep the sources of a trial, unless another had the same."""
    if connection.scalar(select(func.count()).where(CODES.c.code == code)):
        return
    digests = {name: digest(text) for name, text in sources.items()}
    rows = [{"code": code, "name": name, "sha256": digests[name]} for name in sorted(digests)]
    insert_missing(connection, CODES, rows)
    texts = {digests[name]: text for name, text in sources.items()}
    insert_missing(connection, SOURCES, [{"sha256": sha256, "text": texts[sha256]} for sha256 in sorted(texts)])


def portions(keys: Iterable[str]) -> Iterator[list[str]]:
    """Keys in portions that one question can hold."""
    every = sorted(set(keys))
    for start in range(0, len(every), AT_ONCE):
        yield every[start : start + AT_ONCE]
