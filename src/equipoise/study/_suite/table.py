"""The decision of a suite for a terminal, and as plain values for programs."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from equipoise._json import plain
from equipoise._words import printable
from equipoise.study._analysis import LONGEST_SENTENCE, number_format
from equipoise.study._analysis.verdict_table import NAME_SHOWN
from equipoise.study._report import table as study_table
from equipoise.study._statistics.paired import Contrast
from equipoise.study._suite import sentences
from equipoise.study._suite.analysis import SuiteAnalysis


def cell(contrast: Contrast | None) -> tuple[str, str]:
    """The verdict, and the gain with its interval."""
    if contrast is None:
        return "missing", ""
    low, high = contrast.interval
    spec = number_format((high - low) / 2)
    return contrast.verdict, f"{contrast.mean:+{spec}} ({low:+{spec}} to {high:+{spec}})"


def print_suite(analysis: SuiteAnalysis, console: Console) -> None:
    """The decision and the verdict for each arm on each task."""
    console.print(Text(printable(analysis.headline, LONGEST_SENTENCE), style="bold"))
    for remark in analysis.remarks:
        console.print(Text(printable(remark, LONGEST_SENTENCE)))
    if not analysis.tasks:
        return
    found = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("task", "arm", "verdict", "gain (95 % interval)"):
        found.add_column(heading, overflow="fold")
    for task in analysis.tasks:
        for number, standing in enumerate(analysis.standings):
            words = "" if number else task, standing.arm
            found.add_row(*(Text(printable(word, NAME_SHOWN)) for word in words), *map(Text, cell(standing.contrasts[task])))
    console.print()
    console.print(found)
    console.print()
    for profile in analysis.profiles:
        console.print(Text(sentences.about_profile(analysis, profile)))
    console.print(Text(sentences.caption(analysis), style="dim"))


def as_plain(analysis: SuiteAnalysis) -> dict[str, Any]:
    """The decision as what JSON has (:mod:`equipoise._json`)."""
    values = {
        "suite": analysis.name,
        "baseline": analysis.baseline,
        "headline": analysis.headline,
        "remarks": analysis.remarks,
        "undecided": analysis.undecided,
        "arms": [
            {
                "name": standing.arm,
                "verdicts": {task: standing.found(task) for task in standing.contrasts},
                "won": standing.won,
                "lost": standing.lost,
                "sign_test_p_value": analysis.sign_test(standing),
            }
            for standing in analysis.standings
        ],
        "profiles": [
            {
                "scale": profile.scale,
                "distances": profile.distances,
                "taus": profile.taus,
                "shares": {arm: [profile.share(arm, tau) for tau in profile.taus] for arm in profile.distances},
                "bands": profile.bands,
            }
            for profile in analysis.profiles
        ],
    }
    return plain(values) | {"tasks": {task: study_table.as_plain(found) for task, found in analysis.tasks.items()}}
