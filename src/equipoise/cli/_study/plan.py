"""``equipoise study plan``: what a study will take and what it can show, before it is run."""

from __future__ import annotations

import argparse
import json
import math
import sys
from contextlib import closing
from typing import TYPE_CHECKING

from equipoise.cli._arguments import from_study_extra, positive
from equipoise.cli._study._arguments import add_files, add_store, several
from equipoise.errors import ArgumentError

if TYPE_CHECKING:
    from equipoise.cli._arguments import Commands
    from equipoise.study._preparing.timing import Timing
    from equipoise.study._spec import Study


def add(commands: Commands) -> None:
    """Add the command to those of ``equipoise study``."""
    parser = commands.add_parser(
        "plan",
        help="Say how many trials a study takes, how long, and which difference it can show.",
        description="Say how many trials a study takes, how long they take, and which difference between optimizers they can"
        " show. Nothing is run without --probe; times and spreads are those of trials that the store keeps, if there are any.",
        allow_abbrev=False,
    )
    add_files(parser)
    parser.add_argument(
        "--probe",
        action="store_true",
        help="Run the first trial of every arm to see how long it takes. It is kept: the study does not run it again.",
    )
    parser.add_argument(
        "--workers", type=positive, metavar="N", help="How many trials run at once; the default is that of run."
    )
    parser.add_argument(
        "--spread",
        type=_positive_number,
        metavar="X",
        help="A guess of how much the difference between two arms varies from seed to seed, as a standard deviation; the"
        " default is the largest that kept trials show.",
    )
    parser.add_argument(
        "--difference", type=_positive_number, metavar="X", help="Also say how many seeds show this difference; needs a spread."
    )
    add_store(parser)
    parser.add_argument("--json", action="store_true", help="Print one JSON object.")
    parser.set_defaults(run=_run)


def _positive_number(text: str) -> float:
    number = float(text)
    if not 0 < number < math.inf:
        raise ValueError
    return number


def _run(options: argparse.Namespace) -> int:
    with from_study_extra():
        from rich.console import Console

        from equipoise._json import plain
        from equipoise.cli._study import suite
        from equipoise.study._preparing.plan import plan
        from equipoise.study._processes import usable_workers
        from equipoise.study._report.progress import ConsoleProgress
        from equipoise.study._run import probe
        from equipoise.study._spec import read_study

    if several(options):
        for name in ("probe", "workers", "store"):
            if given := getattr(options, name):
                raise ArgumentError(name, given, "given for one task: how long several take is not estimated")
        return suite.plan_command(options)
    study = read_study(options.files[0])
    workers = options.workers or usable_workers(study.threads)
    timing, seen = _kept(study, options)
    if options.probe and (timing is None or not timing.seconds.keys() >= {arm.name for arm in study.arms}):
        with ConsoleProgress(Console(stderr=True)) as progress:
            probe(options.files[0], store=options.store, workers=workers, progress=progress)
        timing, seen = _kept(study, options)
    spread = options.spread or seen
    if options.difference is not None and spread is None:
        raise ArgumentError("difference", options.difference, "given together with a spread: no kept trials show one")
    found = plan(
        study,
        spread,
        options.difference,
        spread_is_seen=options.spread is None and seen is not None,
        timing=timing,
        workers=workers,
    )
    if options.json:
        print(json.dumps(plain(found) | {"detectable": found.detectable}, indent=2, allow_nan=False))
        return 0
    print("\n".join(found.sentences))
    if found.time is None:
        print("How long it takes is not known yet: --probe times the first trial of every arm, and keeps it.", file=sys.stderr)
    return 0


def _kept(study: Study, options: argparse.Namespace) -> tuple[Timing | None, float | None]:
    """How long kept trials took, and the spread that they show; None where there are none."""
    from equipoise.study._preparing.timing import read_timing
    from equipoise.study._report.contents import kept_spread
    from equipoise.study._store import Store, sqlite_file, store_url

    url = options.store or store_url(study, options.files[0].parent)
    file = sqlite_file(url)
    if file is not None and not file.exists():
        return None, None
    with closing(Store(url, options.files[0].parent)) as store:
        return read_timing(store, study), kept_spread(store, study)
