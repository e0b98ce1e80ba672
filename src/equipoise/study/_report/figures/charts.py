"""The figures of a study: seeds, gains, curves, what was searched, and each arm's place on the stability map."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from equipoise._words import printable
from equipoise.check._map import COLOURS, MARKS, SHADES, RegionPoint, region_figure
from equipoise.hyperparameters import Hyperparameters
from equipoise.study._analysis import Analysis, Compared, Tuned
from equipoise.study._report.figures.curves import Band, useful_range
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
    vertical,
    with_room,
)
from equipoise.theory._growth import Growth

VERDICT_COLOURS = {"better": "--good", "as good": "--good", "no worse": "--good", "worse": "--bad"}


def dots(analysis: Analysis) -> Figure:
    """One dot for each seed of each arm: the number that decides, at the end of training."""
    arms = analysis.arms
    finished = [[value for value, result in zip(arm.values, arm.results, strict=True) if not result.diverged] for arm in arms]
    ends = with_room(useful_range(finished))
    axes = {"xaxis": axis(analysis.question.metric, ends), "yaxis": named_rows([arm.name for arm in arms])}
    traces = [trace for index, arm in enumerate(arms) for trace in _seeds(arm, index, ends)]
    return {"data": traces, "layout": {**axes, "height": 110 + 46 * len(arms)}}


def _seeds(arm: Compared, index: int, ends: tuple[float, float]) -> list[Trace]:
    """The marks of an arm, and apart from them those of the seeds that diverged or ended outside of the figure, with words."""
    places = [at_edge(value, ends, symbol(index)) for value in arm.values]
    marks = ["x" if result.diverged else mark for result, (_, mark) in zip(arm.results, places, strict=True)]
    heights = [float(index)] if len(marks) == 1 else np.linspace(index - 0.25, index + 0.25, len(marks)).tolist()
    shown = list(zip([x for x, _ in places], heights, marks, arm.seeds, arm.values, strict=True))
    usual = [each for each in shown if each[2] == symbol(index)]
    lost = [each for each in shown if each[2] != symbol(index)]
    words = ["diverged" if mark == "x" else f"{value:.4g}" for _, _, mark, _, value in lost]
    sides = ["middle left" if mark == "triangle-right" else "middle right" for _, _, mark, *_ in lost]
    look = {"color": colour(index), "size": 10, "symbol": symbol(index), "opacity": 0.85}
    lost_look = {"color": "--bad", "size": 10, "symbol": [mark for _, _, mark, *_ in lost]}
    beside = {"text": words, "textposition": sides, "textfont": {"color": "--bad"}}
    return [
        _pointed_at(arm, usual, "markers", "seed %{customdata}<br>%{x:.4g}", marker=look),
        _pointed_at(arm, lost, "markers+text", "seed %{customdata}<br>%{text}", marker=lost_look, **beside),
    ]


def _pointed_at(arm: Compared, seeds: Sequence[tuple[Any, ...]], mode: str, words: str, **more: Any) -> Trace:
    x, y = [each[0] for each in seeds], [each[1] for each in seeds]
    shown = {"customdata": [each[3] for each in seeds], "hovertemplate": f"{words}<extra>%{{fullData.name}}</extra>"}
    return scatter(x, y, mode, name=label(arm.name), hoverinfo="all", cliponaxis=False, **shown, **more)


def forest(analysis: Analysis) -> Figure:
    """The gain of each arm over the baseline with its interval; positive is better."""
    question, contrasts = analysis.question, analysis.contrasts
    low, high = useful_range([*[[*found.interval, found.mean] for found in contrasts]]) or (0.0, 0.0)
    margin = question.margin or 0.0
    ends = low, high = with_room((min(low, -margin), max(high, margin)))
    traces: list[Trace] = []
    for index, found in enumerate(contrasts):
        paint = VERDICT_COLOURS.get(found.verdict, "--quiet")
        shown, marks = zip(*[at_edge(end, ends, "line-ns-open") for end in found.interval], strict=True)
        look = {"color": paint, "size": 9, "symbol": marks, "line": {"width": 2}}
        traces.append(scatter(shown, [index, index], "lines+markers", line={"color": paint, "width": 3}, marker=look))
        x, mark = at_edge(found.mean, ends, "circle")
        look = {"color": paint, "size": 12, "symbol": mark}
        text = hover(found.arm, found.verdict, analysis.difference(found))
        traces.append(scatter([x], [index], "markers", marker=look, hovertext=[text], hoverinfo="text", cliponaxis=False))
    lines = [vertical(0.0, "--text")]
    if margin:
        lines += [vertical(side * margin, "--quiet", "dot") for side in (-1, 1)]
    axes = {"xaxis": axis(f"gain in {question.metric}", ends), "yaxis": named_rows([found.arm for found in contrasts])}
    return {"data": traces, "layout": {**axes, "shapes": lines, "height": 110 + 46 * len(contrasts)}}


def learning_curves(bands: Mapping[str, Band], arms: Sequence[str], name: str) -> Figure:
    """A reported number over epochs: the median over seeds, and a band from the lowest to the highest.

    The axis shows the second half of training of the arms that did not go astray.
    """
    traces: list[Trace] = []
    late: list[list[float]] = []
    for index, arm in enumerate(arms):
        found = bands.get(arm)
        if found is None or len(found.epochs) == 0:
            continue
        traces.append(band(index, found.epochs, found.low, found.high))
        mode = "lines" if len(found.epochs) > 1 else "markers"
        traces.append(curve(index, arm, found.epochs, found.median, mode, marker={"color": colour(index)}))
        early = sum(epoch <= found.epochs[-1] / 2 for epoch in found.epochs)
        late.append([*found.low[early:], *found.median[early:], *found.high[early:]])
    axes = {"xaxis": axis("epoch"), "yaxis": axis(name, with_room(useful_range(late)))}
    return {"data": traces, "layout": {**axes, "height": 440, "showlegend": True}}


def searched_keys(tuned: Sequence[Tuned]) -> list[str]:
    """What at least one arm tried more than one value of."""
    keys = dict.fromkeys(key for found in tuned for key in found.point.values)
    return [key for key in keys if any(len({str(p.values.get(key)) for p in found.points}) > 1 for found in tuned)]


def sensitivity(tuned: Sequence[Tuned], key: str, metric: str) -> Figure:
    """What chose, over one of the searched values: the mean over tuning seeds. A ring marks the choice, a cross divergence."""
    ends = with_room(useful_range([found.means for found in tuned]))
    traces: list[Trace] = []
    values: list[Any] = []
    for index, found in enumerate(tuned):
        order = sorted(range(len(found.points)), key=lambda each: found.points[each].values.get(key, 0))
        order = [each for each in order if key in found.points[each].values]
        x = [found.points[each].values[key] for each in order]
        values += x
        y = [min(max(found.means[each], ends[0]), ends[1]) for each in order]
        marks = ["x" if found.diverged[each] else symbol(index) for each in order]
        texts = [
            hover(found.arm.name, str(found.points[each]), f"{found.means[each]:.6g}", _diverged(found, each)) for each in order
        ]
        mode = "lines+markers" if len(found.point.values) == 1 else "markers"
        look = {"color": colour(index), "size": 9, "symbol": marks}
        traces.append(
            curve(index, found.arm.name, x, y, mode, marker=look, hovertext=texts, hoverinfo="text", cliponaxis=False)
        )
        ring = {"color": colour(index), "size": 18, "symbol": "circle-open", "line": {"width": 2}}
        chosen = [place for place, each in enumerate(order) if found.points[each] == found.point]
        rings = [x[place] for place in chosen], [y[place] for place in chosen]
        traces.append(scatter(*rings, "markers", marker=ring, showlegend=False, legendgroup=str(index), cliponaxis=False))
    scale = _scale(values)
    ticks: dict[str, Any] = {"dtick": 1, "tickformat": "~g"} if scale == "log" else {}  # one at each power of ten
    axes = {"xaxis": axis(key, type=scale, **ticks), "yaxis": axis(metric, ends)}
    return {"data": traces, "layout": {**axes, "height": 400, "showlegend": True}}


def _diverged(found: Tuned, point: int) -> str:
    return f"{found.diverged[point]} of {len(found.scores[point])} seeds diverged" if found.diverged[point] else ""


def _scale(values: Sequence[Any]) -> str:
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in values):
        return "category"
    return "log" if min(values) > 0 and max(values) > 20 * min(values) else "linear"


def expected_best(analysis: Analysis, metric: str) -> Figure:
    """The best value to expect after so many tuning trials, with its interval."""
    traces: list[Trace] = []
    for index, arm in enumerate(analysis.arms):
        if arm.search is not None:
            x = arm.search.trials
            traces.append(band(index, x, [low for low, _ in arm.search.intervals], [high for _, high in arm.search.intervals]))
            look = {"color": colour(index)}
            traces.append(curve(index, arm.name, x, arm.search.best, "lines+markers", marker=look))
    ends = with_room(useful_range([arm.search.best for arm in analysis.arms if arm.search is not None]))
    counts = sorted({count for arm in analysis.arms if arm.search is not None for count in arm.search.trials})
    axes = {"xaxis": axis("points tried", type="log", tickvals=counts), "yaxis": axis(metric, ends)}
    return {"data": traces, "layout": {**axes, "height": 400, "showlegend": True}}


def stability_map(hyperparameters: Mapping[str, Hyperparameters]) -> Figure:
    """Where each arm lies in the stability region, by its last stage."""
    drawn: Any = region_figure(region_points(hyperparameters))
    names = {shade: f"--arm{index}" for index, shade in enumerate(COLOURS)}
    names |= {SHADES[Growth.NONE]: "--shade", SHADES[Growth.MODERATE]: "--moderate-shade", SHADES[Growth.FAST]: "--fast-shade"}
    names |= {MARKS[Growth.NONE]: "--good", MARKS[Growth.MODERATE]: "--moderate", MARKS[Growth.FAST]: "--bad"}

    def renamed(entry: dict[str, Any]) -> dict[str, Any]:
        return {key: names.get(value, value) if isinstance(value, str) else value for key, value in entry.items()}

    figure = json.loads(drawn.to_json(), object_hook=renamed)
    del figure["layout"]["template"], figure["layout"]["legend"]
    figure["layout"] |= {"height": 560, "showlegend": True}
    return figure


def region_points(hyperparameters: Mapping[str, Hyperparameters]) -> list[RegionPoint]:
    """One point for each arm."""
    return [RegionPoint(printable(arm), *found.stages[-1]) for arm, found in hyperparameters.items()]
