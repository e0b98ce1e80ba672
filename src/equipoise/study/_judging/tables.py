"""Tables of results from files: CSV, tab-separated values, JSON and JSON lines."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from equipoise._files import PARTS, parse_json, read_text
from equipoise._words import listed, printable
from equipoise.errors import UnusableInputError

LARGEST_FILE = 2**28
"""So many bytes a table may have."""

LONGEST_FIELD = 2**17


@dataclass(frozen=True)
class Row:
    """One row of a table."""

    place: str
    """Where it is, for messages: ``"results.csv, line 7"``."""
    values: Mapping[str, Any]
    """By the name of the column: a text, a number, or None where it is absent."""


@dataclass(frozen=True)
class ResultTable:
    """The rows of a file; there is at least one."""

    source: Path
    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    def column(self, name: str) -> str:
        """The column of that name, or the only one that ends with it.

        For ``seed`` that is ``params.seed`` of MLflow, ``config/seed`` of Ray Tune, or ``params_seed`` of Optuna.

        Raises:
            UnusableInputError: there is none, or more than one.
        """
        if name in self.columns:
            return name
        optuna = tuple(f"{prefix}_{name}" for prefix in ("params", "value", "values"))
        found = [column for column in self.columns if column.endswith((f".{name}", f"/{name}")) or column in optuna]
        if len(found) != 1:
            problem = f"has several columns {name!r}" if found else f"has no column {name!r}"
            there = listed([repr(printable(column, 60)) for column in found or self.columns], 10)
            raise UnusableInputError(f"{self.source} {problem}; {'they are' if found else 'its columns are'} {there}")
        return found[0]

    def only(self, column: str, value: str) -> ResultTable:
        """The rows with a value in a column.

        Raises:
            UnusableInputError: there is no such column, or no such row.
        """
        found = self.column(column)
        rows = tuple(row for row in self.rows if str(row.values.get(found)) == value)
        if not rows:
            there = listed(sorted({repr(printable(str(row.values.get(found)), 60)) for row in self.rows}), 10)
            raise UnusableInputError(f"{self.source} has no row with {found} = {value!r}; its values are {there}")
        return replace(self, rows=rows)


def read_table(path: Path) -> ResultTable:
    """Read a table: rows of separated values below a line of headings, a JSON list of objects, or one JSON object per line.

    Objects within objects become columns such as ``config.optimizer``.

    Raises:
        UnusableInputError: the file is none of these, or exceeds a limit.
    """
    text = read_text(path, LARGEST_FILE)
    rows = tuple(_json_rows(path, text) if text.lstrip()[:1] in ("{", "[") else _separated_rows(path, text))
    if not rows:
        raise UnusableInputError(f"{path} holds no rows")
    return ResultTable(path, tuple(dict.fromkeys(column for row in rows for column in row.values)), rows)


def _separated_rows(path: Path, text: str) -> Iterator[Row]:
    csv.field_size_limit(LONGEST_FIELD)
    heading = text.partition("\n")[0]
    delimiter = max(",\t;", key=heading.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        columns = [name.strip() for name in next(reader)]
    except (csv.Error, StopIteration) as error:
        raise UnusableInputError(f"{path} has no line of headings: {error}") from None
    if repeated := sorted({name for name in columns if columns.count(name) > 1}):
        raise UnusableInputError(
            f"{path} has several columns named {listed([repr(printable(name, 60)) for name in repeated], 3)}"
        )
    parts = 0
    while True:
        try:
            fields = next(reader, None)
        except csv.Error as error:
            raise UnusableInputError(f"{path}, line {reader.line_num}: {error}") from None
        if fields is None:
            return
        if not fields:  # an empty line
            continue
        place = f"{path}, line {reader.line_num}"
        if len(fields) != len(columns):
            raise UnusableInputError(f"{place} has {len(fields)} fields where the headings have {len(columns)}")
        parts += len(fields)
        if parts > PARTS:
            raise _too_many(path)
        yield Row(place, {name: field.strip() or None for name, field in zip(columns, fields, strict=True)})


def _json_rows(path: Path, text: str) -> Iterator[Row]:
    if text.lstrip().startswith("["):
        entries = [(f"{path}, entry {number}", entry) for number, entry in enumerate(parse_json(text, path), 1)]
    else:
        lines = ((f"{path}, line {number}", line) for number, line in enumerate(text.split("\n"), 1) if line.strip())
        entries = ((place, parse_json(line, place)) for place, line in lines)
    parts = 0
    for place, entry in entries:
        if not isinstance(entry, dict):
            raise UnusableInputError(f"{place} is no object: accepted is one object with names and values for each row")
        row = dict(_flat(cast("dict[str, Any]", entry)))
        parts += len(row)
        if parts > PARTS:
            raise _too_many(path)
        yield Row(place, row)


def _flat(entry: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in entry.items():
        if isinstance(value, dict):
            yield from _flat(cast("dict[str, Any]", value), f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _too_many(path: Path) -> UnusableInputError:
    return UnusableInputError(f"{path} holds more than {PARTS:,} values")
