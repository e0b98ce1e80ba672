"""What an analysis answers, and what a diverged run counts with."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from equipoise.errors import StudyStoppedError
from equipoise.study._cells import Result
from equipoise.study._names import Goal
from equipoise.study._spec import Selection, Study


@dataclass(frozen=True)
class Question:
    """What an analysis answers: the number that decides, and what it is measured by."""

    name: str
    """The name of the study."""
    metric: str
    goal: Goal
    baseline: str
    """The name of the arm that the others are compared with."""
    margin: float | None = None
    """Differences up to this do not matter."""
    target: float | None = None
    """The time until the metric reaches this is compared too."""
    diverged: float | None = None
    """What a diverged run counts with; None: the worst value that any run reported."""
    unit: str = "epoch"
    """What the curves are counted in."""
    tasks: int = 1
    """How many tasks are decided together: the intervals of all of them hold at once."""

    @classmethod
    def of_study(cls, study: Study, tasks: int = 1) -> Question:
        """What a study asks, alone or as one of several tasks that are decided together."""
        base = study.baseline.name
        return cls(study.name, study.metric, study.goal, base, study.margin, study.target, study.diverged, tasks=tasks)

    @classmethod
    def of_selection(cls, study: Study) -> Question:
        """What chooses among the points of an arm. A margin in the metric's unit is one here if `select_by` shares its goal."""
        chosen = study.selection
        margin = None if isinstance(study.select_by, Selection) else study.margin
        diverged = study.diverged if chosen.metric == study.metric else None
        return cls(study.name, chosen.metric, chosen.goal, study.baseline.name, margin, diverged=diverged)


def worst_value(question: Question, results: Iterable[Result]) -> float:
    """What a diverged run counts with: the value set for it, else the worst that any run reported at any time.

    Raises:
        StudyStoppedError: nothing finite was ever reported.
    """
    if question.diverged is not None:
        return question.diverged
    curves = (result.curves.get(question.metric, {}) for result in results)
    seen = [value for curve in curves for value in curve.values() if math.isfinite(value)]
    if not seen:
        raise StudyStoppedError(f"no trial reported a finite {question.metric!r}: every one diverged; try lower learning rates")
    return min(seen) if question.goal == "maximize" else max(seen)


def value_of(result: Result, metric: str, stand_in: float) -> float:
    """What a run counts with: the last value of the metric, or what stands in for it if the run diverged."""
    return stand_in if result.diverged else result.last(metric)
