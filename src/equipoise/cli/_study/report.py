"""``equipoise study status`` and ``equipoise study report``: how far a study is and what it has found, from its store."""

from __future__ import annotations

import argparse
import json
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from equipoise.cli._arguments import from_study_extra
from equipoise.cli._study._arguments import add_source, open_source, several

if TYPE_CHECKING:
    from equipoise.cli._arguments import Commands


def add(commands: Commands) -> None:
    """Add the commands to the parser."""
    status = commands.add_parser(
        "status",
        help="Print how far a study is.",
        description="Print how far a study is, from its store, also while it runs.",
        allow_abbrev=False,
    )
    add_source(status)
    status.add_argument("--json", action="store_true", help="Print one JSON object.")
    status.set_defaults(run=_status)
    report = commands.add_parser(
        "report",
        help="Write the report of a study that runs or has run.",
        description="Write the report of a study from its store, also while it runs: HTML, and beside it Markdown and CSV.",
        allow_abbrev=False,
    )
    add_source(report)
    report.add_argument("--json", action="store_true", help="Print one JSON object.")
    report.add_argument(
        "--report", type=Path, metavar="PATH", help="The HTML file; the default is NAME.report.html beside the study."
    )
    report.set_defaults(run=_report)


def _report(options: argparse.Namespace) -> int:
    with from_study_extra():
        from rich.console import Console
        from rich.text import Text

        from equipoise.cli._study import suite
        from equipoise.study._report.page import report_file, report_study
        from equipoise.study._report.sentences import decision, status
        from equipoise.study._report.table import as_plain, print_report

    if several(options):
        return suite.report_command(options)
    store, name = open_source(options)
    file: Path = options.files[0]
    path = report_file(options.report or file.parent, name or file.stem)
    with closing(store):
        contents = report_study(store, name, path)
    if options.json:
        verdict = {} if contents.verdict is None else as_plain(contents.verdict)
        found = {
            "study": contents.question.name,
            "status": status(contents),
            "decision": decision(contents),
            "report": str(path),
        }
        print(json.dumps(verdict | found, indent=2, allow_nan=False))
        return 0
    console = Console()
    if contents.verdict is not None:
        print_report(contents.verdict, console)
    else:
        console.print(Text(decision(contents)))
    print(f"\nreport: {path}")
    return 0


def _status(options: argparse.Namespace) -> int:
    with from_study_extra():
        from rich.console import Console

        from equipoise.cli._study import suite
        from equipoise.study._report.status import as_plain, print_status, read_status

    if several(options):
        return suite.status_command(options)
    store, name = open_source(options)
    with closing(store):
        found = read_status(store, name)
    if options.json:
        print(json.dumps(as_plain(found), indent=2, allow_nan=False))
    else:
        print_status(found, Console())
    return 0
