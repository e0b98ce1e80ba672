"""The verdict on hyperparameters: whether a parameter group is, or will be, outside of the stability region."""

from __future__ import annotations

import math
from collections.abc import Sequence

from equipoise.monitor._judging.thresholds import Thresholds
from equipoise.monitor._judging.verdict import Verdict, start_of_streak
from equipoise.monitor._measuring.readings import GroupReading, Reading
from equipoise.theory._assessment import Assessment, assess, rounded_towards_stability


def unstable_margin(history: Sequence[Reading], _: Thresholds) -> Verdict | None:
    """Hyperparameters outside of the stability region, now or ahead on a known schedule. It is certain that updates can grow
    there, not that they will."""
    outside = _outside(history[-1])
    if not outside:
        return None
    first = start_of_streak(len(history), lambda index: not outside.keys().isdisjoint(_outside(history[index])))
    group = min(outside.values(), key=lambda each: (_assessed(each).stable, each.margin, each.margin_ahead))
    found = _assessed(group)
    if found.stable:
        message = f"The schedule leads out of the stable region, to a margin of {group.margin_ahead:+.4f} nats per step."
        advice = "The warning that its Scheduler gave when it was built says at which step. Let the schedule end inside."
    else:
        nearest = rounded_towards_stability(found.nearest)
        message = f"The margin is {found.margin:+.4f} nats per step. {found.sentence}"
        limits = (("beta1 <=", nearest.beta1), ("beta2 >=", nearest.beta2), ("exponent <=", nearest.exponent))
        known = [f"{name} {value}" for name, value in limits if not math.isnan(value)]
        advice = (
            f"Any one of these makes it stable: {', '.join(known)}." if known else "Only another pair of betas makes it stable."
        )
    return Verdict(
        kind="unstable-margin",
        severity="warning",
        step=history[-1].step,
        since=history[first].step,
        where=tuple(f"group {number}" for number in outside),
        confidence=1.0,
        message=message,
        advice=advice,
    )


def _outside(reading: Reading) -> dict[int, GroupReading]:
    """The groups that are or will be outside, by number. Above an exponent of 1/2 the margin alone does not decide."""
    return {
        number: group
        for number, group in enumerate(reading.groups)
        if group.margin <= 0 or group.margin_ahead <= 0 or _unstable_above_half(group)
    }


def _unstable_above_half(group: GroupReading) -> bool:
    return max(group.exponent, default=0.0) > 0.5 and not _assessed(group).stable


def _assessed(group: GroupReading) -> Assessment:
    return assess(group.betas, group.exponent, len(group.exponent))
