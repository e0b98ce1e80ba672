"""From the rows of a table to runs: for each arm and each seed one result, as a study's trials have."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from equipoise._words import printable
from equipoise.errors import UnusableInputError
from equipoise.study._cells import Result
from equipoise.study._judging.tables import ResultTable, Row

MOST_ARMS, MOST_RUNS_OF_AN_ARM = 100, 1_000

DIVERGED = "diverged"
"""The status of a run that did."""

Runs = Mapping[str, Mapping[str, Result]]
"""Arm -> seed -> result."""


@dataclass(frozen=True)
class Columns:
    """Where a table holds what."""

    arm: str
    seed: str
    metric: str
    epoch: str | None = None
    """What orders several rows of a run; None: every run has one row."""
    seconds: str | None = None
    """How long the run has taken up to that row."""
    status: str | None = None
    """How the run ended."""


def read_runs(table: ResultTable, columns: Columns) -> Runs:
    """The runs of a table.

    A row without the metric is no reading if there is a column of epochs. A run whose last reading is missing or not finite has
    diverged, and one whose status says so.

    Raises:
        UnusableInputError: a column is missing, a value is not what it should be, a run appears twice, or there are too many.
    """
    found = Columns(
        table.column(columns.arm),
        table.column(columns.seed),
        table.column(columns.metric),
        None if columns.epoch is None else table.column(columns.epoch),
        None if columns.seconds is None else table.column(columns.seconds),
        None if columns.status is None else table.column(columns.status),
    )
    rows: dict[str, dict[str, dict[int, Row]]] = defaultdict(lambda: defaultdict(dict))
    for row in table.rows:
        arm, seed = label(row, found.arm), label(row, found.seed)
        epoch = 1 if found.epoch is None else _epoch(row, found.epoch)
        if found.epoch is not None and row.values.get(found.metric) is None:
            _ = rows[arm][seed]  # the run exists, even if it never has the metric
            continue
        if (other := rows[arm][seed].setdefault(epoch, row)) is not row:
            hint = f" in {found.epoch} {epoch}" if found.epoch else "; name the column that orders its rows with --epoch"
            raise UnusableInputError(
                f"{row.place}: {found.arm} {printable(arm, 60)!r} with {found.seed} {printable(seed, 60)!r} has a second"
                f" row{hint}; the first is {other.place}"
            )
    _check_counts(table, found, rows)
    return {
        arm: {seed: _result(by_epoch, columns.metric, found) for seed, by_epoch in own.items()} for arm, own in rows.items()
    }


def _check_counts(table: ResultTable, columns: Columns, rows: Mapping[str, Mapping[str, object]]) -> None:
    if len(rows) > MOST_ARMS:
        raise UnusableInputError(
            f"{table.source}: the column {columns.arm!r} has {len(rows):,} different values, which are to be arms: accepted are"
            f" up to {MOST_ARMS}"
        )
    for arm, own in rows.items():
        if len(own) > MOST_RUNS_OF_AN_ARM:
            raise UnusableInputError(
                f"{table.source}: {columns.arm} {printable(arm, 60)!r} has {len(own):,} seeds: accepted are up to"
                f" {MOST_RUNS_OF_AN_ARM:,}"
            )


def _result(rows: Mapping[int, Row], metric: str, columns: Columns) -> Result:
    curve = {epoch: _number(rows[epoch], columns.metric) for epoch in sorted(rows)}
    last = rows[max(rows)] if rows else None
    value = curve[max(curve)] if curve else math.nan
    seconds = math.nan if last is None or columns.seconds is None else _number(last, columns.seconds)
    said = last is not None and columns.status is not None and last.values.get(columns.status) == DIVERGED
    return Result(said or not math.isfinite(value), seconds, {metric: curve})


def label(row: Row, column: str) -> str:
    """What names an arm, a seed or a task.

    Raises:
        UnusableInputError: there is nothing, or a list or an object.
    """
    value = row.values.get(column)
    if value is None or isinstance(value, (list, dict)):
        raise UnusableInputError(f"{row.place} has no {column}")
    return str(value)


def _epoch(row: Row, column: str) -> int:
    number = _number(row, column)
    if not number.is_integer() or number < 0:
        raise UnusableInputError(f"{row.place}: {column} = {number:g} is not accepted: it must be a whole number, at least 0")
    return int(number)


def _number(row: Row, column: str) -> float:
    """The number in a field; NaN if it is empty."""
    value = row.values.get(column)
    if value is None:
        return math.nan
    try:
        return float("" if isinstance(value, bool) else value)
    except (ValueError, TypeError):
        shown = printable(repr(value), 60)
        raise UnusableInputError(f"{row.place}: {column} = {shown} is not accepted: it must be a number") from None
