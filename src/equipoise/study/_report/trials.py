"""The trials of a study as CSV: a line for each, with its settings, what it took, and the last value of every number."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping

from equipoise.study._report.stored import Record

COLUMNS = ("arm", "phase", "seed", "status", "seconds", "memory_bytes", "state_bytes")

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet would compute or run. Text that begins so gets an apostrophe, which makes it text there as well."""


def trials_as_csv(record: Record, last_values: Mapping[str, Mapping[str, float]]) -> str:
    """The planned trials of a study, in their order; those that are not finished have no values.

    Args:
        record: of the study.
        last_values: key of the trial -> name -> value. A name that is also one of our columns becomes "reported NAME".
    """
    settings = list(dict.fromkeys(key for cell in record.table.cells for key in cell.assignment.point))
    names = sorted({name for own in last_values.values() for name in own})
    taken = {*COLUMNS, *settings}
    file = io.StringIO()
    lines = csv.writer(file, lineterminator="\n")
    lines.writerow(map(_text, [*COLUMNS, *settings, *(f"reported {name}" if name in taken else name for name in names)]))
    for key, cells in record.cells.items():
        own = last_values.get(key, {})
        values = [own.get(name, "") for name in names]
        for cell in cells:
            status = "failed" if cell.failure is not None else "waiting"
            took: list[object] = ["", "", ""]
            if cell.result is not None:
                status = "diverged" if cell.result.diverged else "finished"
                cost = cell.result.cost
                took = [cell.result.seconds, *(("", "") if cost is None else (cost.memory, cost.state))]
            line = [cell.arm, cell.phase, cell.assignment.seed, status, *took]
            lines.writerow([*map(_text, line), *(_text(cell.assignment.point.get(each, "")) for each in settings), *values])
    return file.getvalue()


def _text(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
