"""Evidence from a monitored run: its file of readings has the second moments and the zeros of every tensor."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from equipoise.errors import UnusableInputError
from equipoise.hyperparameters import parse_betas
from equipoise.monitor._measuring.readings import GroupReading
from equipoise.monitor._recording.run_file import INDICATORS, RunInfo
from equipoise.recommend._evidence import Evidence, GroupSettings, LayerGradients, NumberName, Snapshot, compared
from equipoise.rules import REFERENCE_STEPS, Reference
from equipoise.theory._invariance import noise_update
from equipoise.watch._file.line_file import parsed_lines
from equipoise.watch._file.lines import ReadingLine

Array = NDArray[np.float64]

SNAPSHOTS = 32
"""So many readings are enough."""

KEPT = 4 * SNAPSHOTS
"""So many readings are kept, evenly over the run, to choose them from and to take means over."""

UNSEEN: dict[NumberName, str] = {
    "between": "a layer had no gradient when the reference was taken",
    "within": "telemetry sums over the coordinates of a layer",
    "noise": "telemetry has no means of gradients",
}
ROUGH: dict[NumberName, str] = {"density": "telemetry has the mean over a layer, not its rarest coordinates"}


@dataclass(frozen=True, slots=True)
class _Gradients:
    """What matters of a reading. Arrays have a number for each tensor of the header."""

    step: int
    header: RunInfo
    groups: tuple[GroupReading, ...]
    seen: NDArray[np.bool_]
    second_moment: Array
    zero_fraction: Array
    update_rms: Array

    @classmethod
    def of(cls, line: ReadingLine, header: RunInfo) -> _Gradients:
        rows = [line.tensors[INDICATORS.index(name)].copy() for name in ("second_moment", "zero_fraction", "update_rms")]
        return cls(line.step, header, line.groups, line.seen, *rows)

    def named(self, values: Array) -> dict[str, float]:
        """Numbers of the tensors that had a gradient, by name."""
        return {self.header.tensors[place]: float(values[place]) for place in np.flatnonzero(self.seen).tolist()}

    def updates_of(self, group: int) -> Array:
        """The finite update RMS of the tensors of a group."""
        return self.update_rms[(np.array(self.header.group_of) == group) & np.isfinite(self.update_rms)]


def from_run(folder: str | Path, reference: Reference = "initial") -> Evidence:
    """Collect evidence from the readings of a monitored run, up to the first one that is not finite.

    Args:
        folder: of the run.
        reference: of the optimizer that is to be recommended. For "initial" the second moments of the first reading from step
            20 on stand in: a run does not record its reference scales.

    Raises:
        UnusableInputError: the folder holds no run, or no reading of gradients from step 20 on.
        ArgumentError: hyperparameters that no optimizer has.
    """
    readings, count, broken_at = _read(Path(folder))
    groups = tuple(_settings(readings, number) for number in range(len(readings[-1].groups)))
    first = readings[0].named(readings[0].second_moment) if reference == "initial" else {}
    chosen = [readings[i] for i in sorted({round(float(i)) for i in np.linspace(0, len(readings) - 1, SNAPSHOTS)})]
    densities = _densities(readings)
    last = readings[-1]
    snapshots = tuple(_snapshot(reading, last, first, densities, reference) for reading in chosen)
    of = "" if len(chosen) == count else f" of {count:,}"
    broken = "" if broken_at is None else f", after which gradients were not finite (step {broken_at:,})"
    source = f"{folder}: {len(chosen)}{of} readings from step {chosen[0].step:,} to {chosen[-1].step:,}{broken}"
    return Evidence(source, chosen[-1].step, reference, groups, snapshots, UNSEEN, ROUGH)


def _read(folder: Path) -> tuple[list[_Gradients], int, int | None]:
    """The finite readings of gradients from step 20 on, of many a part; how many there are; and the step of the first that is
    not finite."""
    header: RunInfo | None = None
    kept: list[_Gradients] = []
    newest: _Gradients | None = None
    count, every, broken_at = 0, 1, None
    for line in parsed_lines(folder):
        if isinstance(line, RunInfo):
            header = line
        elif isinstance(line, ReadingLine) and line.seen.any() and line.step >= REFERENCE_STEPS:
            assert header is not None, "a reading before every header is refused"
            found = _Gradients.of(line, header)
            if not np.isfinite(found.second_moment[found.seen]).all():
                broken_at = line.step
                break
            if count % every == 0:
                kept.append(found)
            if len(kept) > KEPT:
                kept, every = kept[::2], 2 * every
            newest, count = found, count + 1
    if newest is None:
        raise UnusableInputError(
            f"{folder} holds no reading of finite gradients from step {REFERENCE_STEPS} on, of an optimizer that keeps their"
            " squares"
        )
    return kept if kept[-1] is newest else [*kept, newest], count, broken_at


def _densities(readings: Sequence[_Gradients]) -> dict[str, float]:
    """The mean share of coordinates that had a gradient, for every tensor."""
    shares: dict[str, list[float]] = {}
    for reading in readings:
        for name, zeros in reading.named(reading.zero_fraction).items():
            if not math.isnan(zeros):
                shares.setdefault(name, []).append(1 - zeros)
    return {name: float(np.mean(values)) for name, values in shares.items()}


def _snapshot(
    reading: _Gradients,
    last: _Gradients,
    first: Mapping[str, float],
    densities: Mapping[str, float],
    reference: Reference,
) -> Snapshot:
    """What a reading says of the tensors and groups that the last reading has."""
    header = last.header
    layers: list[LayerGradients] = []
    second_moments = reading.named(reading.second_moment)
    for name, shape, group in zip(header.tensors, header.shapes, header.group_of, strict=True):
        if second_moments.get(name, 0.0) == 0:
            continue
        squared = 1.0 if reference == "none" else first.get(name, 0.0)
        against = math.sqrt(squared) if squared else None
        density = densities.get(name) or None
        layers.append(LayerGradients(name, group, shape, math.sqrt(second_moments[name]), against, density=density))
    return Snapshot(reading.step, compared(layers), (None,) * len(last.groups))


def _settings(readings: Sequence[_Gradients], number: int) -> GroupSettings:
    """The hyperparameters of a group: betas as they were at the end, the highest learning rate."""
    last = readings[-1].groups[number]
    if not last.betas:
        raise UnusableInputError(
            f"the run does not know the betas of group {number}: accepted are runs of Adam, AdamW and the"
            " optimizers of equipoise"
        )
    [betas] = parse_betas(last.betas[0], 1)
    lr = max(reading.groups[number].lr for reading in readings if number < len(reading.groups))
    if last.exponent != (0.5,):  # updates are not of Adam's size
        updates = np.concatenate([reading.updates_of(number) for reading in readings])
        # The lower median is one of them, which no sum of two can overflow.
        if len(updates):
            lr *= float(np.quantile(updates, 0.5, method="inverted_cdf")) / math.sqrt(noise_update(betas))
    if not 0 <= lr < math.inf:
        raise UnusableInputError(f"the learning rate of group {number} would be {lr} with Adam: accepted are finite ones")
    return GroupSettings(betas, lr)
