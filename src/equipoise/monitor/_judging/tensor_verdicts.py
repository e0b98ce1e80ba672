"""Verdicts on tensors: one small pure function for each kind.

A step that was not made, as when a GradScaler skips one, has no tensors: nothing is wrong with it, and it breaks no "since".
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from typing import NamedTuple

from equipoise._words import listed
from equipoise.monitor._judging.thresholds import Thresholds
from equipoise.monitor._judging.verdict import Verdict, start_of_streak
from equipoise.monitor._measuring.readings import Reading, TensorReading


class _AffectedTensors(NamedTuple):
    """The tensors that something is wrong with."""

    where: tuple[str, ...]
    """Their names, in the order of the model."""
    since: int
    """The step from which it has been wrong with any of them, without a break."""
    readings: int
    """How many readings that makes."""


def nonfinite_gradient(history: Sequence[Reading], _: Thresholds) -> Verdict | None:
    """Gradients with a NaN or an infinity, in a step that was made. Certain."""
    affected = _affected(history, _tensors_with(lambda tensor: tensor.nonfinite_fraction > 0))
    if affected is None:
        return None
    worst = max(affected.where, key=lambda name: history[-1].tensors[name].nonfinite_fraction)
    return Verdict(
        kind="nonfinite-gradient",
        severity="trouble",
        step=history[-1].step,
        since=affected.since,
        where=affected.where,
        confidence=1.0,
        message=f"The gradients of {listed(affected.where, 3)} hold NaN or infinity; most in {worst}:"
        f" {history[-1].tensors[worst].nonfinite_fraction:.3g} of its elements.",
        advice="The moments hold it from now on, and so do these parameters: go back to the last good snapshot. A backward pass"
        " carries it to all layers before the one where it began: look at the last one named, and at the batch. The policy"
        " Skip would have dropped this step.",
    )


def nonfinite_parameter(history: Sequence[Reading], _: Thresholds) -> Verdict | None:
    """Parameters with a NaN or an infinity. Certain."""
    affected = _affected(history, _tensors_with(lambda tensor: not math.isfinite(tensor.parameter_rms)))
    if affected is None:
        return None
    return Verdict(
        kind="nonfinite-parameter",
        severity="trouble",
        step=history[-1].step,
        since=affected.since,
        where=affected.where,
        confidence=1.0,
        message=f"NaN or infinity in the parameters {listed(affected.where, 3)}.",
        advice="The model is lost: go back to the last good snapshot, or to a checkpoint from before this step.",
    )


def nonfinite_moment(history: Sequence[Reading], _: Thresholds) -> Verdict | None:
    """Moments with a NaN or an infinity, or at the verge of it, where parameters and gradients have none. Certain.

    The square of a finite gradient overflows from about 1e19 in float32; the update is 0 from then on, and nothing else shows.
    (A NaN in a second moment makes parameters NaN in the same step. With finite ones it says that the optimizer keeps none.)
    """

    def lost(tensor: TensorReading) -> bool:
        return math.isinf(tensor.second_moment) and math.isfinite(tensor.parameter_rms) and not tensor.nonfinite_fraction

    affected = _affected(history, _tensors_with(lost))
    if affected is None:
        return None
    return Verdict(
        kind="nonfinite-moment",
        severity="trouble",
        step=history[-1].step,
        since=affected.since,
        where=affected.where,
        confidence=1.0,
        message=f"NaN or infinity in the second moments of {listed(affected.where, 3)}, which will hardly move any more.",
        advice="A gradient was so large that its square overflowed, and averages never forget that: go back to the last good"
        " snapshot, and clip gradients (torch.nn.utils.clip_grad_norm_).",
    )


def bound_exceeded(history: Sequence[Reading], thresholds: Thresholds) -> Verdict | None:
    """Updates above their bound, larger than any gradients can cause. Certain: the bound is a theorem."""
    affected = _affected(
        history, _tensors_with(lambda tensor: tensor.largest_update > tensor.bound * (1 + thresholds.bound_slack))
    )
    if affected is None:
        return None
    worst = max(affected.where, key=lambda name: history[-1].tensors[name].largest_update / history[-1].tensors[name].bound)
    tensor = history[-1].tensors[worst]
    return Verdict(
        kind="bound-exceeded",
        severity="trouble",
        step=history[-1].step,
        since=affected.since,
        where=affected.where,
        confidence=1.0,
        message=f"The largest update of {worst} is {tensor.largest_update:.4g} learning rates; no gradients can cause more than"
        f" {tensor.bound:.4g}.",
        advice="The optimizer's state is not what it computed itself: faulty memory, the state of another run, or something"
        " else that writes into it. Go back to a snapshot; if it happens again, change the machine.",
    )


def exploding(history: Sequence[Reading], thresholds: Thresholds) -> Verdict | None:
    """Gradients many times their usual size, the median of the `fewest` readings before. Confidence is 1 - 1 / that factor."""
    made = [reading for reading in history if reading.made]

    def factor(index: int, name: str) -> float:
        before = made[max(0, index - thresholds.fewest) : index]
        sizes = [reading.tensors[name].gradient_rms for reading in before if name in reading.tensors]
        if len(sizes) < thresholds.fewest or name not in made[index].tensors:
            return 0.0
        usual, now = statistics.median(sizes), made[index].tensors[name].gradient_rms
        return now / usual if usual > 0 and math.isfinite(now) else 0.0

    factors = {name: factor(len(made) - 1, name) for name in history[-1].tensors}
    where = tuple(name for name, size in factors.items() if size >= thresholds.explosion)
    if not where:
        return None
    first = start_of_streak(len(made), lambda index: any(factor(index, name) >= thresholds.explosion for name in where))
    worst = max(where, key=lambda name: factors[name])
    return Verdict(
        kind="exploding",
        severity="warning",
        step=history[-1].step,
        since=made[first].step,
        where=where,
        confidence=1 - 1 / factors[worst],
        message=f"The gradients of {listed(where, 3)} are far above their usual size; most in {worst}:"
        f" {factors[worst]:.3g} times.",
        advice="Look at the batch, and clip gradients (torch.nn.utils.clip_grad_norm_). If it comes back, lower the learning"
        " rate; below an exponent of 1/2 updates grow with gradients, and a higher exponent helps too.",
    )


def vanishing(history: Sequence[Reading], thresholds: Thresholds) -> Verdict | None:
    """Tensors whose updates are far below the median tensor's, for several readings. Confidence is 1 - 2^-readings.

    Updates are judged, not gradients: at an exponent of 1/2 small gradients alone harm nothing.
    """
    affected = _affected(history, lambda reading: _far_below(reading, thresholds.vanishing), thresholds.persistence)
    if affected is None:
        return None
    worst = min(affected.where, key=lambda name: history[-1].tensors[name].update_rms)
    share = history[-1].tensors[worst].update_rms / _median_update(history[-1])
    return Verdict(
        kind="vanishing",
        severity="warning",
        step=history[-1].step,
        since=affected.since,
        where=affected.where,
        confidence=1 - 0.5**affected.readings,
        message=f"The updates of {listed(affected.where, 3)} are far below those of the other tensors; least in {worst}:"
        f" {share:.2g} of the median.",
        advice="Raise the exponent of these tensors, in a group of their own: S decades between gradients are (1 - 2p) S"
        " between updates. At an exponent of 1/2 their gradients are below eps: lower that. A normalization layer before them"
        " helps in both cases.",
    )


def dead_layer(history: Sequence[Reading], thresholds: Thresholds) -> Verdict | None:
    """Tensors all of whose gradients are exactly 0, for several readings. Confidence is 1 - 2^-readings."""
    affected = _affected(history, _tensors_with(lambda tensor: tensor.zero_fraction == 1), thresholds.persistence)
    if affected is None:
        return None
    return Verdict(
        kind="dead-layer",
        severity="warning",
        step=history[-1].step,
        since=affected.since,
        where=affected.where,
        confidence=1 - 0.5**affected.readings,
        message=f"Every gradient of {listed(affected.where, 3)} was exactly 0 in the last {affected.readings} readings.",
        advice="Nothing reaches these tensors. Are they used in the loss? Have all units behind them died in a ReLU (then begin"
        " again, with a lower learning rate)? In float16, is the loss scaled?",
    )


def _tensors_with(holds: Callable[[TensorReading], bool]) -> Callable[[Reading], set[str]]:
    return lambda reading: {name for name, tensor in reading.tensors.items() if holds(tensor)}


def _affected(
    history: Sequence[Reading], found: Callable[[Reading], set[str]], persistence: int = 1
) -> _AffectedTensors | None:
    """The tensors that are found in each of the newest readings, and since when any of them has been; None where there are
    none."""
    made = [reading for reading in history if reading.made]
    if not history[-1].made or len(made) < persistence:
        return None
    where = found(made[-1]).intersection(*map(found, made[-persistence:]))
    if not where:
        return None
    first = start_of_streak(len(made), lambda index: not where.isdisjoint(found(made[index])))
    in_order = tuple(name for name in history[-1].tensors if name in where)
    return _AffectedTensors(in_order, made[first].step, len(made) - first)


def _median_update(reading: Reading) -> float:
    return statistics.median(tensor.update_rms for tensor in reading.tensors.values())


def _far_below(reading: Reading, share: float) -> set[str]:
    """The tensors whose updates are less than a share of the median tensor's, but not 0."""
    if not reading.tensors:
        return set()
    limit = share * _median_update(reading)
    return {name for name, tensor in reading.tensors.items() if 0 < tensor.update_rms < limit}
