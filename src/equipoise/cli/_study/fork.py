"""``equipoise study fork``: another study made of one, which shares its trials."""

from __future__ import annotations

import argparse
import json
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from equipoise.cli._arguments import from_study_extra
from equipoise.cli._study._arguments import add_store

if TYPE_CHECKING:
    from equipoise.cli._arguments import Commands


def add(commands: Commands) -> None:
    """Add the command to those of ``equipoise study``."""
    parser = commands.add_parser(
        "fork",
        help="Copy a study under a new name, with changes; trials that stay the same are not run again.",
        description="Write NAME.toml, a copy of a study file under a new name, with changes. The study stays as it is, with its"
        " trials and its report. The copy shares its store, so that trials that are the same in both are not run again. To go"
        " on with a study itself after its code or an arm has changed, use: study run --fork.",
        allow_abbrev=False,
    )
    parser.add_argument("file", type=Path, metavar="STUDY.toml", help="The file that describes the study.")
    parser.add_argument("name", metavar="NAME", help="The name of the new study.")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="changes",
        help="Change a key, as seeds=12 or arm.quarter.exponent=0.3; may be given several times. Or edit NAME.toml.",
    )
    add_store(parser)
    parser.add_argument("--json", action="store_true", help="Print one JSON object.")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    with from_study_extra():
        from equipoise._words import counted
        from equipoise.study._cells import Table, trials
        from equipoise.study._preparing.fork import fork_study, parse_change
        from equipoise.study._store import Address, Store, sqlite_file, store_url
        from equipoise.study._task_source import locate_task

    folder: Path = options.file.parent
    copy, study = fork_study(options.file, options.name, dict(map(parse_change, options.changes)))
    planned = trials(Table(study, locate_task(study.task, folder)).plan_tuning())
    url = options.store or store_url(study, folder)
    file = sqlite_file(url)
    kept = 0
    if file is None or file.exists():
        with closing(Store(url, folder)) as store:
            kept = len(store.results(cell.assignment.key for cell in planned))
    if options.json:
        print(json.dumps({"study": str(copy), "tuning_trials": len(planned), "tuning_trials_kept": kept}, indent=2))
        return 0
    print(f"{copy} shares the store of {options.file}: {kept:,} of its {counted(len(planned), 'tuning trial')} are kept.")
    where = "" if options.store is None else f" --store {Address.parse(url).name}"
    print(f"Those that are the same in both are not run again: equipoise study run {copy}{where}")
    return 0
