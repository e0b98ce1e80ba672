"""Evidence from a monitored run: its file of readings has the second moments and the zeros of every tensor."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from equipoise.errors import UnusableInputError
from equipoise.monitor._measuring.readings import Reading, TensorReading
from equipoise.monitor._recording.run_file import RunInfo
from equipoise.recommend._evidence import Evidence, GroupSettings, LayerGradients, NumberName, Snapshot, compared
from equipoise.rules import REFERENCE_STEPS, Reference
from equipoise.theory._invariance import noise_update
from equipoise.watch import records

SNAPSHOTS = 32
"""So many readings are enough."""

UNSEEN: dict[NumberName, str] = {
    "between": "a layer had no gradient when the reference was taken",
    "within": "telemetry sums over the coordinates of a layer",
    "noise": "telemetry has no means of gradients",
}
ROUGH: dict[NumberName, str] = {"density": "telemetry has the mean over a layer, not its rarest coordinates"}


def from_run(folder: str | Path, reference: Reference = "initial") -> Evidence:
    """Collect evidence from the readings of a monitored run, up to the first one that is not finite.

    Args:
        folder: of the run.
        reference: of the optimizer that is to be recommended. "initial" is taken from the first reading from step 20 on.

    Raises:
        UnusableInputError: the folder holds no run, or no reading of gradients from step 20 on.
    """
    header, readings, broken_at = _read(Path(folder))
    groups = tuple(_settings(readings, header, number) for number in range(len(readings[-1].groups)))
    first = readings[0].tensors if reference == "initial" else {}
    chosen = [readings[i] for i in sorted({round(float(i)) for i in np.linspace(0, len(readings) - 1, SNAPSHOTS)})]
    densities = _densities(readings)
    snapshots = tuple(_snapshot(reading, header, first, densities, reference) for reading in chosen)
    of = "" if len(chosen) == len(readings) else f" of {len(readings):,}"
    broken = "" if broken_at is None else f", after which gradients were not finite (step {broken_at:,})"
    source = f"{folder}: {len(chosen)}{of} readings from step {chosen[0].step:,} to {chosen[-1].step:,}{broken}"
    return Evidence(source, chosen[-1].step, reference, groups, snapshots, UNSEEN, ROUGH)


def _read(folder: Path) -> tuple[RunInfo, list[Reading], int | None]:
    """The header of a run, its finite readings of gradients from step 20 on, and the step of the first that is not finite."""
    header: RunInfo | None = None
    readings: list[Reading] = []
    broken_at: int | None = None
    for record in records(folder):
        if isinstance(record, RunInfo):
            header = record
        elif isinstance(record, Reading) and record.tensors and record.step >= REFERENCE_STEPS:
            if not all(math.isfinite(tensor.second_moment) for tensor in record.tensors.values()):
                broken_at = record.step
                break
            readings.append(record)
    if header is None or not readings:
        raise UnusableInputError(f"{folder} holds no reading of finite gradients from step {REFERENCE_STEPS} on")
    return header, readings, broken_at


def _densities(readings: Sequence[Reading]) -> dict[str, float]:
    """The mean share of coordinates that had a gradient, for every tensor."""
    shares: dict[str, list[float]] = {}
    for reading in readings:
        for name, tensor in reading.tensors.items():
            shares.setdefault(name, []).append(1 - tensor.zero_fraction)
    return {name: float(np.mean(values)) for name, values in shares.items()}


def _snapshot(
    reading: Reading,
    header: RunInfo,
    first: Mapping[str, TensorReading],
    densities: Mapping[str, float],
    reference: Reference,
) -> Snapshot:
    layers: list[LayerGradients] = []
    for name, shape, group in zip(header.tensors, header.shapes, header.group_of, strict=True):
        tensor = reading.tensors.get(name)
        if tensor is None or tensor.second_moment == 0:
            continue
        squared = 1.0 if reference == "none" else first[name].second_moment if name in first else 0.0
        against = math.sqrt(squared) if squared else None
        density = densities[name] or None
        layers.append(LayerGradients(name, group, shape, math.sqrt(tensor.second_moment), against, density=density))
    return Snapshot(reading.step, compared(layers), (None,) * len(reading.groups))


def _settings(readings: Sequence[Reading], header: RunInfo, number: int) -> GroupSettings:
    """The hyperparameters of a group: betas as they were at the end, the highest learning rate."""
    last = readings[-1].groups[number]
    lr = max(reading.groups[number].lr for reading in readings)
    if last.exponent != (0.5,):  # updates are not of Adam's size
        update_scales = [
            reading.tensors[name].update_rms
            for reading in readings
            for name, group in zip(header.tensors, header.group_of, strict=True)
            if group == number and name in reading.tensors
        ]
        lr *= float(np.median(update_scales)) / math.sqrt(noise_update(last.betas[0])) if update_scales else 1.0
    return GroupSettings(last.betas[0], lr)
