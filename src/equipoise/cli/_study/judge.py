"""``equipoise study judge``: the verdict of a study on results that others made."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from equipoise.cli._arguments import from_study_extra

if TYPE_CHECKING:
    from equipoise.cli._arguments import Commands


def add(commands: Commands) -> None:
    """Add the command to those of ``equipoise study``."""
    parser = commands.add_parser(
        "judge",
        help="Judge results that others made: the same statistics, and nothing is run.",
        description="Judge results that others made as those of a study: the same statistics, the same report, and nothing is"
        " run. RESULTS is a table (CSV, JSON lines, a JSON list; also as W&B and MLflow export them), or a folder of event"
        " files of TensorBoard.",
        epilog="Exit code 0: the results were judged, whichever arm won; 2: they could not be used.",
        allow_abbrev=False,
    )
    parser.add_argument("results", type=Path, metavar="RESULTS", help="The table, or the folder of event files.")
    parser.add_argument("--arm", required=True, metavar="COLUMN", help="What names the arms, as optimizer.")
    parser.add_argument("--seed", required=True, metavar="COLUMN", help="What pairs the runs.")
    parser.add_argument("--metric", required=True, metavar="COLUMN", help="What decides; of event files, the tag of a scalar.")
    parser.add_argument("--baseline", required=True, metavar="ARM", help="The arm that the others are compared with.")
    parser.add_argument(
        "--task", metavar="COLUMN", help="What names the tasks, if there are several: they are decided together."
    )
    parser.add_argument("--goal", choices=["maximize", "minimize"], help="The default is what the metric's name tells.")
    parser.add_argument("--epoch", metavar="COLUMN", help="What orders the rows of a run, if it has several; the last decides.")
    parser.add_argument("--seconds", metavar="COLUMN", help="How long a run has taken.")
    parser.add_argument("--margin", type=float, metavar="X", help="Differences up to this do not matter.")
    parser.add_argument("--target", type=float, metavar="X", help="Also compare how long it takes to reach this.")
    parser.add_argument(
        "--diverged",
        type=float,
        metavar="X",
        help="What a run without a finite end counts with; by default the worst value.",
    )
    parser.add_argument(
        "--where",
        type=_condition,
        action="append",
        default=[],
        metavar="COLUMN=VALUE",
        help="Judge only the rows with this value, as phase=comparison of an export; may be given several times.",
    )
    parser.add_argument(
        "--status",
        metavar="COLUMN",
        help="What says how a run ended: where it is 'diverged', the run did, whatever number it ended with.",
    )
    parser.add_argument(
        "--folders",
        metavar="PATTERN",
        help="Where the event files of a run lie; by default {ARM}/{SEED}, with those columns.",
    )
    parser.add_argument("--report", type=Path, metavar="PATH", help="Also write the report, one HTML file.")
    parser.add_argument("--json", action="store_true", help="Print one JSON object.")
    parser.set_defaults(run=_run)


def _condition(text: str) -> tuple[str, str]:
    column, equals, value = text.partition("=")
    if not column or not equals:
        raise ValueError
    return column, value


def _run(options: argparse.Namespace) -> int:
    with from_study_extra():
        from rich.console import Console

        from equipoise.cli._study import suite
        from equipoise.study._judging.judge import Asked, judge
        from equipoise.study._report.page import report_analysis
        from equipoise.study._report.table import as_plain, print_report

    asked: Asked = {
        "arm": options.arm,
        "seed": options.seed,
        "metric": options.metric,
        "baseline": options.baseline,
        "goal": options.goal,
        "epoch": options.epoch,
        "seconds": options.seconds,
        "margin": options.margin,
        "target": options.target,
        "diverged": options.diverged,
        "folders": options.folders,
        "where": dict(options.where),
        "status": options.status,
    }
    if options.task is not None:
        return suite.judge_command(options, asked)
    analysis = judge(options.results, **asked)
    if options.report is not None:
        report_analysis(analysis, options.report)
    if options.json:
        print(json.dumps(as_plain(analysis), indent=2, allow_nan=False))
    else:
        print_report(analysis, Console())
    return 0
