"""What the commands share: the type of their parsers, and the types of their arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import argparse

    Commands: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]  # pyright: ignore[reportPrivateUsage]


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
