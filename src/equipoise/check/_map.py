"""The map of the stability region: one description of what it shows, drawn by plotly or by matplotlib.

Both axes are logarithmic in the memory 1 / (1 - beta) of a moment, so that 0.9, 0.99 and 0.999 lie equally far apart.
"""

from __future__ import annotations

import html
import importlib
import io
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from equipoise._files import replace_file
from equipoise._html import render
from equipoise.errors import MissingExtraError, UnusableInputError
from equipoise.theory._assessment import Assessment, Stability, assess
from equipoise.theory._growth import MODERATE_UP_TO, Growth, tenfold

if TYPE_CHECKING:
    import plotly.graph_objects  # pyright: ignore[reportMissingTypeStubs]

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555")
"""Lines that must be told apart, also by the colour-blind (Okabe and Ito)."""

STABLE = "#00694d"
MARKS = {
    Growth.NONE: STABLE,
    Growth.MODERATE: "#8a5a00",
    Growth.FAST: "#b3261e",
    Growth.WITH_GRADIENTS: "#b3261e",
}
"""Points, by how fast updates can grow there."""
SHADES = {Growth.NONE: "#e3f1ec", Growth.MODERATE: "#fdf0cf", Growth.FAST: "#f6d5d3"}
"""The areas around them."""
AREAS = {
    Growth.NONE: "stable",
    Growth.MODERATE: f"moderate growth: tenfold in {tenfold(MODERATE_UP_TO):.0f} steps or more",
    Growth.FAST: "fast growth",
}

TITLE = "Where updates stay bounded"

LONGEST_LABEL = 36
"""In characters; a legend entry that is longer would be cut at the edge of a narrow window."""


@dataclass(frozen=True)
class RegionPoint:
    """One choice of hyperparameters, to be shown on the map."""

    label: str
    beta1: float
    beta2: float
    exponent: float


@dataclass(frozen=True)
class _Boundary:
    name: str
    colour: str
    dash: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]


@dataclass(frozen=True)
class _Area:
    """Where updates can grow so fast, and slower: the areas are drawn one over the other."""

    growth: Growth
    x: NDArray[np.float64]
    y: NDArray[np.float64]


@dataclass(frozen=True)
class _Mark:
    """All points with the same betas."""

    number: int
    x: float
    y: float
    growth: Growth
    """The fastest of them."""
    name: str
    details: tuple[str, ...]


@dataclass(frozen=True)
class _Map:
    """What is drawn, whatever draws it. Positions are log10 of the memory."""

    end: tuple[float, float]
    boundaries: tuple[_Boundary, ...]
    areas: tuple[_Area, ...]
    marks: tuple[_Mark, ...]


def region_figure(points: Sequence[RegionPoint]) -> plotly.graph_objects.Figure:
    """The map as a plotly figure: boundary ``b2**p = b1`` of every exponent, and the points with their numbers on hover.

    Shaded is how fast updates can grow with the largest of the exponents shown. Points with the same betas share a mark.

    Raises:
        ArgumentError: a beta outside of [0, 1).
        MissingExtraError: plotly is not installed.

    Example:
        >>> figure = region_figure([RegionPoint("mine", 0.9, 0.999, 0.5)])
        >>> [trace.name for trace in figure.data][2:]
        ['stable', 'boundary, exponent 0.5', 'the same in continuous time', '1: mine']
    """
    go = _import("plotly.graph_objects")
    shown = _describe(points)
    figure = go.Figure()
    for area in shown.areas:
        figure.add_scatter(
            x=area.x,
            y=area.y,
            fill="toself",
            fillcolor=SHADES[area.growth],
            mode="lines",
            line={"width": 0},
            hoverinfo="skip",
            name=AREAS[area.growth],
        )
    for boundary in shown.boundaries:
        figure.add_scatter(
            x=boundary.x,
            y=boundary.y,
            mode="lines",
            line={"color": boundary.colour, "dash": boundary.dash, "width": 2},
            name=boundary.name,
            hoverinfo="skip",
        )
    for mark in shown.marks:
        figure.add_scatter(
            x=[mark.x],
            y=[mark.y],
            mode="markers+text",
            marker={
                "size": 20,
                "color": MARKS[mark.growth],
                "symbol": "circle" if mark.growth is Growth.NONE else "square",
                "line": {"color": "white", "width": 1},
            },
            text=[str(mark.number)],
            textfont={"color": "white", "size": 12},
            hovertext="<br>".join(html.escape(line) for line in mark.details),
            hoverinfo="text",
            name=html.escape(f"{mark.number}: {mark.name}"),
        )
    for update, name, end in ((figure.update_xaxes, "beta1", shown.end[0]), (figure.update_yaxes, "beta2", shown.end[1])):
        positions, texts = _ticks(end)
        update(title=_axis_title(name), range=[-0.25, end], tickvals=positions, ticktext=texts, zeroline=False, ticks="outside")
    figure.update_layout(
        template="plotly_white",
        legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0, "itemclick": False},
        margin={"l": 60, "r": 20, "t": 20, "b": 50},
        hoverlabel={"align": "left"},
    )
    return figure


