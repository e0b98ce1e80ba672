"""What the commands of ``equipoise study`` do where they are given several tasks."""

from __future__ import annotations

import argparse
import json
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from equipoise._json import plain
from equipoise.errors import StudyStoppedError
from equipoise.study._judging.judge import Asked
from equipoise.study._preparing.plan import plan
from equipoise.study._report import status
from equipoise.study._report.page import report_file
from equipoise.study._report.progress import ConsoleProgress, QuietProgress
from equipoise.study._suite.contents import of_analyses, of_stores, open_store
from equipoise.study._suite.judge import judge_suite
from equipoise.study._suite.page import write_suite
from equipoise.study._suite.sentences import decision
from equipoise.study._suite.spec import Suite, read_suite
from equipoise.study._suite.table import as_plain, print_suite

if TYPE_CHECKING:
    from equipoise.study._engines import Engine


def run_command(options: argparse.Namespace, engine: Engine | None) -> int:
    """``equipoise study run``, with trials on that engine."""
    from equipoise.study._suite.run import run_suite  # torch, which a look at a suite does without

    suite = read_suite(options.files)
    report = _report_file(suite, options)
    try:
        with (QuietProgress if options.quiet else ConsoleProgress)(Console(stderr=True)) as progress:
            analysis = run_suite(
                suite,
                store=options.store,
                report=report,
                workers=options.workers,
                gpus=options.gpus,
                engine=engine,
                existing=options.existing,
                progress=progress,
            )
    except KeyboardInterrupt:
        raise StudyStoppedError("interrupted before any trial was run") from None
    if options.json:
        print(json.dumps(as_plain(analysis) | {"report": str(report)}, indent=2, allow_nan=False))
    else:
        print_suite(analysis, Console())
        print(f"\nreport: {report}")
    return 0 if analysis.complete else 3


def plan_command(options: argparse.Namespace) -> int:
    """``equipoise study plan``."""
    suite = read_suite(options.files)
    found = {
        task: plan(study, options.spread, options.difference, tasks=len(suite.parts)) for task, study in suite.studies.items()
    }
    if options.json:
        plans = {task: plain(one) | {"detectable": one.detectable} for task, one in found.items()}
        print(json.dumps({"suite": suite.name, "tasks": plans}, indent=2, allow_nan=False))
        return 0
    for task, one in found.items():
        print("\n  ".join([f"{task}:", *one.sentences]))
    trials = sum(one.tuning_trials + one.comparison_trials for one in found.values())
    print(f"In all {trials:,} trials, {sum(one.epochs for one in found.values()):,} epochs.")
    return 0


def report_command(options: argparse.Namespace) -> int:
    """``equipoise study report``."""
    suite = read_suite(options.files)
    path, contents = _report_file(suite, options), of_stores(suite, options.store)
    write_suite(contents, path)
    if options.json:
        found = {"decision": decision(contents), "report": str(path)}
        print(json.dumps(as_plain(contents.analysis) | found, indent=2, allow_nan=False))
        return 0
    console = Console()
    if contents.settled:
        print_suite(contents.analysis, console)
    else:
        console.print(Text(decision(contents)))
    print(f"\nreport: {path}")
    return 0


def status_command(options: argparse.Namespace) -> int:
    """``equipoise study status``."""
    found: list[status.Status] = []
    for part in read_suite(options.files).parts.values():
        with closing(open_store(part, options.store)) as store:
            found.append(status.read_status(store, part.study.name))
    if options.json:
        print(json.dumps([status.as_plain(one) for one in found], indent=2, allow_nan=False))
        return 0
    console = Console()
    for one in found:
        status.print_status(one, console)
    return 0


def judge_command(options: argparse.Namespace, asked: Asked) -> int:
    """``equipoise study judge``."""
    analysis = judge_suite(options.results, task=options.task, **asked)
    if options.report is not None:
        write_suite(of_analyses(analysis), options.report)
    if options.json:
        print(json.dumps(as_plain(analysis), indent=2, allow_nan=False))
    else:
        print_suite(analysis, Console())
    return 0


def _report_file(suite: Suite, options: argparse.Namespace) -> Path:
    """What the user has named, or NAME.report.html beside the files."""
    return report_file(options.report or next(iter(suite.parts.values())).folder, suite.name)
