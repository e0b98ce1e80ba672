"""The ``equipoise`` command. Results go to stdout, messages to stderr.

Exit codes: 0 done (for ``check``: stable), 1 a negative verdict of ``check``, 2 unusable input, 3 stopped before the end.

Every command imports what it needs when it runs: ``check`` is for scripts and pre-commit hooks too, and answers at once.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence

from equipoise._version import __version__
from equipoise.cli import _check, _migrate, _recommend, _study, _watch
from equipoise.errors import EquipoiseError, StudyStoppedError

__all__ = ["main"]


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
    parser = argparse.ArgumentParser(
        prog="equipoise", description="Choose, check, run and defend an optimizer for deep learning.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"equipoise {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (_check, _migrate, _recommend, _study, _watch):
        command.add(commands)
    return parser
