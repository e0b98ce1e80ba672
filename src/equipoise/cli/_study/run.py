"""``equipoise study run``: run what is missing, say the verdict, write the report."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from equipoise.cli._arguments import from_study_extra, positive
from equipoise.cli._study._arguments import add_files, several
from equipoise.errors import ArgumentError, StudyStoppedError

if TYPE_CHECKING:
    from equipoise.cli._arguments import Commands


def add(commands: Commands) -> None:
    """Add the command to those of ``equipoise study``."""
    parser = commands.add_parser(
        "run",
        help="Run the trials that are missing, print the verdict and write the report.",
        description="Run the trials of a study that are missing, print the verdict and write the report.",
        epilog="Exit code 0: the study is complete, whichever arm won; 2: the input could not be used; 3: it stopped before its"
        " end, or trials failed: the same command continues it. Ctrl-C, SIGTERM and SIGHUP let running trials finish; twice,"
        " they end them at once.",
        allow_abbrev=False,
    )
    add_files(parser)
    parser.add_argument(
        "--workers",
        type=positive,
        metavar="N",
        help="How many trials run at once; the default is the number of cores, divided by the study's threads.",
    )
    parser.add_argument("--gpus", type=positive, metavar="N", help="Give each trial one of N GPUs; then N trials run at once.")
    parser.add_argument(
        "--engine", choices=["local", "ray"], default="local", help="Where trials run: on this machine, or on a Ray cluster."
    )
    parser.add_argument(
        "--address",
        metavar="ADDRESS",
        help="The Ray cluster: HOST:PORT of its head, auto (the default) for the one that this machine belongs to, or local.",
    )
    changed = parser.add_mutually_exclusive_group()
    parser.set_defaults(existing="reuse")
    for existing, explained in (
        (
            "fork",
            "Run anew what has changed since its trials were kept, in the place of those; without this, a changed task or arm"
            " is refused. (study fork makes another study, and leaves this one as it is.)",
        ),
        ("fresh", "Run everything anew."),
    ):
        changed.add_argument(f"--{existing}", help=explained, action="store_const", dest="existing", const=existing)
    parser.add_argument(
        "--store", metavar="URL", help="The database that keeps the trials; the default is NAME.db beside the file."
    )
    parser.add_argument(
        "--report", type=Path, metavar="PATH", help="The file for the report; the default is NAME.report.html beside the study."
    )
    parser.add_argument("--quiet", action="store_true", help="Show no progress; warnings and failures are shown.")
    parser.add_argument("--json", action="store_true", help="Print one JSON object.")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    with from_study_extra():
        from rich.console import Console

        from equipoise.cli._study import suite
        from equipoise.study._engines import RayCluster
        from equipoise.study._report.page import report_file
        from equipoise.study._report.progress import ConsoleProgress, QuietProgress
        from equipoise.study._report.table import as_plain, print_report
        from equipoise.study._run import run

    if options.address is not None and options.engine != "ray":
        raise ArgumentError("address", options.address, "given together with --engine ray")
    engine = RayCluster(options.address or "auto") if options.engine == "ray" else None
    if several(options):
        return suite.run_command(options, engine)
    file: Path = options.files[0]
    place: Path = options.report or file.parent
    try:
        with (QuietProgress if options.quiet else ConsoleProgress)(Console(stderr=True)) as progress:
            analysis = run(
                file,
                store=options.store,
                report=place,
                workers=options.workers,
                gpus=options.gpus,
                engine=engine,
                existing=options.existing,
                progress=progress,
            )
    except KeyboardInterrupt:
        raise StudyStoppedError("interrupted before any trial was run") from None
    report = report_file(place, analysis.question.name)
    if options.json:
        print(json.dumps(as_plain(analysis) | {"report": str(report)}, indent=2, allow_nan=False))
    else:
        print_report(analysis, Console())
        print(f"\nreport: {report}")
    return 3 if analysis.missing else 0
