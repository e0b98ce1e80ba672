"""The verdict of a study as a table, for a terminal and for the page, and as plain values for programs."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from equipoise._json import plain
from equipoise._words import printable
from equipoise.study._analysis import LONGEST_SENTENCE, Analysis
from equipoise.study._analysis.verdict_table import CHOSEN

TEXT_COLUMNS = 2
"""The first columns hold words, the others numbers."""


def print_report(analysis: Analysis, console: Console) -> None:
    """The verdict and its table, for a terminal; more than a learning rate stands below it, a line per arm."""
    names, lines = analysis.table.headings, analysis.table.rows
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
    console.print(Text(analysis.table.caption, style="dim"))


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
