"""``equipoise data``: read the original files of a data set once, so that built-in tasks can train on it."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from equipoise.cli._arguments import from_study_extra
from equipoise.errors import ArgumentError

if TYPE_CHECKING:
    from equipoise.cli._arguments import Commands


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "data",
        help="Read a data set for built-in tasks, or list those that there are.",
        description="Read the original files of a data set once and keep what they hold, so that built-in tasks can train on"
        " it. Without a name, list the data sets, and say how to get each. Nothing is downloaded.",
        epilog="They are kept in the folder that the environment variable EQUIPOISE_DATA names, by default in"
        " ~/.local/share/equipoise.",
        allow_abbrev=False,
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="The data set, as fashion-mnist.")
    parser.add_argument(
        "--from", dest="source", type=Path, metavar="PATH", help="The file, the archive or the folder to read it from."
    )
    parser.add_argument("--json", action="store_true", help="Print one JSON object.")

    def run(options: argparse.Namespace) -> int:
        if (options.name is None) != (options.source is None):
            parser.error("give both a NAME and --from PATH, or neither")
        return _list(as_json=options.json) if options.name is None else _read(options)

    parser.set_defaults(run=run)


def _list(*, as_json: bool) -> int:
    with from_study_extra():
        from equipoise.study._data import DATASETS, data_folder, file_of

    found = [(each, file_of(each.name)) for each in DATASETS.values()]
    if as_json:
        listed = [{"name": each.name, "file": str(file), "there": file.exists(), "how": each.how} for each, file in found]
        print(json.dumps({"folder": str(data_folder()), "data": listed}, indent=2))
        return 0
    print(f"in {data_folder()}:")
    for each, file in found:
        print(f"  {each.name:<18}{'there' if file.exists() else f'missing. To get it: {each.how}'}")
    return 0


def _read(options: argparse.Namespace) -> int:
    with from_study_extra():
        from equipoise.study._data import DATASETS, digest_of, save

    known = DATASETS.get(options.name)
    if known is None:
        raise ArgumentError("NAME", options.name, f"one of {', '.join(DATASETS)}")
    contents = known.read(options.source)
    original = known.is_original(options.source, contents) if known.originals else None
    path = save(known.name, contents)
    if original is False:
        print("note: this is not bit for bit what its authors published; say so where a result rests on it", file=sys.stderr)
    if options.json:
        found = {"name": known.name, "file": str(path), "holds": str(contents), "sha256": digest_of(contents)}
        print(json.dumps(found | {"original": original}, indent=2))
    else:
        print(f"{known.name}: {contents}\nwritten: {path}\nSHA-256 of the content: {digest_of(contents)}")
    return 0
