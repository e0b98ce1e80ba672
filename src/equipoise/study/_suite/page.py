"""The report of a suite: one page for the decision over all tasks, and one for each task; Markdown and CSV beside them."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from plotly.offline import get_plotlyjs  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

from equipoise._files import replace_file
from equipoise._html import render
from equipoise._version import __version__
from equipoise._words import printable
from equipoise.study._analysis.verdict_table import NAME_SHOWN
from equipoise.study._report import sentences as study_sentences
from equipoise.study._report.markdown import line, linked, table, text
from equipoise.study._report.page import rounded, write_report
from equipoise.study._report.trials import as_text
from equipoise.study._suite import figures, sentences
from equipoise.study._suite.analysis import SuiteAnalysis
from equipoise.study._suite.contents import SuiteContents
from equipoise.study._suite.table import cell

COLUMNS = (
    *("task", "arm", "metric", "goal", "baseline", "seeds", "verdict", "gain", "low", "high", "adjusted_p_value"),
    *("mean", "baseline_mean", "spreads_from_best", "times_of_best"),
)


def write_suite(contents: SuiteContents, path: Path) -> None:
    """Write the report of a suite: the page, Markdown and CSV beside it, and the report of each task that was run.

    Args:
        contents: what it shows.
        path: of the page; those of the tasks have its name with the task's in front of the suffix.

    Raises:
        UnusableInputError: the place cannot be written to.
    """
    pages = {
        task: path.with_name(f"{path.stem}.{task}{path.suffix}")
        for task, part in contents.parts.items()
        if part.record is not None
    }
    for task, page in pages.items():
        write_report(contents.parts[task], page)
    markdown, verdicts = path.with_suffix(".md"), path.with_suffix(".csv")
    words = _words(contents, pages)
    replace_file(markdown, _as_markdown(words).encode())
    replace_file(verdicts, _as_csv(contents.analysis).encode())
    profiles = contents.analysis.profiles
    drawn = {f"distances{index}": figures.distances(profile) for index, profile in enumerate(profiles)}
    drawn |= {f"shares{index}": figures.shares(profile) for index, profile in enumerate(profiles)}
    page = render(
        "equipoise.study._report",
        "suite.html",
        **words,
        figures=rounded(drawn),
        profiles=[(profile.scale, sentences.about_figure(profile)) for profile in profiles],
        plotly=get_plotlyjs(),
        markdown=markdown.name,
        csv=verdicts.name,
        version=__version__,
    )
    replace_file(path, page.encode())


def _words(contents: SuiteContents, pages: dict[str, Path]) -> dict[str, Any]:
    """What the page and the Markdown file say."""
    analysis = contents.analysis
    return {
        "kind": "Suite",
        "study": printable(contents.name),
        "status": sentences.status(contents),
        "decision": sentences.decision(contents),
        "brief": [
            ("What this rests on", sentences.basis(contents)),
            ("What it costs", sentences.cost(contents)),
            ("The risk", sentences.risk(contents)),
            ("What to do next", sentences.next_steps(contents)),
        ],
        "headings": ["arm", *(printable(task, NAME_SHOWN) for task in analysis.tasks)],
        "rows": [
            (printable(standing.arm, NAME_SHOWN), [cell(contrast) for contrast in standing.contrasts.values()])
            for standing in analysis.standings
        ]
        if analysis.tasks
        else [],
        "caption": sentences.caption(analysis),
        "parts": [_part(task, contents, pages) for task in contents.parts],
    }


def _part(task: str, contents: SuiteContents, pages: dict[str, Path]) -> dict[str, Any]:
    part = contents.parts[task]
    verdict = part.verdict
    return {
        "task": printable(task),
        "page": pages[task].name if task in pages else "",
        "decision": study_sentences.decision(part),
        "doubts": study_sentences.risk(part) if verdict is not None else [],
        "headings": [] if verdict is None else verdict.table.headings,
        "rows": [] if verdict is None else verdict.table.rows,
        "caption": "" if verdict is None else verdict.table.caption,
    }


def _as_markdown(words: dict[str, Any]) -> str:
    parts = [f"# {text(words['decision'])}", f"{words['kind']} {text(words['study'])}. {text(words['status'])}"]
    for title, said in words["brief"]:
        parts += [f"## {title}", "\n".join(f"- {line(sentence)}" for sentence in said)]
    if words["rows"]:
        cells = [(arm, *(" ".join(cell).strip() for cell in found)) for arm, found in words["rows"]]
        parts += ["## The verdict for each arm on each task", table(words["headings"], cells), text(words["caption"])]
    for part in words["parts"]:
        parts += [f"## Task {text(part['task'])}", line(part["decision"])]
        if part["rows"]:
            parts += [table(part["headings"], part["rows"]), text(part["caption"])]
        parts += ["\n".join(f"- {line(doubt)}" for doubt in part["doubts"])] if part["doubts"] else []
        parts += [linked("The whole report of this task", part["page"])] if part["page"] else []
    return "\n\n".join(parts) + "\n"


def _as_csv(analysis: SuiteAnalysis) -> str:
    """The verdicts: a line for each arm on each task, as the baseline too."""
    file = io.StringIO()
    lines = csv.writer(file, lineterminator="\n")
    lines.writerow(COLUMNS)
    far = {profile.scale: profile.distances for profile in analysis.profiles}
    for task, found in analysis.tasks.items():
        question, contrasts = found.question, {contrast.arm: contrast for contrast in found.contrasts}
        means = {arm.name: arm.mean for arm in found.arms}
        for arm in found.arms:
            contrast = contrasts.get(arm.name)
            compared = ["baseline", "", "", "", ""]
            if contrast is not None:
                compared = [contrast.verdict, contrast.mean, *contrast.interval, contrast.adjusted_p_value]
            times = far["ratio"][arm.name][task] if "ratio" in far else ""
            values = [arm.mean, means[question.baseline], far["spreads"][arm.name][task], times]
            asked = [task, arm.name, question.metric, question.goal, question.baseline, len(arm.seeds)]
            lines.writerow([*map(as_text, asked), *compared, *values])
    return file.getvalue()
