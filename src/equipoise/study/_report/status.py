"""How far a study is: a few sums over its store."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text
from sqlalchemy import Select, Subquery, distinct, func, select
from sqlalchemy.engine import Connection

from equipoise._json import plain
from equipoise._words import duration, printable
from equipoise.study._records import CELLS
from equipoise.study._report.stored import find_run
from equipoise.study._spec import Study
from equipoise.study._store import Store
from equipoise.study._store.schema import FAILURES, RUNNERS, TRIALS


@dataclass(frozen=True)
class PhaseStatus:
    """How far one phase of a study is, in trials."""

    planned: int
    finished: int
    """Those with a result."""
    diverged: int
    """Those of the finished ones that diverged."""
    failed: int
    """Those that were tried and have no result."""

    @property
    def waiting(self) -> int:
        """Those that were not tried yet."""
        return self.planned - self.finished - self.failed


@dataclass(frozen=True)
class Status:
    """How far a study is."""

    study: str
    phases: Mapping[str, PhaseStatus]
    """The comparison enters the plan after the tuning."""
    seconds: float
    """What the finished trials took, all together."""
    last_finished_at: datetime | None
    runner: str
    """Who runs it now; "" if nobody does."""
    seconds_left: float | None
    """If trials go on to finish as they have in this run; None if nothing runs, or none has finished yet."""


def read_status(store: Store, name: str | None = None) -> Status:
    """Read how far a study is.

    Args:
        store: where it is.
        name: of the study; it need not be given if the store holds one alone.

    Raises:
        UnusableInputError: the store does not hold it, or several and no name was given.
        StudyStoppedError: the store cannot be used.
    """

    def ask(connection: Connection) -> Status:
        run = find_run(connection, store, name)
        study = Study.model_validate(run.study)
        rows = connection.execute(_sums(study.name)).all()
        failed = {row[0]: row[1] for row in connection.execute(_failed(study.name))}
        planned = {"tuning": 0, "comparison": len(study.arms) * study.seeds}
        phases = {
            phase: PhaseStatus(
                sum(row.trials for row in rows if row.phase == phase) or planned[phase],
                sum(row.trials for row in rows if row.phase == phase and row.status is not None),
                sum(row.trials for row in rows if row.phase == phase and row.status == "diverged"),
                failed.get(phase, 0),
            )
            for phase in planned
        }
        runner = connection.execute(select(RUNNERS).where(RUNNERS.c.study == study.name)).one_or_none()
        waiting = sum(found.waiting for found in phases.values())
        return Status(
            study.name,
            phases,
            math.fsum(row.seconds for row in rows if row.seconds is not None),
            max((row.newest for row in rows if row.newest is not None), default=None),
            "" if runner is None else f"process {runner.process} on {runner.host}",
            None if runner is None else _seconds_left(connection, study.name, run.recorded_at, waiting),
        )

    return store.do(ask)


def _trials_of(study: str) -> Subquery:
    """The planned trials of a study. Arms may share one: it counts once."""
    return select(CELLS.c.trial, CELLS.c.phase).where(CELLS.c.study == study).distinct().subquery()


def _sums(study: str) -> Select[Any]:
    """Per phase and status (none for those without a result): how many, their seconds, and when the newest was finished."""
    planned = _trials_of(study)
    sums = select(planned.c.phase, TRIALS.c.status, func.count().label("trials"))
    sums = sums.add_columns(func.sum(TRIALS.c.seconds).label("seconds"), func.max(TRIALS.c.finished_at).label("newest"))
    joined = planned.outerjoin(TRIALS, TRIALS.c.key == planned.c.trial)
    return sums.select_from(joined).group_by(planned.c.phase, TRIALS.c.status)


def _failed(study: str) -> Select[str, int]:
    """Per phase: how many trials were tried and have no result."""
    planned = _trials_of(study)
    joined = planned.join(FAILURES, FAILURES.c.trial == planned.c.trial)
    joined = joined.outerjoin(TRIALS, TRIALS.c.key == planned.c.trial)
    failed = select(planned.c.phase, func.count(distinct(planned.c.trial))).select_from(joined)
    return failed.where(TRIALS.c.key.is_(None)).group_by(planned.c.phase)


def _seconds_left(connection: Connection, study: str, since: datetime, waiting: int) -> float | None:
    planned = _trials_of(study)
    done = select(func.count(), func.max(TRIALS.c.finished_at)).where(TRIALS.c.finished_at >= since)
    count, newest = connection.execute(done.where(TRIALS.c.key.in_(select(planned.c.trial)))).one()
    return (newest - since).total_seconds() / count * waiting if count else None


def print_status(status: Status, console: Console) -> None:
    """The status for a terminal."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("phase", "planned", "finished", "diverged", "failed", "waiting"):
        table.add_column(heading, justify="left" if heading == "phase" else "right")
    for phase, found in status.phases.items():
        counts = found.planned, found.finished, found.diverged, found.failed, found.waiting
        table.add_row(phase, *(f"{count:,}" for count in counts))
    console.print(Text(f"{printable(status.study)}: {_state(status)}", style="bold"))
    console.print(table)
    newest = status.last_finished_at
    when = "" if newest is None else f", the newest finished at {newest:%Y-%m-%d %H:%M:%S} UTC"
    console.print(Text(f"{duration(status.seconds)} of computing{when}"))


def _state(status: Status) -> str:
    if status.runner:
        left = "" if status.seconds_left is None else f", about {duration(status.seconds_left)} left"
        return f"running, by {printable(status.runner)}{left}"
    if all(found.finished == found.planned for found in status.phases.values()):
        return "complete"
    return "not complete, and not running; equipoise study run on its file continues it"


def as_plain(status: Status) -> dict[str, Any]:
    """The status as what JSON has."""
    newest = status.last_finished_at
    return plain(status) | {"last_finished_at": None if newest is None else newest.isoformat()}
