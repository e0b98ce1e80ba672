"""Names from outside: what a database can hold. Whatever it holds is shown as text, and is harmless."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, Field

from equipoise._words import printable
from equipoise.errors import ArgumentError

LONGEST_NAME = 255
"""In characters; the store's columns are that wide, and PostgreSQL keeps to it."""

Goal: TypeAlias = Literal["maximize", "minimize"]

HIGHER_IS_BETTER = {"accuracy", "acc", "auc", "f1", "bleu", "rouge", "reward", "score", "map", "iou", "precision", "recall"}
LOWER_IS_BETTER = {"loss", "error", "perplexity", "ppl", "rmse", "mse", "mae", "nll", "wer", "cer", "fid", "bpb", "bpc"}
"""Words in the name of a number that tell which way it is better."""


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


def goal_told_by(name: str) -> Goal | None:
    """Which way a number is better, as the words of its name tell; None if they tell nothing, or both.

    Example:
        >>> goal_told_by("val/top1_accuracy"), goal_told_by("testLoss"), goal_told_by("speed")
        ('maximize', 'minimize', None)
    """
    words = set(re.split(r"[^a-z0-9]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()))
    higher, lower = (not words.isdisjoint(told) for told in (HIGHER_IS_BETTER, LOWER_IS_BETTER))
    if higher == lower:
        return None
    return "maximize" if higher else "minimize"
