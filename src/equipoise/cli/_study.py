"""``equipoise study``: compare optimizers on your own metric."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from equipoise.cli._arguments import positive
from equipoise.errors import MissingExtraError, StudyStoppedError

if TYPE_CHECKING:
    from equipoise.cli._arguments import Commands


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    study = commands.add_parser("study", help="compare optimizers on your own metric", allow_abbrev=False)
    _add_run(study.add_subparsers(required=True, metavar="COMMAND"))


def _add_run(commands: Commands) -> None:
    parser = commands.add_parser(
        "run",
        help="run what is missing of a study, print the verdict and write the report",
        description="Run what is missing of a study, print the verdict and write the report.",
        epilog="Exit code 0: completed, whichever arm won; 2: unusable input; 3: stopped before the end (run it again).",
        allow_abbrev=False,
    )
    parser.add_argument("file", type=Path, help="the study, a TOML file")
    parser.add_argument("--workers", type=positive, metavar="N", help="trials at once (default: one per core)")
    parser.add_argument("--store", metavar="URL", help="of a database, instead of NAME.db beside the file")
    parser.add_argument(
        "--report", type=Path, metavar="PATH", help="where to write it, instead of NAME.report.html beside the file"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    try:
        from rich.console import Console

        from equipoise.study._progress import ConsoleProgress
        from equipoise.study._report import as_plain, print_report, write_html
        from equipoise.study._runner import run_study
        from equipoise.study._spec import read_study
        from equipoise.study._store import Store, sqlite_url
    except ImportError as error:
        raise MissingExtraError("a study", "study") from error

    file: Path = options.file
    study = read_study(file)
    store = Store(options.store or sqlite_url(file.with_name(f"{study.name}.db")))
    try:
        with ConsoleProgress(Console(stderr=True), study.metric) as progress:
            analysis = run_study(study, file.parent, store, progress, options.workers)
    except KeyboardInterrupt:
        raise StudyStoppedError("interrupted; finished trials are kept: run the same command again to continue") from None
    finally:
        store.close()
    report: Path = options.report or file.with_name(f"{study.name}.report.html")
    write_html(analysis, report)
    if options.json:
        print(json.dumps(as_plain(analysis) | {"report": str(report)}, indent=2, allow_nan=False))
    else:
        print_report(analysis, Console())
        print(f"\nreport: {report}")
    return 0
