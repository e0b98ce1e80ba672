"""From the finished cells to a verdict: the point of each arm, its values on fresh seeds, the contrasts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from equipoise.errors import StudyStoppedError
from equipoise.hyperparameters import Hyperparameters
from equipoise.study._arms.arm import Arm
from equipoise.study._arms.space import Point, Range
from equipoise.study._cells import Result, Table
from equipoise.study._spec import Study
from equipoise.study._statistics import LEVEL, Contrast, compare, seeds_within_reach, smallest_adjusted_p_value


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

    @property
    def chosen(self) -> float:
        """The learning rate of the chosen point."""
        return self.point.lr

    @property
    def rates(self) -> tuple[float, ...]:
        """The learning rate of each point."""
        return tuple(point.lr for point in self.points)

    @property
    def means(self) -> list[float]:
        """The mean over tuning seeds, per point."""
        return [math.fsum(row) / len(row) for row in self.scores]

    @property
    def edges(self) -> tuple[str, ...]:
        """The searched keys whose chosen value is the smallest or the largest that was tried: a better one may lie beyond.

        Learning rates and ranges have edges. Any other list holds all that there is.
        """
        found: list[str] = []
        for key, value in self.point.values.items():
            tried = [point.values[key] for point in self.points]
            ordered = key == "lr" or isinstance(self.arm.space.get(key), Range)
            if ordered and min(tried) < max(tried) and value in (min(tried), max(tried)):
                found.append(key)
        return tuple(found)

    @property
    def at_edge(self) -> bool:
        """Whether the best point may lie outside of the space that was tried."""
        return bool(self.edges)


@dataclass(frozen=True)
class Compared:
    """One arm at its point on the comparison seeds."""

    tuned: Tuned
    results: tuple[Result, ...]
    """One per comparison seed."""
    values: tuple[float, ...]
    """The metric at the end, one per comparison seed; a diverged trial counts with the worst value seen."""

    @property
    def name(self) -> str:
        """The name of the arm."""
        return self.tuned.arm.name

    @property
    def diverged(self) -> int:
        """How many comparison seeds diverged."""
        return sum(result.diverged for result in self.results)

    @property
    def mean(self) -> float:
        """The mean over comparison seeds."""
        return math.fsum(self.values) / len(self.values)


@dataclass(frozen=True)
class Analysis:
    """The result of a finished study.

    ``analysis.headline`` is the verdict in one sentence, ``analysis.remarks`` what a reader must know to judge it,
    ``analysis.arms`` every arm's values on the fresh seeds, and ``analysis.contrasts`` its comparison with the baseline.
    """

    study: Study
    arms: tuple[Compared, ...]
    """In the order of the file."""
    contrasts: tuple[Contrast, ...]
    """The comparison of every arm but the baseline with it, in the order of the file."""
    diverged_value: float
    """What a diverged trial counted with, if there was one."""
    hyperparameters: Mapping[str, Hyperparameters] = field(default_factory=dict[str, Hyperparameters])
    """The betas, exponents and stages of the arms whose optimizers have the update rule, by the arm's name."""

    @property
    def headline(self) -> str:
        """The verdict in one sentence."""
        baseline = self.study.baseline.name
        better = sorted((c for c in self.contrasts if c.verdict == "better"), key=lambda c: -c.mean)
        if not better:
            return f"No arm is shown to beat {baseline}."
        best = better[0]
        others = f"; so do {', '.join(c.arm for c in better[1:])}" if better[1:] else ""
        return f"{best.arm} beats {baseline}: {self.study.metric} better by {self.difference(best)}{others}."

    @property
    def remarks(self) -> list[str]:
        """What a reader must know to judge the verdict, most important first."""
        study, found = self.study, list[str]()
        least = smallest_adjusted_p_value(study.seeds, len(self.contrasts))
        if least > LEVEL:
            found.append(
                f"With {study.seeds} seeds and {len(self.contrasts)} comparison(s) significance is out of reach: no p value can"
                f" fall below {least:.3g}. Use seeds = {seeds_within_reach(len(self.contrasts))} or more."
            )
        worse = [c.arm for c in self.contrasts if c.verdict == "worse"]
        if worse:
            found.append(f"Shown to be worse than {study.baseline.name}: {', '.join(worse)}.")
        found += [
            f"{arm.name}: {arm.diverged} of {study.seeds} seeds diverged, each counted as {study.metric} ="
            f" {self.diverged_value:.4g}, {'as the study file says' if study.diverged is not None else 'the worst value seen'}."
            for arm in self.arms
            if arm.diverged
        ]
        edges = [
            f"{arm.name} ({', '.join(f'{key} = {arm.tuned.point.values[key]:g}' for key in arm.tuned.edges)})"
            for arm in self.arms
            if arm.tuned.at_edge
        ]
        if edges:
            found.append(f"The best value lies at the edge of the range that was tried; widen it: {', '.join(edges)}.")
        if study.selection.metric == study.metric:
            found.append(selected_by_metric(study))
        return found

    def difference(self, contrast: Contrast) -> str:
        """A contrast in words: mean, interval, adjusted p value."""
        low, high = contrast.interval
        digits = decimals(high - low)
        return (
            f"{contrast.mean:+.{digits}f} (95 % interval {low:+.{digits}f} to {high:+.{digits}f},"
            f" p = {contrast.adjusted_p_value:.2g})"
        )


