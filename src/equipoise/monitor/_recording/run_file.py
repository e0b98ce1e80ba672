"""The lines of a run's file, as they are written. They are read by ``equipoise.watch``.

A run on disk is a folder with ``readings.jsonl``, to which lines are only ever appended. Each is one JSON object. The first,
and another whenever the run is resumed, is of kind ``run`` and says which tensors there are; those that follow are of kind
``reading``, ``verdict`` or ``action``. The tensors of a reading are columns in the order of that header, null for a tensor that
had no gradient. What JSON has no number for is the string ``"nan"``, ``"inf"`` or ``"-inf"``. Numbers of tensors have six
digits, all others are exact. What the fields mean: ``readings.py``; the ``kind`` of a verdict or an action
stands under the name ``verdict`` or ``action``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

from equipoise._json import plain
from equipoise.monitor._measuring.readings import Reading, TensorReading

FILE = "readings.jsonl"
FORMAT = 1
LINE_BYTES = 16 << 20
"""So many bytes a line may have. A reading of 100,000 tensors has 13 million."""
READING_BEGINS = b'{"kind": "reading"'
"""How the line of a reading begins, and no other."""
INDICATORS = tuple(field.name for field in fields(TensorReading))
"""The columns of a reading: what is measured of a tensor."""
GROUP_INDICATORS = ("lr", "margin", "margin_ahead", "gradient_spread", "update_spread")
"""What a group has one number of, however many stages it has."""


@dataclass(frozen=True, slots=True)
class RunInfo:
    """What is known of a run before its first step: the header of its file."""

    name: str
    started: float
    """Seconds since the epoch."""
    versions: dict[str, str]
    """The versions of the packages that matter: equipoise, torch and Python."""
    tensors: tuple[str, ...]
    """The names of all parameters, in order."""
    shapes: tuple[tuple[int, ...], ...]
    """The shapes of those parameters."""
    group_of: tuple[int, ...]
    """The number of the parameter group that each belongs to."""
    optimizer: str = ""
    """The class of the optimizer; empty in files of versions that did not say."""
    notes: tuple[str, ...] = ()
    """What is not known of this optimizer, or known in another way than of those of this package: sentences."""


class Event(Protocol):
    """A verdict or an action of a guard: dataclasses, which are written with all their fields."""

    @property
    def kind(self) -> str:
        """Which verdict or action it is."""
        ...

    @property
    def step(self) -> int:
        """The step of the reading that it belongs to."""
        ...

    @property
    def message(self) -> str:
        """One sentence, with numbers."""
        ...


def header_line(run: RunInfo) -> str:
    """The header of a run as a line."""
    return json.dumps({"kind": "run", "format": FORMAT, **plain(run)}, allow_nan=False)


def event_line(event: Event) -> str:
    """A verdict or an action as a line."""
    return json.dumps(plain_event(event), allow_nan=False)


def plain_event(event: Event) -> dict[str, Any]:
    """What the line of a verdict or an action holds: both the line and the event have a kind."""
    return {"kind": type(event).__name__.lower(), **_fields_of(event)}


def _fields_of(event: Event) -> dict[str, Any]:
    """The fields of a verdict or an action, its kind under the name ``verdict`` or ``action``, also of verdicts in an
    action."""
    found = {type(event).__name__.lower() if name == "kind" else name: value for name, value in plain(event).items()}
    if (verdicts := getattr(event, "verdicts", None)) is not None:
        found["verdicts"] = [_fields_of(verdict) for verdict in verdicts]
    return found


def reading_line(reading: Reading, names: Sequence[str]) -> str:
    """A reading as a line.

    Args:
        reading: its tensors are all among `names`.
        names: the tensors of the header.
    """
    assert reading.tensors.keys() <= set(names)
    head = {name: plain(getattr(reading, name)) for name in ("step", "time", "made", "metrics", "groups", "loop_step")}
    if reading.jumps:
        head["jumps"] = plain(reading.jumps)
    tensors = [reading.tensors.get(name) for name in names]
    # By hand: with six digits the file is half as long, and a model has thousands of these numbers.
    columns = [
        f'"{indicator}": [{", ".join("null" if one is None else _digits(getattr(one, indicator)) for one in tensors)}]'
        for indicator in INDICATORS
    ]
    kept = ", ".join(columns) if reading.tensors else ""
    return f'{json.dumps({"kind": "reading", **head}, allow_nan=False)[:-1]}, "tensors": {{{kept}}}}}'


def series_names(metrics: Iterable[str], stages: Iterable[int], tensors: Sequence[str]) -> list[str]:
    """The names of all numbers of a reading, in the order of its line.

    Args:
        metrics: their names.
        stages: of each group.
        tensors: their names; none where the step was not made.

    Example:
        >>> series_names(["loss"], [], ["w"])[:2]
        ['metrics/loss', 'gradient_rms/w']
    """
    names = [f"metrics/{name}" for name in metrics]
    for number, count in enumerate(stages):
        names += [f"group {number}/{name}" for name in GROUP_INDICATORS]
        for stage in range(1, count + 1):
            names += [f"group {number}/{name} of stage {stage}" for name in ("exponent", "beta1", "beta2")]
    return names + [f"{indicator}/{name}" for indicator in INDICATORS for name in tensors]


def _digits(value: float) -> str:
    if not math.isfinite(value):
        return f'"{value}"'
    return f"{value:.6g}" if value else f"{value}"  # -0 would be read as an integer, without its sign
