"""``equipoise study new``: the files that a study begins with."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from equipoise.cli._arguments import from_study_extra

if TYPE_CHECKING:
    from equipoise.cli._arguments import Commands

KINDS = {"images": "handwritten digits", "text": "the next character", "table": "a number from columns"}
"""What the task of each kind learns."""


def add(commands: Commands) -> None:
    """Add the command to those of ``equipoise study``."""
    parser = commands.add_parser(
        "new",
        help="Write a study file and a task, to put your own model and data in.",
        description="Write NAME.toml, which describes a study, and NAME_task.py, which trains once. Both run as they are, on"
        " small data, and say where your own model, data and metric belong. Nothing is overwritten.",
        allow_abbrev=False,
    )
    parser.add_argument("name", metavar="NAME", help="The name of the study.")
    kinds = ", ".join(f"{kind} ({learns})" for kind, learns in KINDS.items())
    parser.add_argument(
        "--kind", choices=KINDS, default="images", help=f"What the task learns: {kinds}; the default is images."
    )
    parser.add_argument("--json", action="store_true", help="Print one JSON object.")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    with from_study_extra():
        from equipoise.study._preparing.new import new_study

    study, task = new_study(options.name, options.kind, Path())
    if options.json:
        print(json.dumps({"study": str(study), "task": str(task)}, indent=2))
        return 0
    print(f"{study} describes the study; {task} trains once, and is where your model, data and metric belong. Try next:\n")
    print(f"  equipoise study plan {study} --probe    # how long it takes, and what it can show")
    print(f"  equipoise study run {study}             # a minute or two")
    return 0
