"""The verdict of a study as a table, for a terminal and for the page, and as plain values for programs."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from equipoise._json import plain
from equipoise.study._analysis import Analysis, decimals

HEADINGS = ("arm", "verdict", "{metric}", "gain", "95 % interval", "p", "lr")
TEXT_COLUMNS = 2
"""The first columns hold words, the others numbers."""


def rows(analysis: Analysis) -> list[tuple[str, ...]]:
    """The table of the verdict, one row per arm, best first; the baseline has no gain."""
    contrasts = {contrast.arm: contrast for contrast in analysis.contrasts}
    digits = max(decimals((c.interval[1] - c.interval[0]) / 2) for c in analysis.contrasts)
    sign = -1.0 if analysis.study.goal == "maximize" else 1.0
    table: list[tuple[str, ...]] = []
    for arm in sorted(analysis.arms, key=lambda arm: sign * arm.mean):
        rate, value = f"{arm.tuned.chosen:g}", f"{arm.mean:.{digits}f}"
        if arm.name not in contrasts:
            table.append((arm.name, "baseline", value, "", "", "", rate))
            continue
        found = contrasts[arm.name]
        low, high = found.interval
        table.append(
            (
                arm.name,
                found.verdict,
                value,
                f"{found.mean:+.{digits}f}",
                f"{low:+.{digits}f} to {high:+.{digits}f}",
                f"{found.adjusted_p_value:.2g}",
                rate,
            )
        )
    return table


def headings(analysis: Analysis) -> list[str]:
    """The headings of the columns of :func:`rows`."""
    return [heading.format(metric=analysis.study.metric) for heading in HEADINGS]


def caption(analysis: Analysis) -> str:
    """How the numbers of the table came about."""
    study = analysis.study
    tried = len(analysis.arms[0].tuned.rates)
    return (
        f"{study.metric} ({study.goal}) after {study.epochs} epochs of {study.task}: mean of {study.seeds} fresh seeds, the"
        f" same for every arm; learning rate (lr) chosen from {tried} on {study.tuning_seeds} other seed(s). Gain over"
        f" {study.baseline.name}, positive is better, with its paired t interval. What decides is p, of the exact sign-flip"
        f" test after Holm's correction for {len(analysis.contrasts)} comparison(s); unlike the interval it assumes no normal"
        " distribution."
    )


def print_report(analysis: Analysis, console: Console) -> None:
    """The verdict and its table, for a terminal."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, heading in enumerate(headings(analysis)):
        table.add_column(heading, justify="left" if index < TEXT_COLUMNS else "right", overflow="fold")
    for row in rows(analysis):
        table.add_row(*map(Text, row))
    console.print(Text(analysis.headline, style="bold"))
    for remark in analysis.remarks:
        console.print(Text(remark))
    console.print()
    console.print(table)
    console.print()
    console.print(Text(caption(analysis), style="dim"))


def as_plain(analysis: Analysis) -> dict[str, Any]:
    """Verdict and table as what JSON has (:mod:`equipoise._json`)."""
    contrasts = {contrast.arm: contrast for contrast in analysis.contrasts}
    arms: list[dict[str, Any]] = []
    for arm in analysis.arms:
        entry: dict[str, Any] = {
            "name": arm.name,
            "learning_rate": arm.tuned.chosen,
            "learning_rate_at_edge": arm.tuned.at_edge,
            "values": arm.values,
            "diverged": arm.diverged,
            "mean": arm.mean,
        }
        if arm.name in contrasts:
            found = contrasts[arm.name]
            entry |= {
                "difference": found.mean,
                "interval": found.interval,
                "p_value": found.p_value,
                "adjusted_p_value": found.adjusted_p_value,
                "verdict": found.verdict,
            }
        arms.append(entry)
    study = analysis.study
    values = {
        "study": study.name,
        "metric": study.metric,
        "goal": study.goal,
        "baseline": study.baseline.name,
        "headline": analysis.headline,
        "remarks": analysis.remarks,
        "arms": arms,
    }
    return plain(values)
