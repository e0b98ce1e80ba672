"""A study as a table of cells: every trial with what it trains, why, and in the end its result."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Any, Literal, TypeAlias

from equipoise._version import __version__
from equipoise.hyperparameters import Hyperparameters
from equipoise.study._arms.arm import Arm
from equipoise.study._arms.schedule import ScheduleName
from equipoise.study._arms.space import Point
from equipoise.study._spec import Study
from equipoise.study._task_source import TaskSource

Phase: TypeAlias = Literal["tuning", "comparison"]
"""First the tuning seeds choose among the points of every arm, then fresh seeds compare the arms."""

SCHEDULED = "learning_rate"
"""The name under which the learning rate is kept with every report, where an arm's schedule moves it."""


@dataclass(frozen=True)
class Assignment:
    """Everything that determines the outcome of one trial, and nothing else."""

    task: TaskSource
    metric: str
    epochs: int
    optimizer: str
    arguments: dict[str, Any]
    learning_rate: float
    seed: int
    controller: dict[str, Any] | None = None
    """The name of the controller's class, and its arguments."""
    threads: int = 1
    """Sums over more threads round differently: another number of them is another trial."""
    schedule: ScheduleName | None = None
    """How the learning rate falls; None for the task's own way."""
    warmup: float = 0.0
    """The share of the steps in which the learning rate rises."""
    stop_after: int | None = None
    """The epoch after which the trial ends, if that is not the last one."""
    select_by: str | None = None
    """What the task has to report besides the metric."""
    point: dict[str, Any] = field(default_factory=dict[str, Any])
    """What of all this was searched, by its key in the study file."""

    @property
    def needed(self) -> set[str]:
        """What the task has to report."""
        return {self.metric, self.select_by or self.metric}

    @property
    def key(self) -> str:
        """What a trial trains, for the store: equal assignments are the same trial, under whatever arm's name.

        The text of the task is not part of it. The store holds beside each trial the sources that it ran.
        """
        identity = asdict(self)
        # The same file in another folder is the same task, and every reported number is kept, whichever decides.
        identity["task"] = [self.task.place, self.task.function]
        for name in ("metric", "select_by", "point"):
            del identity[name]
        for name, usual in {"controller": None, "threads": 1, "schedule": None, "warmup": 0.0, "stop_after": None}.items():
            if identity[name] == usual:  # as it was before there were any
                del identity[name]
        identity["software"] = [__version__, version("torch")]
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Cost:
    """What a trial took besides time."""

    memory: int
    """The most bytes that its process had in memory, or on its GPU where it used one."""
    state: int
    """The bytes of the optimizer's state."""
    parameters: int
    """The number of parameters that the optimizer trained."""


@dataclass
class Result:
    """A finished trial."""

    diverged: bool
    seconds: float
    curves: dict[str, dict[int, float]] = field(default_factory=dict[str, dict[int, float]])
    """Reported numbers: name -> epoch -> value."""
    cost: Cost | None = None
    """None for a trial that was finished before costs were kept."""

    def last(self, name: str) -> float:
        """The last value reported under that name; NaN if there is none."""
        curve = self.curves.get(name, {})
        return curve[max(curve)] if curve else math.nan


@dataclass(frozen=True)
class Failure:
    """An attempt at a trial that came to no result."""

    reason: str
    """What happened, in one line."""
    log: str
    """The file that holds what the trial printed."""
    output: str
    """The end of that."""


@dataclass
class Cell:
    """One trial of one arm."""

    arm: str
    """The arm's name."""
    phase: Phase
    assignment: Assignment
    result: Result | None = None
    """What came of it; None until the trial is finished."""
    failure: Failure | None = None
    """Why it has no result, if it was tried."""

    @property
    def label(self) -> str:
        """The cell in a few words, for progress and messages."""
        return f"{self.arm} {Point(self.assignment.point)} seed={self.assignment.seed}"

    @property
    def why_missing(self) -> str:
        """Why the trial has no result, in one line."""
        return self.failure.reason if self.failure else "not run"


