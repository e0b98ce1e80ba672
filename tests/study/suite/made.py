"""Suites of made up results, so that reports need no training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from equipoise.study._analysis import Analysis, Compared, Question, decide
from equipoise.study._cells import Result
from equipoise.study._report.stored import read_record
from equipoise.study._suite.analysis import SuiteAnalysis
from equipoise.study._suite.spec import Part, Suite
from tests.study.report.made import make_store


def make_suite(folder: Path, **more: float) -> Suite:
    """Two tasks, kept in stores of their own: on the first the arm sgd is better than the baseline, on the second worse.

    Args:
        folder: where the stores are.
        more: arguments of the second store.
    """
    parts: dict[str, Part] = {}
    for task, options in {"widgets": {}, "gadgets": {"gain": -0.03, **more}}.items():
        store = make_store(folder / f"{task}.db", name=task, **options)
        parts[task] = Part(read_record(store).study, folder, task)
        store.close()
    return Suite("both", parts)


def made_analysis(
    tasks: Mapping[str, Mapping[str, Sequence[float]]], goal: str = "maximize", margin: float | None = None
) -> SuiteAnalysis:
    """The analysis of made up values, task -> arm -> one for each seed; the first arm is the baseline."""
    arms = list(next(iter(tasks.values())))
    return SuiteAnalysis(
        "made",
        {task: _decided(task, values, goal, margin, len(tasks)) for task, values in tasks.items()},
        {},
        tuple(arms),
        arms[0],
    )


def _decided(task, values, goal, margin, tasks) -> Analysis:
    question = Question(task, "metric", goal, next(iter(values)), margin, tasks=tasks)
    compared = [
        Compared(arm, tuple(range(len(own))), tuple(Result(False, 1.0) for _ in own), tuple(own)) for arm, own in values.items()
    ]
    return decide(question, compared, 0.0)
