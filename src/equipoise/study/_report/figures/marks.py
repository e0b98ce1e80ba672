"""Parts of figures, as plotly has them in JSON. Colours are names of the page's variables, which differ in light and dark."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any, TypeAlias

from equipoise._words import printable
from equipoise.check._map import COLOURS

Trace: TypeAlias = dict[str, Any]
Figure: TypeAlias = dict[str, Any]
"""``data``, a list of traces, and ``layout``."""

LABEL = 26
"""Characters of a name beside an axis or in a legend, which must fit on a phone. Pointing at a mark shows more of it."""

SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
"""When the colours are used up, the next round of arms has other marks and lines."""


def colour(index: int) -> str:
    """The colour of an arm, by its place in the study."""
    return f"--arm{index % len(COLOURS)}"


def symbol(index: int) -> str:
    """The mark of an arm."""
    return SYMBOLS[index // len(COLOURS) % len(SYMBOLS)]


def label(name: str) -> str:
    """A name for plotly, which reads text as HTML."""
    return html.escape(printable(name, LABEL))


def hover(*lines: str) -> str:
    """Lines of text that plotly shows where a mark is pointed at."""
    return "<br>".join(html.escape(printable(line, 80)) for line in lines)


def scatter(x: Sequence[Any], y: Sequence[float], mode: str, **more: Any) -> Trace:
    """Points, or a line through them."""
    return {"type": "scatter", "x": list(x), "y": list(y), "mode": mode, "hoverinfo": "skip", **more}


def curve(index: int, name: str, x: Sequence[Any], y: Sequence[float], mode: str = "lines", **more: Any) -> Trace:
    """The curve of an arm, with its entry in the legend."""
    line = {"color": colour(index), "dash": DASHES[index // len(COLOURS) % len(DASHES)]}
    return scatter(
        x, y, mode, **{"line": line, "name": label(name), "legendgroup": str(index), "hoverinfo": "x+y+name", **more}
    )


def band(index: int, x: Sequence[Any], low: Sequence[float], high: Sequence[float]) -> Trace:
    """The area between two curves of an arm."""
    around = [*x, *reversed(x)], [*high, *reversed(low)]
    look = {"fill": "toself", "fillcolor": colour(index), "opacity": 0.15, "line": {"width": 0}}
    return scatter(*around, "lines", **look, showlegend=False, legendgroup=str(index))


def axis(name: str, ends: tuple[float, float] | None = None, **more: Any) -> dict[str, Any]:
    """An axis with its title, and its ends if they are not those of the data."""
    return {"title": {"text": label(name)}, **({} if ends is None else {"range": list(ends)}), **more}


def named_rows(names: Sequence[str]) -> dict[str, Any]:
    """A vertical axis with one row for each name, the first on top; names that look alike when shortened stay apart."""
    ticks = {"tickvals": list(range(len(names))), "ticktext": [label(name) for name in names]}
    return {**ticks, "range": [len(names) - 0.5, -0.5], "showgrid": False, "zeroline": False, "automargin": True}


def vertical(x: float, paint: str, dash: str = "solid") -> dict[str, Any]:
    """A line across a figure."""
    return {
        "type": "line",
        "x0": x,
        "x1": x,
        "y0": 0,
        "y1": 1,
        "yref": "paper",
        "line": {"color": paint, "width": 1, "dash": dash},
    }


def with_room(ends: tuple[float, float] | None) -> tuple[float, float]:
    """A range with some room at both ends."""
    low, high = ends or (0.0, 1.0)
    room = 0.05 * (high - low) or 0.05 * abs(low) or 1.0
    return low - room, high + room


def at_edge(value: float, ends: tuple[float, float], inside: str) -> tuple[float, str]:
    """Where a value is drawn, and as what: what lies outside of the figure is a triangle at its edge."""
    low, high = ends
    inset = 0.015 * (high - low)  # half a mark
    if value < low:
        return low + inset, "triangle-left"
    return (high - inset, "triangle-right") if value > high else (value, inside)
