"""A store with a study whose trials were made up, so that reports need no training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from equipoise.hyperparameters import Hyperparameters
from equipoise.study._analysis import tune
from equipoise.study._cells import Cell, Cost, Failure, Result, Table
from equipoise.study._records import record_cells, record_study
from equipoise.study._spec import Study
from equipoise.study._store import Store, sqlite_url
from equipoise.study._task_source import TaskSource

FILE = 'name = "widgets"  # <b>made</b>\n'

DIVERGED, COLLAPSED, FAILED = 10_001, 10_002, 10_003
"""The seeds with which the third arm diverges, the fourth ends far from its others, and the second fails."""


def make_store(
    place: Path | str,
    *,
    name: str = "widgets",
    gain: float = 0.03,
    arms: Sequence[str] = ("adamw", "sgd", "quarter", "kadam"),
    metric: str = "accuracy",
    select_by: str = "validation_accuracy",
    more: Sequence[str] = ("loss",),
    tuned: bool = True,
    compared: float | None = 1.0,
    trouble: bool = False,
    epochs: int = 4,
    seeds: int = 7,
) -> Store:
    """Make it.

    Args:
        place: of its file, or a URL.
        name: of the study.
        gain: what the second arm is better by than the baseline.
        arms: four names, the baseline first.
        metric: what decides.
        select_by: what chooses.
        more: the names of other reported numbers.
        tuned: whether the tuning is finished; if not, half of it is.
        compared: the share of the comparison that is finished; None: it is not planned yet.
        trouble: whether seeds diverge, collapse and fail.
        epochs: of a trial.
        seeds: of the comparison.
    """
    optimizers = ("adamw", "sgd", "equipoise.SMES", "equipoise.KAdam")
    space = {"lr": {"low": 1e-4, "high": 1e-1}, "weight_decay": [0.0, 0.1]}
    study = Study.model_validate(
        {
            "name": name,
            "task": "digits",
            "metric": metric,
            "select_by": {"metric": select_by, "goal": "maximize"},
            "goal": "maximize",
            "epochs": epochs,
            "seeds": seeds,
            "tuning_seeds": 2,
            "points": 4,
            "arm": [
                {"name": name, "optimizer": optimizer, "search": space, "baseline": index == 0}
                for index, (name, optimizer) in enumerate(zip(arms, optimizers, strict=True))
            ],
        }
    )
    table = Table(study, TaskSource("equipoise.study._tasks.digits", "digits", "/made"))
    table.hyperparameters = {arms[0]: Hyperparameters.parse((0.9, 0.999)), arms[2]: Hyperparameters.parse((0.9, 0.99), 0.25)}
    noise = np.random.default_rng(0)

    def train(cell: Cell) -> None:
        index, seed, rate = arms.index(cell.arm), cell.assignment.seed, cell.assignment.learning_rate
        diverges, collapses, fails = (
            trouble and seed == at and index == which for at, which in ((DIVERGED, 2), (COLLAPSED, 3), (FAILED, 1))
        )
        if fails:
            cell.failure = Failure("killed by signal 9", "widgets.logs/one.log", "the last <b>line</b>\n")
            store.add_failure(study.name, cell)
            return
        end = (
            0.1
            if collapses
            else 0.9 + (gain if index == 1 else 0.0) - 0.02 * abs(math.log10(rate) + 2) + noise.normal(0, 0.004)
        )
        curves: dict[str, dict[int, float]] = {name: {} for name in (metric, select_by, *more)}
        for epoch in range(1, (2 if diverges else epochs) + 1):
            for name in curves:
                curves[name][epoch] = end * (1 - 0.5**epoch) if name in (metric, select_by) else 0.5**epoch
        if diverges:
            curves[metric] |= {1: 0.05, 2: math.nan}
        cell.result = Result(diverges, 10.0 + index, curves, Cost(600_000_000, 8_000, 1_000))
        store.add(study.name, cell)

    store = Store(sqlite_url(place) if isinstance(place, Path) else place)
    tuning = table.plan_tuning()
    store.do(lambda connection: record_study(connection, table, FILE, store.address))
    store.do(lambda connection: record_cells(connection, table, tuning))
    for cell in tuning[: len(tuning) // (1 if tuned else 2)]:
        train(cell)
    if tuned and compared is not None:
        chosen = {found.arm.name: found.point for arm in study.arms if (found := tune(table, arm)) is not None}
        comparison = table.plan_comparison(chosen)
        store.do(lambda connection: record_cells(connection, table, comparison))
        for cell in comparison[: round(compared * len(comparison))]:
            train(cell)
    return store
