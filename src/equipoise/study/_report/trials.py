"""The trials of a study as tables for other programs: one row per trial, or one per trial and epoch."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from equipoise.study._cells import Cell

COLUMNS = ("arm", "phase", "seed", "status", "seconds", "memory_bytes", "state_bytes")

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet would compute or run. Text that begins so gets an apostrophe, which makes it text there as well."""


def searched(cells: Iterable[Cell]) -> list[str]:
    """The keys of what was searched, each a column."""
    return list(dict.fromkeys(key for cell in cells for key in cell.assignment.point))


def columns_of(settings: Iterable[str], names: Iterable[str], ours: Iterable[str] = COLUMNS) -> dict[str, str]:
    """The columns of reported numbers by their names. A name that is also another column becomes "reported NAME"."""
    taken = {*ours, *settings}
    return {name: f"reported {name}" if name in taken else name for name in names}


def described(cell: Cell) -> dict[str, Any]:
    """A trial without what it reported, by column; what is not known is left out."""
    row: dict[str, Any] = {"arm": cell.arm, "phase": cell.phase, "seed": cell.assignment.seed}
    result = cell.result
    if result is None:
        return row | {"status": "waiting" if cell.failure is None else "failed"} | cell.assignment.point
    row |= {"status": "diverged" if result.diverged else "finished", "seconds": result.seconds}
    if result.cost is not None:
        row |= {"memory_bytes": result.cost.memory, "state_bytes": result.cost.state}
    return row | cell.assignment.point


def trials_as_csv(cells: Sequence[Cell]) -> str:
    """The planned trials of a study; those that are not finished have no values."""
    settings = searched(cells)
    names = sorted({name for cell in cells if cell.result is not None for name in cell.result.curves})
    columns = columns_of(settings, names)
    file = io.StringIO()
    lines = csv.writer(file, lineterminator="\n")
    heading = [*COLUMNS, *settings, *columns.values()]
    lines.writerow(map(as_text, heading))
    for cell in cells:
        row = described(cell)
        if cell.result is not None:
            row |= {columns[name]: cell.result.last(name) for name in cell.result.curves}
        lines.writerow(line_of(heading, row))
    return file.getvalue()


def line_of(heading: Sequence[str], row: Mapping[str, Any]) -> list[object]:
    """A row as the fields of a line; what is not known is empty."""
    return [as_text(row.get(column, "")) for column in heading]


def as_text(value: object) -> object:
    """What a spreadsheet takes for text where it is text."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
