"""The report of a study: one self-contained HTML file, the same words as Markdown, and the trials as CSV."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from plotly.offline import get_plotlyjs  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

from equipoise._files import replace_file
from equipoise._html import render
from equipoise._json import plain
from equipoise._version import __version__
from equipoise._words import listed, printable
from equipoise.study._report import charts, sentences
from equipoise.study._report.contents import Contents, spent
from equipoise.study._report.markdown import as_markdown
from equipoise.study._report.table import LONGEST_SENTENCE, caption, headings, rows

COST_HEADINGS = ("arm", "trials", "computing", "one trial", "memory", "optimizer state", "bytes per parameter")


def write_report(contents: Contents, path: Path, trials: str = "") -> None:
    """Write the report, and beside it the same words as Markdown and the trials as CSV. None of them needs a network.

    Args:
        contents: what the report shows.
        path: of the HTML file; the others have its name with another suffix.
        trials: the text of the CSV file; none is written if it is empty.

    Raises:
        UnusableInputError: the place cannot be written to.
    """
    markdown, csv = path.with_suffix(".md"), path.with_suffix(".csv")
    words = _words(contents)
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
    analysis, record = contents.analysis, contents.record
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
        "rows": rows(analysis) if analysis is not None else [],
        "headings": headings(analysis) if analysis is not None else [],
        "caption": caption(analysis) if analysis is not None else "",
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
    selected = contents.question.metric if record is None else record.study.selection.metric
    keys = charts.searched_keys(contents.tuned)
    places = {} if record is None else record.table.hyperparameters
    figures: dict[str, Any] = {
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
        "figures": plain(figures),
        "names": [printable(name) for name in contents.curves],
        "uncharted": contents.uncharted,
        "sensitivities": [printable(key) for key in keys],
        "searched": analysis is not None and any(arm.search is not None for arm in analysis.arms),
        "region": bool(places),
        "absent": listed([printable(arm) for arm in arms if arm not in places], 20),
        "metric": printable(contents.question.metric),
        "selected": printable(selected),
        "baseline": printable(contents.question.baseline),
        "margin": contents.question.margin,
        "file": "" if record is None else "\n".join(map(_line, record.run.file.split("\n"))),
    }


def _line(text: str) -> str:
    return printable(text.replace("\t", "    ").rstrip("\r"), 400)


def _costs(contents: Contents) -> list[tuple[str, ...]]:
    if contents.record is None:
        return []
    return [
        (
            printable(one.arm),
            f"{one.trials:,}",
            sentences.duration(one.seconds),
            sentences.duration(one.per_trial),
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
            "output": "\n".join(map(_line, cell.failure.output.splitlines())),
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