def write_region(path: Path, points: Sequence[RegionPoint]) -> None:
    """Write the map as ``.html`` (one file, interactive, needs no network) or ``.png``.

    Raises:
        UnusableInputError: another suffix, or a place that cannot be written to.
        MissingExtraError: plotly (for HTML) or matplotlib (for PNG) is not installed.
    """
    draw = {".html": _page, ".png": _png}.get(path.suffix.lower())
    if draw is None:
        raise UnusableInputError(f"{path}: a map is written as .html or .png, not as {path.suffix or 'a file without suffix'}")
    replace_file(path, draw(points))


def _describe(points: Sequence[RegionPoint]) -> _Map:
    places: dict[tuple[float, float], list[RegionPoint]] = {}
    for point in points:
        places.setdefault((point.beta1, point.beta2), []).append(point)
    marks = tuple(_mark(number, *place, there) for number, (place, there) in enumerate(places.items(), 1))
    end = (max([4.2, *(mark.x + 0.6 for mark in marks)]), max([4.2, *(mark.y + 0.6 for mark in marks)]))

    exponents = sorted({point.exponent for point in points}, reverse=True)
    bounded = [exponent for exponent in exponents if 0 < exponent <= 0.5]
    boundaries = [
        _Boundary(f"boundary, exponent {exponent:.3g}", COLOURS[i % len(COLOURS)], "solid", *_boundary(exponent, end))
        for i, exponent in enumerate(bounded)
    ]
    if len(bounded) == 1:  # beside several others a second line each would only confuse
        line = _continuous_boundary(bounded[0], end)
        boundaries.append(_Boundary("the same in continuous time", "#888888", "dot", *line))
    return _Map(end, tuple(boundaries), _areas(exponents, end), marks)


def _areas(exponents: Sequence[float], end: tuple[float, float]) -> tuple[_Area, ...]:
    """The areas of the largest exponent, the fastest growth first."""
    if exponents and exponents[0] > 0.5:  # nothing is stable, and there is no rate
        return ()
    whole = np.array([-0.25, end[0]]), np.array([-0.25, -0.25])
    if not exponents or exponents[0] <= 0:
        return (_area(Growth.NONE, *whole, end),)
    rates = {Growth.MODERATE: MODERATE_UP_TO, Growth.NONE: 0.0}
    above = (_area(growth, *_boundary(exponents[0], end, rate), end) for growth, rate in rates.items())
    return _area(Growth.FAST, *whole, end), *above


def _area(growth: Growth, x: NDArray[np.float64], y: NDArray[np.float64], end: tuple[float, float]) -> _Area:
    """What lies above a line."""
    return _Area(growth, np.array([*x, end[0], -0.25, -0.25, x[0]]), np.array([*y, end[1], end[1], y[0], y[0]]))


def _mark(number: int, beta1: float, beta2: float, points: Sequence[RegionPoint]) -> _Mark:
    found = [assess((beta1, beta2), point.exponent) for point in points]
    labels = [_printable(point.label) for point in points]
    details = [f"beta1 = {beta1:.6g}, beta2 = {beta2:.6g}"]
    for label, point, one in zip(labels, points, found, strict=True):
        grade = f", {one.growth.value} growth" if one.stability is Stability.UNSTABLE else ""
        details += [f"{label} (exponent {point.exponent:.3g}): {one.stability.value}{grade}", f"    {_numbers(one)}"]
    growth = max((one.growth for one in found), key=list(Growth).index)
    grade = "" if growth is Growth.NONE else f" (growth: {growth.value})"
    name = _shortened(", ".join(dict.fromkeys(labels))) + grade
    return _Mark(number, _decades(beta1), _decades(beta2), growth, name, tuple(details))