class Table:
    """The cells of a study. They are planned here, filled by the store and by processes, and read by the analysis.

    Args:
        study: what is compared.
        task: the task of the study, located.
    """

    def __init__(self, study: Study, task: TaskSource) -> None:
        self.study = study
        self.task = task
        self.cells: list[Cell] = []
        self._of: dict[tuple[Phase, str], list[Cell]] = {}
        self.hyperparameters: dict[str, Hyperparameters] = {}
        """The betas, exponents and stages of the arms whose optimizers have the update rule, by the arm's name."""

    def add(self, cells: Sequence[Cell]) -> None:
        """Add cells that are planned."""
        self.cells += cells
        for cell in cells:
            self._of.setdefault((cell.phase, cell.arm), []).append(cell)

    def plan_tuning(self) -> list[Cell]:
        """Add the cells that tuning begins with, of every point of every arm, and return them."""
        points = {arm.name: self.study.points_of(arm) for arm in self.study.arms}
        return self._plan("tuning", self.study.seeds_for_tuning, points, self.study.rungs[0].stop_after)

    def plan_more_tuning(self, points: Mapping[str, Sequence[Point]], stop_after: int | None = None) -> list[Cell]:
        """Add cells that go on tuning, and return them.

        Args:
            points: of the arms, by their names.
            stop_after: the epoch after which they end, if that is not the last one.
        """
        return self._plan("tuning", self.study.seeds_for_tuning, points, stop_after)

    def plan_comparison(self, chosen: Mapping[str, Point]) -> list[Cell]:
        """Add the cells that compare the arms on fresh seeds, and return them.

        Args:
            chosen: the point of every arm that is compared, by its name.
        """
        return self._plan("comparison", self.study.seeds_for_comparison, {arm: [point] for arm, point in chosen.items()})

    def tuned_points(self, arm: str) -> dict[int | None, list[Point]]:
        """The points of an arm that tuning tries, by the epoch after which their trials end; None for the last one."""
        found: dict[int | None, list[Point]] = {}
        for cell in self.cells:
            assigned = cell.assignment
            if (cell.phase, cell.arm, assigned.seed) == ("tuning", arm, self.study.seeds_for_tuning[0]):
                found.setdefault(assigned.stop_after, []).append(Point(assigned.point))
        return found

    def results(self, phase: Phase, arm: str, point: Point, stop_after: int | None = None) -> dict[int, Result]:
        """The results of one arm at one point by their seeds, in the order of the seeds. Those of failed trials are missing."""
        return {
            cell.assignment.seed: cell.result
            for cell in self._of.get((phase, arm), [])
            if (cell.assignment.point, cell.assignment.stop_after) == (point.values, stop_after) and cell.result is not None
        }

    def missing(self) -> list[Cell]:
        """The cells whose trials came to no result."""
        return [cell for cell in self.cells if cell.result is None]

    def all_results(self) -> list[Result]:
        """The results of all cells that have one."""
        return [cell.result for cell in self.cells if cell.result is not None]

    def _plan(
        self, phase: Phase, seeds: Sequence[int], points: Mapping[str, Sequence[Point]], stop_after: int | None = None
    ) -> list[Cell]:
        # Seed by seed, so that an interrupted study has something of every arm.
        planned = [
            Cell(arm.name, phase, _assignment(self.study, self.task, arm, point, seed, stop_after))
            for seed in seeds
            for arm in self.study.arms
            for point in points.get(arm.name, [])
        ]
        self.add(planned)
        return planned


def trials(cells: Iterable[Cell]) -> list[Cell]:
    """One cell for each trial: arms that differ in nothing but their names share their trials."""
    return list({cell.assignment.key: cell for cell in cells}.values())


def _assignment(study: Study, task: TaskSource, arm: Arm, point: Point, seed: int, stop_after: int | None) -> Assignment:
    schedule, warmup = arm.schedule_at(point)
    return Assignment(
        task,
        study.metric,
        study.epochs,
        arm.ready_made.optimizer,
        arm.arguments_at(point),
        point.lr,
        seed,
        None if arm.controller is None else arm.controller.model_dump(),
        study.threads,
        schedule,
        warmup,
        stop_after,
        study.selection.metric,
        dict(point.values),
    )
