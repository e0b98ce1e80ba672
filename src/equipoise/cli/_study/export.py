"""``equipoise study export``: the kept trials as a table for other programs."""

from __future__ import annotations

import argparse
import io
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from equipoise.cli._arguments import from_study_extra
from equipoise.cli._study._arguments import add_source, open_source

if TYPE_CHECKING:
    from equipoise.cli._arguments import Commands


def add(commands: Commands) -> None:
    """Add the command to those of ``equipoise study``."""
    parser = commands.add_parser(
        "export",
        help="Write the kept trials as a table for other programs.",
        description="Write the kept trials of a study as a table, also while it runs: one row per trial, with the last value of"
        " every number that it reported, or one row per trial and epoch.",
        epilog="equipoise study judge reads both tables: study judge trials.csv --where phase=comparison --arm arm --seed seed"
        " --status status ...",
        allow_abbrev=False,
    )
    add_source(parser)
    parser.add_argument(
        "--table",
        choices=["trials", "readings"],
        default="trials",
        help="One row per trial (the default), or one for each of its epochs.",
    )
    parser.add_argument("--format", choices=["csv", "jsonl"], default="csv", help="CSV (the default), or JSON lines.")
    parser.add_argument("--out", type=Path, metavar="PATH", help="The file to write; the default is the standard output.")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    with from_study_extra():
        from equipoise._files import replacing
        from equipoise.study._report.export import export

    store, name = open_source(options)
    with closing(store):
        if options.out is None:
            export(store, name, options.table, options.format, sys.stdout)
            return 0
        with replacing(options.out) as file:
            text = io.TextIOWrapper(file, encoding="utf-8", newline="")
            export(store, name, options.table, options.format, text)
            text.detach()  # flushed; whoever opened the file closes it
    print(options.out)
    return 0