def _numbers(found: Assessment) -> str:
    worst = f"largest update {found.max_update:.4g}" if found.stable else "largest update without limit"
    return f"margin {found.margin:+.4f} nats per step, {worst}"


def _printable(label: str) -> str:
    return " ".join("".join(character if character.isprintable() else " " for character in label).split())


def _shortened(label: str) -> str:
    return label if len(label) <= LONGEST_LABEL else label[: LONGEST_LABEL - 3] + "..."


def _decades(beta: float) -> float:
    return -math.log10(1 - beta)


def _boundary(exponent: float, end: tuple[float, float], rate: float = 0.0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where the worst case grows at a rate: ``b2 = (b1 exp(-rate))^(1/p)``."""
    x = np.linspace(0, end[0], 400)
    with np.errstate(divide="ignore"):
        log_beta1 = np.log1p(-(10**-x))
    return x, np.minimum(-np.log10(-np.expm1((log_beta1 - rate) / exponent)), end[1])


def _continuous_boundary(exponent: float, end: tuple[float, float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where the margin of the continuous-time flow is 0: ``b2 / (1 - b2) = p b1 / (1 - b1)``."""
    x = np.linspace(0, end[0], 400)
    return x, np.minimum(np.log10(1 + exponent * (10**x - 1)), end[1])


def _ticks(end: float) -> tuple[list[float], list[str]]:
    betas = [0.0, 0.5, *(1 - 10.0**-nines for nines in range(1, math.floor(end) + 1))]
    return [_decades(beta) for beta in betas], ["0", "0.5", *("0." + "9" * nines for nines in range(1, math.floor(end) + 1))]


def _axis_title(name: str) -> str:
    return f"{name}, by its memory 1/(1 - {name})"


def _page(points: Sequence[RegionPoint]) -> bytes:
    figure: Any = region_figure(points)
    figure.update_layout(height=620)
    drawing: str = figure.to_html(full_html=False, include_plotlyjs=True, config={"responsive": True, "displayModeBar": False})
    rows = [
        (
            _printable(point.label),
            f"betas ({point.beta1:.6g}, {point.beta2:.6g}), exponent {point.exponent:.3g}.",
            _in_words(assess((point.beta1, point.beta2), point.exponent)),
        )
        for point in points
    ]
    return render("equipoise.check", "map.html", title=TITLE, rows=rows, drawing=drawing).encode()


def _in_words(found: Assessment) -> str:
    return f"{found.sentence} {found.advice}".strip()


def _png(points: Sequence[RegionPoint]) -> bytes:
    canvas = _import("matplotlib.figure").Figure(figsize=(8, 7), layout="constrained")
    shown = _describe(points)
    axes = canvas.subplots()
    axes.grid(color="#e5e5e5", linewidth=0.8)
    axes.set_axisbelow(True)
    for area in shown.areas:
        axes.fill(area.x, area.y, color=SHADES[area.growth], label=AREAS[area.growth], zorder=0.5)
    for boundary in shown.boundaries:
        style = ":" if boundary.dash == "dot" else "-"
        axes.plot(boundary.x, boundary.y, style, color=boundary.colour, linewidth=2, label=boundary.name)
    for mark in shown.marks:
        colour, symbol = MARKS[mark.growth], "o" if mark.growth is Growth.NONE else "s"
        label = f"{mark.number}: {mark.name}".replace("$", r"\$")  # else matplotlib reads it as mathematics
        axes.plot(mark.x, mark.y, symbol, color=colour, markersize=15, markeredgecolor="white", label=label, clip_on=False)
        axes.text(mark.x, mark.y, str(mark.number), color="white", ha="center", va="center_baseline", fontsize=9)
    axes.set(xlim=(-0.25, shown.end[0]), ylim=(-0.25, shown.end[1]), xlabel=_axis_title("beta1"), ylabel=_axis_title("beta2"))
    axes.set_xticks(*_ticks(shown.end[0]))
    axes.set_yticks(*_ticks(shown.end[1]))
    axes.set_title(TITLE, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    canvas.legend(loc="outside lower left", ncols=2, frameon=False)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a label in a script that the font lacks
        canvas.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()


def _import(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise MissingExtraError("drawing the region", "plot") from None
