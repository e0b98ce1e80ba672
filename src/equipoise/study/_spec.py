"""What a study is: the TOML file, checked."""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from equipoise._files import parse_toml, read_text
from equipoise.errors import UnusableInputError
from equipoise.study._arms.arm import Arm, LearningRateRange, LearningRates
from equipoise.study._arms.space import MOST_POINTS, Axis, Point, Range, Space, axes_of, combinations, grid, quasi_random
from equipoise.study._arms.tuning import Rung, SelectBy, Selection, chooses_the_worst, rungs
from equipoise.study._faults import described
from equipoise.study._names import Goal, Name, storable
from equipoise.study._statistics.power import MOST_SEEDS

FIRST_COMPARISON_SEED = 10_000
"""Tuning seeds count from 0, comparison seeds from here: no seed that chose an arm's point is used to compare."""

FILE_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"

MOST_EPOCHS, MOST_EXTENSIONS = 10**9, 100


class Study(BaseModel):
    """A comparison of optimizers: what a study file holds.

    Raises:
        pydantic.ValidationError: a value is missing or not accepted; arms that have equal names, no baseline or two, nothing to
            be tuned over, or different numbers of points.

    Example:
        >>> study = Study(
        ...     name="widgets",
        ...     task="my_task.py:train",
        ...     metric="accuracy",
        ...     select_by="validation_accuracy",
        ...     goal="maximize",
        ...     epochs=5,
        ...     seeds=9,
        ...     tuning_seeds=2,
        ...     points=3,
        ...     arm=[
        ...         {"name": "adamw", "optimizer": "adamw", "baseline": True},
        ...         {"name": "sgd", "optimizer": "torch.optim.SGD", "learning_rates": [0.01, 0.1, 1.0]},
        ...     ],
        ... )
        >>> for arm in study.arms:
        ...     print(arm.name, *study.points_of(arm), sep=" | ")
        adamw | lr=0.00169765 weight_decay=0.1 | lr=0.0146465 weight_decay=0 | lr=0.0518321 weight_decay=0.01
        sgd | lr=0.01 | lr=0.1 | lr=1
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=FILE_NAME, max_length=200)
    """The store is NAME.db, and the report of the command NAME.report.html."""
    store: str | None = Field(default=None, pattern=FILE_NAME, max_length=200)
    """The name of another study: its store keeps the trials of this one too, and those that are the same in both run once."""
    task: Annotated[str, AfterValidator(storable)]
    """The name of a built-in task, ``file.py:function`` or ``package.module:function``: a function of one :class:`Trial`."""
    metric: Name
    """What decides: the last number that the task reports under this name."""
    select_by: SelectBy | None = None
    """What chooses among the points of an arm, with the study's goal, or with one of its own, as
    ``{ metric = "validation_loss", goal = "minimize" }``. By default it is `metric`, and the study warns: a number that has
    chosen is no fair judge."""
    goal: Goal
    epochs: int = Field(ge=1, le=MOST_EPOCHS)
    """How long every trial trains."""
    seeds: int = Field(ge=2, le=MOST_SEEDS)
    """The number of comparison seeds."""
    tuning_seeds: int = Field(ge=1, le=FIRST_COMPARISON_SEED)
    """The number of seeds that choose among the points of an arm."""
    learning_rates: LearningRates | None = None
    """What arms without a search of their own try: a list, or ``{ low = ..., high = ..., count = ... }``, evenly spaced on a
    logarithmic axis."""
    points: int | None = Field(default=None, ge=1, le=MOST_POINTS)
    """How many points each arm tries of its search, quasi-random. Without it, every combination of the lists in its search."""
    search_seed: int = Field(default=0, ge=0, le=2**32 - 1)
    """Another one draws other points."""
    extend: int = Field(default=0, ge=0, le=MOST_EXTENSIONS)
    """How often every arm gets a quarter more points while the best value of any lies at the edge of what was tried."""
    halving: int | None = Field(default=None, ge=2)
    """In tuning, stop hopeless points early: only the best one of so many goes on to so many times as many epochs."""
    diverged: float | None = Field(default=None, allow_inf_nan=False)
    """The metric that a diverged trial counts with; by default the worst value that any trial of the study reported."""
    threads: int = Field(default=1, ge=1)
    """How many threads every trial computes with. They are part of it: other numbers of threads round differently."""
    timeout: float = Field(default=3600, gt=0)
    """A trial that has neither reported nor printed anything for so many seconds hangs, and is ended as failed."""
    retries: int = Field(default=0, ge=0)
    """How often a run tries a trial again that failed."""
    margin: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Differences of the metric up to this do not matter: the study also shows which arms are as good, within it."""
    target: float | None = Field(default=None, allow_inf_nan=False)
    """The study also compares how long the arms take until the metric reaches this."""
    arms: list[Arm] = Field(alias="arm", min_length=2)

    @model_validator(mode="after")
    def _fair(self) -> Self:
        names = [arm.name for arm in self.arms]
        if len(set(names)) < len(names):
            raise ValueError(f"arm names must differ; they are {names}")
        baselines = [arm.name for arm in self.arms if arm.baseline]
        if len(baselines) != 1:
            raise ValueError(f"exactly one arm must have baseline = true; {baselines or 'none'} have it")
        for arm in self.arms if self.extend else ():
            self._searchable_axes(arm)
        counts = {arm.name: len(self.points_of(arm)) for arm in self.arms}
        if len(set(counts.values())) > 1:
            raise ValueError(f"every arm must try as many points, by its search or learning_rates; they try {counts}")
        if isinstance(self.select_by, str) and chooses_the_worst(self.select_by, self.metric, self.goal):
            other = "minimize" if self.goal == "maximize" else "maximize"
            raise ValueError(
                f"select_by = {self.select_by!r} with goal = {self.goal!r} would choose what is worst; write"
                f" select_by = {{ metric = {json.dumps(self.select_by)}, goal = {json.dumps(other)} }}"
            )
        return self

    @property
    def baseline(self) -> Arm:
        """The arm that the others are compared with."""
        return next(arm for arm in self.arms if arm.baseline)

    @property
    def selection(self) -> Selection:
        """What chooses among the points of an arm."""
        if isinstance(self.select_by, Selection):
            return self.select_by
        return Selection(metric=self.select_by or self.metric, goal=self.goal)

    @property
    def rungs(self) -> tuple[Rung, ...]:
        """The stages of tuning: without `halving` only one, of all points and epochs. Every stage trains from the beginning."""
        return rungs(len(self.points_of(self.baseline)), self.epochs, self.halving)

    @property
    def points_of_an_extension(self) -> int:
        """How many points every arm gets more where `extend` goes on: a quarter of what it had."""
        return max(1, len(self.points_of(self.baseline)) // 4)

    def points_of(self, arm: Arm) -> list[Point]:
        """The points that an arm is tuned over, as many as every other arm: a grid of lists, or quasi-random.

        Raises:
            ValueError: the arm has nothing to be tuned over, or not as many points.
        """
        space, where = self._space_of(arm), f"arm {arm.name!r}"
        most = combinations(space)
        if self.points is None or self.points == most:
            if most > MOST_POINTS:
                ranges = [key for key, entry in space.items() if isinstance(entry, Range)]
                reason = f"searches ranges ({', '.join(ranges)})" if ranges else f"has {most} combinations"
                raise ValueError(f"{where} {reason}; say how many points each arm tries, as points = 12")
            return grid(space)
        if self.points > most:
            raise ValueError(
                f"points = {self.points}, but {where} has only {most} to try: {space}; points must be at most that"
            )
        return list(itertools.islice(quasi_random(axes_of(space), self.search_seed), self.points))

    def further_points(self, arm: Arm, tried: Sequence[Point], best: Point, edges: Collection[str]) -> list[Point]:
        """A quarter more points, as many for every arm: beyond the edges where the best one lies, else again in its space.

        Args:
            arm: one of the study.
            tried: its points so far.
            best: one of them.
            edges: the keys of which `best` has the smallest or the largest value that was tried.
        """
        axes = self._searchable_axes(arm)
        for key in edges:
            axis, value = axes[key], best.values[key]
            assert isinstance(axis, Axis)  # lists have no edges
            axes[key] = axis.beyond(value, upwards=value == max(point.values[key] for point in tried))
        new = (point for point in quasi_random(axes, self.search_seed) if point not in tried)
        return list(itertools.islice(new, self.points_of_an_extension))

    def _searchable_axes(self, arm: Arm) -> dict[str, Axis | list[Any]]:
        """The axes of an arm, with a range between the smallest and the largest of its learning rates if these are a list."""
        axes = dict(axes_of(self._space_of(arm)))
        if isinstance(rates := axes["lr"], list):
            if len(rates) < 2:
                raise ValueError(
                    f"extend = {self.extend}, but arm {arm.name!r} tries the one learning rate {rates[0]}; write two"
                )
            axes["lr"] = Axis(min(rates), max(rates), "log")
        return axes

    def _space_of(self, arm: Arm) -> Space:
        if arm.search is not None:
            return arm.space
        rates = self.learning_rates if arm.learning_rates is None else arm.learning_rates
        if rates is not None:
            values = sorted(rates) if isinstance(rates, list) else rates.values()
            if len(set(values)) < len(values):
                raise ValueError(f"learning_rates of arm {arm.name!r} repeat a value; they must differ: {values}")
            return {"lr": values}
        if not arm.space:
            accepted = "write learning_rates = [...] or search = { lr = { low = 1e-4, high = 1e-1 } }"
            raise ValueError(f"arm {arm.name!r} has nothing to be tuned over: {accepted}")
        return arm.space

    @property
    def seeds_for_tuning(self) -> range:
        """The seeds of the trials that choose among the points of an arm."""
        return range(self.tuning_seeds)

    @property
    def seeds_for_comparison(self) -> range:
        """The seeds of the trials that compare: fresh, and the same for every arm."""
        return range(FIRST_COMPARISON_SEED, FIRST_COMPARISON_SEED + self.seeds)


TABLES = {"": Study, "<selection>": Selection, "<range>": Range, "<rates>": LearningRateRange}
"""What reads the tables of a study file, by the tag that pydantic puts into the place of a fault."""


def read_study(path: Path) -> Study:
    r"""Read and check a study file.

    Args:
        path: the TOML file.

    Raises:
        UnusableInputError: it is missing, not TOML, or not a study; the message lists every fault.

    Example:
        >>> import tempfile
        >>> head = 'name = "widgets"\ntask = "digits"\nmetric = "accuracy"\ngoal = "maximize"\n'
        >>> numbers = "epochs = 5\nseeds = 9\ntuning_seeds = 2\nlearning_rates = [0.001, 0.01]\n"
        >>> adamw = '[[arm]]\nname = "adamw"\noptimizer = "torch.optim.AdamW"\nbaseline = true\n'
        >>> quarter = '[[arm]]\nname = "quarter"\noptimizer = "equipoise.SMES"\nexponent = 0.25\n'
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "study.toml")
        ...     _ = path.write_text(head + numbers + adamw + quarter)
        ...     study = read_study(path)
        >>> study.metric, study.baseline.name
        ('accuracy', 'adamw')
    """
    return parse_study(read_text(path), path)


def parse_study(text: str, source: object) -> Study:
    """Check what stands in a study file.

    Args:
        text: the TOML.
        source: where it is from, for messages.

    Raises:
        UnusableInputError: it is not TOML, or not a study; the message lists every fault.
    """
    content = parse_toml(text, source)
    try:
        return Study.model_validate(content)
    except ValidationError as error:
        faults = "\n".join(f"  {fault}" for fault in described(error, TABLES))
        raise UnusableInputError(f"{source}: is not a study:\n{faults}") from None
