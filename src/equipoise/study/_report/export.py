"""The kept trials of a study, written as tables while they are read: a large store takes as little memory as a small one."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TextIO, TypeAlias

from sqlalchemy import select

from equipoise._json import plain
from equipoise.study._cells import Cell
from equipoise.study._records import CELLS
from equipoise.study._report.stored import cell_of, find_run, last_values, planned_trials
from equipoise.study._report.trials import COLUMNS, as_text, columns_of, described, line_of, searched
from equipoise.study._store import Store
from equipoise.study._store.schema import READINGS, TRIALS
from equipoise.study._store.store import number

TableName: TypeAlias = Literal["trials", "readings"]
Format: TypeAlias = Literal["csv", "jsonl"]

AT_ONCE = 50
"""So many trials are in memory."""


class Place(NamedTuple):
    """Where a planned trial is."""

    position: int
    """In the plan."""
    trial: str
    """Its key in the store, which arms may share."""


def export(store: Store, name: str | None, table: TableName, form: Format, file: TextIO) -> None:
    """Write the kept trials of a study.

    Args:
        store: where it is.
        name: of the study; it need not be given if the store holds one alone.
        table: "trials" has one row per trial, with the last value of every number that it reported; "readings" one per trial
            and epoch.
        form: CSV, or one JSON object per line.
        file: takes the text.

    Raises:
        UnusableInputError: the store does not hold the study, or several and no name was given.
        StudyStoppedError: the store cannot be used.
    """
    study = store.do(lambda connection: find_run(connection, store, name)).study["name"]
    settings = list(dict.fromkeys(key for cells in _portions(store, study) for key in searched(cells.values())))
    ours = COLUMNS if table == "trials" else (*COLUMNS, "epoch")
    columns = columns_of(settings, _reported(store, study), ours)
    rows = (row for cells in _portions(store, study) for row in _rows(store, cells, table, columns))
    if form == "csv":
        _write_csv(rows, [*ours, *settings, *columns.values()], file)
    else:
        for row in rows:
            file.write(json.dumps(plain(row), allow_nan=False) + "\n")


def _write_csv(rows: Iterable[Mapping[str, Any]], heading: Sequence[str], file: TextIO) -> None:
    lines = csv.writer(file, lineterminator="\n")
    lines.writerow(map(as_text, heading))
    for row in rows:
        lines.writerow(line_of(heading, row))


def _reported(store: Store, study: str) -> list[str]:
    """The names of all numbers that the trials of a study reported."""
    own = select(CELLS.c.trial).where(CELLS.c.study == study)
    names = select(READINGS.c.name).where(READINGS.c.trial.in_(own)).distinct()
    return sorted(store.do(lambda connection: connection.scalars(names).all()))


def _portions(store: Store, study: str) -> Iterator[Mapping[Place, Cell]]:
    """The planned trials that have a result, some at a time."""
    kept = planned_trials(study).where(TRIALS.c.key.is_not(None)).limit(AT_ONCE)
    last = -1
    while found := store.do(lambda connection: connection.execute(kept.where(CELLS.c.position > last)).all()):  # noqa: B023
        last = found[-1].position
        yield {Place(row.position, row.trial): cell_of(row) for row in found}


def _rows(
    store: Store, cells: Mapping[Place, Cell], table: TableName, columns: Mapping[str, str]
) -> Iterator[Mapping[str, Any]]:
    """The rows of some trials."""
    keys = {place.trial for place in cells}
    if table == "trials":
        wanted = last_values(select(TRIALS.c.key).where(TRIALS.c.key.in_(keys)))
    else:
        wanted = select(READINGS.c.trial, READINGS.c.name, READINGS.c.epoch, READINGS.c.value)
        wanted = wanted.where(READINGS.c.trial.in_(keys))
    values: dict[str, dict[int, dict[str, float]]] = {}  # trial -> epoch, or 0 for the last one of each number -> column
    for trial, name, epoch, value in store.do(lambda connection: connection.execute(wanted).all()):
        row = values.setdefault(trial, {}).setdefault(0 if table == "trials" else epoch, {})
        row[columns[name]] = number(value)
    for place, cell in cells.items():
        trial = described(cell)
        if table == "trials":
            yield trial | values.get(place.trial, {}).get(0, {})
        else:
            own = values.get(place.trial, {})
            yield from (trial | {"epoch": epoch} | own[epoch] for epoch in sorted(own))
