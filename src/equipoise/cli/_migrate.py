"""``equipoise migrate``: continue the run of a checkpoint with another optimizer."""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from equipoise.errors import ArgumentError

if TYPE_CHECKING:
    from equipoise.cli._arguments import Commands


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "migrate",
        help="continue the run of a checkpoint with another optimizer",
        description="Write a checkpoint again with the state of its optimizer as another optimizer's, which then makes the"
        " update that would have come, where both stand at the same point of the family.",
        epilog="Exit code 0: done, 2: unusable input; nothing was written.",
        allow_abbrev=False,
    )
    parser.add_argument("file", type=Path, metavar="IN.pt", help="a torch checkpoint with one state_dict() of an optimizer")
    parser.add_argument("target", type=Path, metavar="OUT.pt", help="where to write it; must not exist")
    parser.add_argument("--to", required=True, metavar="OPTIMIZER", help="equipoise, smes, kadam, adamw, adam, sgd, or rmsprop")
    parser.add_argument("--lr", type=float, help="a new learning rate")
    parser.add_argument("--exponent", type=float, metavar="P", help="for equipoise and smes")
    parser.add_argument("--stages", type=int, metavar="K", help="for equipoise")
    parser.add_argument("--k", type=int, help="for kadam")
    parser.add_argument("--reference", help="for equipoise and smes: none, initial, or running")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=_migrate)


def _migrate(options: argparse.Namespace) -> int:
    from equipoise.migrate._checkpoints import migrate_file
    from equipoise.migrate._conversions import CLASSES, kind_of

    classes = {each.__name__.lower(): each for each in CLASSES}
    if options.to not in classes:
        raise ArgumentError("--to", options.to, f"one of {', '.join(classes)}")
    names = ("lr", "exponent", "stages", "k", "reference")
    asked = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        done = migrate_file(options.file, options.target, classes[options.to], **asked)
    for message in dict.fromkeys(str(warning.message) for warning in caught):
        print(f"warning: {message}", file=sys.stderr)
    source, target = " or ".join(each.__name__ for each in kind_of(done.old).classes), classes[options.to].__name__
    groups = [{name: value for name, value in group.items() if name != "params"} for group in done.new["param_groups"]]
    if options.json:
        result = {"file": str(options.target), "optimizer": done.where, "from": source, "to": target, "groups": groups}
        print(json.dumps(result, indent=2, default=str))
        return 0
    print(f"{done.where or options.file}: {source} to {target}, {len(done.new['state'])} parameters with state")
    for number, group in enumerate(groups):
        print(f"group {number}: {', '.join(f'{name} {value}' for name, value in group.items())}")
    print(f"written: {options.target}")
    return 0
