"""``equipoise migrate``: continue the run of a checkpoint with another optimizer."""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from equipoise._json import plain
from equipoise._words import printable

if TYPE_CHECKING:
    from equipoise.cli._arguments import Commands

HYPERPARAMETERS = ("lr", "exponent", "stages", "k", "reference")
"""Options that go to the new optimizer where they are given."""


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "migrate",
        help="Continue the run of a checkpoint with another optimizer.",
        description="Write a checkpoint again, with its optimizer converted to another one. Where both optimizers can express"
        " the same update rule, the next update is the one that the old optimizer would have made.",
        epilog="Exit code 0: done, 2: unusable input; nothing was written.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "source", type=Path, metavar="IN.pt", help="A torch checkpoint that holds the state_dict() of one optimizer."
    )
    parser.add_argument("target", type=Path, metavar="OUT.pt", help="The file to write. It must not exist.")
    parser.add_argument(
        "--to",
        required=True,
        metavar="OPTIMIZER",
        help="The new optimizer, one of equipoise, smes, kadam, adamw, adam, rmsprop, sgd.",
    )
    parser.add_argument("--lr", type=float, help="A new learning rate.")
    parser.add_argument(
        "--exponent", type=float, metavar="P", help="The exponent of the second moment, for equipoise and smes."
    )
    parser.add_argument("--stages", type=int, metavar="K", help="How many times updates are normalized, for equipoise.")
    parser.add_argument("--k", type=int, help="How many times updates are normalized, for kadam.")
    parser.add_argument(
        "--reference", help="What second moments are measured against, for equipoise and smes: none or initial."
    )
    parser.add_argument("--json", action="store_true", help="Print one JSON object.")
    parser.set_defaults(run=_migrate)


def _migrate(options: argparse.Namespace) -> int:
    from equipoise import migrate

    asked = {name: getattr(options, name) for name in HYPERPARAMETERS if getattr(options, name) is not None}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        done = migrate.convert_checkpoint(options.source, options.target, options.to, **asked)
    for message in dict.fromkeys(str(warning.message) for warning in caught):
        print(f"warning: {message}", file=sys.stderr)
    groups = [{name: value for name, value in group.items() if name != "params"} for group in done.state_dict["param_groups"]]
    if options.json:
        result = {
            "file": str(options.target),
            "optimizer": done.place,
            "from": done.old_optimizer,
            "to": done.new_optimizer,
            "groups": groups,
        }
        # A learning rate may be a tensor, and the precision of the state is a dtype of torch.
        print(json.dumps(plain(result), indent=2, default=str, allow_nan=False))
        return 0
    place, parameters = done.place or options.source, len(done.state_dict["state"])
    print(f"{place}: {done.old_optimizer} to {done.new_optimizer}, {parameters} parameters with state")
    for number, group in enumerate(groups):
        print(f"group {number}: {', '.join(printable(f'{name} {value}') for name, value in group.items())}")
    print(f"written: {options.target}")
    return 0
