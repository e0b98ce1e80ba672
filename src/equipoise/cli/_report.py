"""``equipoise study report`` and ``equipoise study status``: what a study has found and how far it is, from its store."""

from __future__ import annotations

import argparse
import json
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from equipoise.cli._arguments import from_study_extra
from equipoise.errors import UnusableInputError

if TYPE_CHECKING:
    from equipoise.cli._arguments import Commands
    from equipoise.study._store import Store

STORE_SUFFIXES = (".db", ".sqlite")


def add(commands: Commands) -> None:
    """Add the commands to the parser."""
    report = commands.add_parser(
        "report",
        help="Write the report of a study that runs or has run.",
        description="Write the report of a study from its store, also while it runs: HTML, and beside it Markdown and CSV.",
        allow_abbrev=False,
    )
    _add_source(report)
    report.add_argument(
        "--report", type=Path, metavar="PATH", help="The HTML file; the default is NAME.report.html beside the study."
    )
    report.set_defaults(run=_report)
    status = commands.add_parser(
        "status",
        help="Print how far a study is.",
        description="Print how far a study is, from its store, also while it runs.",
        allow_abbrev=False,
    )
    _add_source(status)
    status.set_defaults(run=_status)


def _add_source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "study", type=Path, metavar="STUDY", help="The file that describes the study, or the NAME.db that keeps it."
    )
    parser.add_argument(
        "--store", metavar="URL", help="The database that keeps the trials; the default is NAME.db beside the file."
    )
    parser.add_argument("--json", action="store_true", help="Print one JSON object.")


def _report(options: argparse.Namespace) -> int:
    with from_study_extra():
        from rich.console import Console
        from rich.text import Text

        from equipoise.study._report.page import report_file, report_study
        from equipoise.study._report.sentences import decision, status
        from equipoise.study._report.table import as_plain, print_report

    store, name = _open(options)
    file: Path = options.study
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

        from equipoise.study._report.status import as_plain, print_status, read_status

    store, name = _open(options)
    with closing(store):
        found = read_status(store, name)
    if options.json:
        print(json.dumps(as_plain(found), indent=2, allow_nan=False))
    else:
        print_status(found, Console())
    return 0


def _open(options: argparse.Namespace) -> tuple[Store, str | None]:
    """The store of a study, and its name if a study file says it. A store that is not there is not made."""
    from equipoise.study._spec import read_study
    from equipoise.study._store import Store, sqlite_file, sqlite_url

    file: Path = options.study
    name = None if file.suffix in STORE_SUFFIXES else read_study(file).name
    url = options.store or sqlite_url(file if name is None else file.with_name(f"{name}.db"))
    kept = sqlite_file(url)
    if kept is not None and not kept.exists():
        raise UnusableInputError(f"{kept} is not there: no trial of this study was run yet")
    return Store(url, file.parent), name
