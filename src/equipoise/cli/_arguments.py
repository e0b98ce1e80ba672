"""What the commands share: their parser, the types of their arguments, and imports that need an extra."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

from equipoise.errors import MissingExtraError

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

    Commands: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]  # pyright: ignore[reportPrivateUsage]


class Parser(argparse.ArgumentParser):
    """A parser that refuses an option which is given twice: argparse takes the last one, and says nothing.

    It also hides no failure of the output, as argparse does where it prints a help or a mistake.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.register("action", None, _StoreOnce)  # for options without an action of their own

    def _print_message(self, message: str, file: SupportsWrite[str] | None = None) -> None:
        if message:
            print(message, end="", file=file or sys.stderr)


class _StoreOnce(argparse.Action):
    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option_string: str | None = None
    ) -> None:
        given: set[str] = vars(namespace).setdefault("options_given", set())
        if option_string is not None and self.dest in given:
            parser.error(f"argument {option_string}: given twice")
        given.add(self.dest)
        setattr(namespace, self.dest, values)


@contextmanager
def from_study_extra() -> Generator[None]:
    """Import inside of this what needs ``equipoise[study]``: if a package is missing, the message says how to install it."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtraError("a study", "study") from error


def positive(text: str) -> int:
    """A whole number of at least 1."""
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def port_number(text: str) -> int:
    """The number of a port; 0 asks for a free one."""
    number = int(text)
    if not 0 <= number < 65536:
        raise ValueError
    return number
