"""Everything that a run has written, read back record by record."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

from equipoise.errors import UnusableInputError
from equipoise.monitor._measuring.readings import Reading
from equipoise.monitor._recording.run_file import FILE, FORMAT, RunInfo, header_of, reading_of
from equipoise.watch._line_file import opened


def records(folder: str | Path) -> Generator[RunInfo | Reading | dict[str, Any]]:
    """Everything that a run has written, in order: headers, readings, and verdicts and actions as they stand in the file.

    Half a line at the end, which is being written or was torn, does not count.

    Raises:
        UnusableInputError: there is no run, or a line that does not belong to one.

    Example:
        >>> from equipoise.monitor import JsonLines
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     sink = JsonLines(folder)
        ...     sink.open(RunInfo("mine", 0.0, {}, ("w",), ((2, 3),), (0,)))
        ...     sink.write(Reading(1, 60.0, True, {"loss": 0.5}, (), {}))
        ...     sink.close()
        ...     for record in records(folder):
        ...         print(record)
        RunInfo(name='mine', started=0.0, versions={}, tensors=('w',), shapes=((2, 3),), group_of=(0,))
        Reading(step=1, time=60.0, made=True, metrics={'loss': 0.5}, groups=(), tensors={})
    """
    path = Path(folder) / FILE
    header: RunInfo | None = None
    with opened(path) as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            try:
                parsed = json.loads(line)
                if parsed["kind"] == "run":
                    header = checked_header(parsed)
                    yield header
                elif parsed["kind"] != "reading":
                    yield parsed
                elif header is not None:
                    yield reading_of(parsed, header.tensors)
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                raise UnusableInputError(f"{path}, line {number}: not a line of a run: {error}") from None


def checked_header(line: Mapping[str, Any]) -> RunInfo:
    """The header in a parsed line.

    Raises:
        ValueError: its format is not known.
    """
    if line["format"] != FORMAT:
        raise ValueError(f"format {line['format']}, and only {FORMAT} is known")
    return header_of(line)
