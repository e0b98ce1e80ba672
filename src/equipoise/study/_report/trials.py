"""The trials of a study as CSV: a line for each, with its settings, what it took, and the last value of every number."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from equipoise.study._cells import Cell

COLUMNS = ("arm", "phase", "seed", "status", "seconds", "memory_bytes", "state_bytes")

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet would compute or run. Text that begins so gets an apostrophe, which makes it text there as well."""


def trials_as_csv(cells: Sequence[Cell]) -> str:
    """The planned trials of a study; those that are not finished have no values.

    A reported name that is also one of our columns becomes "reported NAME".
    """
    settings = list(dict.fromkeys(key for cell in cells for key in cell.assignment.point))
    names = sorted({name for cell in cells if cell.result is not None for name in cell.result.curves})
    taken = {*COLUMNS, *settings}
    file = io.StringIO()
    lines = csv.writer(file, lineterminator="\n")
    lines.writerow(map(as_text, [*COLUMNS, *settings, *(f"reported {name}" if name in taken else name for name in names)]))
    for cell in cells:
        status, took, values = "failed" if cell.failure is not None else "waiting", ["", "", ""], [""] * len(names)
        if cell.result is not None:
            status, cost = "diverged" if cell.result.diverged else "finished", cell.result.cost
            took = [cell.result.seconds, *(("", "") if cost is None else (cost.memory, cost.state))]
            values = [cell.result.last(name) if name in cell.result.curves else "" for name in names]
        line = [cell.arm, cell.phase, cell.assignment.seed, status, *took]
        lines.writerow([*map(as_text, line), *(as_text(cell.assignment.point.get(each, "")) for each in settings), *values])
    return file.getvalue()


def as_text(value: object) -> object:
    """A value of which a spreadsheet makes neither a formula nor a command."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
