"""The report of a study: one self-contained HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from plotly.offline import get_plotlyjs  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

from equipoise._files import replace_file
from equipoise._html import render
from equipoise._version import __version__
from equipoise.check._map import region_figure
from equipoise.study._analysis import Analysis
from equipoise.study._report.charts import curve_figure, learning_rate_figure, region_points
from equipoise.study._report.table import caption, headings, rows


def write_html(analysis: Analysis, path: Path) -> None:
    """Write the report: verdict and table, then curves, learning rates and the stability map. It needs no network.

    Raises:
        UnusableInputError: the place cannot be written to.
    """
    names = sorted({name for arm in analysis.arms for result in arm.results for name in result.curves})
    names.sort(key=lambda name: name != analysis.question.metric)
    points, absent = region_points(analysis)
    page = render(
        "equipoise.study._report",
        "page.html",
        analysis=analysis,
        headings=headings(analysis),
        rows=rows(analysis),
        caption=caption(analysis),
        plotly=get_plotlyjs(),
        curves=[(name, _fragment(curve_figure(analysis, name))) for name in names],
        rates=_fragment(learning_rate_figure(analysis)) if analysis.study else "",
        region=_fragment(region_figure(points), height=600) if points else "",
        absent=absent,
        version=__version__,
    )
    replace_file(path, page.encode())


def _fragment(figure: Any, height: int = 460) -> str:
    figure.update_layout(
        template="plotly_white",
        height=height,
        margin={"l": 60, "r": 20, "t": 20, "b": 50},
        legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0},
    )
    return figure.to_html(full_html=False, include_plotlyjs=False, config={"responsive": True, "displayModeBar": False})
