"""What a verdict on a run is, and since when it holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Verdict:
    """One thing that is wrong."""

    kind: str
    severity: Literal["trouble", "warning"]
    """Trouble spoils the parameters, or has spoiled them: a guard acts. A warning is for a person."""
    step: int
    """The step of the newest reading."""
    since: int
    """The step of the first reading from which it has held without a break, as far back as readings are kept."""
    where: tuple[str, ...]
    """The tensors or groups that it is about, as "layer.weight" or "group 0"; empty where it is about the whole run."""
    confidence: float
    """From 0 to 1; the documentation of each kind says how it is computed."""
    message: str
    """What is wrong, with numbers."""
    advice: str
    """What to do about it."""


def start_of_streak(count: int, holds: Callable[[int], bool]) -> int:
    """The first index of the unbroken streak that ends with the last of `count`; `count` where the last one does not hold.

    Example:
        >>> start_of_streak(4, lambda index: [True, False, True, True][index])
        2
    """
    first = count
    while first > 0 and holds(first - 1):
        first -= 1
    return first
