"""Any number of readings, as few numbers as can be drawn, without losing a spike.

Readings share buckets, equally many in each; a bucket has the lowest and the highest value, and how many were not finite.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

BUCKETS = 1024
"""More than a chart on a screen has columns. When they are full, every two become one."""

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Overview:
    """Named series over the readings of a run, in at most :data:`BUCKETS` buckets, whatever their number.

    A series may be missing from a reading. A value that is not finite is counted in its bucket, and neither its lowest nor its
    highest; a bucket without a finite value has NaN as both.

    Example:
        >>> overview = Overview()
        >>> overview.add([1, 2, 3], ["loss"], [[0.5], [float("nan")], [0.25]])
        >>> overview.width, overview.low[0, :3], overview.nonfinite[0, :3]
        (1, array([0.5 ,  nan, 0.25]), array([0, 1, 0]))
    """

    def __init__(self) -> None:
        self.row: dict[str, int] = {}
        """The row of each series."""
        self.count = 0
        """The number of readings."""
        self.width = 1
        """The number of readings in a bucket, a power of two."""
        self.steps: Integers = np.empty((2, BUCKETS), np.int64)
        """The steps of the first and the last reading in each bucket."""
        self.low: Floats = np.empty((0, BUCKETS))
        self.high: Floats = np.empty((0, BUCKETS))
        self.nonfinite: Integers = np.empty((0, BUCKETS), np.int64)
        """How many values were not finite. All three have a row for each series and a column for each bucket; used ones come
        first."""

    @property
    def used(self) -> int:
        """The number of buckets that hold a reading."""
        return -(-self.count // self.width)

    def add(self, steps: Sequence[int], names: Sequence[str], values: Sequence[Sequence[Any]]) -> None:
        """Take in readings that follow those before.

        Args:
            steps: the step of each reading.
            names: the names of the series.
            values: a row per reading and in it a value per name: a number, what ``float`` makes one of, or None where it is
                missing.
        """
        rows = [self._row_of(name) for name in names]
        table: NDArray[Any] = np.array(values, dtype=object).reshape(len(steps), len(names))
        found: Floats = table.astype(np.float64)  # None becomes NaN
        finite = np.isfinite(found)
        there: NDArray[np.bool_] = table != np.array(None, dtype=object)
        found[~finite] = np.nan
        numbers: Integers = np.array(steps, np.int64)
        done = 0
        while done < len(numbers):
            if self.count == BUCKETS * self.width:
                self._halve()
            part = slice(done, done + BUCKETS * self.width - self.count)
            self._fill(numbers[part], rows, found[part], (there & ~finite)[part])
            done = part.stop

    def newest(self, series: str) -> float:
        """The highest value in the newest bucket that has any; NaN where none of them is finite."""
        row = self.row[series]
        there = np.flatnonzero(~np.isnan(self.high[row, : self.used]) | (self.nonfinite[row, : self.used] > 0))
        return float(self.high[row, there[-1]]) if there.size else np.nan

    def _fill(self, steps: Integers, rows: list[int], values: Floats, nonfinite: NDArray[np.bool_]) -> None:
        buckets = (self.count + np.arange(len(steps))) // self.width
        starts = np.flatnonzero(np.diff(buckets, prepend=-1))
        ends = np.append(starts[1:], len(steps)) - 1
        begun = self.count % self.width > 0
        self.steps[0, buckets[starts[begun:]]] = steps[starts[begun:]]
        self.steps[1, buckets[ends]] = steps[ends]
        if rows:
            place: Any = np.ix_(np.array(rows), buckets[starts])
            self.low[place] = np.fmin(self.low[place], np.fmin.reduceat(values, starts).T)
            self.high[place] = np.fmax(self.high[place], np.fmax.reduceat(values, starts).T)
            self.nonfinite[place] += np.add.reduceat(nonfinite, starts, dtype=np.int64).T
        self.count += len(steps)

    def _halve(self) -> None:
        self.width *= 2
        half, rest = BUCKETS // 2, slice(BUCKETS // 2, None)
        self.steps[0, :half], self.steps[1, :half] = self.steps[0, ::2].copy(), self.steps[1, 1::2].copy()
        self.low[:, :half] = np.fmin(self.low[:, ::2], self.low[:, 1::2])
        self.high[:, :half] = np.fmax(self.high[:, ::2], self.high[:, 1::2])
        self.nonfinite[:, :half] = self.nonfinite[:, ::2] + self.nonfinite[:, 1::2]
        self.low[:, rest] = self.high[:, rest] = np.nan
        self.nonfinite[:, rest] = 0

    def _row_of(self, name: str) -> int:
        if name not in self.row:
            self.row[name] = len(self.row)
            if len(self.row) > len(self.low):
                more = max(16, len(self.low))
                self.low = np.vstack([self.low, np.full((more, BUCKETS), np.nan)])
                self.high = np.vstack([self.high, np.full((more, BUCKETS), np.nan)])
                self.nonfinite = np.vstack([self.nonfinite, np.zeros((more, BUCKETS), np.int64)])
        return self.row[name]

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Everything that :meth:`from_arrays` needs to make an equal overview."""
        series, used = len(self.row), self.used
        return {
            "names": np.array(list(self.row), dtype=np.str_),
            "size": np.array([self.count, self.width]),
            "steps": self.steps[:, :used],
            "low": self.low[:series, :used],
            "high": self.high[:series, :used],
            "nonfinite": self.nonfinite[:series, :used],
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Overview:
        """The inverse of :meth:`to_arrays`."""
        made = cls()
        for name in arrays["names"]:
            made._row_of(str(name))
        made.count, made.width = (int(size) for size in arrays["size"])
        series, used = len(made.row), made.used
        made.steps[:, :used] = arrays["steps"]
        for name in ("low", "high", "nonfinite"):
            getattr(made, name)[:series, :used] = arrays[name]
        return made
