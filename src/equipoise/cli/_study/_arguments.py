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


def add_source(parser: argparse.ArgumentParser) -> None:
    """Add what names a study that was run."""
    parser.add_argument(
        "study", type=Path, metavar="STUDY", help="The file that describes the study, or the NAME.db that keeps it."
    )
    add_store(parser)


def open_source(options: argparse.Namespace) -> tuple[Store, str | None]:
    """The store of a study, and its name if a study file says it. A store that is not there is not made."""
    from equipoise.study._spec import read_study
    from equipoise.study._store import Store, sqlite_file, sqlite_url, store_url

    file: Path = options.study
    study = None if file.suffix in STORE_SUFFIXES else read_study(file)
    url = options.store or (sqlite_url(file) if study is None else store_url(study, file.parent))
    kept = sqlite_file(url)
    if kept is not None and not kept.exists():
        raise UnusableInputError(f"{kept} is not there: no trial of this study was run yet")
    return Store(url, file.parent), None if study is None else study.name
