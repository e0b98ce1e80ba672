"""What the telemetry of a monitored run tells of its gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from equipoise.errors import UnusableInputError
from equipoise.hyperparameters import Pair
from equipoise.monitor._measuring.readings import Reading, TensorReading
from equipoise.monitor._recording.run_file import RunInfo
from equipoise.recommend._evidence import Evidence, Group, Layer, Moment, Number
from equipoise.rules import Reference
from equipoise.theory._invariance import noise_update
from equipoise.watch import records

REFERENCE_STEPS = 20
"""When the reference "initial" is taken, unless told otherwise."""

MOMENTS = 32
"""So many readings are enough."""

UNSEEN: dict[Number, str] = {
    "between": "a layer had no gradient when the reference was taken",
    "within": "telemetry sums over the coordinates of a layer",
    "noise": "telemetry has no means of gradients",
}
WEAK: dict[Number, str] = {"density": "telemetry has the mean over a layer, not its rarest coordinates"}


def from_run(folder: Path, reference: Reference) -> Evidence:
    """Read the second moments and zeros of every tensor in the readings of a run, up to the first that is not finite.

    The reference "initial" is taken to be what it would have been at the first reading from step 20 on.

    Args:
        folder: of the run.
        reference: for the optimizer that is to be recommended.

    Raises:
        UnusableInputError: it holds no run, or no reading of gradients from step 20 on.
    """
    header: RunInfo | None = None
    readings: list[Reading] = []
    broken = ""
    for record in records(folder):
        if isinstance(record, RunInfo):
            header = record
        elif isinstance(record, Reading) and record.tensors and record.step >= REFERENCE_STEPS:
            if not all(math.isfinite(tensor.second_moment) for tensor in record.tensors.values()):
                broken = f", after which gradients were not finite (step {record.step:,})"
                break
            readings.append(record)
    if header is None or not readings:
        raise UnusableInputError(f"{folder} holds no reading of finite gradients from step {REFERENCE_STEPS} on")
    first = readings[0].tensors if reference == "initial" else {}
    chosen = [readings[i] for i in sorted({round(float(i)) for i in np.linspace(0, len(readings) - 1, MOMENTS)})]
    seen: dict[str, list[float]] = {}
    for reading in readings:
        for name, tensor in reading.tensors.items():
            seen.setdefault(name, []).append(1 - tensor.zero_fraction)
    moments = tuple(_moment(reading, header, first, seen, reference) for reading in chosen)
    groups = tuple(_group(readings, header, number) for number in range(len(readings[-1].groups)))
    of = "" if len(chosen) == len(readings) else f" of {len(readings):,}"
    source = f"{folder}: {len(chosen)}{of} readings from step {chosen[0].step:,} to {chosen[-1].step:,}{broken}"
    return Evidence(source, chosen[-1].step, reference, groups, moments, UNSEEN, WEAK)


def _moment(
    reading: Reading,
    header: RunInfo,
    first: dict[str, TensorReading],
    seen: dict[str, list[float]],
    reference: Reference,
) -> Moment:
    layers: list[Layer] = []
    for name, shape, group in zip(header.tensors, header.shapes, header.group_of, strict=True):
        tensor = reading.tensors.get(name)
        if tensor is None or tensor.second_moment == 0:
            continue
        squared = 1.0 if reference == "none" else first[name].second_moment if name in first else math.nan
        against = math.sqrt(squared) or math.nan
        density = float(np.mean(seen[name])) or math.nan
        layers.append(Layer(name, group, shape, math.sqrt(tensor.second_moment), against, density=density))
    return Moment(reading.step, tuple(layers), (math.nan,) * len(reading.groups))


def _group(readings: Sequence[Reading], header: RunInfo, number: int) -> Group:
    last = readings[-1].groups[number]
    rate = max(reading.groups[number].lr for reading in readings)
    if last.exponent != (0.5,):
        moved = [
            reading.tensors[name].update_rms
            for reading in readings
            for name, group in zip(header.tensors, header.group_of, strict=True)
            if group == number and name in reading.tensors
        ]
        rate *= float(np.median(moved)) / math.sqrt(noise_update(last.betas[0])) if moved else 1.0
    betas: Pair = last.betas[0]
    return Group(betas, rate)
