"""The figures of a study: curves, learning rates, and each arm's place on the stability map."""

# pyright: reportUnknownMemberType=false
# (plotly declares no types)

from __future__ import annotations

import html
import math

import numpy as np
import plotly.graph_objects as go  # pyright: ignore[reportMissingTypeStubs]

from equipoise.check._map import COLOURS, RegionPoint
from equipoise.study._analysis import Analysis, Compared


def curve_figure(analysis: Analysis, name: str) -> go.Figure:
    """A reported number over epochs: the mean over seeds, and a band from the lowest to the highest.

    The axis shows the range of the second half of training, where arms that all learn can be told apart.
    """
    figure = go.Figure()
    late = list[float]()
    for index, arm in enumerate(analysis.arms):
        epochs, low, mean, high = _band(arm, name)
        colour = COLOURS[index % len(COLOURS)]
        figure.add_scatter(
            x=[*epochs, *reversed(epochs)],
            y=[*high, *reversed(low)],
            mode="lines",
            fill="toself",
            fillcolor=colour,
            opacity=0.15,
            line={"width": 0},
            hoverinfo="skip",
            showlegend=False,
            legendgroup=arm.name,
        )
        figure.add_scatter(x=epochs, y=mean, mode="lines", line={"color": colour}, name=_label(arm), legendgroup=arm.name)
        early = sum(epoch <= max(epochs) / 2 for epoch in epochs)
        late += low[early:] + high[early:]
    figure.update_xaxes(title=analysis.question.unit)
    figure.update_yaxes(title=name)
    if late:
        room = 0.05 * (max(late) - min(late)) or 0.05 * abs(late[0]) or 1.0
        figure.update_yaxes(range=[min(late) - room, max(late) + room])
    return figure


def learning_rate_figure(analysis: Analysis) -> go.Figure:
    """The metric on the tuning seeds over the learning rate; a ring marks what was chosen."""
    figure = go.Figure()
    for index, arm in enumerate(analysis.arms):
        tuned, colour = arm.tuned, COLOURS[index % len(COLOURS)]
        if tuned is None:
            continue
        figure.add_scatter(
            x=tuned.rates,
            y=tuned.means,
            mode="lines+markers" if list(tuned.point.values) == ["lr"] else "markers",
            line={"color": colour},
            name=_label(arm),
            legendgroup=arm.name,
            text=[f"{count} of {len(tuned.scores[0])} diverged" if count else "" for count in tuned.diverged],
        )
        figure.add_scatter(
            x=[tuned.chosen],
            y=[tuned.means[tuned.points.index(tuned.point)]],
            mode="markers",
            marker={"color": colour, "size": 14, "symbol": "circle-open", "line": {"width": 2}},
            hoverinfo="skip",
            showlegend=False,
            legendgroup=arm.name,
        )
    figure.update_xaxes(title="learning rate", type="log")
    figure.update_yaxes(title=analysis.question.metric if analysis.study is None else analysis.study.selection.metric)
    return figure


def region_points(analysis: Analysis) -> tuple[list[RegionPoint], list[str]]:
    """Where each arm lies on the stability map, by its last stage, and the names of the arms that have no place on it."""
    points = [
        RegionPoint(arm.name, *analysis.hyperparameters[arm.name].stages[-1])
        for arm in analysis.arms
        if arm.name in analysis.hyperparameters
    ]
    return points, [arm.name for arm in analysis.arms if arm.name not in analysis.hyperparameters]


def _band(arm: Compared, name: str) -> tuple[list[int], list[float], list[float], list[float]]:
    """Per epoch that any seed reached: lowest, mean and highest finite value over the seeds that got there."""
    epochs = sorted({epoch for result in arm.results for epoch in result.curves.get(name, {})})
    kept: list[int] = []
    low, mean, high = list[float](), list[float](), list[float]()
    for epoch in epochs:
        values = [result.curves[name][epoch] for result in arm.results if epoch in result.curves.get(name, {})]
        finite = [value for value in values if math.isfinite(value)]
        if finite:
            kept.append(epoch)
            low.append(min(finite))
            mean.append(float(np.mean(finite)))
            high.append(max(finite))
    return kept, low, mean, high


def _label(arm: Compared) -> str:
    return html.escape(arm.name)  # plotly reads a label as HTML
