"""How a study chooses among the points of an arm: by which number, and in which stages."""

from __future__ import annotations

import math
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Discriminator, Tag

from equipoise.study._names import Goal, Name, goal_told_by


class Rung(NamedTuple):
    """A stage of tuning."""

    stop_after: int | None
    """The epoch after which its trials end; None for the last one."""
    points: int
    """How many points each arm has left."""


class Selection(BaseModel):
    """What chooses among the points of an arm."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    metric: Name
    """The last number that the task reports under this name, in the mean over the tuning seeds."""
    goal: Goal


SelectBy = Annotated[
    Annotated[Selection, Tag("<selection>")] | Annotated[Name, Tag("<name>")],
    Discriminator(
        lambda chosen: "<name>" if isinstance(chosen, str) else "<selection>" if isinstance(chosen, dict | Selection) else None,
        custom_error_type="select_by",
        custom_error_message='must be the name of a number, or { metric = "validation_loss", goal = "minimize" }',
    ),
]


def chooses_the_worst(name: str, metric: str, goal: Goal) -> bool:
    """Whether a number's name says that it is better the other way than the goal, and the metric's name does not.

    Example:
        >>> chooses_the_worst("validation_loss", "accuracy", "maximize")
        True
    """
    told = goal_told_by(name)
    return told not in (None, goal, goal_told_by(metric))


def rungs(points: int, epochs: int, halving: int | None) -> tuple[Rung, ...]:
    """The stages of tuning.

    Example:
        >>> rungs(12, 9, 3)
        (Rung(stop_after=1, points=12), Rung(stop_after=3, points=4), Rung(stop_after=None, points=2))
    """
    factors = [1]
    while halving is not None and halving * factors[-1] <= min(points, epochs):
        factors.append(halving * factors[-1])
    lengths = [*(epochs // factor for factor in reversed(factors[1:])), None]
    return tuple(Rung(length, math.ceil(points / factor)) for length, factor in zip(lengths, factors, strict=True))
