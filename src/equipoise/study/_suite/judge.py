"""The decision over several tasks on results that others made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Unpack

from equipoise._words import printable
from equipoise.errors import UnusableInputError
from equipoise.study._judging.judge import Asked, judge_table, read_results
from equipoise.study._judging.runs import label
from equipoise.study._judging.tables import ResultTable, Row
from equipoise.study._suite.analysis import SuiteAnalysis

MOST_TASKS = 100


def judge_suite(path: Path | str, *, task: str, **asked: Unpack[Asked]) -> SuiteAnalysis:
    r"""Judge results on several tasks that others made: the same statistics as those of a suite, and nothing is run.

    Args:
        path: as for :func:`judge`; event files lie in ``"{TASK}/{ARM}/{SEED}"`` by default.
        task: the column that names the tasks.
        asked: all other arguments of :func:`judge`. They hold for every task.

    Raises:
        UnusableInputError, ArgumentError, MissingExtraError: as :func:`judge`; or there are more than 100 tasks.

    Example:
        >>> import tempfile
        >>> from equipoise.study import judge_suite
        >>> rows = [
        ...     f"{task},adamw,{seed},{0.90 + seed / 100}\n{task},sgd,{seed},{0.92 + seed / 90}\n"
        ...     for task in ("digits", "words")
        ...     for seed in range(6)
        ... ]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "results.csv")
        ...     _ = path.write_text("task,optimizer,seed,accuracy\n" + "".join(rows))
        ...     found = judge_suite(
        ...         path, task="task", arm="optimizer", seed="seed", metric="accuracy", baseline="adamw"
        ...     )
        >>> print(found.headline)
        Use sgd in place of adamw: better on all 2 tasks.
    """
    pattern = f"{{{task}}}/{{{asked['arm']}}}/{{{asked['seed']}}}"
    table, asked = read_results(Path(path), pattern, **asked)
    parts = _by_task(table, table.column(task))
    analyses = {
        name: judge_table(part, name, f"{path}, {task} {printable(name, 60)!r}", tasks=len(parts), **asked)
        for name, part in parts.items()
    }
    arms = dict.fromkeys(arm.name for analysis in analyses.values() for arm in analysis.arms)
    return SuiteAnalysis(Path(path).resolve().stem, analyses, {}, tuple(arms), asked["baseline"])


def _by_task(table: ResultTable, column: str) -> dict[str, ResultTable]:
    rows: dict[str, list[Row]] = {}
    for row in table.rows:
        rows.setdefault(label(row, column), []).append(row)
    if len(rows) > MOST_TASKS:
        raise UnusableInputError(
            f"{table.source}: the column {column!r} has {len(rows):,} different values, which are to be tasks: accepted are up"
            f" to {MOST_TASKS}"
        )
    return {task: replace(table, rows=tuple(own)) for task, own in rows.items()}
