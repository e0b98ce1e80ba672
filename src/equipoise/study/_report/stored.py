"""A study as its store holds it, read for a report: sums and last values, never every reading."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy import Row, Select, func, literal, select
from sqlalchemy.engine import Connection

from equipoise.errors import UnusableInputError
from equipoise.study._analysis import Question
from equipoise.study._cells import Assignment, Cell, Table
from equipoise.study._records import CELLS, STUDIES, Recorded, recorded
from equipoise.study._report.figures.curves import Band
from equipoise.study._spec import Study
from equipoise.study._store import Store
from equipoise.study._store.schema import COSTS, READINGS, TRIALS
from equipoise.study._store.store import newest_failures, number, portions, result_of
from equipoise.study._task_source import TaskSource

DRAWN_SEEDS, DRAWN_EPOCHS = 25, 100
"""Curves are drawn of so many seeds of each arm, and at so many epochs."""


@dataclass(frozen=True)
class Record:
    """What a store holds of one study."""

    table: Table
    """Its trials as planned. Their results hold the last reading of every number, and the worst of what decides."""
    cells: Mapping[str, Sequence[Cell]]
    """The cells of the table by the key of their trial, which arms may share."""
    run: Recorded
    """What the newest run wrote of itself."""
    last_finished_at: datetime | None

    @property
    def study(self) -> Study:
        """What is compared."""
        return self.table.study

    @property
    def names(self) -> list[str]:
        """The names of the numbers that trials reported."""
        return sorted({name for result in self.table.all_results() for name in result.curves})


def read_record(store: Store, name: str | None = None) -> Record:
    """Read a study.

    Args:
        store: where it is.
        name: the study's; it need not be given if the store holds one study alone.

    Raises:
        UnusableInputError: the store does not hold it, or several and no name was given.
        StudyStoppedError: the store cannot be used.
    """

    def ask(connection: Connection) -> Record:
        run = find_run(connection, store, name)
        study = Study.model_validate(run.study)
        table = Table(study, run.task)
        table.hyperparameters = run.hyperparameters
        cells, last = _read_cells(connection, table)
        of_study = select(CELLS.c.trial).where(CELLS.c.study == study.name)
        for key, reported, epoch, value in connection.execute(last_values(of_study)):
            _add_reading(cells[key], reported, epoch, value)
        for question in {Question.of_study(study), Question.of_selection(study)}:
            if question.diverged is None and any(result.diverged for result in table.all_results()):
                _add_readings(cells, question.metric, connection.execute(_worst_value(question)))
        if study.target is not None:
            _add_readings(cells, study.metric, connection.execute(_compared(study.name, study.metric)))
        return Record(table, cells, run, last)

    return store.do(ask)


def find_run(connection: Connection, store: Store, name: str | None) -> Recorded:
    """What the newest run of a study wrote of itself.

    Args:
        connection: to the store.
        store: for messages.
        name: of the study; None if the store holds one alone.

    Raises:
        UnusableInputError: there is none, or several and no name.
    """
    names = list(connection.scalars(select(STUDIES.c.name).order_by(STUDIES.c.name)))
    wanted = names[0] if name is None and len(names) == 1 else name
    run = None if wanted is None else recorded(connection, wanted)
    if run is None:
        meant = "which study is meant" if wanted is None else f"of a study {wanted!r}"
        held = ", ".join(map(repr, names)) or "none, as long as no study is run on it"
        raise UnusableInputError(f"the store {store.name} does not tell {meant}; it holds {held}")
    return run


def read_curves(store: Store, record: Record, name: str) -> dict[str, Band]:
    """The curves of a reported number, of every arm, over the first comparison seeds that have a result."""
    seeds = record.study.seeds_for_comparison[:DRAWN_SEEDS]
    compared = {
        key: [
            cell for cell in cells if cell.phase == "comparison" and cell.assignment.seed in seeds and cell.result is not None
        ]
        for key, cells in record.cells.items()
    }
    last = record.study.epochs
    epochs = sorted({round(epoch) for epoch in np.linspace(1, last, min(last, DRAWN_EPOCHS))})
    values: dict[str, dict[int, dict[int, float]]] = {}
    for keys in portions(key for key, cells in compared.items() if cells):
        wanted = select(READINGS.c.trial, READINGS.c.epoch, READINGS.c.value).where(READINGS.c.trial.in_(keys))
        wanted = wanted.where(READINGS.c.name == name, READINGS.c.epoch.in_(epochs))
        for key, epoch, value in store.do(lambda connection, wanted=wanted: connection.execute(wanted).all()):
            for cell in compared[key]:
                own = values.setdefault(cell.arm, {}).setdefault(cell.assignment.seed, {})
                own[epoch] = number(value)
    return {arm: Band.of(list(own.values())) for arm, own in values.items()}


def planned_trials(study: str) -> Select[Any]:
    """The planned trials of a study in their order, with what came of them."""
    return (
        select(CELLS.c.position, CELLS.c.trial, CELLS.c.phase, CELLS.c.arm, CELLS.c.assignment)
        .add_columns(TRIALS.c.status, TRIALS.c.seconds, TRIALS.c.finished_at)
        .add_columns(COSTS.c.memory, COSTS.c.state, COSTS.c.parameters)
        .outerjoin_from(CELLS, TRIALS, CELLS.c.trial == TRIALS.c.key)
        .outerjoin(COSTS, COSTS.c.trial == TRIALS.c.key)
        .where(CELLS.c.study == study)
        .order_by(CELLS.c.position)
    )


def cell_of(row: Row[Any]) -> Cell:
    """A planned trial, its result without what it reported."""
    values: dict[str, Any] = json.loads(row.assignment)
    cell = Cell(row.arm, row.phase, Assignment(task=TaskSource(**values.pop("task")), **values))
    if row.status is not None:
        cell.result = result_of(row.status, row.seconds, row.memory, row.state, row.parameters)
    return cell


def last_values(trials: Select[str]) -> Select[str, str, int, float | None]:
    """The last reading of every number of some trials.

    The primary key is searched, not read: from one name of a trial to its next one, and there for the last epoch.

    Args:
        trials: selects their keys.
    """
    # In the order of the key, so that neighbours in the file are looked at together.
    keys = trials.distinct().order_by(*trials.selected_columns).subquery()
    named = select(keys.c[0].label("trial"), literal("").label("name")).cte("named", recursive=True)
    following = select(func.min(READINGS.c.name)).where(READINGS.c.trial == named.c.trial, READINGS.c.name > named.c.name)
    named = named.union_all(select(named.c.trial, following.scalar_subquery()).where(named.c.name.is_not(None)))
    same = READINGS.c.trial == named.c.trial, READINGS.c.name == named.c.name
    last = [
        select(column).where(*same).order_by(READINGS.c.epoch.desc()).limit(1).scalar_subquery()
        for column in (READINGS.c.epoch, READINGS.c.value)
    ]
    return select(named.c.trial, named.c.name, *last).where(named.c.name != "")


def _read_cells(connection: Connection, table: Table) -> tuple[dict[str, list[Cell]], datetime | None]:
    """Fill the table with the planned cells and what came of them; return them by key, and when the last was finished."""
    cells: dict[str, list[Cell]] = {}
    last: datetime | None = None
    for row in connection.execute(planned_trials(table.study.name)):
        cell = cell_of(row)
        if cell.result is not None:
            last = row.finished_at if last is None else max(last, row.finished_at)
        table.add([cell])
        cells.setdefault(row.trial, []).append(cell)
    unfinished = (key for key, own in cells.items() if own[0].result is None)
    for key, failure in newest_failures(connection, unfinished).items():
        for cell in cells[key]:
            cell.failure = failure
    return cells, last


def _readings(study: str, name: str) -> Select[str, int, float | None]:
    """The readings of a name in the trials of a study, each as often as the trial is in the plan."""
    wanted = select(READINGS.c.trial, READINGS.c.epoch, READINGS.c.value).join(CELLS, CELLS.c.trial == READINGS.c.trial)
    return wanted.where(CELLS.c.study == study, READINGS.c.name == name)


def _compared(study: str, name: str) -> Select[str, int, float | None]:
    return _readings(study, name).where(CELLS.c.phase == "comparison")


def _worst_value(question: Question) -> Select[str, int, float | None]:
    """What diverged trials count with is the worst finite value that any trial of the study reported at any time."""
    value = READINGS.c.value
    finite = _readings(question.name, question.metric).where(value.between(-sys.float_info.max, sys.float_info.max))
    return finite.order_by(value.asc() if question.goal == "maximize" else value.desc()).limit(1)


def _add_readings(cells: Mapping[str, Sequence[Cell]], name: str, rows: Iterable[Row[str, int, float | None]]) -> None:
    for key, epoch, value in rows:
        _add_reading(cells[key], name, epoch, value)


def _add_reading(cells: Sequence[Cell], name: str, epoch: int, value: float | None) -> None:
    result = cells[0].result  # which they share
    if result is not None:
        result.curves.setdefault(name, {})[epoch] = number(value)
