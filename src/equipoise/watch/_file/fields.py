"""The fields of a JSON object, each checked when it is taken, and what is wrong with one in a few words."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from types import NoneType
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from equipoise._words import printable
from equipoise.monitor._measuring.readings import NAME_LENGTH

STEPS = 2**53 - 1
"""The largest step. Beyond it a browser cannot count."""
TIMES = -1e10, 1e11
"""The first and the last time, in seconds since the epoch: in the years 1653 and 5138. A wrong clock may be before it."""
NONFINITE = frozenset({"nan", "inf", "-inf"})
"""What stands for the numbers that JSON does not have."""
LARGEST = int(sys.float_info.max)
"""The largest integer that is a number to compute with."""

Object: TypeAlias = Mapping[str, Any]


def field(line: Object, key: str) -> Any:
    """The value under a key."""
    if key not in line:
        raise ValueError(f"it has no {key}")
    return line[key]


def object_at(line: Object, key: str) -> Object:
    """The object under a key."""
    return as_object(field(line, key), key)


def as_object(value: Any, key: str) -> Object:
    """A value that must be an object."""
    if not isinstance(value, dict):
        raise refused(key, value, "an object")
    return cast("Object", value)


def list_at(line: Object, key: str) -> list[Any]:
    """The list under a key."""
    value = field(line, key)
    if not isinstance(value, list):
        raise refused(key, value, "a list")
    return cast("list[Any]", value)


def as_text(value: Any, key: str) -> str:
    """A value that must be text."""
    if not isinstance(value, str):
        raise refused(key, value, "text")
    return value


def as_name(value: Any) -> str:
    """A value that must be text of the length of a name."""
    if not isinstance(value, str) or len(value) > NAME_LENGTH:
        raise refused("a name", value, f"text of up to {NAME_LENGTH:,} characters")
    return value


def names_at(line: Object, key: str) -> tuple[str, ...]:
    """The list of names under a key."""
    # Verdicts repeat names, of many tensors often: one string serves for all of them.
    return tuple(sys.intern(as_name(name)) for name in list_at(line, key))


def whole_number(value: Any, key: str) -> int:
    """A value that must be a whole number as small as a step."""
    if type(value) is not int or not 0 <= value <= STEPS:
        raise refused(key, value, f"a whole number from 0 to {STEPS:,}")
    return value


def time_at(line: Object, key: str) -> float:
    """The time under a key."""
    value = as_number(field(line, key), key)
    if not TIMES[0] <= value <= TIMES[1]:
        raise refused(key, line[key], "seconds since the year 1970")
    return value


def as_number(value: Any, key: str) -> float:
    """A value that must be a number, finite or not."""
    if type(value) is float:
        return value
    if not is_number(value):
        raise refused(printable(key, 40), value, 'a number, "nan", "inf" or "-inf"')
    return float(value)


def is_number(value: Any) -> bool:
    """Whether it is what a file has for a number: also an integer as small as floats are, or one of three words."""
    return (
        type(value) is float
        or (type(value) is int and abs(value) <= LARGEST)
        or (isinstance(value, str) and value in NONFINITE)
    )


def as_numbers(values: Iterable[Any]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Numbers as an array, with NaN for null, and where null is."""
    found = list(values)
    kinds = set(map(type, found))
    missing = np.array([value is None for value in found]) if NoneType in kinds else np.zeros(len(found), np.bool_)
    texts = {value for value in found if isinstance(value, str)} if str in kinds else set[str]()
    try:
        if kinds <= {float, int, str, NoneType} and texts <= NONFINITE:
            return np.array(found, np.float64), missing
    except OverflowError:
        pass
    wrong = next(value for value in found if value is not None and not is_number(value))
    raise refused("the number of a tensor", wrong, 'a number, "nan", "inf" or "-inf"')


def refused(key: str, value: Any, accepted: str) -> ValueError:
    """The error for a value: what it must be, and what it is."""
    return ValueError(f"{key} must be {accepted}, not {in_words(value)}")


def in_words(value: Any) -> str:
    """A value in a few words, whatever it is."""
    match value:
        case dict():
            return "an object"
        case list():
            return "a list"
        case str():
            return json.dumps(printable(value, 40), ensure_ascii=False)
        case _:
            return printable(json.dumps(value), 40)
