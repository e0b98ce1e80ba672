"""An arm of a study: one optimizer, what is set, and what is searched."""

from __future__ import annotations

import copy
import json
import math
import re
import reprlib
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Self, cast, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from equipoise._words import did_you_mean, printable
from equipoise.study._arms.ready_made import READY_MADE, ReadyMade
from equipoise.study._arms.schedule import ScheduleName
from equipoise.study._arms.space import MOST_POINTS, Axis, Point, Range, Space, axis_of
from equipoise.study._names import Name

LearningRate = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class LearningRateRange(BaseModel):
    """`count` learning rates from `low` to `high`, evenly spaced on a logarithmic axis."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    low: LearningRate
    high: LearningRate
    count: int = Field(ge=2, le=MOST_POINTS)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low = {self.low:g} must be below high = {self.high:g}")
        return self

    def values(self) -> list[float]:
        """The learning rates, ascending."""
        axis = Axis(self.low, self.high, "log")
        return [axis.value(index / (self.count - 1)) for index in range(self.count)]


LearningRates = Annotated[
    Annotated[LearningRateRange, Tag("<rates>")] | Annotated[list[LearningRate], Field(min_length=1), Tag("<list>")],
    Discriminator(
        lambda rates: (
            "<list>" if isinstance(rates, list) else "<rates>" if isinstance(rates, dict | LearningRateRange) else None
        ),
        custom_error_type="learning_rates",
        custom_error_message="must be a list of numbers above 0, or { low = ..., high = ..., count = ... }",
    ),
]

CLASS_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+|[^:]+\.py:[A-Za-z_]\w*")
"""``package.module.Class``, or ``file.py:Class`` for a file relative to the study's."""

shown = reprlib.repr
"""Values in messages, shortened."""

SEARCHED = re.compile(r"[A-Za-z_]\w*(\.\d)?")


def _class_name(name: str) -> str:
    if CLASS_NAME.fullmatch(name):
        return name
    raise ValueError("must be the dotted name of a class, as equipoise.balance.SpreadController, or file.py:Class")


def _optimizer_name(name: str) -> str:
    if name in READY_MADE or CLASS_NAME.fullmatch(name):
        return name
    accepted = f"the dotted name of a class, file.py:Class, or one of {', '.join(READY_MADE)}"
    raise ValueError(f"must be {accepted}{did_you_mean(name, READY_MADE)}")


