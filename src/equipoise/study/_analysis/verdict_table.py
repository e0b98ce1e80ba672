"""The verdict of a study as a table of words, the same for a terminal, a page, a notebook and Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from equipoise._words import counted, printable
from equipoise.study._analysis.arms import Compared
from equipoise.study._analysis.question import Question
from equipoise.study._arms.space import Point
from equipoise.study._spec import Study
from equipoise.study._statistics.paired import Contrast, direction
from equipoise.study._statistics.words import number_format

HEADINGS = ("arm", "verdict", "{metric}", "gain", "95 % interval", "p", "{searched}")

LONGEST_SENTENCE = 2000
"""A sentence that holds names of others is shown up to so many characters."""

NAME_SHOWN = 60
"""A name in a table is shown up to so many characters."""

LEARNING_RATE = "lr"

CHOSEN = "chosen"
"""Heads the column of what was chosen, where that is more than a learning rate."""

FAR = 4.0
"""Intervals are drawn up to so many times the median distance of their ends from 0, so that one does not flatten the others."""


@dataclass(frozen=True)
class DrawnInterval:
    """Where an interval lies on an axis from 0 to 100, whose middle is no difference from the baseline."""

    low: float
    mean: float
    high: float


@dataclass(frozen=True)
class VerdictTable:
    """The verdict for each arm."""

    headings: list[str]
    rows: list[tuple[str, ...]]
    """One per arm, best first; the baseline has no gain. Last is what was chosen, if it was tuned."""
    drawn: list[DrawnInterval | None]
    """The interval of each row; None for the baseline."""
    caption: str
    """How the numbers came about."""


def verdict_table(
    question: Question, arms: Sequence[Compared], contrasts: Sequence[Contrast], study: Study | None
) -> VerdictTable:
    """The table of an analysis.

    Args:
        question: what decides.
        arms: each on the seeds that compare.
        contrasts: with the baseline.
        study: what was run; None where the results were made elsewhere.
    """
    sign = direction(question.goal)
    best_first = sorted(arms, key=lambda arm: -sign * arm.mean)
    headings, rows = _headings(question, arms), _rows(best_first, contrasts)
    if all(arm.tuned is None for arm in arms):
        headings, rows = headings[:-1], [row[:-1] for row in rows]
    intervals = _drawn(contrasts)
    drawn = [intervals.get(arm.name) for arm in best_first]
    return VerdictTable(headings, rows, drawn, _caption(question, arms, contrasts[0].comparisons, study))


def _rows(arms: Sequence[Compared], contrasts: Sequence[Contrast]) -> list[tuple[str, ...]]:
    found = {contrast.arm: contrast for contrast in contrasts}
    spec = number_format(min((c.interval[1] - c.interval[0]) / 2 for c in contrasts))
    table: list[tuple[str, ...]] = []
    for arm in arms:
        name, value = printable(arm.name, NAME_SHOWN), f"{arm.mean:{spec}}"
        point = "" if arm.tuned is None else _values(arm.tuned.point)
        if arm.name not in found:
            table.append((name, "baseline", value, "", "", "", point))
            continue
        contrast = found[arm.name]
        low, high = contrast.interval
        gain, interval = f"{contrast.mean:+{spec}}", f"{low:+{spec}} to {high:+{spec}}"
        table.append((name, contrast.verdict, value, gain, interval, f"{contrast.adjusted_p_value:.2g}", point))
    return table


def _drawn(contrasts: Sequence[Contrast]) -> dict[str, DrawnInterval]:
    ends = [abs(end) for contrast in contrasts for end in contrast.interval]
    most = min(max(ends), FAR * statistics.median(ends)) or 1.0

    def place(value: float) -> float:
        return 50 + 50 * min(max(value / most, -1.0), 1.0)

    return {
        contrast.arm: DrawnInterval(place(contrast.interval[0]), place(contrast.mean), place(contrast.interval[1]))
        for contrast in contrasts
    }


def _headings(question: Question, arms: Sequence[Compared]) -> list[str]:
    keys = {key for arm in arms if arm.tuned is not None for key in arm.tuned.point.values}
    filled = {
        "{metric}": printable(question.metric, NAME_SHOWN),
        "{searched}": LEARNING_RATE if keys <= {LEARNING_RATE} else CHOSEN,
    }
    return [filled.get(heading, heading) for heading in HEADINGS]


def _values(point: Point) -> str:
    return f"{point.lr:g}" if list(point.values) == [LEARNING_RATE] else printable(str(point))


def _caption(question: Question, arms: Sequence[Compared], comparisons: int, study: Study | None) -> str:
    if study is None:
        made = f"{question.metric} ({question.goal}) at the end: mean over seeds; nothing was run."
    else:
        made = (
            f"{question.metric} ({question.goal}) after {counted(study.epochs, 'epoch')} of {study.task}: mean of {study.seeds}"
            f" fresh seeds, the same for every arm. What each arm is trained with was chosen by {study.selection.metric}, from"
            f" {counted(max(len(arm.tuned.tried) for arm in arms if arm.tuned), 'point')} on"
            f" {counted(study.tuning_seeds, 'other seed')}."
        )
    tasks = f" on {question.tasks} tasks" if question.tasks > 1 else ""
    adjusted = f", adjusted for {comparisons} comparisons{tasks}: all intervals hold at once with 95 % confidence"
    together = "" if comparisons == 1 else adjusted
    return printable(
        f"{made} Gain over {question.baseline}, positive is better, with the interval of the paired t test{together}. A verdict"
        " is what the interval says, and p, of the same test, is below 0.05 where it excludes 0.",
        LONGEST_SENTENCE,
    )
