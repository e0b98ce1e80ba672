"""A line of a run's file as a typed value: the one place where what a run says is checked.

The file may be damaged, half written, or not from us at all. Whatever passes here can be computed with, drawn and printed
without another look, except that text is text: who prints a name prints it with :func:`equipoise._words.printable`.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal, TypeAlias, TypedDict, cast

import numpy as np
from numpy.typing import NDArray

from equipoise._words import printable
from equipoise.monitor._measuring.readings import NAME_LENGTH, GroupReading, Reading, TensorReading
from equipoise.monitor._recording.run_file import FORMAT, GROUP_INDICATORS, INDICATORS, LINE_BYTES, RunInfo

STEPS = 2**53 - 1
"""The largest step. Beyond it a browser cannot count."""
TIME = 1e11
"""The latest time, in seconds since the epoch: in the year 5138."""
STAGES = 100
DIMENSIONS = 64
NONFINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
"""What stands for the numbers that JSON does not have."""
SHARES = slice(INDICATORS.index("zero_fraction"), INDICATORS.index("nonfinite_fraction") + 1)

Object: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ReadingLine:
    """A reading, with the numbers of tensors as one array."""

    step: int
    time: float
    made: bool
    metrics: dict[str, float]
    groups: tuple[GroupReading, ...]
    tensors: NDArray[np.float64]
    """A row per indicator and a column per tensor of the header, or no column at all; NaN for a tensor without a gradient."""
    seen: NDArray[np.bool_]
    """Whether each tensor had a gradient."""

    def reading(self, header: RunInfo) -> Reading:
        """The reading with its tensors by name."""
        rows = zip(header.tensors, self.seen.tolist(), self.tensors.T.tolist(), strict=False)
        tensors = {name: TensorReading(*row) for name, seen, row in rows if seen}
        return Reading(self.step, self.time, self.made, self.metrics, self.groups, tensors)


class VerdictLine(TypedDict):
    """A verdict as it stands in the file."""

    kind: Literal["verdict"]
    verdict: str
    severity: str
    step: int
    since: int
    where: tuple[str, ...]
    confidence: float
    message: str
    advice: str


class ActionLine(TypedDict):
    """An action of a guard as it stands in the file."""

    kind: Literal["action"]
    action: str
    step: int
    to_step: int | None
    verdicts: list[VerdictLine]
    message: str


EventLine: TypeAlias = VerdictLine | ActionLine
Line: TypeAlias = RunInfo | ReadingLine | EventLine


def parse_line(line: bytes, header: RunInfo | None) -> Line:
    """A line as a typed value.

    Args:
        line: without its end.
        header: the newest one before it, if there is any.

    Raises:
        ValueError: it is not the line of a run; the message says why, in a few words.

    Example:
        >>> parse_line(b'{"kind": "reading", "step": -1}', RunInfo("mine", 0.0, {}, (), (), ()))
        Traceback (most recent call last):
        ValueError: step must be a whole number from 0 to 9,007,199,254,740,991, not -1
    """
    if len(line) > LINE_BYTES:
        raise ValueError(too_long())
    found = _parsed(line)
    kind = _field(found, "kind")
    match kind:
        case "reading":
            if header is None:
                raise ValueError("a reading, but no header before it says which tensors there are")
            return _reading(found, header)
        case "run":
            return _header(found)
        case "verdict":
            return _verdict(found)
        case "action":
            return _action(found)
        case _:
            raise _refused("kind", kind, '"run", "reading", "verdict" or "action"')


def too_long() -> str:
    """What is wrong with a line that is too long."""
    return f"it has more than {LINE_BYTES:,} bytes"


def _parsed(line: bytes) -> Object:
    try:
        found = json.loads(line.decode(), parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("its JSON is nested too deeply") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start + 1} is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at character {error.pos + 1}") from None
    except ValueError as error:  # an integer with thousands of digits
        raise ValueError(f"not JSON: {str(error).partition(';')[0]}") from None
    if not isinstance(found, dict):
        raise ValueError(f"it must be a JSON object, not {_shown(found)}")
    return cast("Object", found)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _header(line: Object) -> RunInfo:
    number = _field(line, "format")
    if number != FORMAT:
        raise ValueError(f"format {_shown(number)}, and only {FORMAT} is known")
    tensors, shapes = _names(line, "tensors"), _list(line, "shapes")
    group_of = tuple(_whole(group, "group_of") for group in _list(line, "group_of"))
    if len(set(tensors)) < len(tensors):
        raise ValueError("tensors must have different names")
    if not len(tensors) == len(shapes) == len(group_of):
        raise ValueError(f"{len(tensors)} tensors with {len(shapes)} shapes and {len(group_of)} groups")
    versions = {_name(package): _text(version, "versions") for package, version in _object(line, "versions").items()}
    return RunInfo(_name(_field(line, "name")), _time(line, "started"), versions, tensors, tuple(map(_shape, shapes)), group_of)


def _shape(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or len(cast("list[Any]", value)) > DIMENSIONS:
        raise _refused("shapes", value, f"lists of up to {DIMENSIONS} whole numbers")
    return tuple(_whole(size, "shapes") for size in cast("list[Any]", value))


def _reading(line: Object, header: RunInfo) -> ReadingLine:
    step, time, made = _whole(_field(line, "step"), "step"), _time(line, "time"), _field(line, "made")
    if not isinstance(made, bool):
        raise _refused("made", made, "true or false")
    metrics = {_name(name): _number(value, name) for name, value in _object(line, "metrics").items()}
    groups = tuple(_group(group) for group in _list(line, "groups"))
    columns = _object(line, "tensors")
    if not columns:
        empty = np.empty((len(INDICATORS), 0))
        return ReadingLine(step, time, made, metrics, groups, empty, np.zeros(0, np.bool_))
    tensors, most = len(header.tensors), max(header.group_of, default=-1)
    if most >= len(groups):
        raise ValueError(f"groups: it has {len(groups)}, numbered from 0, but there are tensors of group {most}")
    table = [_list(columns, indicator) for indicator in INDICATORS]
    for indicator, column in zip(INDICATORS, table, strict=True):
        if len(column) != tensors:
            raise ValueError(f"{indicator} must have a number for each of the {tensors} tensors, not {len(column)}")
    values, missing = _numbers(chain.from_iterable(table))
    values, absent = values.reshape(len(INDICATORS), tensors), missing.reshape(len(INDICATORS), tensors)
    if (absent != absent[0]).any():
        raise ValueError("a tensor must have all of its numbers or none")
    if (values < 0).any() or (values[SHARES] > 1).any():
        raise ValueError("the numbers of tensors must not be negative, and shares at most 1")
    return ReadingLine(step, time, made, metrics, groups, values, ~absent[0])


def _group(value: Any) -> GroupReading:
    if not isinstance(value, dict):
        raise _refused("groups", value, "objects")
    group = cast("Object", value)
    exponent, betas = _list(group, "exponent"), _list(group, "betas")
    if not 0 < len(exponent) == len(betas) <= STAGES:
        raise ValueError(f"{len(exponent)} exponents and {len(betas)} pairs of betas")
    return GroupReading(
        exponent=tuple(_number(one, "exponent") for one in exponent),
        betas=tuple(map(_pair, betas)),
        **{name: _number(_field(group, name), name) for name in GROUP_INDICATORS},
    )


def _pair(value: Any) -> tuple[float, float]:
    if not isinstance(value, list) or len(cast("list[Any]", value)) != 2:
        raise _refused("betas", value, "pairs of numbers")
    beta1, beta2 = cast("list[Any]", value)
    return _number(beta1, "beta1"), _number(beta2, "beta2")


def _verdict(line: Object) -> VerdictLine:
    severity = _field(line, "severity")
    if severity not in ("trouble", "warning"):
        raise _refused("severity", severity, '"trouble" or "warning"')
    confidence = _number(_field(line, "confidence"), "confidence")
    if not 0 <= confidence <= 1:
        raise _refused("confidence", line["confidence"], "a number from 0 to 1")
    return {
        "kind": "verdict",
        "verdict": _name(_field(line, "verdict")),
        "severity": severity,
        "step": _whole(_field(line, "step"), "step"),
        "since": _whole(_field(line, "since"), "since"),
        "where": _names(line, "where"),
        "confidence": confidence,
        "message": _text(_field(line, "message"), "message"),
        "advice": _text(_field(line, "advice"), "advice"),
    }


def _action(line: Object) -> ActionLine:
    to_step = line.get("to_step")
    return {
        "kind": "action",
        "action": _name(_field(line, "action")),
        "step": _whole(_field(line, "step"), "step"),
        "to_step": None if to_step is None else _whole(to_step, "to_step"),
        "verdicts": [_verdict(_as_object(verdict, "verdicts")) for verdict in _list(line, "verdicts")],
        "message": _text(_field(line, "message"), "message"),
    }


# ---- fields


def _field(line: Object, key: str) -> Any:
    if key not in line:
        raise ValueError(f"it has no {key}")
    return line[key]


def _object(line: Object, key: str) -> Object:
    return _as_object(_field(line, key), key)


def _as_object(value: Any, key: str) -> Object:
    if not isinstance(value, dict):
        raise _refused(key, value, "an object")
    return cast("Object", value)


def _list(line: Object, key: str) -> list[Any]:
    value = _field(line, key)
    if not isinstance(value, list):
        raise _refused(key, value, "a list")
    return cast("list[Any]", value)


def _text(value: Any, key: str) -> str:
    if not isinstance(value, str):
        raise _refused(key, value, "text")
    return value


def _name(value: Any) -> str:
    if not isinstance(value, str) or len(value) > NAME_LENGTH:
        raise _refused("a name", value, f"text of up to {NAME_LENGTH:,} characters")
    return value


def _names(line: Object, key: str) -> tuple[str, ...]:
    # Verdicts repeat names, of many tensors often: one string serves for all of them.
    return tuple(sys.intern(_name(name)) for name in _list(line, key))


def _whole(value: Any, key: str) -> int:
    if type(value) is not int or not 0 <= value <= STEPS:
        raise _refused(key, value, f"a whole number from 0 to {STEPS:,}")
    return value


def _time(line: Object, key: str) -> float:
    value = _number(_field(line, key), key)
    if not 0 <= value <= TIME:
        raise _refused(key, line[key], "seconds since the year 1970")
    return value


def _number(value: Any, key: str) -> float:
    if type(value) is float:
        return value
    if type(value) is int:
        try:
            return float(value)
        except OverflowError:
            pass
    elif isinstance(value, str) and value in NONFINITE:
        return NONFINITE[value]
    raise _refused(printable(key, 40), value, 'a number, "nan", "inf" or "-inf"')


def _numbers(values: Iterable[Any]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Numbers as an array, with NaN for null, and where null is."""
    found = list(values)
    kinds = set(map(type, found))
    missing = np.zeros(len(found), np.bool_)
    if not kinds <= {float}:  # the usual case is quick
        for index, value in enumerate(found):
            if value is None:
                missing[index], found[index] = True, math.nan
            else:
                found[index] = _number(value, "the number of a tensor")
    return np.array(found, np.float64), missing


def _refused(key: str, value: Any, accepted: str) -> ValueError:
    return ValueError(f"{key} must be {accepted}, not {_shown(value)}")


def _shown(value: Any) -> str:
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
