"""A study as its store holds it, read for a report: sums and last values, never every reading."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy import Row, func, select, true
from sqlalchemy.engine import Connection

from equipoise.errors import UnusableInputError
from equipoise.hyperparameters import Hyperparameters
from equipoise.study._analysis import Question
from equipoise.study._cells import SCHEDULED, Assignment, Cell, Cost, Result, Table
from equipoise.study._records import CELLS, STUDIES
from equipoise.study._report.curves import Band
from equipoise.study._spec import Study, TaskSource
from equipoise.study._store import COSTS, READINGS, TRIALS, Store

MOST_VALUES = 200_000
"""Of the readings of one name, at most about so many are drawn."""


@dataclass(frozen=True)
class Record:
    """What a store holds of one study."""

    table: Table
    """Its trials as planned. Of the readings, the results hold the last of what decides, and the worst of all."""
    cells: Mapping[str, Sequence[Cell]]
    """The cells of the table by the key of their trial, which arms may share."""
    file: str
    """The text of the study file; "" if the study was made in Python."""
    command: str
    environment: Mapping[str, str]
    recorded_at: datetime
    last_finished_at: datetime | None

    @property
    def study(self) -> Study:
        """What is compared."""
        return self.table.study


def read_record(store: Store, name: str | None = None) -> Record:
    """Read a study.

    Args:
        store: where it is.
        name: the study's; it need not be given if the store holds one study alone.

    Raises:
        UnusableInputError: the store does not hold it, or several and no name was given.
    """
    with store.engine.connect() as connection:
        row = _study_row(connection, name)
        study = Study.model_validate_json(row.study)
        table = Table(study, TaskSource(**json.loads(row.task)))
        table.hyperparameters = {
            arm: Hyperparameters(tuple((first, second) for first, second in found["betas"]), tuple(found["exponents"]))
            for arm, found in json.loads(row.hyperparameters).items()
        }
        cells, last = _read_cells(connection, table)
        questions = (Question.of_study(study), Question.of_selection(study))
        for name in {question.metric for question in questions} | {SCHEDULED}:
            _add_last_values(connection, study.name, cells, name)
        if any(result.diverged for result in table.all_results()):
            for question in questions:
                if question.diverged is None:
                    _add_worst_value(connection, question, cells)
    return Record(table, cells, row.file, row.command, json.loads(row.environment), row.recorded_at, last)


def reported_names(store: Store, record: Record) -> list[str]:
    """The names of the numbers that a few trials reported: of each arm, the first that has a result."""
    first = {cell.arm: key for key, cells in reversed(record.cells.items()) for cell in cells if cell.result is not None}
    with store.engine.connect() as connection:
        rows = connection.execute(select(READINGS.c.name).where(READINGS.c.trial.in_(first.values())).distinct())
        return sorted(name for (name,) in rows)


def read_curves(store: Store, record: Record, name: str) -> dict[str, Band]:
    """The curves of a reported number, of every arm, over the comparison seeds that have a result."""
    compared = {
        key: [cell for cell in cells if cell.phase == "comparison"]
        for key, cells in record.cells.items()
        if cells[0].result is not None
    }
    count = sum(map(len, compared.values()))
    shown = max(2, MOST_VALUES // max(1, count))
    epochs = sorted({round(epoch) for epoch in np.linspace(1, record.study.epochs, min(record.study.epochs, shown))})
    values: dict[str, dict[int, dict[int, float]]] = {}
    wanted = (
        select(READINGS.c.trial, READINGS.c.epoch, READINGS.c.value)
        .join(CELLS, CELLS.c.trial == READINGS.c.trial)
        .where(CELLS.c.study == record.study.name, CELLS.c.phase == "comparison", READINGS.c.name == name)
        .where(READINGS.c.epoch.in_(epochs) if len(epochs) < record.study.epochs else true())
    )
    with store.engine.connect() as connection:
        for key, epoch, value in connection.execute(wanted):
            for cell in compared.get(key, []):
                own = values.setdefault(cell.arm, {}).setdefault(cell.assignment.seed, {})
                own[epoch] = math.nan if value is None else value
    return {arm: Band.of(list(own.values())) for arm, own in values.items()}


def _study_row(connection: Connection, name: str | None) -> Row[Any]:
    names = [found for (found,) in connection.execute(select(STUDIES.c.name).order_by(STUDIES.c.name))]
    if name is None and len(names) == 1:
        name = names[0]
    if name not in names:
        wanted = "which study is meant" if name is None else f"of a study {name!r}"
        raise UnusableInputError(f"the store does not tell {wanted}; it holds {', '.join(map(repr, names)) or 'none'}")
    return connection.execute(select(STUDIES).where(STUDIES.c.name == name)).one()


def _read_cells(connection: Connection, table: Table) -> tuple[dict[str, list[Cell]], datetime | None]:
    """Fill the table with the planned cells and what came of them; return them by key, and when the last was finished."""
    wanted = (
        select(CELLS.c.trial, CELLS.c.phase, CELLS.c.arm, CELLS.c.assignment)
        .add_columns(TRIALS.c.status, TRIALS.c.seconds, TRIALS.c.finished_at)
        .add_columns(COSTS.c.memory, COSTS.c.state, COSTS.c.parameters)
        .outerjoin_from(CELLS, TRIALS, CELLS.c.trial == TRIALS.c.key)
        .outerjoin(COSTS, COSTS.c.trial == TRIALS.c.key)
        .where(CELLS.c.study == table.study.name)
        .order_by(CELLS.c.position)
    )
    cells: dict[str, list[Cell]] = {}
    times = list[datetime]()
    for key, phase, arm, assignment, status, seconds, finished_at, *cost in connection.execute(wanted):
        cell = Cell(arm, phase, _assignment(assignment))
        if status is not None:
            cell.result = Result(status == "diverged", seconds, cost=None if cost[0] is None else Cost(*cost))
            times.append(finished_at)
        table.cells.append(cell)
        cells.setdefault(key, []).append(cell)
    return cells, max(times, default=None)


def _assignment(text: str) -> Assignment:
    values = json.loads(text)
    return Assignment(**{**values, "task": TaskSource(**values["task"])})


def _add_last_values(connection: Connection, study: str, cells: Mapping[str, Sequence[Cell]], name: str) -> None:
    own = READINGS.alias()
    newest = select(func.max(own.c.epoch)).where(own.c.trial == CELLS.c.trial, own.c.name == name).scalar_subquery()
    wanted = (
        select(READINGS.c.trial, READINGS.c.epoch, READINGS.c.value)
        .join(CELLS, CELLS.c.trial == READINGS.c.trial)
        .where(CELLS.c.study == study, READINGS.c.name == name, READINGS.c.epoch == newest)
    )
    for key, epoch, value in connection.execute(wanted):
        _add_reading(cells[key], name, epoch, value)


def _add_worst_value(connection: Connection, question: Question, cells: Mapping[str, Sequence[Cell]]) -> None:
    """What diverged trials count with is the worst finite value that any trial of the study reported at any time."""
    value = READINGS.c.value
    worst = (
        select(READINGS.c.trial, READINGS.c.epoch, value)
        .join(CELLS, CELLS.c.trial == READINGS.c.trial)
        .where(CELLS.c.study == question.name, READINGS.c.name == question.metric)
        .where(value.between(-sys.float_info.max, sys.float_info.max))
        .order_by(value.asc() if question.goal == "maximize" else value.desc())
        .limit(1)
    )
    for key, epoch, found in connection.execute(worst):
        _add_reading(cells[key], question.metric, epoch, found)


def _add_reading(cells: Sequence[Cell], name: str, epoch: int, value: float | None) -> None:
    for cell in cells:
        if cell.result is not None:
            cell.result.curves.setdefault(name, {})[epoch] = math.nan if value is None else value
