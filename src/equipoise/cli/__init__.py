"""The ``equipoise`` command, one module for each of its commands. Results go to stdout, messages to stderr.

Exit codes: 0: the command is done (``check``: the hyperparameters are stable); 1: ``check`` found unstable hyperparameters;
2: the input could not be used; 3: the command stopped before its end, or could not write its output. Where whoever reads the
output has closed it, as ``head`` does, a command ends in silence with 141, as those of Unix do.

Every command imports what it needs when it runs, so that ``check`` answers at once in scripts and pre-commit hooks.
"""

from __future__ import annotations

import argparse
import errno
import io
import os
import select
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TextIO

from equipoise._version import __version__
from equipoise._words import printable_lines
from equipoise.cli import _check, _data, _migrate, _recommend, _study, _watch
from equipoise.cli._arguments import Parser
from equipoise.errors import EquipoiseError, StudyStoppedError

__all__ = ["main"]

LONGEST_LINE = 1000
"""So many characters a line of a message has, at most."""

UNUSABLE, STOPPED = 2, 3
READER_LEFT = 128 + 13
"""The exit code of a command that the signal SIGPIPE ends."""

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""Why an output cannot be written. Files that a command writes say it themselves, with their names."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command. An error that Equipoise raises on purpose becomes one line on stderr, as does an output that fails."""
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        if not any(map(_is_closed, (sys.stdout, sys.stderr))):
            raise
        code = READER_LEFT
        _drop_output()
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        _drop_output()
        with suppress(OSError):  # where that is what fails
            print(f"error: the output cannot be written: {error.strerror}", file=sys.stderr)
        code = STOPPED
    raise SystemExit(code)


def _run(arguments: Sequence[str] | None) -> int:
    """Do what the arguments say, and return the exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Commands print names from files: a character that the terminal's encoding lacks must not stop them.
        sys.stdout.reconfigure(errors="backslashreplace")  # pyright: ignore[reportUnknownMemberType]
    try:
        options = _parser().parse_args(arguments)
        return options.run(options)
    except EquipoiseError as error:
        # It may repeat what stands in a file. That of a study has a line for each fault.
        print(printable_lines(f"error: {error}", LONGEST_LINE), file=sys.stderr)
        return STOPPED if isinstance(error, StudyStoppedError) else UNUSABLE
    except SystemExit as ended:  # of argparse, or of rich, which ends a program whose reader has left
        if isinstance(ended.__context__, BrokenPipeError):
            return READER_LEFT
        return ended.code if isinstance(ended.code, int) else UNUSABLE


def _is_closed(stream: TextIO) -> bool:
    """Whether nobody reads a stream any more."""
    output = select.poll()
    output.register(stream, 0)  # for errors only
    return bool(output.poll(0))


def _drop_output() -> None:
    """Let what is still to be written go nowhere: Python writes it at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


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
