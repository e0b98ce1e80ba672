"""The figures of a suite: how far each arm is from the best one on each task, and the profile over tasks."""

from __future__ import annotations

import math
from collections.abc import Sequence

from equipoise.study._report.figures.marks import (
    Figure,
    Trace,
    at_edge,
    axis,
    band,
    colour,
    curve,
    hover,
    label,
    named_rows,
    scatter,
    symbol,
    with_room,
)
from equipoise.study._statistics.profile import NEAREST, Profile

FARTHEST = {"spreads": 10.0, "ratio": 5.0}
"""The figures show distances up to this: what is further away is far."""

AXES = {"spreads": "spreads from the best arm", "ratio": "times of the fastest arm"}

APART = 0.006
"""Curves that would hide each other are drawn so far apart."""


def distances(profile: Profile) -> Figure:
    """One mark for each task, on a row for each arm."""
    tasks = list(next(iter(profile.distances.values())))
    ends = with_room((NEAREST[profile.scale], farthest(profile)))
    traces: list[Trace] = []
    for index, task in enumerate(tasks):
        far = [(row, own[task]) for row, own in enumerate(profile.distances.values())]
        places = [at_edge(min(distance, 2 * ends[1]), ends, symbol(index)) for _, distance in far]
        offset = 0.0 if len(tasks) == 1 else 0.5 * index / (len(tasks) - 1) - 0.25
        texts = [
            hover(arm, task, "did not finish" if math.isinf(own[task]) else f"{own[task]:.3g} from the best")
            for arm, own in profile.distances.items()
        ]
        look = {"color": colour(index), "size": 11, "symbol": [mark for _, mark in places]}
        beside = {"name": label(task), "hovertext": texts, "hoverinfo": "text", "cliponaxis": False}
        traces.append(scatter([x for x, _ in places], [row + offset for row, _ in far], "markers", marker=look, **beside))
    axes = {"xaxis": axis(AXES[profile.scale], ends), "yaxis": named_rows(list(profile.distances))}
    return {"data": traces, "layout": {**axes, "height": 130 + 46 * len(profile.distances), "showlegend": True}}


def shares(profile: Profile) -> Figure:
    """The profile: one step curve for each arm, with its band."""
    last = farthest(profile)
    taus = [tau for tau in profile.taus if tau <= last]
    traces: list[Trace] = []
    for index, arm in enumerate(profile.distances):
        bands = profile.bands[arm][: len(taus)]
        x = _doubled([*taus, last])[1:-1]
        traces.append(band(index, x, _doubled([low for low, _ in bands]), _doubled([high for _, high in bands])))
        middle = (len(profile.distances) - 1) / 2
        y = [share + APART * (middle - index) for share in _doubled([profile.share(arm, tau) for tau in taus])]
        traces.append(curve(index, arm, x, y, hoverinfo="name"))
    start = NEAREST[profile.scale]
    axes = {
        "xaxis": axis(AXES[profile.scale], (start - 0.02 * (last - start), last)),
        "yaxis": axis("share of tasks", (-0.03, 1.03), tickformat=".0%"),
    }
    return {"data": traces, "layout": {**axes, "height": 440, "showlegend": True}}


def farthest(profile: Profile) -> float:
    """Up to where the figures reach."""
    finite = [distance for own in profile.distances.values() for distance in own.values() if math.isfinite(distance)]
    nearest = NEAREST[profile.scale]
    return min(max(finite, default=nearest), FARTHEST[profile.scale]) + 0.05 * (FARTHEST[profile.scale] - nearest)


def _doubled(values: Sequence[float]) -> list[float]:
    """Each value twice: at both ends of its step."""
    return [value for value in values for _ in range(2)]
