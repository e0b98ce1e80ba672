"""``equipoise watch``: see what running trainings do."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from equipoise.cli._arguments import port_number

if TYPE_CHECKING:
    from equipoise.cli._arguments import Commands


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "watch",
        help="See what running trainings do.",
        description=(
            "Show runs that a Monitor writes: what is wrong, the curves of the metrics, and every tensor. In a terminal the"
            " view follows the runs until you press Ctrl-C. Where the output is no terminal, it is printed once."
        ),
        epilog="The exit code is 0 when the command is done, whatever the verdicts say, 2 when the input cannot be"
        " used, and 3 when Ctrl-C stopped it before everything was printed.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="The folder of a run: the one that you gave to JsonLines."
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--once", action="store_true", help="Print everything once instead of following the runs.")
    how.add_argument("--json", action="store_true", help="Print the last readings and the verdicts once, as one JSON array.")
    how.add_argument("--web", action="store_true", help="Serve a page with live charts on this machine, at 127.0.0.1.")
    parser.add_argument(
        "--port",
        type=port_number,
        default=0,
        metavar="N",
        help="The port of the page. The default is a port that is free; the command prints it.",
    )
    parser.set_defaults(run=_watch)


def _watch(options: argparse.Namespace) -> int:
    try:
        return _shown(options)
    except KeyboardInterrupt:  # while everything is read; what follows runs has its own way to end
        print("stopped before everything was read", file=sys.stderr)
        return 3


def _shown(options: argparse.Namespace) -> int:
    from equipoise import watch

    with ExitStack() as opened:
        runs = [opened.enter_context(watch.Run(folder)) for folder in options.runs]
        if options.json:
            print(json.dumps(watch.summary(runs), indent=2, allow_nan=False))
        elif options.web:
            watch.serve(runs, options.port)
        elif options.once or not sys.stdout.isatty():
            watch.show(runs)
        else:
            watch.follow(runs)
    return 0
