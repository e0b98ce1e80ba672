"""``equipoise study plan``: what a study will take and what it can show, before any trial is run."""

from __future__ import annotations

import argparse
import json
import math
from typing import TYPE_CHECKING

from equipoise.cli._arguments import add_files, from_study_extra
from equipoise.errors import ArgumentError

if TYPE_CHECKING:
    from equipoise.cli._arguments import Commands


def add(commands: Commands) -> None:
    """Add the command to those of ``equipoise study``."""
    parser = commands.add_parser(
        "plan",
        help="Say how many trials a study takes, and which difference it can show.",
        description="Say how many trials a study takes, and which difference it can show. Nothing is run.",
        allow_abbrev=False,
    )
    add_files(parser)
    parser.add_argument(
        "--spread",
        type=_positive_number,
        metavar="X",
        help="A guess of how much the difference between two arms varies from seed to seed, as a standard deviation.",
    )
    parser.add_argument(
        "--difference", type=_positive_number, metavar="X", help="Also say how many seeds show this difference; needs --spread."
    )
    parser.add_argument("--json", action="store_true", help="Print one JSON object.")
    parser.set_defaults(run=_run)


def _positive_number(text: str) -> float:
    number = float(text)
    if not 0 < number < math.inf:
        raise ValueError
    return number


def _run(options: argparse.Namespace) -> int:
    with from_study_extra():
        from equipoise._json import plain
        from equipoise.cli._study import suite
        from equipoise.study._plan import plan
        from equipoise.study._spec import read_study
        from equipoise.study._suite.spec import is_suite

    if options.difference is not None and options.spread is None:
        raise ArgumentError("difference", options.difference, "given together with a spread")
    if is_suite(options.files):
        return suite.plan_command(options)
    found = plan(read_study(options.files[0]), options.spread, options.difference)
    if options.json:
        print(json.dumps(plain(found) | {"detectable": found.detectable}, indent=2, allow_nan=False))
    else:
        print("\n".join(found.sentences))
    return 0
