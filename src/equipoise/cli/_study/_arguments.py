"""What several commands of ``equipoise study`` are given."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from equipoise.errors import UnusableInputError

if TYPE_CHECKING:
    from equipoise.study._store import Store

STORE_SUFFIXES = (".db", ".sqlite")


def add_store(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the store."""
    parser.add_argument(
        "--store", metavar="URL", help="The database that keeps the trials; the default is NAME.db beside the file."
    )


def add_files(parser: argparse.ArgumentParser, also: str = "") -> None:
    """Add what describes a study, or several tasks that are decided together."""
    parser.add_argument(
        "files",
        type=Path,
        nargs="+",
        metavar="STUDY",
        help=f"The file that describes the study{also}. Several files, a folder of them, or a file with [[task]] entries are"
        " several tasks that are decided together.",
    )


def add_source(parser: argparse.ArgumentParser) -> None:
    """Add what names a study that was run."""
    add_files(parser, ", or the NAME.db that keeps it")
    add_store(parser)


def several(options: argparse.Namespace) -> bool:
    """Whether several tasks are named, which are decided together."""
    from equipoise.study._suite.spec import is_suite

    return options.files[0].suffix not in STORE_SUFFIXES and is_suite(options.files)


def open_source(options: argparse.Namespace) -> tuple[Store, str | None]:
    """The store of a study, and its name if a study file says it. A store that is not there is not made."""
    from equipoise.study._spec import read_study
    from equipoise.study._store import Store, sqlite_file, sqlite_url, store_url

    if several(options):
        raise UnusableInputError(
            f"{', '.join(map(str, options.files))}: these are several tasks, and this command takes one study"
        )
    file: Path = options.files[0]
    study = None if file.suffix in STORE_SUFFIXES else read_study(file)
    url = options.store or (sqlite_url(file) if study is None else store_url(study, file.parent))
    kept = sqlite_file(url)
    if kept is not None and not kept.exists():
        raise UnusableInputError(f"{kept} is not there: no trial of this study was run yet")
    return Store(url, file.parent), None if study is None else study.name
