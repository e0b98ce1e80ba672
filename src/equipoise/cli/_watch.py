"""``equipoise watch``: see what running trainings do."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from equipoise.cli._arguments import port_number
from equipoise.errors import MissingExtraError

if TYPE_CHECKING:
    from equipoise.cli._arguments import Commands


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "watch",
        help="see what running trainings do",
        description="Show runs that a Monitor writes, and follow them until Ctrl-C: verdicts, curves, and every tensor.",
        epilog="Exit code 0: done, whatever the verdicts; 2: unusable input.",
        allow_abbrev=False,
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="the folder of a run, which holds readings.jsonl")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--once", action="store_true", help="print once instead; so it is where stdout is no terminal")
    how.add_argument("--json", action="store_true", help="print the last readings and verdicts once, as one JSON array")
    how.add_argument("--web", action="store_true", help="serve a page on this machine instead, at 127.0.0.1")
    parser.add_argument("--port", type=port_number, default=0, metavar="N", help="of the page (default: one that is free)")
    parser.set_defaults(run=_watch)


def _watch(options: argparse.Namespace) -> int:
    from equipoise.watch._runs import Run

    try:
        from rich.console import Console

        from equipoise.watch._terminal import as_plain, print_once, watch

        if options.web:
            from equipoise.watch._web import serve
    except ImportError as error:
        raise MissingExtraError("watching a run", "watch") from error

    with ExitStack() as opened:
        runs = [opened.enter_context(Run(folder)) for folder in options.runs]
        if options.json:
            print(json.dumps(as_plain(runs), indent=2, allow_nan=False))
        elif options.web:
            serve(runs, options.port)  # pyright: ignore[reportPossiblyUnboundVariable]
        elif options.once or not sys.stdout.isatty():
            print_once(runs, Console())
        else:
            watch(runs, Console())
    return 0
