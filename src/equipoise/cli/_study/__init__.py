"""``equipoise study``: compare optimizers on your own metric. One module for each command, in the order of their use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from equipoise.cli._study import export, fork, judge, new, plan, report, run

if TYPE_CHECKING:
    from equipoise.cli._arguments import Commands


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    study = commands.add_parser("study", help="Compare optimizers on your own metric.", allow_abbrev=False)
    actions = study.add_subparsers(required=True, metavar="COMMAND")
    for command in (new, plan, run, report, export, fork, judge):
        command.add(actions)
