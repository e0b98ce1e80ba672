"""A finished study for people: one table in the terminal, and one self-contained HTML file."""

from __future__ import annotations

import math
import os
import tempfile
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import plotly.graph_objects as go  # pyright: ignore[reportMissingTypeStubs]
from plotly.offline import get_plotlyjs  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]
from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch.optim import Adam, AdamW, Optimizer

import equipoise
from equipoise.figures import COLOURS, RegionPoint, region_figure
from equipoise.optim import Equipoise
from equipoise.study.analysis import Analysis, Compared, decimals
from equipoise.study.runner import make_optimizer
from equipoise.theory.assessment import stage_exponents, stage_pairs

HEADINGS = ("arm", "learning rate", "{metric}", "difference", "95 % interval", "p (Holm)", "verdict")


def rows(analysis: Analysis) -> list[tuple[str, ...]]:
    """The table of the verdict, one row per arm, best first; the baseline has no difference."""
    contrasts = {contrast.arm: contrast for contrast in analysis.contrasts}
    spread = max((c.interval[1] - c.interval[0] for c in analysis.contrasts), default=0.0)
    digits = decimals(spread / 2)
    sign = -1.0 if analysis.study.goal == "maximize" else 1.0
    table: list[tuple[str, ...]] = []
    for arm in sorted(analysis.arms, key=lambda arm: sign * arm.mean):
        value = f"{arm.mean:.{digits}f}" + (f" ({arm.diverged} diverged)" if arm.diverged else "")
        rate = f"{arm.tuned.chosen:g}" + (" (edge)" if arm.tuned.at_edge else "")
        if arm.name not in contrasts:
            table.append((arm.name, rate, value, "", "", "", "baseline"))
            continue
        found = contrasts[arm.name]
        low, high = found.interval
        table.append(
            (
                arm.name,
                rate,
                value,
                f"{found.mean:+.{digits}f}",
                f"{low:+.{digits}f} to {high:+.{digits}f}",
                f"{found.adjusted_p_value:.2g}",
                found.verdict,
            )
        )
    return table


def headings(analysis: Analysis) -> list[str]:
    """The heads of the columns of :func:`rows`."""
    return [heading.format(metric=analysis.study.metric) for heading in HEADINGS]


def caption(analysis: Analysis) -> str:
    """How the numbers of the table came about."""
    study = analysis.study
    tried = len(analysis.arms[0].tuned.rates)
    return (
        f"{study.metric} ({study.goal}) after {study.epochs} epochs of {study.task}: mean of {study.seeds} fresh seeds, the"
        f" same for every arm; learning rate chosen from {tried} on {study.tuning_seeds} other seed(s). Differences from"
        f" {study.baseline.name}, positive is better; paired t interval; exact sign-flip test, Holm's correction for"
        f" {len(analysis.contrasts)} comparison(s)."
    )


