"""The ``equipoise`` command, one module for each of its commands. Results go to stdout, messages to stderr.

Exit codes: 0: the command is done (``check``: the hyperparameters are stable); 1: ``check`` found unstable hyperparameters;
2: the input could not be used; 3: the command stopped before its end. Where whoever reads the output has closed it, as
``head`` does, a command ends in silence with 141, as those of Unix do.

Every command imports what it needs when it runs, so that ``check`` answers at once in scripts and pre-commit hooks.
"""

from __future__ import annotations

import argparse
import io
import os
import select
import sys
from collections.abc import Sequence

from equipoise._version import __version__
from equipoise._words import printable_lines
from equipoise.cli import _check, _data, _migrate, _recommend, _study, _watch
from equipoise.cli._arguments import Parser
from equipoise.errors import EquipoiseError, StudyStoppedError

__all__ = ["main"]

LONGEST_LINE = 1000
"""So many characters a line of a message has, at most."""
READER_LEFT = 128 + 13
"""The exit code of a command that the signal SIGPIPE ends."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command. An error that Equipoise raises on purpose becomes one line on stderr."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Commands print names from files: a character that the terminal's encoding lacks must not stop them.
        sys.stdout.reconfigure(errors="backslashreplace")  # pyright: ignore[reportUnknownMemberType]
    options = _parser().parse_args(arguments)
    try:
        code = options.run(options)
        print(end="", flush=True)
    except EquipoiseError as error:
        # It may repeat what stands in a file. That of a study has a line for each fault.
        print(printable_lines(f"error: {error}", LONGEST_LINE), file=sys.stderr)
        raise SystemExit(3 if isinstance(error, StudyStoppedError) else 2) from None
    except BrokenPipeError:
        if not _output_is_closed():
            raise
        _drop_output()
        raise SystemExit(READER_LEFT) from None
    raise SystemExit(code)


def _output_is_closed() -> bool:
    """Whether nobody reads the output any more."""
    output = select.poll()
    output.register(sys.stdout, 0)  # for errors only
    return bool(output.poll(0))


def _drop_output() -> None:
    """Let what is still to be written go nowhere: Python writes it at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="equipoise",
        description="Choose, check, run and defend an optimizer for deep learning.",
        epilog="Each command explains itself: equipoise COMMAND --help.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"equipoise {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (_check, _data, _migrate, _recommend, _study, _watch):
        command.add(commands)
    return parser
