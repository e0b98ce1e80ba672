"""Betas, exponents and stages: parsed and checked here, and carried from everywhere to everywhere as one value."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, TypeAlias

from equipoise.errors import ArgumentError
from equipoise.rules import Stage

__all__ = ["Betas", "Exponent", "Hyperparameters", "Pair"]

Pair: TypeAlias = tuple[float, float]
"""(beta1, beta2)."""

Betas: TypeAlias = Sequence[float] | Sequence[Pair]
"""One pair for all stages, or one pair per stage."""

NUMBER = (int, float, Real)
"""Real covers the scalars of numpy; type checkers do not know that it covers int and float."""

MOST_STAGES = 10_000
"""So many are judged in a third of a second; an optimizer keeps 8 bytes per parameter for each."""

Exponent: TypeAlias = float | Sequence[float]
"""One number for all stages, or one per stage."""


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """What decides whether updates stay bounded: the betas and the exponent of every stage.

    Make one with :meth:`parse`, which checks, rather than with the class itself.

    Example:
        >>> Hyperparameters.parse((0.9, 0.999), exponent=0.25, stages=2)
        Hyperparameters(betas=((0.9, 0.999), (0.9, 0.999)), exponents=(0.25, 0.25))
    """

    betas: tuple[Pair, ...]
    """(beta1, beta2) of every stage, each in [0, 1)."""
    exponents: tuple[float, ...]
    """p of every stage: 0 is SGD, 1/2 is Adam."""

    @classmethod
    def parse(cls, betas: Betas, exponent: Exponent = 0.5, stages: int = 1) -> Hyperparameters:
        """From values as people write them.

        Args:
            betas: (beta1, beta2) for all stages, or one such pair per stage.
            exponent: p for all stages, or one per stage.
            stages: how many times the update is normalized.

        Raises:
            ArgumentError: a value outside of what is accepted.
        """
        return cls(parse_betas(betas, stages), parse_exponents(exponent, stages))

    @classmethod
    def of_group(cls, group: Mapping[str, Any]) -> Hyperparameters:
        """From a parameter group of an optimizer of this package.

        Raises:
            ArgumentError: a value outside of what is accepted.
        """
        return cls.parse(group["betas"], group["exponent"], group["stages"])

    @property
    def stages(self) -> tuple[Stage, ...]:
        """One per stage, as the update rule takes them."""
        return tuple(Stage(*pair, exponent) for pair, exponent in zip(self.betas, self.exponents, strict=True))

    def group_values(self) -> dict[str, Any]:
        """``betas`` and ``exponent`` for a parameter group: one value where all stages share it, else one per stage."""
        return {
            "betas": self.betas[0] if len(set(self.betas)) == 1 else self.betas,
            "exponent": self.exponents[0] if len(set(self.exponents)) == 1 else self.exponents,
        }


def parse_betas(betas: Betas, stages: int) -> tuple[Pair, ...]:
    """``betas`` as one pair per stage: a single pair serves every stage.

    Raises:
        ArgumentError: stages outside of 1 to 10,000, or betas that are neither one pair nor `stages` pairs in [0, 1).

    Example:
        >>> parse_betas((0.9, 0.999), 2)
        ((0.9, 0.999), (0.9, 0.999))
    """
    whole_number("stages", stages, 1, MOST_STAGES)
    accepted = "one pair (beta1, beta2) of numbers in [0, 1)" + (
        f", or {stages} such pairs, one per stage" if stages > 1 else ""
    )
    try:
        if len(betas) > max(2, stages):  # before it is walked: a tensor may say that it has 10^12 elements
            raise ValueError
        entries: list[Any] = list(betas)
        if len(entries) == 2 and all(isinstance(entry, NUMBER) for entry in entries):
            entries = [entries] * stages
        elif any(len(entry) != 2 for entry in entries):
            raise ValueError
        pairs = tuple((_number(first), _number(second)) for first, second in entries)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # the last: a tensor that holds no real number
        raise ArgumentError("betas", betas, accepted) from None
    if len(pairs) != stages or not all(0 <= beta < 1 for pair in pairs for beta in pair):
        raise ArgumentError("betas", betas, accepted)
    return pairs


def parse_exponents(exponent: Exponent, stages: int) -> tuple[float, ...]:
    """``exponent`` as one per stage: a single number serves every stage.

    Raises:
        ArgumentError: neither one finite number nor `stages` of them.

    Example:
        >>> parse_exponents(0.25, 2)
        (0.25, 0.25)
    """
    try:
        if isinstance(exponent, NUMBER):
            exponents = (_number(exponent),) * stages
        else:
            exponents = tuple(map(_number, exponent)) if len(exponent) == stages else ()
    except (TypeError, ValueError, OverflowError, RuntimeError):
        exponents = ()
    if len(exponents) != stages or not all(math.isfinite(value) for value in exponents):
        accepted = "a finite number" if stages == 1 else f"a finite number, or {stages} of them, one per stage"
        raise ArgumentError("exponent", exponent, accepted)
    return exponents


def whole_number(name: str, value: Any, least: int = 1, most: float = math.inf) -> None:
    """Refuse what is not a whole number within bounds. True and False are none, and neither is 1.0.

    Raises:
        ArgumentError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        largest = "2**63 - 1" if most == 2**63 - 1 else most
        accepted = f"a whole number of at least {least}" if math.isinf(most) else f"a whole number from {least} to {largest}"
        raise ArgumentError(name, value, accepted)


def _number(value: Any) -> float:
    """``float(value)``, but not of text: '1' for an exponent is a slip in a configuration, to be said."""
    if isinstance(value, str):
        raise TypeError
    return float(value)
