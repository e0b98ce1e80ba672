"""``equipoise recommend``: which exponent balances a run, and how far that can be trusted."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from equipoise.cli._arguments import positive

if TYPE_CHECKING:
    from equipoise.cli._arguments import Commands
    from equipoise.recommend import Evidence


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "recommend",
        help="Say which exponent balances a run, and how far that can be trusted.",
        description="Recommend an exponent for each parameter group, from a monitored run, a checkpoint, or some steps of a"
        " task. It is the smallest exponent at which the updates of all layers, and of coordinates that rarely see a gradient,"
        " are equally large within a tolerance, unless too much signal would be lost. With --write, also write a study that"
        " tests it.",
        epilog="Exit code 0: done, 2: unusable input, 3: stopped before the end.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "source",
        metavar="RUN|CHECKPOINT|TASK",
        help="The folder of a monitored run; a torch checkpoint that holds the state of one optimizer; or a task as in a study"
        " file: a built-in name, file.py:function, or package.module:function.",
    )
    parser.add_argument(
        "--reference",
        choices=["initial", "none"],
        default="initial",
        help="What SMES measures second moments against: each layer's own scale at the start of the run (initial, the default),"
        " or nothing (none).",
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=0.3,
        metavar="DECADES",
        help="How far updates may lie apart (default 0.3, a factor of 2).",
    )
    parser.add_argument(
        "--epochs", type=positive, default=10, metavar="N", help="How many epochs a task trains for (default 10)."
    )
    parser.add_argument("--json", action="store_true", help="Print one JSON object.")
    observed = parser.add_argument_group("how a TASK is observed")
    observed.add_argument("--steps", type=positive, metavar="N", help="How many steps AdamW makes (default 300).")
    observed.add_argument("--lr", type=float, help="The learning rate of AdamW (default 0.001).")
    observed.add_argument("--seed", type=int, help="The seed of the task (default 0).")
    study = parser.add_argument_group("a study of the recommended exponent, its two neighbours, AdamW and SGD")
    study.add_argument(
        "--write", type=Path, metavar="STUDY.toml", help="The file to write. It must not exist. It needs --metric and --goal."
    )
    study.add_argument("--metric", metavar="NAME", help="The number that the task reports and the study decides by.")
    study.add_argument("--goal", choices=["maximize", "minimize"], help="What is to be done with the metric.")
    study.add_argument("--task", help="The task of the study, where the source is a run or a checkpoint.")

    def run(options: argparse.Namespace) -> int:
        is_task = not os.path.exists(options.source)  # Path.exists raises for names that are too long
        if options.write is not None and (options.metric is None or options.goal is None):
            parser.error("--write needs --metric and --goal")
        if options.write is None and not options.metric is options.goal is options.task is None:
            parser.error("--metric, --goal and --task go with --write")
        if not is_task and not options.steps is options.lr is options.seed is None:
            parser.error("--steps, --lr and --seed go with a TASK")
        if options.write is not None and not is_task and options.task is None:
            parser.error("--write needs --task: a run and a checkpoint do not say what was trained")
        return _recommend(options, options.source if is_task else options.task)

    parser.set_defaults(run=run)


def _recommend(options: argparse.Namespace, task: str | None) -> int:
    from equipoise import recommend

    evidence = _evidence(options)
    recommendations = recommend.exponents(evidence, options.tolerance)
    if options.write is not None:
        assert task is not None
        tested = recommend.write_study(
            options.write,
            evidence,
            recommendations,
            task=task,
            metric=options.metric,
            goal=options.goal,
            epochs=options.epochs,
        )
        of = "" if len(recommendations) == 1 else f", with the exponent of group {tested.group} for all groups"
        print(f"written: {options.write}{of}", file=sys.stderr)
    if options.json:
        print(json.dumps(recommend.as_dict(evidence, recommendations), indent=2, allow_nan=False))
    else:
        print(_with_bold_headings(recommend.as_text(evidence, recommendations)))
    return 0


def _evidence(options: argparse.Namespace) -> Evidence:
    from equipoise import recommend

    file = Path(options.source)
    if file.is_dir():
        return recommend.from_run(file, options.reference)
    if os.path.exists(file):
        return recommend.from_checkpoint(file, options.reference)
    given = {name: getattr(options, name) for name in ("steps", "lr", "seed") if getattr(options, name) is not None}
    return recommend.from_task(options.source, options.reference, epochs=options.epochs, **given)


def _with_bold_headings(text: str) -> str:
    if not sys.stdout.isatty() or "NO_COLOR" in os.environ:
        return text
    return re.sub(r"^group \d+: .*$", "\033[1m\\g<0>\033[0m", text, flags=re.MULTILINE)
