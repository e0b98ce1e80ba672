"""A run on disk, followed while it is written."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np

from equipoise.errors import UnusableInputError
from equipoise.monitor._recording.run_file import FILE, LINE_BYTES, READING_BEGINS
from equipoise.watch._file.index import read_index, write_index
from equipoise.watch._file.line_file import ENOUGH_FOR_A_LINE, LineFile
from equipoise.watch._file.lines import too_long
from equipoise.watch._overview import NEVER
from equipoise.watch._story import Story

PART_BYTES = 1 << 18
"""So many bytes are taken in at a time, and so many from the end of the file belong to a sample."""
SAMPLE_PLACES = 512
"""So many places of a file that is too long to wait for are sampled."""
SAMPLE_BYTES = 8 << 20
"""After so many bytes a sample is large enough: of long lines, there are fewer places."""
_SPREAD = sorted(range(SAMPLE_PLACES), key=lambda number: f"{number:09b}"[::-1])
"""The places in an order in which the first few of them are already spread over the whole file."""
WINDOW_BYTES = 8 << 20
"""So many bytes at most are read for a closer look at some steps."""
SAMPLE_SECONDS = 15.0
"""A sample is taken again after so many seconds."""
INDEX_BYTES = 64 << 20
"""After so many bytes the index is written again. To read fewer takes a second or two."""
LINES_WITHOUT_HEADER = 1000
"""After so many lines without a header the file is taken to be none of a run."""


class Run(Story):
    """A run that is followed while it is written.

    :meth:`read` takes in what is new, a part at a time. What was understood of a long file is kept beside it, in an index.

    Args:
        folder: the folder of the run.

    Raises:
        UnusableInputError: the folder holds no run.
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__(Path(folder))
        self._begin_file()
        with LineFile(self.folder) as file:
            self.size = file.size
            self._read_index(file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is open between two looks at the file."""

    def _begin_file(self) -> None:
        self.size = 0
        """How many bytes the file had at the last look."""
        self.position = 0
        """How many bytes of the file were taken in."""
        self._fingerprint = ""
        """What tells the file up to there from any other."""
        self._in_long_line = False
        """Whether the position is inside of a line that is too long."""
        self._indexed = self._index_size = 0
        self.unavailable = ""
        """Why the file cannot be read now; empty where it can."""
        self._sample: tuple[float, Story] | None = None
        self.samples = 0
        """How many samples were taken."""

    def read(self) -> bool:
        """Take in the next part of the file, about ``PART_BYTES`` bytes. If it cannot be read, ``unavailable`` says why.

        Returns:
            Whether there was anything new.
        """
        before = self.unavailable
        try:
            with LineFile(self.folder) as file:
                self.unavailable = ""
                return self._read(file) or bool(before)
        except UnusableInputError as error:
            self.unavailable = str(error)
            return self.unavailable != before

    def _read(self, file: LineFile) -> bool:
        self.size = file.size
        if self.position and (self.size < self.position or file.fingerprint(self.position) != self._fingerprint):
            self._begin()
            self._begin_file()
            self.size = file.size
        lines = file.whole_lines(self.position, PART_BYTES)
        if lines:
            self.take(lines)
            self.position, self._in_long_line = lines[-1][0] + len(lines[-1][1]), False
        elif self.size - self.position > LINE_BYTES:
            self._pass_over()
        else:
            return False
        self._fingerprint = file.fingerprint(self.position)
        if self.position - self._indexed > max(INDEX_BYTES, 4 * self._index_size):
            self._write_index()
        return True

    def _pass_over(self) -> None:
        """Go on inside of a line that is too long to be one of a run: what is left of it is never looked at."""
        if not self._in_long_line:
            self.lines += 1
            self.refuse(too_long())
        self.position, self._in_long_line = self.position + LINE_BYTES, True

    @property
    def is_no_run(self) -> bool:
        """Whether so much was read without a header that none will come."""
        return self.header is None and (self.lines > LINES_WITHOUT_HEADER or self.position > LINE_BYTES)

    @property
    def behind(self) -> bool:
        """Whether so much has not been taken in yet that a sample helps."""
        return self.size - self.position > INDEX_BYTES

    def to_show(self) -> Story:
        """What can be shown now: this run, or, while it is far behind, a sample of it."""
        if not self.behind:
            self._sample = None
        elif self._sample is None or time.monotonic() > self._sample[0] + SAMPLE_SECONDS:
            self._sample = time.monotonic(), self.sample()
            self.samples += 1
        return self._sample[1] if self._sample else self

    def sample(self) -> Story:
        """The run as some of its readings show it, from up to ``SAMPLE_PLACES`` places all over the file and from its end.

        It takes a second at most where :meth:`read` takes minutes, and can miss a spike.
        """
        seen = Story(self.folder, self.header)
        try:
            with LineFile(self.folder) as file:
                newest = file.newest_lines(PART_BYTES)
                end = newest[0][0] if newest else self.size
                lines: dict[int, bytes] = {}
                for number in _SPREAD:
                    # Two lines of each place, for one may be a header or a verdict.
                    lines.update(file.whole_lines(number * end // SAMPLE_PLACES, ENOUGH_FOR_A_LINE)[:2])
                    if sum(map(len, lines.values())) > SAMPLE_BYTES:
                        break
                lines.update(newest)
            seen.take(sorted(lines.items()))
        except UnusableInputError as error:
            self.unavailable = str(error)
        return seen

    def window(self, first: int, last: int) -> Story | None:
        """The readings between two steps, and some around them, those of abandoned attempts too; None where one would have to
        read more than ``WINDOW_BYTES`` bytes to find them.

        Raises:
            UnusableInputError: the file cannot be read.
        """
        shown = self.to_show()
        whole = shown.overview
        begins = whole.steps[0, : whole.used]
        ends = np.maximum(whole.steps[1, : whole.used], np.append(begins[1:], NEVER))  # of a sample, what lies between too
        places = np.append(whole.places[: whole.used], self.size)
        wanted = np.flatnonzero((begins <= last) & (ends >= first))
        if (places[wanted + 1] - places[wanted]).sum() > WINDOW_BYTES:
            return None
        seen = Story(self.folder, shown.header)
        with LineFile(self.folder) as file:
            for begin, end in zip(places[wanted].tolist(), places[wanted + 1].tolist(), strict=True):
                lines = file.whole_lines(begin, end - begin)
                seen.take((place, line) for place, line in lines if line.startswith(READING_BEGINS))
        return seen

    def _write_index(self) -> None:
        """Keep what was understood of the file so far."""
        state = {"position": self.position, "fingerprint": self._fingerprint, **self.state()}
        self._index_size = write_index(self.folder, state, {"overview": self.overview, "tensors": self.tensors})
        self._indexed = self.position

    def _read_index(self, file: LineFile) -> None:
        """Go on where the index of this very file ends, if there is one."""
        found = read_index(self.folder)
        if found is None:
            return
        state, overviews = found
        try:
            position, fingerprint = int(state["position"]), str(state["fingerprint"])
            if position <= file.size and fingerprint == file.fingerprint(position):
                self.restore(state, overviews["overview"], overviews["tensors"], file.line_at)
                self.position = self._indexed = position
                self._fingerprint = fingerprint
        except (ValueError, LookupError, TypeError, OverflowError):
            self._begin()


def read_to_the_end(runs: Sequence[Run]) -> Sequence[Run]:
    """Take in everything that the runs have written.

    Raises:
        UnusableInputError: none of their files holds a run.
    """
    for run in runs:
        while not run.is_no_run and run.read():
            pass
    if not any(run.header for run in runs):
        raise UnusableInputError(_nothing_in(runs[0]))
    return runs


def _nothing_in(run: Run) -> str:
    path = run.folder / FILE
    if run.unavailable:
        return run.unavailable
    if not run.refusals:
        return f"{path} holds no run yet: it has no whole line"
    number, why = run.refusals[0]
    return f"{path} holds no run: line {number}: {why}"
