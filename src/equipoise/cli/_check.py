"""``equipoise check``: are these hyperparameters safe?"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from equipoise.cli._arguments import Commands


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "check",
        help="Say whether hyperparameters are safe.",
        description="Say whether updates stay bounded for every sequence of gradients, with these hyperparameters or with those"
        " in a file. Nothing is trained, and no data is needed.",
        epilog="Exit code 0: all are stable; 1: some are unstable; 2: the input could not be used.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "file",
        nargs="?",
        type=Path,
        metavar="FILE",
        help="A JSON, YAML or TOML file with betas, adam_beta1 and adam_beta2, or beta1 and beta2 at any depth, or a torch"
        " checkpoint (.pt, .pth, .bin, .ckpt).",
    )
    parser.add_argument(
        "--betas", nargs=2, type=float, metavar=("BETA1", "BETA2"), help="Check these two values instead of a file."
    )
    parser.add_argument("--exponent", type=float, metavar="P", help="The power of the second moment; the default 0.5 is Adam.")
    parser.add_argument("--stages", type=int, metavar="K", help="How many times the update is normalized; the default is 1.")
    parser.add_argument("--json", action="store_true", help="Print one JSON object.")
    parser.add_argument(
        "--plot", type=Path, metavar="PATH", help="Draw the map of the stability region with these values, as .html or .png."
    )
    parser.add_argument(
        "--explain",
        type=Path,
        metavar="PAGE.html",
        help="Write a page with the map, the worst gradients and the flow, and a slider for every value.",
    )

    def run(options: argparse.Namespace) -> int:
        if (options.file is None) == (options.betas is None):
            parser.error("give either a FILE or --betas BETA1 BETA2")
        if options.file is not None and (options.exponent is not None or options.stages is not None):
            parser.error("--exponent and --stages go with --betas; a FILE says its own exponent and stages")
        return _check(options)

    parser.set_defaults(run=run)


def _check(options: argparse.Namespace) -> int:
    from equipoise.check._report import report
    from equipoise.check._sources import Recipe, read_recipes
    from equipoise.hyperparameters import Hyperparameters

    if options.file is not None:
        recipes = read_recipes(options.file)
    else:
        stages = 1 if options.stages is None else options.stages
        exponent = 0.5 if options.exponent is None else options.exponent
        recipes = [Recipe("command line", Hyperparameters.parse(options.betas, exponent, stages))]
    name_places = options.file is not None
    stable = report(recipes, name_places=name_places, as_json=options.json, plot=options.plot, explain=options.explain)
    return 0 if stable else 1
