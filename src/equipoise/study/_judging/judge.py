"""The verdict of a study on results that others made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Required, TypedDict, Unpack

from equipoise._words import listed, printable
from equipoise.errors import ArgumentError, UnusableInputError
from equipoise.study._analysis import Analysis, Compared, Question, decide, value_of, worst_value
from equipoise.study._judging.event_folders import SECONDS, STEP, read_event_folders
from equipoise.study._judging.runs import Columns, Runs, read_runs
from equipoise.study._judging.tables import ResultTable, read_table
from equipoise.study._names import Goal, goal_told_by


def judge(
    path: Path | str,
    *,
    arm: str,
    seed: str,
    metric: str,
    baseline: str,
    goal: Goal | None = None,
    epoch: str | None = None,
    seconds: str | None = None,
    margin: float | None = None,
    target: float | None = None,
    diverged: float | None = None,
    folders: str | None = None,
    where: Mapping[str, str] | None = None,
    status: str | None = None,
) -> Analysis:
    r"""Judge results that others made as those of a study: the same statistics, and nothing is run.

    Args:
        path: a table (CSV, JSON lines, a JSON list; also as W&B and MLflow export them), or a folder of event files of
            TensorBoard.
        arm: the column that names the arms. A column ``params.optimizer`` is found by ``optimizer`` too.
        seed: the column that pairs the runs: arms are compared with the baseline on the seeds that both have.
        metric: the column of the number that decides; of event files, the tag.
        baseline: the arm that the others are compared with.
        goal: whether larger or smaller values are better; by default what the metric's name tells.
        epoch: the column that orders the rows of a run, if it has several; the last decides.
        seconds: the column of the time that a run has taken.
        margin: differences up to this do not matter.
        target: also compare how long the arms take until the metric reaches this.
        diverged: what a run without a finite number at its end counts with; by default the worst value of all runs.
        where: only rows with these values count, by the name of the column: ``{"phase": "comparison"}``.
        status: the column that says how a run ended: where it is "diverged", the run did, whatever number it ended with.
        folders: where event files lie below `path`, by default ``"{ARM}/{SEED}"`` with the names of `arm` and `seed`.

    Raises:
        UnusableInputError: the results cannot be read, or do not hold what is asked for.
        ArgumentError: an argument is not accepted.
        MissingExtraError: `path` is a folder, and TensorBoard is not installed.

    Example:
        >>> import tempfile
        >>> from equipoise.study import judge
        >>> rows = [f"adamw,{seed},{0.90 + seed / 100}\nsgd,{seed},{0.92 + seed / 90}\n" for seed in range(6)]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "results.csv")
        ...     _ = path.write_text("optimizer,seed,accuracy\n" + "".join(rows))
        ...     analysis = judge(path, arm="optimizer", seed="seed", metric="accuracy", baseline="adamw")
        >>> print(analysis.headline)
        sgd beats adamw: accuracy better by +0.0228 (95 % interval +0.0206 to +0.0250, p = 1.3e-06).
    """
    asked: Asked = {
        "arm": arm,
        "seed": seed,
        "metric": metric,
        "baseline": baseline,
        "goal": goal,
        "epoch": epoch,
        "seconds": seconds,
        "margin": margin,
        "target": target,
        "diverged": diverged,
        "folders": folders,
        "where": where,
        "status": status,
    }
    table, asked = read_results(Path(path), f"{{{arm}}}/{{{seed}}}", **asked)
    return judge_table(table, Path(path).resolve().stem, str(path), **asked)


class Asked(TypedDict, total=False):
    """What is asked of results: the arguments of :func:`judge` after the first."""

    arm: Required[str]
    seed: Required[str]
    metric: Required[str]
    baseline: Required[str]
    goal: Goal | None
    epoch: str | None
    seconds: str | None
    margin: float | None
    target: float | None
    diverged: float | None
    folders: str | None
    where: Mapping[str, str] | None
    status: str | None


def read_results(path: Path, pattern: str, **asked: Unpack[Asked]) -> tuple[ResultTable, Asked]:
    """The rows that count, and what is asked of them: a folder of event files has columns of its own.

    Args:
        path: a table, or a folder of event files.
        pattern: where the event files of a run lie, if nothing else is said.
        asked: as for :func:`judge`.
    """
    margin, target, folders = asked.get("margin"), asked.get("target"), asked.get("folders")
    for name, value in (("margin", margin), ("target", target), ("diverged", asked.get("diverged"))):
        if value is not None and not math.isfinite(value):
            raise ArgumentError(name, value, "a finite number")
    if margin is not None and margin <= 0:
        raise ArgumentError("margin", margin, "positive")
    if path.is_dir():
        table = read_event_folders(path, folders or pattern, asked["metric"])
        asked["epoch"], asked["seconds"] = STEP, SECONDS
    elif folders is not None:
        raise ArgumentError("folders", folders, "left out where the results are a file")
    else:
        table = read_table(path)
    if target is not None and asked.get("epoch") is None:
        raise ArgumentError("target", target, "left out where no column of epochs tells when a run reached it")
    for column, value in (asked.get("where") or {}).items():
        table = table.only(column, value)
    return table, asked


def judge_table(table: ResultTable, name: str, source: str, *, tasks: int = 1, **asked: Unpack[Asked]) -> Analysis:
    """The verdict on rows.

    Args:
        table: the rows that count.
        name: of the question.
        source: where they are from, for messages.
        tasks: how many tasks are decided together, of which this is one.
        asked: as for :func:`judge`.
    """
    metric, baseline, epoch = asked["metric"], asked["baseline"], asked.get("epoch")
    columns = Columns(asked["arm"], asked["seed"], metric, epoch, asked.get("seconds"), asked.get("status"))
    runs = read_runs(table, columns)
    _check_pairs(source, runs, baseline)
    goal = asked.get("goal") or _told_by(metric)
    margin, target, diverged = asked.get("margin"), asked.get("target"), asked.get("diverged")
    question = Question(name, metric, goal, baseline, margin, target, diverged, epoch or "row", tasks)
    results = [result for own in runs.values() for result in own.values()]
    if all(result.diverged for result in results):
        raise UnusableInputError(f"{source}: no run ends with a finite {metric}")
    stand_in = worst_value(question, results)
    arms = [
        Compared(
            name=arm,
            seeds=tuple(own),
            results=tuple(own.values()),
            values=tuple(value_of(result, metric, stand_in) for result in own.values()),
        )
        for arm, own in runs.items()
    ]
    return decide(question, arms, stand_in)


def _check_pairs(path: str, runs: Runs, baseline: str) -> None:
    names = listed([repr(printable(name, 60)) for name in runs], 10)
    if baseline not in runs:
        raise UnusableInputError(f"{path} has no arm {baseline!r} to be the baseline; its arms are {names}")
    if len(runs) == 1:
        raise UnusableInputError(f"{path} has one arm only: {names}; at least two are needed to compare")
    for name, own in runs.items():
        shared = [seed for seed in own if seed in runs[baseline]]
        if len(shared) < 2:
            raise UnusableInputError(
                f"{path}: arm {printable(name, 60)!r} has {len(shared)} seeds that the baseline has too: at least 2 are needed,"
                " because arms are compared seed by seed"
            )


def _told_by(metric: str) -> Goal:
    goal = goal_told_by(metric)
    if goal is None:
        raise ArgumentError("goal", None, f"'maximize' or 'minimize' here: the name {metric!r} does not tell which is better")
    return goal