def tune(table: Table, arm: Arm) -> Tuned:
    """Choose among the points of an arm, by what the study selects by.

    Args:
        table: with the results of every tuning trial.
        arm: one of the study.
    """
    study = table.study
    metric, goal = study.selection.metric, study.selection.goal
    fallback = study.diverged if metric == study.metric else None
    stand_in = worst_value(metric, goal, table.all_results()) if fallback is None else fallback
    points = sorted(study.points_of(arm), key=lambda point: point.lr)
    rows = [table.results("tuning", arm.name, point) for point in points]
    scores = tuple(tuple(_value(metric, result, stand_in) for result in row) for row in rows)
    sign = 1.0 if goal == "maximize" else -1.0
    best = max(range(len(points)), key=lambda index: (sign * math.fsum(scores[index]), -index))
    diverged = tuple(sum(result.diverged for result in row) for row in rows)
    return Tuned(arm, tuple(points), scores, diverged, points[best])


def analyse(table: Table, tuned: Sequence[Tuned]) -> Analysis:
    """Compare the arms.

    Args:
        table: with the results of every trial.
        tuned: the point of every arm, in the order of the study.
    """
    study = table.study
    stand_in = diverged_value(study, table.all_results())
    arms: list[Compared] = []
    for found in tuned:
        results = tuple(table.results("comparison", found.arm.name, found.point))
        arms.append(Compared(found, results, tuple(_value(study.metric, result, stand_in) for result in results)))
    contrasts = compare({arm.name: arm.values for arm in arms}, study.baseline.name, study.goal)
    return Analysis(study, tuple(arms), tuple(contrasts), stand_in, table.hyperparameters)


def diverged_value(study: Study, results: Iterable[Result]) -> float:
    """What a diverged trial counts with: the study file's value, else the worst that any trial reported at any time.

    Raises:
        StudyStoppedError: nothing finite was ever reported.
    """
    return worst_value(study.metric, study.goal, results) if study.diverged is None else study.diverged


def worst_value(metric: str, goal: Literal["maximize", "minimize"], results: Iterable[Result]) -> float:
    """The worst finite value that any trial reported at any time.

    Raises:
        StudyStoppedError: nothing finite was ever reported.
    """
    seen = [value for result in results for value in result.curves.get(metric, {}).values() if math.isfinite(value)]
    if not seen:
        raise StudyStoppedError(f"no trial reported a finite {metric!r}: every one diverged; try lower learning rates")
    return min(seen) if goal == "maximize" else max(seen)


def selected_by_metric(study: Study) -> str:
    """The warning of a study in which one number both chooses and decides."""
    return (
        f"{study.metric} chooses the point of each arm and also decides between the arms. If it is measured on test data, the"
        " verdict favours arms that were lucky when they were tuned. Let the task report a number of validation data too, and"
        ' name it: select_by = "validation_accuracy", for example.'
    )


def decimals(spread: float) -> int:
    """How many decimals show two significant digits of a spread.

    Example:
        >>> decimals(0.034), decimals(12.0), decimals(0.0)
        (3, 0, 4)
    """
    return 4 if spread <= 0 else max(0, 1 - math.floor(math.log10(spread)))


def _value(metric: str, result: Result, stand_in: float) -> float:
    return stand_in if result.diverged else result.last(metric)
