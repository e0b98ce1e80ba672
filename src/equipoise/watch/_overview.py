"""Any number of readings, as few numbers as can be drawn, without losing a spike.

Readings share buckets; a bucket has the lowest and the highest value, and whether one was not finite. Within a bucket steps
grow. Where a step goes back, because the run was rolled back or resumed from an earlier step, another bucket begins: so the
steps of the buckets alone say which of them hold an attempt that was abandoned.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

BUCKETS = 1024
"""More than a chart on a screen has columns. When they are full, every two become one."""
FEWEST_BUCKETS = 128
"""So many buckets there are, however many series."""
CELLS = 2 << 20
"""With so many values and more, there are fewer buckets: a value takes nine bytes."""
NEVER = np.iinfo(np.int64).max
"""A step that no run reaches."""

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]
Curve: TypeAlias = tuple[Floats, Floats, Flags]
"""In each bucket the lowest value, the highest value, and whether one was not finite."""


class Overview:
    """Named series over the readings of a run, in at most :data:`BUCKETS` buckets, whatever their number.

    A series may be missing from a reading. A value that is not finite marks its bucket, and is neither its lowest nor its
    highest; a bucket without a finite value has NaN as both. Values are kept with six digits. One beyond 3.4e38 counts as
    infinite.

    Args:
        kinds: how many numbers belong to each name, each of them a series.

    Example:
        >>> overview = Overview()
        >>> overview.add([1, 2, 3, 2], [0, 90, 180, 270], ["loss"], [[0.5], [float("nan")], [9.0], [0.25]])
        >>> low, high, nonfinite = overview.curve("loss")
        >>> overview.width, low, nonfinite
        (1, array([0.5 ,  nan, 9.  , 0.25], dtype=float32), array([False,  True, False, False]))
        >>> overview.abandoned_buckets
        array([False,  True,  True, False])
    """

    def __init__(self, kinds: int = 1) -> None:
        self.kinds = kinds
        self.place_of: dict[str, int] = {}
        """The names, and how many came before each."""
        self.count = 0
        """The number of readings."""
        self.width = 1
        """The number of readings in a bucket that is full, a power of two."""
        self.used = 0
        """The number of buckets that hold a reading."""
        self.buckets = BUCKETS
        """The number of buckets that there may be."""
        self._filled = 0
        """The number of readings in the newest bucket."""
        self.steps: Integers = np.empty((2, 0), np.int64)
        """The steps of the first and the last reading in each bucket."""
        self.places: Integers = np.empty(0, np.int64)
        """Where in the file the first reading of each bucket begins."""
        # A row for each bucket, which is set when its first reading comes, and a column for each series.
        self._low: Floats = np.empty((0, 0), np.float32)
        self._high: Floats = np.empty((0, 0), np.float32)
        self._nonfinite: Flags = np.empty((0, 0), np.bool_)
        self._newest: tuple[Sequence[str], Integers] = (), np.empty(0, np.int64)
        """The names that were given last, and the columns of their series."""

    def add(
        self,
        steps: Sequence[int],
        places: Sequence[int],
        names: Sequence[str],
        values: ArrayLike,
        missing: Flags | None = None,
    ) -> None:
        """Take in readings that follow those before.

        Args:
            steps: the step of each reading.
            places: where each reading begins in the file.
            names: what there are numbers of.
            values: a row per reading, and in it the numbers of each name, side by side.
            missing: where a reading has no number; None says nowhere.
        """
        columns = self._columns(names)
        with np.errstate(over="ignore"):
            found: Floats = np.array(values, np.float32).reshape(len(steps), len(columns))
        nonfinite = ~np.isfinite(found)
        found[nonfinite] = np.nan
        if missing is not None:
            nonfinite &= ~missing
        when, where = np.array(steps, np.int64), np.array(places, np.int64)
        done = 0
        while done < len(when):
            buckets = self._buckets(when[done:])
            fitting = buckets[: np.searchsorted(buckets, self.buckets)]
            if not len(fitting):
                self._halve()
                continue
            part = slice(done, done + len(fitting))
            self._make_room(int(fitting[-1]) + 1)
            self._fill(fitting, when[part], where[part], columns, found[part], nonfinite[part])
            done = part.stop

    def curve(self, name: str, kind: int = 0) -> Curve:
        """A series in the buckets that are used."""
        there = slice(0, self.used), self.place_of[name] * self.kinds + kind
        return self._low[there], self._high[there], self._nonfinite[there]

    def abandoned(self, steps: Integers, places: Integers) -> Flags:
        """Whether the run has come to each step again later in its file, so that what was there was given up.

        Args:
            steps: of any lines of this run.
            places: where those lines begin.
        """
        later = np.searchsorted(self.places[: self.used], places, side="right")
        lowest = np.append(np.minimum.accumulate(self.steps[0, : self.used][::-1])[::-1], NEVER)
        return steps >= lowest[later]

    @property
    def abandoned_buckets(self) -> Flags:
        """Whether each bucket belongs to an attempt that was abandoned: the run was at its last step again."""
        return self.abandoned(self.steps[1, : self.used], self.places[: self.used])

    def newest(self, name: str) -> float:
        """The highest value in the newest bucket that has any and was not abandoned; NaN where none of them is finite."""
        _, high, nonfinite = self.curve(name)
        there = np.flatnonzero((~np.isnan(high) | nonfinite) & ~self.abandoned_buckets)
        return float(high[there[-1]]) if there.size else np.nan

    def _buckets(self, steps: Integers) -> Integers:
        """The number of the bucket that each of some readings goes to, as if there were any number of buckets."""
        newest = self.steps[1, self.used - 1] if self.used else -NEVER
        number = np.arange(len(steps))
        # Where the readings without a step back began that each reading belongs to; for the first ones, in the newest bucket.
        begin = np.maximum.accumulate(np.where(steps <= np.append(newest, steps[:-1]), number, -self._filled))
        return self.used - 1 + np.cumsum((number - begin) % self.width == 0)

    def _fill(
        self, buckets: Integers, steps: Integers, places: Integers, columns: Integers, values: Floats, nonfinite: Flags
    ) -> None:
        starts = np.flatnonzero(np.diff(buckets, prepend=-1))
        ends = np.append(starts[1:], len(steps)) - 1
        first = starts[buckets[starts] >= self.used]  # the newest bucket has its first reading
        begun = buckets[first]
        self.steps[0, begun], self.places[begun] = steps[first], places[first]
        self.steps[1, buckets[ends]] = steps[ends]
        self._low[begun] = self._high[begun] = np.nan
        self._nonfinite[begun] = False
        if len(columns):
            place: Any = np.ix_(buckets[starts], columns)
            self._low[place] = np.fmin(self._low[place], np.fmin.reduceat(values, starts))
            self._high[place] = np.fmax(self._high[place], np.fmax.reduceat(values, starts))
            self._nonfinite[place] |= np.logical_or.reduceat(nonfinite, starts)
        self._filled = len(steps) - int(first[-1]) if len(first) else self._filled + len(steps)
        self.count += len(steps)
        self.used = int(buckets[-1]) + 1

    def _halve(self) -> None:
        """Make one bucket of every two without a step back between them. If that frees too few, forget what was abandoned."""
        if self._pairs().size > self.used // 2 + self.used // 4:
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
        kept = slice(0, len(first))
        self.steps[0, kept], self.steps[1, kept] = self.steps[0, first], self.steps[1, last]
        self.places[kept] = self.places[first]
        # One after the other, in place: these arrays are by far the largest that there are.
        for bucket, (one, other) in enumerate(zip(first.tolist(), last.tolist(), strict=True)):
            np.fmin(self._low[one], self._low[other], out=self._low[bucket])
            np.fmax(self._high[one], self._high[other], out=self._high[bucket])
            np.logical_or(self._nonfinite[one], self._nonfinite[other], out=self._nonfinite[bucket])
        self.used = len(first)

    def _columns(self, names: Sequence[str]) -> Integers:
        """The columns of the series of some names, of new ones too."""
        if names is not self._newest[0]:
            for name in names:
                self.place_of.setdefault(name, len(self.place_of))
            self._limit_buckets()
            self._make_room(self.used)
            first = np.array([self.place_of[name] for name in names], np.int64) * self.kinds
            self._newest = names, (first[:, None] + np.arange(self.kinds)).ravel()
        return self._newest[1]

    def _limit_buckets(self) -> None:
        """Have fewer buckets for more series."""
        while self.buckets > FEWEST_BUCKETS and len(self.place_of) * self.kinds * self.buckets > CELLS:
            self.buckets //= 2
            while self.used > self.buckets:
                self._halve()

    def _make_room(self, buckets: int) -> None:
        """Have a row for so many buckets, and a column for every series."""
        series, (rows, columns) = len(self.place_of) * self.kinds, self._low.shape
        if buckets <= rows and series <= columns:
            return
        if buckets > rows:
            rows = min(self.buckets, max(buckets, 2 * rows))
        wide = columns if series <= columns else max(series, columns + min(columns, 1024))
        used = slice(0, self.used)
        for name, nothing in (("_low", np.nan), ("_high", np.nan), ("_nonfinite", False)):
            old = getattr(self, name)
            new = np.empty((rows, wide), old.dtype)  # takes no memory before it is written to
            new[used, :columns], new[used, columns:] = old[used], nothing
            setattr(self, name, new)
        steps, places = np.empty((2, rows), np.int64), np.empty(rows, np.int64)
        steps[:, used], places[used] = self.steps[:, used], self.places[used]
        self.steps, self.places = steps, places

    def sizes(self) -> dict[str, Any]:
        """What :meth:`load` has to know beside the :meth:`pieces`."""
        return {
            "names": list(self.place_of),
            "kinds": self.kinds,
            "count": self.count,
            "width": self.width,
            "used": self.used,
            "filled": self._filled,
        }

    def pieces(self) -> Iterator[bytes]:
        """Everything that :meth:`load` reads, one piece after the other."""
        return (row.tobytes() for row in self._saved())

    @classmethod
    def load(cls, sizes: Mapping[str, Any], file: BinaryIO) -> Overview:
        """An overview as it was saved.

        Raises:
            ValueError: the file does not hold one of these sizes.
        """
        made = cls(int(sizes["kinds"]))
        made.place_of = {str(name): number for number, name in enumerate(sizes["names"])}
        made._limit_buckets()
        count, width, used, filled = (int(sizes[name]) for name in ("count", "width", "used", "filled"))
        if not (0 <= used <= made.buckets and len(made.place_of) == len(sizes["names"]) and width > 0):
            raise ValueError("sizes that no overview has")
        made._make_room(used)
        made.count, made.width, made.used, made._filled = count, width, used, filled
        for row in made._saved():
            content = file.read(row.nbytes)
            if len(content) < row.nbytes:
                raise ValueError("it ends too early")
            row[:] = np.frombuffer(content, row.dtype)
            if np.isinf(row).any():
                raise ValueError("values that no overview has")
        return made

    def _saved(self) -> list[NDArray[Any]]:
        used, series = self.used, len(self.place_of) * self.kinds
        tables = [*self._low[:used, :series], *self._high[:used, :series], *self._nonfinite[:used, :series]]
        return [self.steps[0, :used], self.steps[1, :used], self.places[:used], *tables]
