"""The values that an arm is tuned over, and the points of that space that are tried."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self, TypeAlias

import numpy as np
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator
from scipy.stats import qmc

MOST_POINTS = 10_000

ScaleName: TypeAlias = Literal["log", "linear", "one-minus"]
"""Even steps of log(x); of x itself; of log(1 - x), as for betas, of which 0.9, 0.99 and 0.999 are equally far apart."""

Number = Annotated[float, Field(allow_inf_nan=False)]


class Range(BaseModel):
    """All numbers from `low` to `high`.

    Raises:
        pydantic.ValidationError: `low` is not below `high`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    low: Number
    high: Number
    scale: ScaleName | None = None
    """By default "log" for learning rates, decays and epsilons, "one-minus" for betas and momentum, "linear" for all others."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low = {self.low:g} must be below high = {self.high:g}")
        return self


Choices: TypeAlias = Annotated[list[Any], Field(min_length=1)]
Entry: TypeAlias = Annotated[
    Annotated[Range, Tag("<range>")] | Annotated[Choices, Tag("<list>")],
    Discriminator(
        lambda entry: "<list>" if isinstance(entry, list) else "<range>" if isinstance(entry, dict | Range) else None,
        custom_error_type="space",
        custom_error_message="must be a list of values, or a range { low = ..., high = ... }",
    ),
]
Space: TypeAlias = dict[str, Entry]
"""Searched key -> a range, or a list of which each entry is tried equally often."""


@dataclass(frozen=True)
class Point:
    """One point of a space: what an arm is trained with besides its own keys."""

    values: Mapping[str, Any]
    """Searched key -> value. `lr`, the learning rate, is always among them."""

    @property
    def lr(self) -> float:
        """The learning rate."""
        return float(self.values["lr"])

    def __str__(self) -> str:
        words = ((key, f"{value:g}" if isinstance(value, float) else value) for key, value in self.values.items())
        return " ".join(f"{key}={word}" for key, word in words)


@dataclass(frozen=True)
class Axis:
    """A range on its scale: a number between 0 and 1 becomes a value."""

    low: float
    high: float
    scale: ScaleName

    def value(self, share: float) -> float:
        """What lies at a share of the way from `low` to `high`, rounded to six digits."""
        low, high = _to_scale(self.scale, self.low), _to_scale(self.scale, self.high)
        return _from_scale(self.scale, low + share * (high - low))

    def beyond(self, value: float, *, upwards: bool) -> Axis:
        """From `value`, which lies at an end, as far outwards as half of this range is long. A beta does not leave [0, 1)."""
        half = (_to_scale(self.scale, self.high) - _to_scale(self.scale, self.low)) / 2
        outer = _to_scale(self.scale, value) + (half if upwards else -half)
        end = _from_scale(self.scale, min(0.0, outer) if self.scale == "one-minus" else outer)
        return Axis(value, end, self.scale) if upwards else Axis(end, value, self.scale)


Axes: TypeAlias = Mapping[str, Axis | list[Any]]
"""Searched key -> its axis, or the values to choose from."""


def default_scale(key: str) -> ScaleName:
    """The scale of a range whose file names none.

    Example:
        >>> [default_scale(key) for key in ("lr", "betas.1", "adamw_eps", "exponent")]
        ['log', 'one-minus', 'log', 'linear']
    """
    name = key.partition(".")[0]
    if name == "momentum" or name.startswith("beta"):
        return "one-minus"
    return "log" if name.endswith(("lr", "weight_decay", "eps")) else "linear"


def axis_of(key: str, entry: Range) -> Axis:
    """The axis of a searched range.

    Raises:
        ValueError: the range leaves what its scale can hold.
    """
    scale = entry.scale or default_scale(key)
    if scale == "log" and entry.low <= 0:
        raise ValueError(f'search {key} = {{ low = {entry.low:g}, ... }}: low must be above 0, or scale = "linear"')
    if scale == "one-minus" and not 0 <= entry.low < entry.high < 1:
        raise ValueError(f'search {key}: low = {entry.low:g} and high = {entry.high:g} must be in [0, 1), or scale = "linear"')
    return Axis(entry.low, entry.high, scale)


def grid(space: Space) -> list[Point]:
    """Every combination of a space that holds lists alone."""
    lists = {key: entry for key, entry in space.items() if isinstance(entry, list)}
    return [Point(dict(zip(lists, chosen, strict=True))) for chosen in itertools.product(*lists.values())]


def combinations(space: Space) -> float:
    """How many different points a space has: infinity where there is a range."""
    return math.prod(len(entry) if isinstance(entry, list) else math.inf for entry in space.values())


def axes_of(space: Space) -> Axes:
    """The axes of a space: its ranges on their scales, and its lists."""
    return {key: entry if isinstance(entry, list) else axis_of(key, entry) for key, entry in space.items()}


def quasi_random(axes: Axes, seed: int) -> Iterator[Point]:
    """Different points that cover a space evenly, however many are taken: Sobol's sequence, scrambled by Owen's method.

    The first points of a longer sequence are the shorter one, and spaces with as many keys get the same shares of their axes.

    Args:
        axes: with at least as many combinations as points are taken.
        seed: of the scrambling.

    Source: Owen, Scrambling Sobol' and Niederreiter-Xing points, Journal of Complexity 14, 1998.

    Example:
        >>> points = quasi_random({"lr": Axis(1e-4, 1e-1, "log"), "weight_decay": [0.0, 0.1]}, seed=0)
        >>> print(*itertools.islice(points, 2), sep=" | ")
        lr=0.00169765 weight_decay=0.1 | lr=0.0146465 weight_decay=0
    """
    sequence = qmc.Sobol(len(axes), scramble=True, rng=np.random.default_rng(seed))
    powers = itertools.chain([0, 0], itertools.count(1))  # 1, 2, 4, 8, ... points so far: the sequence is even at powers of two
    seen: set[str] = set()
    for shares in itertools.chain.from_iterable(map(sequence.random_base2, powers)):
        values = {key: _at(axis, float(share)) for (key, axis), share in zip(axes.items(), shares, strict=True)}
        if repr(values) not in seen:
            seen.add(repr(values))
            yield Point(values)


def _at(axis: Axis | list[Any], share: float) -> Any:
    return axis[int(share * len(axis))] if isinstance(axis, list) else axis.value(share)


def _to_scale(scale: ScaleName, value: float) -> float:
    if scale == "linear":
        return value
    return math.log(value if scale == "log" else 1 - value)


def _from_scale(scale: ScaleName, value: float) -> float:
    if scale == "linear":
        return _rounded(value)
    return _rounded(math.exp(value)) if scale == "log" else float(f"{1 - _rounded(math.exp(value)):.12g}")


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")