def print_report(analysis: Analysis, console: Console) -> None:
    """The verdict and its table, for a terminal."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, heading in enumerate(headings(analysis)):
        table.add_column(heading, justify="left" if index in (0, len(HEADINGS) - 1) else "right", overflow="fold")
    for row in rows(analysis):
        table.add_row(*map(Text, row))
    console.print(Text(analysis.headline, style="bold"))
    for remark in analysis.remarks:
        console.print(Text(remark))
    console.print()
    console.print(table)
    console.print()
    console.print(Text(caption(analysis), style="dim"))


def as_json(analysis: Analysis) -> dict[str, Any]:
    """The same as plain values."""
    contrasts = {contrast.arm: contrast for contrast in analysis.contrasts}
    arms: list[dict[str, Any]] = []
    for arm in analysis.arms:
        entry: dict[str, Any] = {
            "name": arm.name,
            "learning_rate": arm.tuned.chosen,
            "learning_rate_at_edge": arm.tuned.at_edge,
            "values": list(arm.values),
            "diverged": arm.diverged,
            "mean": arm.mean,
        }
        if arm.name in contrasts:
            found = contrasts[arm.name]
            entry |= {
                "difference": found.mean,
                "interval": list(found.interval),
                "p_value": found.p_value,
                "adjusted_p_value": found.adjusted_p_value,
                "verdict": found.verdict,
            }
        arms.append(entry)
    study = analysis.study
    return {
        "study": study.name,
        "metric": study.metric,
        "goal": study.goal,
        "baseline": study.baseline.name,
        "headline": analysis.headline,
        "remarks": analysis.remarks,
        "arms": arms,
    }


def write_html(analysis: Analysis, path: Path) -> None:
    """Write the report: verdict and table, then curves, learning rates and the stability map. It needs no network.

    The file is written under a temporary name and renamed, so that a reader never sees half of it.
    """
    names = sorted({name for arm in analysis.arms for result in arm.results for name in result.curves})
    names.sort(key=lambda name: name != analysis.study.metric)
    points, absent = region_points(analysis)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("equipoise.study", "."), autoescape=True, undefined=jinja2.StrictUndefined
    )
    page = environment.get_template("report.html").render(
        analysis=analysis,
        headings=headings(analysis),
        rows=rows(analysis),
        caption=caption(analysis),
        plotly=get_plotlyjs(),
        curves=[(name, _fragment(curve_figure(analysis, name))) for name in names],
        rates=_fragment(learning_rate_figure(analysis)),
        region=_fragment(region_figure(points)) if points else "",
        absent=absent,
        version=equipoise.__version__,
    )
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(page)
        file.flush()
        os.fsync(file.fileno())
    Path(temporary).chmod(0o644)
    Path(temporary).replace(path)


def curve_figure(analysis: Analysis, name: str) -> go.Figure:
    """A reported number over epochs: the mean over seeds, and a band from the lowest to the highest."""
    figure = go.Figure()
    for index, arm in enumerate(analysis.arms):
        epochs, low, mean, high = _band(arm, name)
        colour = COLOURS[index % len(COLOURS)]
        figure.add_scatter(
            x=[*epochs, *reversed(epochs)],
            y=[*high, *reversed(low)],
            fill="toself",
            fillcolor=colour,
            opacity=0.15,
            line={"width": 0},
            hoverinfo="skip",
            showlegend=False,
            legendgroup=arm.name,
        )
        figure.add_scatter(x=epochs, y=mean, mode="lines", line={"color": colour}, name=arm.name, legendgroup=arm.name)
    figure.update_xaxes(title="epoch")
    figure.update_yaxes(title=name)
    return figure


def learning_rate_figure(analysis: Analysis) -> go.Figure:
    """The metric on the tuning seeds over the learning rate; a ring marks what was chosen."""
    figure = go.Figure()
    for index, arm in enumerate(analysis.arms):
        tuned, colour = arm.tuned, COLOURS[index % len(COLOURS)]
        figure.add_scatter(
            x=tuned.rates,
            y=tuned.means,
            mode="lines+markers",
            line={"color": colour},
            name=arm.name,
            legendgroup=arm.name,
            text=[f"{count} of {analysis.study.tuning_seeds} diverged" if count else "" for count in tuned.diverged],
        )
        figure.add_scatter(
            x=[tuned.chosen],
            y=[tuned.means[tuned.rates.index(tuned.chosen)]],
            mode="markers",
            marker={"color": colour, "size": 14, "symbol": "circle-open", "line": {"width": 2}},
            hoverinfo="skip",
            showlegend=False,
            legendgroup=arm.name,
        )
    figure.update_xaxes(title="learning rate", type="log")
    figure.update_yaxes(title=analysis.study.metric)
    return figure


def region_points(analysis: Analysis) -> tuple[list[RegionPoint], list[str]]:
    """Where each arm lies on the stability map, and the names of the arms that have no place on it."""
    points: list[RegionPoint] = []
    absent: list[str] = []
    for arm in analysis.arms:
        place = _place(make_optimizer(arm.tuned.arm, analysis.study))
        if place is None:
            absent.append(arm.name)
        else:
            points.append(RegionPoint(arm.name, *place))
    return points, absent


def _place(optimizer: Optimizer) -> tuple[float, float, float] | None:
    """beta1, beta2 and exponent of the last stage, for the optimizers whose rule is E1."""
    group = optimizer.param_groups[0]
    if isinstance(optimizer, Equipoise):
        pair = stage_pairs(group["betas"], group["stages"])[-1]
        return (*pair, stage_exponents(group["exponent"], group["stages"])[-1])
    if type(optimizer) in (Adam, AdamW):
        return (*group["betas"], 0.5)
    return None


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


def _fragment(figure: go.Figure) -> str:
    figure.update_layout(margin={"l": 60, "r": 20, "t": 20, "b": 50}, height=420, template="plotly_white")
    return figure.to_html(full_html=False, include_plotlyjs=False, config={"responsive": True, "displaylogo": False})
