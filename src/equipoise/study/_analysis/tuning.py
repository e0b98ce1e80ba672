"""What was tried for each arm, and which point was chosen."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

from equipoise.study._analysis.question import Question, value_of, worst_value
from equipoise.study._arms.arm import Arm
from equipoise.study._arms.space import Point, Range, axis_of
from equipoise.study._cells import Result, Table
from equipoise.study._names import Goal
from equipoise.study._statistics.paired import direction
from equipoise.study._statistics.precision import mean


@dataclass(frozen=True)
class Tuned:
    """The points of one arm, how it did at each on the tuning seeds, and which was chosen."""

    arm: Arm
    points: tuple[Point, ...]
    """What was tried, in ascending order of the learning rate."""
    scores: tuple[tuple[float, ...], ...]
    """What chooses, per point and tuning seed; a diverged trial counts with the worst value seen."""
    diverged: tuple[int, ...]
    """How many of the tuning seeds diverged, per point."""
    point: Point
    """The one with the best mean; among equally good ones that with the smallest learning rate."""
    stopped: tuple[Point, ...] = ()
    """What was tried as well, but not to the end, because others were better early (`halving`)."""

    @property
    def tried(self) -> tuple[Point, ...]:
        """Every point that was tried."""
        return self.points + self.stopped

    @property
    def chosen(self) -> float:
        """The learning rate of the chosen point."""
        return self.point.lr

    @property
    def rates(self) -> tuple[float, ...]:
        """The learning rate of each point."""
        return tuple(point.lr for point in self.points)

    @cached_property
    def means(self) -> list[float]:
        """The mean over tuning seeds, per point."""
        return [mean(row) for row in self.scores]

    @property
    def edges(self) -> tuple[str, ...]:
        """The searched keys whose chosen value is the smallest or the largest that was tried: a better one may lie beyond.

        Learning rates, and ranges on a logarithmic scale, have edges. Other lists hold all that there is.
        """
        found: list[str] = []
        for key, value in self.point.values.items():
            tried = [point.values[key] for point in self.tried]
            entry = self.arm.space.get(key)
            endless = key == "lr" or (isinstance(entry, Range) and axis_of(key, entry).scale != "linear")
            if endless and min(tried) < max(tried) and value in (min(tried), max(tried)):
                found.append(key)
        return tuple(found)

    @property
    def at_edge(self) -> bool:
        """Whether the best point may lie outside of the space that was tried."""
        return bool(self.edges)


def tune(table: Table, arm: Arm, stop_after: int | None = None) -> Tuned | None:
    """Choose among the points of an arm, by what the study selects by; None if every point lacks a result.

    Args:
        table: with the results of the tuning trials. A point that lacks one of them is not chosen.
        arm: one of the study.
        stop_after: choose among the trials that end after this epoch; None: among those that are trained to the end.
    """
    study, tried = table.study, table.tuned_points(arm.name)
    points: list[Point] = []
    rows: list[list[Result]] = []
    for point in sorted(tried.get(stop_after, []), key=lambda point: point.lr):
        results = table.results("tuning", arm.name, point, stop_after)
        if len(results) == study.tuning_seeds:
            points.append(point)
            rows.append(list(results.values()))
    if not points:
        return None
    question = Question.of_selection(study)
    any_diverged = any(result.diverged for row in rows for result in row)
    stand_in = worst_value(question, table.all_results()) if any_diverged else math.nan  # which then nothing counts with
    scores = tuple(tuple(value_of(result, question.metric, stand_in) for result in row) for row in rows)
    diverged = tuple(sum(result.diverged for result in row) for row in rows)
    begun = [point for some in tried.values() for point in some if point not in tried.get(stop_after, [])]
    stopped = tuple(point for index, point in enumerate(begun) if point not in begun[:index])
    found = Tuned(arm, tuple(points), scores, diverged, points[0], stopped)
    return replace(found, point=best_points(found, question.goal, 1)[0])


def best_points(found: Tuned, goal: Goal, count: int) -> list[Point]:
    """The points of an arm with the best means, best first; among equally good ones those with the smallest learning rates."""
    sign = direction(goal)
    order = sorted(range(len(found.points)), key=lambda index: (-sign * found.means[index], index))
    return [found.points[index] for index in order[:count]]
