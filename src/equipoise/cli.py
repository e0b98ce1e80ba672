"""The ``equipoise`` command. Results go to stdout, messages to stderr.

Exit codes: 0 done (for ``check``: stable), 1 a negative verdict of ``check``, 2 unusable input, 3 stopped before the end.

Every command imports what it needs when it runs: ``check`` is for scripts and pre-commit hooks too, and answers at once.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from equipoise.errors import ArgumentError, EquipoiseError, MissingExtraError, StudyStoppedError, UnusableInputError

if TYPE_CHECKING:
    from equipoise.recommend.answer import Answer
    from equipoise.recommend.evidence import Evidence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; errors that Equipoise raises on purpose become one line on stderr."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Names in files are printed: never fail on one that the terminal's encoding lacks.
        sys.stdout.reconfigure(errors="backslashreplace")  # pyright: ignore[reportUnknownMemberType]
    options = _parser().parse_args(arguments)
    try:
        raise SystemExit(options.run(options))
    except EquipoiseError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(3 if isinstance(error, StudyStoppedError) else 2) from None


def _parser() -> argparse.ArgumentParser:
    from equipoise import __version__

    parser = argparse.ArgumentParser(
        prog="equipoise", description="Choose, check, run and defend an optimizer for deep learning.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"equipoise {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_check(commands)
    _add_migrate(commands)
    _add_recommend(commands)
    study = commands.add_parser("study", help="compare optimizers on your own metric", allow_abbrev=False)
    _add_study_run(study.add_subparsers(required=True, metavar="COMMAND"))
    _add_watch(commands)
    return parser


def _add_check(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:  # pyright: ignore[reportPrivateUsage]
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
    from equipoise.check import check
    from equipoise.settings import Settings, read_settings
    from equipoise.theory.assessment import stage_exponents, stage_pairs

    if options.file is not None:
        settings = read_settings(options.file)
    else:
        stages = 1 if options.stages is None else options.stages
        exponent = 0.5 if options.exponent is None else options.exponent
        settings = [Settings("command line", stage_pairs(options.betas, stages), stage_exponents(exponent, stages), stages)]
    name_places = options.file is not None
    stable = check(settings, name_places=name_places, as_json=options.json, plot=options.plot, explain=options.explain)
    return 0 if stable else 1


def _add_migrate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:  # pyright: ignore[reportPrivateUsage]
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
    from equipoise.migrate import migrate_file
    from equipoise.peers import CLASSES, kind_of

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


def _add_recommend(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:  # pyright: ignore[reportPrivateUsage]
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
    looked.add_argument("--steps", type=_positive, metavar="N", help="how many, as AdamW would make them (default 300)")
    looked.add_argument("--lr", type=float, help="of AdamW (default 0.001)")
    looked.add_argument("--seed", type=int, help="of the task (default 0)")
    written = parser.add_argument_group("a study of the recommendation against AdamW, SGD and its two neighbours")
    written.add_argument("--write", type=Path, metavar="STUDY.toml", help="must not exist; needs --metric and --goal")
    written.add_argument("--metric", metavar="NAME", help="what the task reports and the study decides by")
    written.add_argument("--goal", choices=["maximize", "minimize"], help="of the metric")
    written.add_argument("--task", help="of the study, if the source is none")
    parser.add_argument("--epochs", type=_positive, default=10, metavar="N", help="that a task trains for (default 10)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")

    def run(options: argparse.Namespace) -> int:
        if options.write is not None and (options.metric is None or options.goal is None):
            parser.error("--write needs --metric and --goal")
        if options.write is None and not options.metric is options.goal is options.task is None:
            parser.error("--metric, --goal and --task go with --write")
        return _recommend(options, parser)

    parser.set_defaults(run=run)


def _recommend(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from equipoise.recommend.answer import answer
    from equipoise.recommend.text import as_plain, print_answers

    file = Path(options.source)
    is_task = not file.exists()
    evidence: Evidence
    if not is_task and not options.steps is options.lr is options.seed is None:
        parser.error("--steps, --lr and --seed go with a TASK")
    if is_task:
        evidence = _evidence_of_task(options)
    elif file.is_dir():
        from equipoise.recommend.from_run import from_run

        evidence = from_run(file, options.reference)
    else:
        from equipoise.recommend.from_checkpoint import from_checkpoint

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
        from equipoise.recommend.from_task import Observation, from_task
        from equipoise.study.spec import BUILT_IN_TASKS, locate_task
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
        from equipoise.recommend.study_file import Test, write_study
    except ImportError as error:
        raise MissingExtraError("a study", "study") from error

    if task is None:
        raise ArgumentError("--task", None, "given, for a study: a run and a checkpoint do not say what was trained")
    tested = write_study(options.write, evidence, answers, Test(task, options.metric, options.goal, options.epochs))
    of = "" if len(answers) == 1 else f", with the exponent of group {tested.group} for all groups"
    print(f"written: {options.write}{of}", file=sys.stderr)


def _add_study_run(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:  # pyright: ignore[reportPrivateUsage]
    parser = commands.add_parser(
        "run",
        help="run what is missing of a study, print the verdict and write the report",
        description="Run what is missing of a study, print the verdict and write the report.",
        epilog="Exit code 0: completed, whichever arm won; 2: unusable input; 3: stopped before the end (run it again).",
        allow_abbrev=False,
    )
    parser.add_argument("file", type=Path, help="the study, a TOML file")
    parser.add_argument("--workers", type=_positive, metavar="N", help="trials at once (default: one per core)")
    parser.add_argument("--store", metavar="URL", help="of a database, instead of NAME.db beside the file")
    parser.add_argument(
        "--report", type=Path, metavar="PATH", help="where to write it, instead of NAME.report.html beside the file"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=_study_run)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _study_run(options: argparse.Namespace) -> int:
    try:
        from rich.console import Console

        from equipoise.study.progress import ConsoleProgress
        from equipoise.study.report import as_plain, print_report, write_html
        from equipoise.study.runner import run_study
        from equipoise.study.spec import read_study
        from equipoise.study.store import Store, sqlite_url
    except ImportError as error:
        raise MissingExtraError("a study", "study") from error

    file: Path = options.file
    study = read_study(file)
    store = Store(options.store or sqlite_url(file.with_name(f"{study.name}.db")))
    try:
        with ConsoleProgress(Console(stderr=True), study.metric) as progress:
            analysis = run_study(study, file.parent, store, progress, options.workers)
    except KeyboardInterrupt:
        raise StudyStoppedError("interrupted; finished trials are kept: run the same command again to continue") from None
    finally:
        store.close()
    report: Path = options.report or file.with_name(f"{study.name}.report.html")
    write_html(analysis, report)
    if options.json:
        print(json.dumps(as_plain(analysis) | {"report": str(report)}, indent=2, allow_nan=False))
    else:
        print_report(analysis, Console())
        print(f"\nreport: {report}")
    return 0


def _add_watch(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:  # pyright: ignore[reportPrivateUsage]
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
    parser.add_argument("--port", type=_port, default=0, metavar="N", help="of the page (default: one that is free)")
    parser.set_defaults(run=_watch)


def _port(text: str) -> int:
    number = int(text)
    if not 0 <= number < 65536:
        raise ValueError
    return number


def _watch(options: argparse.Namespace) -> int:
    from equipoise.monitor.runs import Run

    try:
        from rich.console import Console

        from equipoise.monitor.watch import as_plain, print_once, watch

        if options.web:
            from equipoise.monitor.web import serve
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
