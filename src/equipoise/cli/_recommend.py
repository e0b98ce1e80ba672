"""``equipoise recommend``: which exponent balances a run, and how sure that is."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from equipoise.cli._arguments import positive
from equipoise.errors import ArgumentError, MissingExtraError, UnusableInputError

if TYPE_CHECKING:
    from equipoise.cli._arguments import Commands
    from equipoise.recommend._evidence import Evidence
    from equipoise.recommend._recommendation import Answer


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "recommend",
        help="which exponent balances a run, and how sure that is",
        description="From a monitored run, a checkpoint, or some steps of a task to an exponent for each parameter group: the"
        " smallest at which layers, and coordinates that rarely see a gradient, move alike within a tolerance, unless more"
        " signal would be lost. With --write, to a study that tests it.",
        epilog="Exit code 0: done, 2: unusable input, 3: stopped before the end.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "source",
        metavar="RUN|CHECKPOINT|TASK",
        help="the folder of a monitored run; a torch checkpoint with the state of one optimizer; or a task as in study files: a"
        " built-in name, file.py:function, or package.module:function",
    )
    parser.add_argument(
        "--reference",
        choices=["initial", "none"],
        default="initial",
        help="what SMES measures second moments against: each layer's own scale at the start, or nothing",
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=0.3,
        metavar="DECADES",
        help="that updates may lie apart (default 0.3, a factor of 2)",
    )
    looked = parser.add_argument_group("how a TASK is looked at")
    looked.add_argument("--steps", type=positive, metavar="N", help="how many, as AdamW would make them (default 300)")
    looked.add_argument("--lr", type=float, help="of AdamW (default 0.001)")
    looked.add_argument("--seed", type=int, help="of the task (default 0)")
    written = parser.add_argument_group("a study of the recommendation against AdamW, SGD and its two neighbours")
    written.add_argument("--write", type=Path, metavar="STUDY.toml", help="must not exist; needs --metric and --goal")
    written.add_argument("--metric", metavar="NAME", help="what the task reports and the study decides by")
    written.add_argument("--goal", choices=["maximize", "minimize"], help="of the metric")
    written.add_argument("--task", help="of the study, if the source is none")
    parser.add_argument("--epochs", type=positive, default=10, metavar="N", help="that a task trains for (default 10)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")

    def run(options: argparse.Namespace) -> int:
        if options.write is not None and (options.metric is None or options.goal is None):
            parser.error("--write needs --metric and --goal")
        if options.write is None and not options.metric is options.goal is options.task is None:
            parser.error("--metric, --goal and --task go with --write")
        return _recommend(options, parser)

    parser.set_defaults(run=run)


def _recommend(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from equipoise.recommend._recommendation import answer
    from equipoise.recommend._report import as_plain, print_answers

    file = Path(options.source)
    is_task = not file.exists()
    evidence: Evidence
    if not is_task and not options.steps is options.lr is options.seed is None:
        parser.error("--steps, --lr and --seed go with a TASK")
    if is_task:
        evidence = _evidence_of_task(options)
    elif file.is_dir():
        from equipoise.recommend._from_run import from_run

        evidence = from_run(file, options.reference)
    else:
        from equipoise.recommend._from_checkpoint import from_checkpoint

        evidence = from_checkpoint(file, options.reference)
    answers = answer(evidence, options.tolerance)
    if options.write is not None:
        _write_study(options, evidence, answers, options.source if is_task else options.task)
    if options.json:
        print(json.dumps(as_plain(evidence, answers), indent=2, allow_nan=False))
    else:
        print_answers(evidence, answers)
    return 0


def _evidence_of_task(options: argparse.Namespace) -> Evidence:
    try:
        from equipoise.recommend._from_task import Observation, from_task
        from equipoise.study._spec import BUILT_IN_TASKS, locate_task
    except ImportError as error:
        raise MissingExtraError("a task", "study") from error

    if ":" not in options.source and options.source not in BUILT_IN_TASKS:
        raise UnusableInputError(
            f"{options.source}: there is no such run, checkpoint or task; built-in tasks are {', '.join(BUILT_IN_TASKS)}"
        )
    observation = Observation(
        task=locate_task(options.source, Path()),
        steps=300 if options.steps is None else options.steps,
        epochs=options.epochs,
        learning_rate=1e-3 if options.lr is None else options.lr,
        seed=options.seed or 0,
        reference=options.reference,
    )
    return from_task(observation, options.source)


def _write_study(options: argparse.Namespace, evidence: Evidence, answers: list[Answer], task: str | None) -> None:
    try:
        from equipoise.recommend._study_file import Test, write_study
    except ImportError as error:
        raise MissingExtraError("a study", "study") from error

    if task is None:
        raise ArgumentError("--task", None, "given, for a study: a run and a checkpoint do not say what was trained")
    tested = write_study(options.write, evidence, answers, Test(task, options.metric, options.goal, options.epochs))
    of = "" if len(answers) == 1 else f", with the exponent of group {tested.group} for all groups"
    print(f"written: {options.write}{of}", file=sys.stderr)
