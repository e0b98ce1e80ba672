"""What the commands share: the type of their parsers, and the types of their arguments."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    Commands: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]  # pyright: ignore[reportPrivateUsage]


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def port_number(text: str) -> int:
    number = int(text)
    if not 0 <= number < 65536:
        raise ValueError
    return number
