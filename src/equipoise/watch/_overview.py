"""Any number of readings, as few numbers as can be drawn, without losing a spike.

Readings share buckets; a bucket has the lowest and the highest value, and how many were not finite. Within a bucket steps grow.
Where a step goes back, because the run was rolled back or resumed from an earlier step, another bucket begins: so the steps of
the buckets alone say which of them hold an attempt that was abandoned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

BUCKETS = 1024
"""More than a chart on a screen has columns. When they are full, every two become one."""
NEVER = np.iinfo(np.int64).max
"""A step that no run reaches."""

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Overview:
    """Named series over the readings of a run, in at most :data:`BUCKETS` buckets, whatever their number.

    A series may be missing from a reading. A value that is not finite is counted in its bucket, and neither its lowest nor its
    highest; a bucket without a finite value has NaN as both.

    Example:
        >>> overview = Overview()
        >>> overview.add([1, 2, 3, 2], [0, 90, 180, 270], ["loss"], [[0.5], [float("nan")], [9.0], [0.25]])
        >>> overview.width, overview.low[0, :4], overview.nonfinite[0, :4]
        (1, array([0.5 ,  nan, 9.  , 0.25]), array([0, 1, 0, 0]))
        >>> overview.abandoned_buckets
        array([False,  True,  True, False])
    """

    def __init__(self) -> None:
        self.row: dict[str, int] = {}
        """The row of each series."""
        self.count = 0
        """The number of readings."""
        self.width = 1
        """The number of readings in a bucket that is full, a power of two."""
        self.used = 0
        """The number of buckets that hold a reading."""
        self._filled = 0
        """The number of readings in the newest bucket."""
        self.steps: Integers = np.empty((2, BUCKETS), np.int64)
        """The steps of the first and the last reading in each bucket."""
        self.places: Integers = np.empty(BUCKETS, np.int64)
        """Where in the file the first reading of each bucket begins."""
        self.low: Floats = np.empty((0, BUCKETS))
        self.high: Floats = np.empty((0, BUCKETS))
        self.nonfinite: Integers = np.empty((0, BUCKETS), np.int64)
        """How many values were not finite. All three have a row for each series and a column for each bucket; used ones come
        first."""

    def add(self, steps: Sequence[int], places: Sequence[int], names: Sequence[str], values: Sequence[Sequence[Any]]) -> None:
        """Take in readings that follow those before.

        Args:
            steps: the step of each reading.
            places: where each reading begins in the file.
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
        when, where = np.array(steps, np.int64), np.array(places, np.int64)
        done = 0
        while done < len(when):
            buckets = self._buckets(when[done:])
            fitting = buckets[: np.searchsorted(buckets, BUCKETS)]
            if not len(fitting):
                self._halve()
                continue
            part = slice(done, done + len(fitting))
            self._fill(fitting, when[part], where[part], rows, found[part], (there & ~finite)[part])
            done = part.stop

    def abandoned(self, steps: Integers, places: Integers) -> NDArray[np.bool_]:
        """Whether the run has come to each step again later in its file, so that what was there was given up.

        Args:
            steps: of any lines of this run.
            places: where those lines begin.
        """
        later = np.searchsorted(self.places[: self.used], places, side="right")
        lowest = np.append(np.minimum.accumulate(self.steps[0, : self.used][::-1])[::-1], NEVER)
        return steps >= lowest[later]

    @property
    def abandoned_buckets(self) -> NDArray[np.bool_]:
        """Whether each bucket belongs to an attempt that was abandoned: the run was at its last step again."""
        return self.abandoned(self.steps[1, : self.used], self.places[: self.used])

    def newest(self, series: str) -> float:
        """The highest value in the newest bucket that has any; NaN where none of them is finite."""
        row, line = self.row[series], np.flatnonzero(~self.abandoned_buckets)
        there = line[~np.isnan(self.high[row, line]) | (self.nonfinite[row, line] > 0)]
        return float(self.high[row, there[-1]]) if there.size else np.nan

    def _buckets(self, steps: Integers) -> Integers:
        """The number of the bucket that each of some readings goes to, as if there were any number of buckets."""
        newest = self.steps[1, self.used - 1] if self.used else -NEVER
        number = np.arange(len(steps))
        # Where the readings without a step back began that each reading belongs to; for the first ones, in the newest bucket.
        begin = np.maximum.accumulate(np.where(steps <= np.append(newest, steps[:-1]), number, -self._filled))
        return self.used - 1 + np.cumsum((number - begin) % self.width == 0)

    def _fill(
        self,
        buckets: Integers,
        steps: Integers,
        places: Integers,
        rows: list[int],
        values: Floats,
        nonfinite: NDArray[np.bool_],
    ) -> None:
        starts = np.flatnonzero(np.diff(buckets, prepend=-1))
        ends = np.append(starts[1:], len(steps)) - 1
        first = starts[buckets[starts] >= self.used]  # the newest bucket has its first reading
        self.steps[0, buckets[first]] = steps[first]
        self.places[buckets[first]] = places[first]
        self.steps[1, buckets[ends]] = steps[ends]
        if rows:
            place: Any = np.ix_(np.array(rows), buckets[starts])
            self.low[place] = np.fmin(self.low[place], np.fmin.reduceat(values, starts).T)
            self.high[place] = np.fmax(self.high[place], np.fmax.reduceat(values, starts).T)
            self.nonfinite[place] += np.add.reduceat(nonfinite, starts, dtype=np.int64).T
        self._filled = len(steps) - int(first[-1]) if len(first) else self._filled + len(steps)
        self.count += len(steps)
        self.used = int(buckets[-1]) + 1

    def _halve(self) -> None:
        """Make one bucket of every two without a step back between them. If that frees too few, forget what was abandoned."""
        if self._pairs().size > BUCKETS // 2 + BUCKETS // 4:
            kept = np.flatnonzero(~self.abandoned_buckets)
            self._keep(kept, kept)
        pairs = self._pairs()
        if pairs[-1] < self.used - 1:
            self._filled += self.width
        self.width *= 2
        self._keep(pairs, np.append(pairs[1:], self.used) - 1)

    def _pairs(self) -> Integers:
        """The first bucket of every two."""
        number = np.arange(self.used)
        back = np.append(True, self.steps[0, 1 : self.used] <= self.steps[1, : self.used - 1])
        return np.flatnonzero((number - np.maximum.accumulate(np.where(back, number, 0))) % 2 == 0)

    def _keep(self, first: Integers, last: Integers) -> None:
        """Make one bucket of each first and last, which are neighbours or the same, and drop all others."""
        kept, rest = slice(0, len(first)), slice(len(first), None)
        self.steps[0, kept], self.steps[1, kept], self.places[kept] = (
            self.steps[0, first],
            self.steps[1, last],
            self.places[first],
        )
        self.low[:, kept] = np.fmin(self.low[:, first], self.low[:, last])
        self.high[:, kept] = np.fmax(self.high[:, first], self.high[:, last])
        self.nonfinite[:, kept] = self.nonfinite[:, first] + np.where(first == last, 0, self.nonfinite[:, last])
        self.low[:, rest] = self.high[:, rest] = np.nan
        self.nonfinite[:, rest] = 0
        self.used = len(first)

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
            "size": np.array([self.count, self.width, self.used, self._filled]),
            "steps": self.steps[:, :used],
            "places": self.places[:used],
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
        made.count, made.width, made.used, made._filled = (int(size) for size in arrays["size"])
        series, used = len(made.row), made.used
        made.steps[:, :used], made.places[:used] = arrays["steps"], arrays["places"]
        for name in ("low", "high", "nonfinite"):
            getattr(made, name)[:series, :used] = arrays[name]
        return made
