"""The report of a study: one self-contained HTML file, the same words as Markdown, and the trials as CSV."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from plotly.offline import get_plotlyjs  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

from equipoise._files import replace_file
from equipoise._html import render
from equipoise._version import __version__
from equipoise._words import duration, listed, printable, printable_lines
from equipoise.study._analysis import LONGEST_SENTENCE, NAME_SHOWN, Analysis
from equipoise.study._report import sentences
from equipoise.study._report.contents import Contents, of_analysis, of_store, spent
from equipoise.study._report.figures import charts
from equipoise.study._report.figures.marks import Figure
from equipoise.study._report.markdown import as_markdown
from equipoise.study._report.stored import DRAWN_SEEDS
from equipoise.study._report.trials import trials_as_csv
from equipoise.study._store import Store

COST_HEADINGS = ("arm", "trials", "computing", "one trial", "memory", "optimizer state", "bytes per parameter")


def report_study(store: Store, name: str | None, path: Path) -> Contents:
    """Write the report of a study, finished or not, and beside it the same words as Markdown and the trials as CSV.

    Args:
        store: where the study is.
        name: of the study; it need not be given if the store holds one alone.
        path: of the HTML file; the others have its name with another suffix.

    Returns:
        What the report shows.

    Raises:
        UnusableInputError: the store does not hold the study, or the place cannot be written to.
        StudyStoppedError: the store cannot be used.
    """
    contents = of_store(store, name)
    write_report(contents, path)
    return contents


def report_file(place: Path, name: str) -> Path:
    """The HTML file of a study's report: what the user has named, or a file of that folder with the study's name."""
    return place / f"{name}.report.html" if place.is_dir() else place


def report_analysis(analysis: Analysis, path: Path) -> None:
    """Write the report of results that were made elsewhere, and beside it the same words as Markdown.

    Raises:
        UnusableInputError: the place cannot be written to.
    """
    write_report(of_analysis(analysis), path)


def write_report(contents: Contents, path: Path) -> None:
    """Write what a report shows: a page, and beside it the same words as Markdown and, where trials were run, these as CSV.

    Raises:
        UnusableInputError: the place cannot be written to.
    """
    markdown, csv = path.with_suffix(".md"), path.with_suffix(".csv")
    words, trials = _words(contents), "" if contents.record is None else trials_as_csv(contents.cells)
    replace_file(markdown, as_markdown(words).encode())
    if trials:
        replace_file(csv, trials.encode())
    page = render(
        "equipoise.study._report",
        "page.html",
        **words,
        **_drawn(contents),
        plotly=get_plotlyjs(),
        markdown=markdown.name,
        csv=csv.name if trials else "",
        version=__version__,
    )
    replace_file(path, page.encode())


def _words(contents: Contents) -> dict[str, Any]:
    """What the page and the Markdown file say."""
    analysis, record = contents.verdict, contents.record
    return {
        "kind": "Study" if record is not None else "Results",
        "study": printable(contents.question.name),
        "status": sentences.status(contents),
        "decision": sentences.decision(contents),
        "brief": [
            ("What this rests on", sentences.basis(contents)),
            ("What it costs", sentences.cost(contents)),
            ("The risk", sentences.risk(contents)),
            ("What to do next", sentences.next_steps(contents)),
        ],
        "headline": printable(analysis.headline, LONGEST_SENTENCE) if analysis is not None else "",
        "rows": analysis.table.rows if analysis is not None else [],
        "headings": analysis.table.headings if analysis is not None else [],
        "caption": analysis.table.caption if analysis is not None else "",
        "cost_headings": COST_HEADINGS,
        "costs": _costs(contents),
        "failures": _failures(contents),
        "methods": sentences.methods(contents),
        "facts": _facts(contents),
    }


def _drawn(contents: Contents) -> dict[str, Any]:
    """The figures of the page, and the words that belong to them."""
    analysis, record = contents.analysis, contents.record
    arms = [arm.name for arm in analysis.arms] if analysis is not None else [found.arm.name for found in contents.tuned]
    study = record.study if record is not None else analysis.study if analysis is not None else None
    selected = contents.question.metric if study is None else study.selection.metric
    keys = charts.searched_keys(contents.tuned)
    places = record.table.hyperparameters if record is not None else analysis.hyperparameters if analysis is not None else {}
    figures: dict[str, Figure | list[Figure]] = {
        "curves": [charts.learning_curves(found, arms, name) for name, found in contents.curves.items()],
        **{f"sensitivity{index}": charts.sensitivity(contents.tuned, key, selected) for index, key in enumerate(keys)},
    }
    if analysis is not None:
        figures |= {
            "dots": charts.dots(analysis),
            "forest": charts.forest(analysis),
        }
        figures["expected"] = charts.expected_best(analysis, selected)
    if places:
        figures["region"] = charts.stability_map(places)
    return {
        "figures": rounded(figures),
        "seeds_drawn": analysis is not None,
        "names": [printable(name, NAME_SHOWN) for name in contents.curves],
        "uncharted": f"{contents.uncharted:,}" if contents.uncharted else "",
        "most_seeds": DRAWN_SEEDS,
        "sensitivities": [printable(key) for key in keys],
        "searched": analysis is not None and any(arm.search is not None for arm in analysis.arms),
        "region": bool(places),
        "absent": listed([printable(arm) for arm in arms if arm not in places], 20),
        "metric": printable(contents.question.metric),
        "selected": printable(selected),
        "baseline": printable(contents.question.baseline),
        "margin": contents.question.margin,
        "file": "" if record is None else printable_lines(record.run.file),
    }


def rounded(value: Any) -> Any:
    """The same with six significant digits, which are more than a figure can show: a file half as large."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if isinstance(value, list | tuple):
        return [rounded(each) for each in cast("Sequence[Any]", value)]
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in cast("dict[str, Any]", value).items()}
    return value


def _costs(contents: Contents) -> list[tuple[str, ...]]:
    if contents.record is None:
        return []
    return [
        (
            printable(one.arm, NAME_SHOWN),
            f"{one.trials:,}",
            duration(one.seconds),
            duration(one.per_trial),
            "" if one.memory is None else sentences.size(one.memory),
            "" if one.state is None else sentences.size(one.state),
            f"{one.state / one.parameters:.3g}" if one.state is not None and one.parameters else "",
        )
        for one in spent(contents.cells, [arm.name for arm in contents.record.study.arms])
    ]


def _failures(contents: Contents) -> list[dict[str, str]]:
    return [
        {
            "title": printable(cell.label),
            "reason": printable(cell.failure.reason),
            "log": printable(cell.failure.log),
            "output": printable_lines(cell.failure.output),
        }
        for cell in contents.cells
        if cell.failure is not None
    ]


def _facts(contents: Contents) -> list[tuple[str, str]]:
    record = contents.record
    if record is None:
        return []
    run = record.run
    found = {"command": run.command, "task": record.study.task, "begun": f"{run.recorded_at:%Y-%m-%d %H:%M} UTC"}
    return [(name, printable(value, 400)) for name, value in (found | run.environment).items()]
