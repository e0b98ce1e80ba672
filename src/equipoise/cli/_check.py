"""``equipoise check``: are these hyperparameters safe?"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from equipoise.cli._arguments import Commands


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    question = "Are these hyperparameters safe: do updates stay bounded for every sequence of gradients?"
    parser = commands.add_parser(
        "check",
        help="are these hyperparameters safe?",
        description=question,
        epilog="Exit code 0: stable, 1: unstable, 2: unusable input.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "file",
        nargs="?",
        type=Path,
        help="JSON, YAML or TOML that holds betas, adam_beta1 and adam_beta2, or beta1 and beta2 at any depth; or a torch"
        " checkpoint (.pt, .pth, .bin, .ckpt)",
    )
    parser.add_argument("--betas", nargs=2, type=float, metavar=("BETA1", "BETA2"), help="instead of a file")
    parser.add_argument("--exponent", type=float, metavar="P", help="power of the second moment (default 0.5, Adam)")
    parser.add_argument("--stages", type=int, metavar="K", help="how many times the update is normalized (default 1)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--plot", type=Path, metavar="PATH", help="draw the stable region with these values: .html or .png")
    parser.add_argument(
        "--explain",
        type=Path,
        metavar="PAGE.html",
        help="write a page with the map, the worst gradients and the flow, and sliders for every value",
    )

    def run(options: argparse.Namespace) -> int:
        if (options.file is None) == (options.betas is None):
            parser.error("give either a FILE or --betas BETA1 BETA2")
        if options.file is not None and (options.exponent is not None or options.stages is not None):
            parser.error("--exponent and --stages go with --betas: a FILE is judged by what it says itself")
        return _check(options)

    parser.set_defaults(run=run)


def _check(options: argparse.Namespace) -> int:
    from equipoise.check._report import check
    from equipoise.check._sources import Recipe, read_recipes
    from equipoise.hyperparameters import Hyperparameters

    if options.file is not None:
        recipes = read_recipes(options.file)
    else:
        stages = 1 if options.stages is None else options.stages
        exponent = 0.5 if options.exponent is None else options.exponent
        recipes = [Recipe("command line", Hyperparameters.parse(options.betas, exponent, stages))]
    name_places = options.file is not None
    stable = check(recipes, name_places=name_places, as_json=options.json, plot=options.plot, explain=options.explain)
    return 0 if stable else 1
