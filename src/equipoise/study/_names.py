"""Names from outside: what a database can hold. Whatever it holds is shown as text, and is harmless."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator, Field

from equipoise._words import printable
from equipoise.errors import ArgumentError

LONGEST_NAME = 255
"""In characters; the store's columns are that wide, and PostgreSQL keeps to it."""


def storable(text: str) -> str:
    r"""The text, if every database can hold it: it has no NUL, and no half of a surrogate pair.

    Raises:
        ValueError: it cannot.

    Example:
        >>> storable("<b>\x1b[31m")
        '<b>\x1b[31m'
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must not hold half of a surrogate pair, which a database cannot store") from None
    if "\0" in text:
        raise ValueError("must not hold NUL, which a database cannot store")
    return text


Name = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME), AfterValidator(storable)]
"""The name of an arm, or of a number that a task reports."""


def check_reported_names(names: Iterable[str]) -> None:
    """Refuse names of numbers that the store cannot hold.

    Raises:
        ArgumentError: one is empty, longer than :data:`LONGEST_NAME`, or not storable.
    """
    for name in names:
        try:
            fits = 1 <= len(storable(name)) <= LONGEST_NAME
        except ValueError:
            fits = False
        if not fits:
            accepted = f"1 to {LONGEST_NAME} characters without NUL and without halves of surrogate pairs"
            raise ArgumentError("the name of a reported number", printable(name, 60), accepted)
