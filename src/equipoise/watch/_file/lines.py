"""A line of a run's file as a typed value: the one place where what a run says is checked.

The file may be damaged, half written, or not from us at all. Whatever passes here can be computed with, drawn and printed
without another look, except that text is text: who prints a name prints it with :func:`equipoise._words.printable`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal, TypeAlias, TypedDict, cast

import numpy as np
from numpy.typing import NDArray

from equipoise.monitor._measuring.readings import GroupReading, Jump, Reading, TensorReading
from equipoise.monitor._recording.run_file import FORMAT, GROUP_INDICATORS, INDICATORS, LINE_BYTES, RunInfo
from equipoise.watch._file.fields import (
    Object,
    as_name,
    as_number,
    as_numbers,
    as_object,
    as_text,
    field,
    in_words,
    list_at,
    names_at,
    object_at,
    refused,
    time_at,
    whole_number,
)

STAGES = 100
DIMENSIONS = 64
SHARES = slice(INDICATORS.index("zero_fraction"), INDICATORS.index("nonfinite_fraction") + 1)


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
    jumps: tuple[Jump, ...]
    """The settings that jumped before the step."""
    loop_step: int
    """The steps of the training loop; 0 where they are not known."""

    def reading(self, header: RunInfo) -> Reading:
        """The reading with its tensors by name."""
        rows = zip(header.tensors, self.seen.tolist(), self.tensors.T.tolist(), strict=False)
        tensors = {name: TensorReading(*row) for name, seen, row in rows if seen}
        return Reading(self.step, self.time, self.made, self.metrics, self.groups, tensors, self.jumps, self.loop_step)


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
        line: with the line break at its end or without it.
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
    kind = field(found, "kind")
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
            raise refused("kind", kind, '"run", "reading", "verdict" or "action"')


def too_long() -> str:
    """What is wrong with a line that is too long."""
    return f"it has more than {LINE_BYTES:,} bytes"


def _parsed(line: bytes) -> Object:
    try:
        found = _DECODER.decode(line.decode())
    except RecursionError:
        raise ValueError("its JSON is nested too deeply") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start + 1} is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at character {error.pos + 1}") from None
    except ValueError as error:  # an integer with thousands of digits
        raise ValueError(f"not JSON: {str(error).partition(';')[0]}") from None
    if not isinstance(found, dict):
        raise ValueError(f"it must be a JSON object, not {in_words(found)}")
    return cast("Object", found)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _header(line: Object) -> RunInfo:
    number = field(line, "format")
    if number != FORMAT:
        raise ValueError(f"format {in_words(number)}, and only {FORMAT} is known")
    tensors, shapes = names_at(line, "tensors"), list_at(line, "shapes")
    group_of = tuple(whole_number(group, "group_of") for group in list_at(line, "group_of"))
    if len(set(tensors)) < len(tensors):
        raise ValueError("tensors must have different names")
    if not len(tensors) == len(shapes) == len(group_of):
        raise ValueError(f"{len(tensors)} tensors with {len(shapes)} shapes and {len(group_of)} groups")
    versions = {as_name(package): as_text(version, "versions") for package, version in object_at(line, "versions").items()}
    return RunInfo(
        as_name(field(line, "name")),
        time_at(line, "started"),
        versions,
        tensors,
        tuple(map(_shape, shapes)),
        group_of,
        as_name(line.get("optimizer", "")),
        tuple(as_text(note, "notes") for note in list_at({"notes": [], **line}, "notes")),
    )


def _shape(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or len(cast("list[Any]", value)) > DIMENSIONS:
        raise refused("shapes", value, f"lists of up to {DIMENSIONS} whole numbers")
    return tuple(whole_number(size, "shapes") for size in cast("list[Any]", value))


def _reading(line: Object, header: RunInfo) -> ReadingLine:
    step, time, made = whole_number(field(line, "step"), "step"), time_at(line, "time"), field(line, "made")
    if not isinstance(made, bool):
        raise refused("made", made, "true or false")
    metrics = {as_name(name): as_number(value, name) for name, value in object_at(line, "metrics").items()}
    groups = tuple(_group(group) for group in list_at(line, "groups"))
    # Files of earlier versions have neither.
    jumps = tuple(_jump(jump) for jump in list_at({"jumps": [], **line}, "jumps"))
    loop_step = whole_number(line.get("loop_step", 0), "loop_step")
    columns = object_at(line, "tensors")
    if not columns:
        empty = np.empty((len(INDICATORS), 0))
        return ReadingLine(step, time, made, metrics, groups, empty, np.zeros(0, np.bool_), jumps, loop_step)
    tensors, most = len(header.tensors), max(header.group_of, default=-1)
    if most >= len(groups):
        raise ValueError(f"groups: it has {len(groups)}, numbered from 0, but there are tensors of group {most}")
    table = [list_at(columns, indicator) for indicator in INDICATORS]
    if any(len(column) != tensors for column in table):
        raise ValueError(f"each of {', '.join(INDICATORS)} must have a number for each of the {tensors} tensors")
    values, missing = as_numbers(chain.from_iterable(table))
    values, absent = values.reshape(len(INDICATORS), tensors), missing.reshape(len(INDICATORS), tensors)
    if (absent != absent[0]).any():
        raise ValueError("a tensor must have all of its numbers or none")
    if (values < 0).any() or (values[SHARES] > 1).any():
        raise ValueError("the numbers of tensors must not be negative, and shares at most 1")
    return ReadingLine(step, time, made, metrics, groups, values, ~absent[0], jumps, loop_step)


def _jump(value: Any) -> Jump:
    found = as_object(value, "jumps")
    before, now = (as_number(field(found, name), name) for name in ("before", "now"))
    return Jump(as_name(field(found, "name")), before, now)


def _group(value: Any) -> GroupReading:
    if not isinstance(value, dict):
        raise refused("groups", value, "objects")
    group = cast("Object", value)
    exponent, betas = list_at(group, "exponent"), list_at(group, "betas")
    if not len(exponent) == len(betas) <= STAGES:
        raise ValueError(f"{len(exponent)} exponents and {len(betas)} pairs of betas")
    return GroupReading(
        exponent=tuple(as_number(one, "exponent") for one in exponent),
        betas=tuple(map(_pair, betas)),
        **{name: as_number(field(group, name), name) for name in GROUP_INDICATORS},
    )


def _pair(value: Any) -> tuple[float, float]:
    if not isinstance(value, list) or len(cast("list[Any]", value)) != 2:
        raise refused("betas", value, "pairs of numbers")
    beta1, beta2 = cast("list[Any]", value)
    return as_number(beta1, "beta1"), as_number(beta2, "beta2")


def _verdict(line: Object) -> VerdictLine:
    severity = field(line, "severity")
    if severity not in ("trouble", "warning"):
        raise refused("severity", severity, '"trouble" or "warning"')
    confidence = as_number(field(line, "confidence"), "confidence")
    if not 0 <= confidence <= 1:
        raise refused("confidence", line["confidence"], "a number from 0 to 1")
    return {
        "kind": "verdict",
        "verdict": as_name(field(line, "verdict")),
        "severity": severity,
        "step": whole_number(field(line, "step"), "step"),
        "since": whole_number(field(line, "since"), "since"),
        "where": names_at(line, "where"),
        "confidence": confidence,
        "message": as_text(field(line, "message"), "message"),
        "advice": as_text(field(line, "advice"), "advice"),
    }


def _action(line: Object) -> ActionLine:
    to_step = line.get("to_step")
    return {
        "kind": "action",
        "action": as_name(field(line, "action")),
        "step": whole_number(field(line, "step"), "step"),
        "to_step": None if to_step is None else whole_number(to_step, "to_step"),
        "verdicts": [_verdict(as_object(verdict, "verdicts")) for verdict in list_at(line, "verdicts")],
        "message": as_text(field(line, "message"), "message"),
    }
