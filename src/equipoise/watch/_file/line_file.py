"""A long file of lines that another process appends to, read part by part, or line by line."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Generator
from itertools import accumulate
from pathlib import Path
from typing import Self

from equipoise._files import open_regular
from equipoise.errors import UnusableInputError
from equipoise.monitor._measuring.readings import Reading
from equipoise.monitor._recording.run_file import FILE, LINE_BYTES, READING_BEGINS, RunInfo
from equipoise.watch._file.lines import EventLine, ReadingLine, parse_line

ENOUGH_FOR_A_LINE = 1 << 12
"""So many bytes are read to find a line."""


class LineFile:
    """The file of a run, open for one look at it.

    Args:
        folder: of the run.

    Raises:
        UnusableInputError: there is no such file, or it is no regular one.
    """

    def __init__(self, folder: Path) -> None:
        try:
            self._file = open_regular(folder / FILE)
        except UnusableInputError as error:
            raise UnusableInputError(f"there is no run: {error}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def size(self) -> int:
        """The number of bytes that the file has now."""
        return os.fstat(self._file.fileno()).st_size

    def whole_lines(self, place: int, length: int) -> list[tuple[int, bytes]]:
        """The first line that begins at a place or after it, and the whole lines that follow.

        Returns:
            The place and the text of each whole line from there that ends within `length` bytes, or, if there is none, within
            twice as many, and so on, until there could be no line that is short enough.
        """
        before = min(place, 1)  # a line may begin right here
        while True:
            part = self._part(place - before, length + before)
            begin = part.find(b"\n") + 1 if before else 0
            whole = part[begin : part.rfind(b"\n") + 1]
            if whole or len(part) < length + before or length == 2 * LINE_BYTES:
                lines = [line + b"\n" for line in whole.split(b"\n")[:-1]]
                ends = accumulate(map(len, lines), initial=place - before + begin)
                return list(zip(ends, lines, strict=False))
            length = min(2 * length, 2 * LINE_BYTES)  # the rest of one line, and another

    def newest_lines(self, length: int) -> list[tuple[int, bytes]]:
        """The whole lines that begin within `length` bytes of the end, or, if no reading does, within twice as many, and so
        on, until there could be none that is short enough."""
        size = self.size
        while True:
            lines = self.whole_lines(max(0, size - length), length)
            if length >= min(size, 2 * LINE_BYTES) or any(line.startswith(READING_BEGINS) for _, line in lines):
                return lines
            length *= 2

    def line_at(self, place: int) -> bytes:
        """The line that begins at a place.

        Raises:
            ValueError: none does.
        """
        lines = self.whole_lines(place, ENOUGH_FOR_A_LINE)
        if not lines or lines[0][0] != place:
            raise ValueError(f"no line begins at {place}")
        return lines[0][1]

    def fingerprint(self, position: int) -> str:
        """Tells the file up to a position from any other, by its beginning, which has the time of the run, and its end
        there."""
        ends = [self._part(at, min(4096, position)) for at in (0, max(0, position - 4096))]
        return hashlib.sha256(b"".join(ends)).hexdigest()

    def _part(self, place: int, length: int) -> bytes:
        try:
            return os.pread(self._file.fileno(), length, place)
        except OSError as error:
            raise UnusableInputError(f"{self._file.name} cannot be read: {error.strerror}") from None

    def lines(self) -> Generator[bytes]:
        """Every whole line from the beginning. One that is too long comes without its end."""
        while (line := self._file.readline(LINE_BYTES + 1)).endswith(b"\n") or len(line) > LINE_BYTES:
            yield line


def records(folder: str | Path) -> Generator[RunInfo | Reading | EventLine]:
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
        RunInfo(name='mine', started=0.0, versions={}, tensors=('w',), shapes=((2, 3),), group_of=(0,), optimizer='', notes=())
        Reading(step=1, time=60.0, made=True, metrics={'loss': 0.5}, groups=(), tensors={}, jumps=(), loop_step=0)
    """
    header: RunInfo | None = None
    for record in parsed_lines(folder):
        if isinstance(record, RunInfo):
            header = record
        if isinstance(record, ReadingLine):
            assert header is not None, "a reading before every header is refused"
            yield record.reading(header)
        else:
            yield record


def parsed_lines(folder: str | Path) -> Generator[RunInfo | ReadingLine | EventLine]:
    """Everything that a run has written, as :func:`records` says, with the numbers of tensors as arrays.

    Raises:
        UnusableInputError: there is no run, or a line that does not belong to one.
    """
    header: RunInfo | None = None
    with LineFile(Path(folder)) as file:
        for number, line in enumerate(file.lines(), 1):
            try:
                parsed = parse_line(line, header)
            except ValueError as error:
                raise UnusableInputError(f"{Path(folder) / FILE}, line {number}: not a line of a run: {error}") from None
            if isinstance(parsed, RunInfo):
                header = parsed
            yield parsed
