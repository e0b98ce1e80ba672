"""The verdict of a study as a table, for a terminal and for the page, and as plain values for programs."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from equipoise._json import plain
from equipoise._words import counted, printable
from equipoise.study._analysis import Analysis, number_format
from equipoise.study._arms.space import Point
from equipoise.study._statistics.paired import direction

HEADINGS = ("arm", "verdict", "{metric}", "gain", "95 % interval", "p", "{searched}")
LONGEST_SENTENCE = 2000
"""A sentence that holds names of others is shown up to so many characters."""

NAME_SHOWN = 60
"""A name in a table is shown up to so many characters."""

LEARNING_RATE = "lr"

CHOSEN = "chosen"
"""Heads the column of what was chosen, where that is more than a learning rate."""

TEXT_COLUMNS = 2
"""The first columns hold words, the others numbers."""


def rows(analysis: Analysis) -> list[tuple[str, ...]]:
    """The table of the verdict, one row per arm, best first; the baseline has no gain. Last is what was chosen, if tuned."""
    contrasts = {contrast.arm: contrast for contrast in analysis.contrasts}
    spec = number_format(min((c.interval[1] - c.interval[0]) / 2 for c in analysis.contrasts))
    sign = direction(analysis.question.goal)
    table: list[tuple[str, ...]] = []
    for arm in sorted(analysis.arms, key=lambda arm: -sign * arm.mean):
        name, value = printable(arm.name, NAME_SHOWN), f"{arm.mean:{spec}}"
        point = "" if arm.tuned is None else _values(arm.tuned.point)
        if arm.name not in contrasts:
            table.append((name, "baseline", value, "", "", "", point))
            continue
        found = contrasts[arm.name]
        low, high = found.interval
        table.append(
            (
                name,
                found.verdict,
                value,
                f"{found.mean:+{spec}}",
                f"{low:+{spec}} to {high:+{spec}}",
                f"{found.adjusted_p_value:.2g}",
                point,
            )
        )
    return table if _tuned(analysis) else [row[:-1] for row in table]


def headings(analysis: Analysis) -> list[str]:
    """The headings of the columns of :func:`rows`."""
    keys = {key for arm in analysis.arms if arm.tuned is not None for key in arm.tuned.point.values}
    filled = {
        "{metric}": printable(analysis.question.metric, NAME_SHOWN),
        "{searched}": LEARNING_RATE if keys <= {LEARNING_RATE} else CHOSEN,
    }
    shown = HEADINGS if _tuned(analysis) else HEADINGS[:-1]
    return [filled.get(heading, heading) for heading in shown]


def _tuned(analysis: Analysis) -> bool:
    return any(arm.tuned is not None for arm in analysis.arms)


def _values(point: Point) -> str:
    return f"{point.lr:g}" if list(point.values) == [LEARNING_RATE] else printable(str(point))


def caption(analysis: Analysis) -> str:
    """How the numbers of the table came about."""
    question, study = analysis.question, analysis.study
    if study is None:
        made = f"{question.metric} ({question.goal}) at the end: mean over seeds; nothing was run."
    else:
        made = (
            f"{question.metric} ({question.goal}) after {counted(study.epochs, 'epoch')} of {study.task}: mean of {study.seeds}"
            f" fresh seeds, the same for every arm. What each arm is trained with was chosen by {study.selection.metric}, from"
            f" {counted(max(len(arm.tuned.tried) for arm in analysis.arms if arm.tuned), 'point')} on"
            f" {counted(study.tuning_seeds, 'other seed')}."
        )
    count = len(analysis.contrasts)
    together = "" if count == 1 else f", adjusted for {count} comparisons: all intervals hold at once with 95 % confidence"
    return printable(
        f"{made} Gain over {question.baseline}, positive is better, with the interval of the paired t test{together}. A verdict"
        " is what the interval says, and p, of the same test, is below 0.05 where it excludes 0.",
        LONGEST_SENTENCE,
    )


def print_report(analysis: Analysis, console: Console) -> None:
    """The verdict and its table, for a terminal; more than a learning rate stands below it, a line per arm."""
    names, lines = headings(analysis), rows(analysis)
    chosen = [f"{arm}: {point}" for arm, *_, point in lines] if names[-1] == CHOSEN else []
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, heading in enumerate(names[:-1] if chosen else names):
        table.add_column(Text(heading), justify="left" if index < TEXT_COLUMNS else "right", overflow="fold")
    for row in lines:
        table.add_row(*map(Text, row[:-1] if chosen else row))
    console.print(Text(printable(analysis.headline, LONGEST_SENTENCE), style="bold"))
    for remark in analysis.remarks:
        console.print(Text(printable(remark, LONGEST_SENTENCE)))
    console.print()
    console.print(table)
    console.print()
    for line in [*chosen, ""] if chosen else []:
        console.print(Text(line))
    console.print(Text(caption(analysis), style="dim"))


def as_plain(analysis: Analysis) -> dict[str, Any]:
    """Verdict and table as what JSON has (:mod:`equipoise._json`)."""
    contrasts = {contrast.arm: contrast for contrast in analysis.contrasts}
    arms: list[dict[str, Any]] = []
    for arm in analysis.arms:
        entry: dict[str, Any] = {
            "name": arm.name,
            "learning_rate": None if arm.tuned is None else arm.tuned.chosen,
            "learning_rate_at_edge": None if arm.tuned is None else "lr" in arm.tuned.edges,
            "point": None if arm.tuned is None else dict(arm.tuned.point.values),
            "at_edge": None if arm.tuned is None else arm.tuned.edges,
            "seeds": arm.seeds,
            "values": arm.values,
            "diverged": arm.diverged,
            "divergence_interval": arm.divergence.interval,
            "mean": arm.mean,
            "expected_best": arm.search,
            "trials_needed": arm.trials_needed,
        }
        if arm.name in contrasts:
            found = contrasts[arm.name]
            entry |= {
                "difference": found.mean,
                "interval": found.interval,
                "p_value": found.p_value,
                "adjusted_p_value": found.adjusted_p_value,
                "sign_flip_p_value": found.sign_flip_p_value,
                "verdict": found.verdict,
                "detectable_difference": found.detectable,
                "seeds_to_show": found.seeds_to_show,
            }
        arms.append(entry)
    question = analysis.question
    values = {
        "study": question.name,
        "metric": question.metric,
        "goal": question.goal,
        "baseline": question.baseline,
        "margin": question.margin,
        "target": question.target,
        "headline": analysis.headline,
        "remarks": analysis.remarks,
        "arms": arms,
        "divergence": [
            {"arm": c.arm, "only_arm": c.only_arm, "only_baseline": c.only_baseline, "adjusted_p_value": c.adjusted_p_value}
            for c in analysis.divergence
        ],
        "time_to_target": [
            {
                "unit": found.unit,
                "budget": found.budget,
                "means": found.means,
                "reached": {arm: found.reached(arm) for arm in found.times},
                "contrasts": [
                    {
                        "arm": c.arm,
                        "difference": c.mean,
                        "interval": c.interval,
                        "adjusted_p_value": c.adjusted_p_value,
                        "verdict": c.verdict,
                    }
                    for c in found.contrasts
                ],
            }
            for found in analysis.time_to_target
        ],
    }
    return plain(values)
