"""Schedules: plain values that map a step, counted from 0, to a number, for the exponent, the betas and eps.

A schedule is a function of the step alone, so that a resumed run continues bit for bit from the number of the step.
:class:`~equipoise.balance.Scheduler` writes their numbers into an optimizer.

Sources: Zhang and Liu, arXiv 2405.18498 (from adaptive to stable) and arXiv 2509.04713 (cycles, also through negative
exponents).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from importlib import import_module
from itertools import accumulate
from numbers import Integral, Real
from operator import attrgetter
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from equipoise.errors import ArgumentError

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Schedule(ABC):
    """A value for every step, counted from 0. After step number `steps` the value of that step is held."""

    steps: float = field(kw_only=True)
    """Length; infinite for a schedule without an end."""

    def __post_init__(self) -> None:
        whole = isinstance(self.steps, Real) and not isinstance(self.steps, bool) and 1 <= self.steps < math.inf
        if not whole or self.steps % 1:
            raise ArgumentError("steps", self.steps, "a whole number of at least 1")

    def __call__(self, step: ArrayLike) -> Any:
        """The value at a step, or at each of an array of steps."""
        value = self._at(np.minimum(np.asarray(step, dtype=np.float64), self.steps))
        return float(value) if value.ndim == 0 else value

    @property
    def repetition(self) -> tuple[int, int]:
        """(the step from which the values repeat, with which period)."""
        return (0 if math.isinf(self.steps) else int(self.steps)), 1

    def plain(self) -> dict[str, Any]:
        """The schedule as a dictionary of text and numbers."""
        return {"schedule": type(self).__name__, **{each.name: _plain(getattr(self, each.name)) for each in fields(self)}}

    @abstractmethod
    def _at(self, step: Floats) -> Floats:
        """The values at steps that do not exceed the length."""


@dataclass(frozen=True)
class Constant(Schedule):
    """Always `value`; with `steps` as a piece of :class:`Piecewise`.

    Example:
        >>> Constant(0.25)(1000)
        0.25
    """

    value: float
    steps: float = field(default=math.inf, kw_only=True)

    def __post_init__(self) -> None:
        _check_number("value", self.value)
        if self.steps != math.inf:
            super().__post_init__()

    def _at(self, step: Floats) -> Floats:
        return np.full(step.shape, float(self.value))


@dataclass(frozen=True)
class Linear(Schedule):
    """From `start` at step 0 in a straight line to `end` at step number `steps`.

    Example:
        >>> [Linear(0.5, 0.0, steps=4)(step) for step in (0, 1, 4, 5)]
        [0.5, 0.375, 0.0, 0.0]
    """

    start: float
    end: float

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_number("start", self.start)
        _check_number("end", self.end)

    def _at(self, step: Floats) -> Floats:
        return _between(self.start, self.end, step / self.steps)


@dataclass(frozen=True)
class Cosine(Linear):
    """From `start` at step 0 along half a period of a cosine to `end` at step number `steps`.

    Example:
        >>> [round(Cosine(0.5, 0.0, steps=4)(step), 3) for step in (0, 1, 2, 3, 4)]
        [0.5, 0.427, 0.25, 0.073, 0.0]
    """

    def _at(self, step: Floats) -> Floats:
        return _between(self.start, self.end, np.sin(np.pi / 2 * (step / self.steps)) ** 2)


@dataclass(frozen=True, init=False)
class Piecewise(Schedule):
    """Schedules one after the other; each counts its steps from its own beginning, and starts where the one before ends.

    Example:
        >>> schedule = Piecewise(Constant(0.5, steps=2), Linear(0.5, 0.0, steps=2), Constant(0.0))
        >>> [schedule(step) for step in range(6)]
        [0.5, 0.5, 0.5, 0.25, 0.0, 0.0]
    """

    pieces: tuple[Schedule, ...]

    def __init__(self, *pieces: Schedule) -> None:
        if not pieces or not all(isinstance(piece, Schedule) for piece in pieces):
            raise ArgumentError("pieces", pieces, "schedules, at least one")
        self._check_lengths(pieces)
        object.__setattr__(self, "pieces", pieces)
        object.__setattr__(self, "steps", self._length())

    @property
    def repetition(self) -> tuple[int, int]:
        """(the step from which the values repeat, with which period)."""
        first, period = self.pieces[-1].repetition
        return int(sum(piece.steps for piece in self.pieces[:-1])) + first, period

    def _check_lengths(self, pieces: Sequence[Schedule]) -> None:
        if any(math.isinf(piece.steps) for piece in pieces[:-1]):
            raise ArgumentError("pieces", pieces, "schedules of which only the last one has no end")

    def _length(self) -> float:
        return sum(piece.steps for piece in self.pieces)

    def _at(self, step: Floats) -> Floats:
        starts = [0.0, *accumulate(piece.steps for piece in self.pieces[:-1])]
        owner = np.searchsorted(starts, step, side="right") - 1
        value = np.empty(step.shape)
        for number, (piece, start) in enumerate(zip(self.pieces, starts, strict=True)):
            value[owner == number] = piece(step[owner == number] - start)
        return value


@dataclass(frozen=True, init=False)
class Cyclic(Piecewise):
    """Schedules one after the other, over and over.

    Example:
        Through negative exponents and back, every 4 steps (arXiv 2509.04713):

        >>> schedule = Cyclic(Linear(0.5, -0.5, steps=2), Linear(-0.5, 0.5, steps=2))
        >>> [schedule(step) for step in range(6)]
        [0.5, 0.0, -0.5, 0.0, 0.5, 0.0]
    """

    @property
    def repetition(self) -> tuple[int, int]:
        """(the step from which the values repeat, with which period)."""
        return 0, int(super()._length())

    def _check_lengths(self, pieces: Sequence[Schedule]) -> None:
        if any(math.isinf(piece.steps) for piece in pieces):
            raise ArgumentError("pieces", pieces, "schedules that have an end")

    def _length(self) -> float:
        return math.inf

    def _at(self, step: Floats) -> Floats:
        return super()._at(step % super()._length())


@dataclass(frozen=True)
class Function(Schedule):
    """A function from a step to a number, by its name, so that it can be saved.

    Args:
        name: ``package.module:function``, or ``__main__:function`` for one of the program itself.
        steps: its length, the last step that it is called with. A scheduler calls it for every step when it is built.

    Raises:
        ArgumentError: there is no such function.

    Example:
        >>> Function("math:exp2", steps=10)(3)
        8.0
    """

    name: str

    def __post_init__(self) -> None:
        super().__post_init__()
        _function(self.name)

    def _at(self, step: Floats) -> Floats:
        function = _function(self.name)
        found = [function(int(number)) for number in step.flat]
        for number, value in zip(step.flat, found, strict=True):
            _check_number(f"{self.name}({int(number)})", value)
        return np.array(found, dtype=np.float64).reshape(step.shape)


def _function(name: str) -> Callable[[int], Any]:
    module, _, attribute = name.partition(":")
    try:
        function = attrgetter(attribute)(import_module(module))
    except (ImportError, AttributeError, ValueError) as error:
        raise ArgumentError("name", name, f"that of a function, as 'package.module:function' ({error})") from error
    if not callable(function):
        raise ArgumentError("name", name, f"that of a function, as 'package.module:function', not of {function!r}")
    return function


def _between(start: float, end: float, share: Floats) -> Floats:
    """`start` at a share of 0, `end` at 1, both exactly, and never outside of them."""
    way = end - start
    return np.where(share < 0.5, start + share * way, end - (1 - share) * way)


def _check_number(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise ArgumentError(name, value, "a finite number")


def _plain(value: object) -> Any:
    """The value as Python's own type: numpy's do not survive a load with ``weights_only=True``."""
    if isinstance(value, tuple):
        return [piece.plain() for piece in cast("tuple[Schedule, ...]", value)]
    if isinstance(value, Integral):
        return int(value)
    return float(value) if isinstance(value, Real) else value
