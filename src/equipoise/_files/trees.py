"""What is read from a file is a tree of plain values with so many levels and values that whoever walks it needs no limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain, islice
from typing import Any, cast

from equipoise.errors import UnusableInputError

DEPTH = 100
"""So many levels of mappings and lists may lie in each other."""
PARTS = 5_000_000
"""So many values a file may hold, counted as often as they are referred to. A checkpoint has about ten for every parameter."""
LARGEST_INTEGER = 2**1023
"""Beyond it an integer is no number to compute with: no float is as large, and Python refuses to print much larger ones."""


def checked_tree(value: Any, source: object) -> Any:
    """The value itself, if it is a tree of mappings, sequences and sets within the limits. Other objects count as leaves.

    Args:
        value: read from a file.
        source: where it is from, for messages.

    Raises:
        UnusableInputError: it has too many levels or values, or integers that are too large. What contains itself has too many
            levels.
    """
    level, parts = [value], 1
    for _ in range(DEPTH + 1):
        for node in level:
            if isinstance(node, int) and abs(node) > LARGEST_INTEGER:
                raise UnusableInputError(f"{source} holds an integer of more than 300 digits")
        level = list(islice(chain.from_iterable(map(_children, level)), PARTS - parts + 1))
        if not level:
            return value
        parts += len(level)
        if parts > PARTS:
            raise too_many(source)
    raise too_deep(source)


def too_deep(source: object) -> UnusableInputError:
    """The error for an input with more levels than the limit."""
    return UnusableInputError(f"{source} is nested too deeply: accepted are {DEPTH} levels")


def too_many(source: object) -> UnusableInputError:
    """The error for an input with more values than the limit."""
    return UnusableInputError(f"{source} unfolds to more than {PARTS:,} values")


def _children(node: Any) -> Iterator[Any]:
    if isinstance(node, Mapping):
        mapping = cast("Mapping[Any, Any]", node)
        yield from mapping
        yield from mapping.values()
        yield from getattr(mapping, "__dict__", {}).values()  # torch keeps versions of modules there
    elif isinstance(node, (list, tuple, set, frozenset)):
        yield from cast("list[Any]", node)