class ArmController(BaseModel):
    """The controller that moves an arm's exponent while it trains. All keys but the name go to the controller."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: Annotated[str, AfterValidator(_class_name)]
    """The dotted name of its class, or ``file.py:Class``."""

    @model_validator(mode="after")
    def _plain(self) -> Self:
        for key, value in (self.model_extra or {}).items():
            _check_plain(key, value)
        return self


class Arm(BaseModel):
    """One optimizer configuration of a study. Keys that are not listed here go to the optimizer.

    It is tuned over its `search`, else over its `learning_rates`, else over the study's, else over the space of its ready-made
    optimizer. What `search` leaves open is searched as the ready-made optimizer's space says.

    Raises:
        pydantic.ValidationError: a value is missing or not accepted.

    Example:
        >>> arm = Arm(name="quarter", optimizer="equipoise.SMES", exponent=0.25, weight_decay=0.01)
        >>> arm.arguments
        {'exponent': 0.25, 'weight_decay': 0.01}
        >>> print(Arm(name="sgd", optimizer="sgd", search={"momentum": [0.9, 0.99]}).space)
        {'lr': Range(low=0.001, high=1.0, scale=None), 'weight_decay': [0.0, 0.0001, 0.001], 'momentum': [0.9, 0.99]}
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    name: Name
    optimizer: Annotated[str, AfterValidator(_optimizer_name)]
    """A ready-made one, as ``adamw``; the dotted name of a class, as ``torch.optim.AdamW``; or ``file.py:Class`` for a file
    beside the study. It is called with `lr` and the arm's other keys."""
    controller: ArmController | None = None
    """A class and its arguments, as ``{ name = "equipoise.balance.SpreadController", every = 20 }``."""
    baseline: bool = False
    """Whether the other arms are compared with this one. Exactly one arm of a study is the baseline."""
    learning_rates: LearningRates | None = None
    """The arm's own learning rates, as many as the study has; by default those of the study."""
    search: Space | None = None
    """What is tried, as ``{ lr = { low = 1e-4, high = 1e-1 }, weight_decay = [0.0, 0.1] }``. ``"betas.1"`` is the second entry
    of `betas`; `schedule` and `warmup` can be searched too."""
    schedule: ScheduleName | None = None
    """How the learning rate falls; by default as the task says."""
    warmup: float | None = Field(default=None, ge=0, lt=1, allow_inf_nan=False)
    """The share of the steps in which the learning rate rises; by default none."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        for key, value in self._own.items():
            if key in ("lr", "params"):
                raise ValueError(f"{key} = {shown(value)} is set by the study; use learning_rates or search")
            _check_plain(key, value)
        if self.search is not None:
            if self.learning_rates is not None:
                raise ValueError("learning_rates and search are both given; put the learning rates into search, as lr = [...]")
            if "lr" not in self.space:
                raise ValueError("search needs the learning rate, as lr = { low = 1e-4, high = 1e-1 }")
            for path, entry in self.space.items():
                self._check(path, entry)
        return self

    @property
    def ready_made(self) -> ReadyMade:
        """What is known of its optimizer: its class, and defaults."""
        return READY_MADE.get(self.optimizer, ReadyMade(self.optimizer))

    @property
    def arguments(self) -> dict[str, Any]:
        """What the optimizer is called with, besides parameters, learning rate, and what is searched."""
        return {**copy.deepcopy(dict(self.ready_made.arguments)), **self._own}

    @property
    def space(self) -> Space:
        """What is searched: the ready-made optimizer's space and the arm's own, without what the arm sets to a value."""
        known = {key: entry for key, entry in self.ready_made.space.items() if key not in self._own}
        return {**known, **(self.search or {})}

    def arguments_at(self, point: Point) -> dict[str, Any]:
        """What the optimizer is called with at a point of the space, besides parameters and learning rate."""
        found = copy.deepcopy(self.arguments)
        for path, value in point.values.items():
            key, _, index = path.partition(".")
            if index:
                found[key][int(index)] = value
            elif key not in ("lr", "schedule", "warmup"):
                found[key] = value
        return found

    def schedule_at(self, point: Point) -> tuple[ScheduleName | None, float]:
        """The schedule, None for the task's own, and the warm-up at a point of the space."""
        warmup = self.ready_made.warmup if self.warmup is None else self.warmup
        schedule = self.schedule or self.ready_made.schedule
        return point.values.get("schedule", schedule), point.values.get("warmup", warmup)

    @property
    def _own(self) -> dict[str, Any]:
        return self.model_extra or {}

    def _check(self, path: str, entry: Range | list[Any]) -> None:
        """Refuse a searched key that cannot be searched, or with values that it cannot have."""
        key, _, index = path.partition(".")
        if not SEARCHED.fullmatch(path) or key in NEVER_SEARCHED:
            accepted = "keys of the optimizer, an entry of one as betas.1, schedule, and warmup"
            raise ValueError(f"search {shown(path)} cannot be searched; accepted are {accepted}")
        if path in self._own:
            raise ValueError(f"{printable(path)} = {shown(self._own[path])} is searched as well; keep one of the two")
        if index:
            fixed = {} if key in self.space else self.arguments
            entries = cast("list[Any]", fixed[key]) if isinstance(fixed.get(key), list) else []
            if int(index) >= len(entries):
                accepted = f"the arm needs a list, as {key} = [0.9, 0.99]"
                raise ValueError(f"search {path} sets an entry of {key} = {shown(fixed.get(key))}; {accepted}")
        if isinstance(entry, Range):
            axis_of(path, entry)
            values: list[Any] = [entry.low, entry.high]
        else:
            values = entry
            _check_plain(f"search {path}", values)
            if len({repr(value) for value in values}) < len(values):
                raise ValueError(f"search {printable(path)} = {shown(values)} repeats a value; accepted are different ones")
        fits, accepted = CHECKED.get(path, (lambda _: True, ""))
        if wrong := [value for value in values if not fits(value)]:
            raise ValueError(f"search {printable(path)} holds {shown(wrong[0])}; accepted are {accepted}")


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


NEVER_SEARCHED = {"params", *Arm.model_fields} - {"schedule", "warmup"}
CHECKED: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "lr": (lambda value: _number(value) and 0 < value < math.inf, "finite numbers above 0"),
    "warmup": (lambda value: _number(value) and 0 <= value < 1, "numbers in [0, 1)"),
    "schedule": (get_args(ScheduleName).__contains__, ", ".join(get_args(ScheduleName))),
}
"""What the values of a searched key must be, in code and in words."""


def _check_plain(key: str, value: Any) -> None:
    """Refuse what TOML has and JSON has not: dates and times."""
    try:
        json.dumps(value)
    except TypeError:
        raise ValueError(
            f"{printable(key)} = {shown(value)} must be made of numbers, text, true and false, and lists and tables of these"
        ) from None
