"""Runs in a terminal: what each of them did last, and how it got there."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from datetime import datetime
from itertools import cycle

import numpy as np

from equipoise._words import counted, listed, printable
from equipoise.errors import MissingExtraError
from equipoise.monitor._measuring.readings import Reading, TensorReading
from equipoise.monitor._recording.run_file import FILE
from equipoise.watch._naming import COLUMNS, absent, folder_names
from equipoise.watch._overview import Overview
from equipoise.watch._run import Run, read_to_the_end
from equipoise.watch._story import Story

try:
    from rich.console import Console, Group, RenderableType
    from rich.live import Live
    from rich.rule import Rule
    from rich.table import Table
    from rich.text import Text
except ModuleNotFoundError as error:
    raise MissingExtraError("watching a run", "watch") from error

SPARKS = "▁▂▃▄▅▆▇█"
EVERY = 0.5
"""Seconds between two looks at the runs."""
TEXT = 1000
"""So many characters of a message are printed, at most."""
ROWS_BESIDE_LEGEND = 40
"""So many rows each run must have beside the lines that say what the columns mean."""
FEWEST_ROWS = 8
"""A run gets so many rows at least. Of more runs than there is room for, the first are shown."""
ROWS = 1_000_000
"""More rows than a run will ever fill: what is printed once is not cut."""


def follow(runs: Sequence[Run], console: Console | None = None) -> None:
    """Show runs in a terminal, and follow them until interrupted.

    Args:
        runs: at least one run.
        console: where to show them; None is standard output.
    """
    console = console or Console()
    with Live(console=console, screen=True, auto_refresh=False, vertical_overflow="crop") as live:
        try:
            turns = cycle(runs)
            while True:
                until = time.monotonic() + EVERY
                # Long files are taken in between two looks, part by part. What the turn ends with comes first in the next one.
                idle = 0
                while idle < len(runs) and time.monotonic() < until:
                    idle = 0 if next(turns).read() else idle + 1
                live.update(view(runs, console.width, console.height), refresh=True)
                time.sleep(max(0.0, until - time.monotonic()))
        except KeyboardInterrupt:
            return


def show(runs: Sequence[Run], console: Console | None = None) -> None:
    """Print everything that is known of runs now.

    Args:
        runs: at least one run.
        console: where to print it; None is standard output.
    """
    console = console or Console()
    console.print(view(read_to_the_end(runs), console.width, ROWS * (len(runs) + 1)))


def view(runs: Sequence[Run], width: int, height: int) -> RenderableType:
    """Runs one below the other, in that many columns and at most that many rows."""
    shown = runs[: max(1, height // FEWEST_ROWS)]
    legend = [Text(f"{COLUMNS[name].heading}: {COLUMNS[name].meaning}", style="dim") for name in _columns(width)]
    rest = height - sum(_height(line, width) for line in legend)
    if rest < ROWS_BESIDE_LEGEND * len(shown):
        legend, rest = [], height
    each = max(FEWEST_ROWS, rest // len(shown) - (len(shown) < len(runs)))
    folders = folder_names([run.folder for run in runs])
    parts = [part for run, folder in zip(shown, folders, strict=False) for part in _run_view(run, folder, width, each)]
    more = [Text(f"and {counted(len(runs) - len(shown), 'more run')}", style="dim")] if len(shown) < len(runs) else []
    return Group(*parts, *more, *legend)


def _run_view(run: Run, folder: str, width: int, height: int) -> list[RenderableType]:
    shown = run.to_show()
    last = shown.last
    brief = height < ROWS
    parts: list[RenderableType] = [
        Rule(_title(run, folder, shown, last), align="left", style="dim", characters="─"),
        *_what_cannot_be_read(run, brief=brief),
        *(Text(printable(note, TEXT), style="dim") for note in (shown.header.notes if shown.header else ())),
    ]
    if last is None:
        return [*parts, Text("no readings yet", style="dim")]
    events = _verdicts_and_actions(shown, brief=brief)
    curves = _curves(shown.overview, last, width, height // 3)
    room = max(0, height - 2 - len(parts) - sum(_height(part, width) for part in events) - len(curves))
    parts += events + curves
    if last.tensors and room > 3:
        parts.append(_tensor_table(last, shown, width, room - 2))
    return parts


def _title(run: Run, folder: str, shown: Story, last: Reading | None) -> Text:
    title = Text(printable(run.name, 60), style="bold")
    title.append(f"  {printable(folder, 60)}", style="not bold")
    if run.header is not None:
        if run.header.optimizer:
            title.append(f", {printable(run.header.optimizer, 60)}", style="not bold")
        title.append(f", started {datetime.fromtimestamp(run.header.started):%Y-%m-%d %H:%M}", style="not bold")
    if last is not None:
        age = max(0.0, time.time() - last.time)
        title.append(f"  step {last.step:,}", style="not bold")
        if last.loop_step not in (0, last.step):
            title.append(f" (step {last.loop_step:,} of the training loop)", style="not bold")
        title.append(f"  {_duration(age)} ago", style="not bold dim")
        if not last.made:
            title.append("  the optimizer made no step", style="not bold yellow")
    if shown is not run:
        title.append(f"  a sample; {run.position / run.size:.0%} read", style="not bold yellow")
    return title


def _what_cannot_be_read(run: Run, *, brief: bool) -> list[Text]:
    found = [Text(printable(run.unavailable, TEXT), style="red")] if run.unavailable else []
    if run.unreadable:
        reasons = [f"line {number:,}: {why}" for number, why in run.refusals[: 1 if brief else None]]
        more = f"; and {run.unreadable - len(reasons):,} more" if len(reasons) < run.unreadable else ""
        why = f"{printable('; '.join(reasons), TEXT)}{more}"
        found.append(Text(f"{counted(run.unreadable, 'line')} of {FILE} cannot be read: {why}", style="red"))
    return found


def _verdicts_and_actions(run: Story, *, brief: bool) -> list[Text]:
    found = [Text("no trouble at the last reading", style="green")] if not run.verdicts else []
    for verdict in run.verdicts:
        style = "bold red" if verdict["severity"] == "trouble" else "yellow"
        text = Text.assemble((printable(verdict["verdict"]), style), f" since step {verdict['since']:,}")
        if where := verdict["where"]:
            text.append(f" in {printable(listed(where, 3))}")
        text.append(f", {verdict['confidence']:.0%} sure: {printable(verdict['message'])}")
        found.append(text.append(f" {printable(verdict['advice'])}", style="dim"))
    actions = [event for event in run.events if event["kind"] == "action"]
    for action in actions[-2:] if brief else actions:
        what = f"{printable(action['action'])} at step {action['step']:,}"
        found.append(Text.assemble((what, "bold magenta"), f": {printable(action['message'])}"))
    return found


def _curves(overview: Overview, last: Reading, width: int, most: int) -> list[Text]:
    """A line for each metric, or for the first of them, and for the least margin: name, curve, last value."""
    given = [series for series in overview.place_of if series.startswith("metrics/")]
    metrics = {series: series.removeprefix("metrics/") for series in given[:most]}
    shown = {series: (name, _number(last.metrics.get(name, overview.newest(series)))) for series, name in metrics.items()}
    judged = [(number, group) for number, group in enumerate(last.groups) if group.exponent]
    if judged:
        number, group = min(judged, key=lambda numbered: numbered[1].margin_ahead)
        of = f", group {number}" if len(last.groups) > 1 else ""
        shown[f"group {number}/margin"] = (f"stability margin{of}", _margin(group.margin))
        if group.margin_ahead != group.margin:
            shown[f"group {number}/margin_ahead"] = (f"least margin ahead{of}", _margin(group.margin_ahead))
    label = min(28, max((len(name) for name, _ in shown.values()), default=0))
    lines = list[Text]()
    for series, (name, value) in shown.items():
        line = Text(f"{printable(name, label):<{label}} ", no_wrap=True)
        line.append_text(sparkline(overview, series, width - label - 14))
        lines.append(line.append_text(value))
    if len(metrics) < len(given):
        lines.append(Text(f"and {counted(len(given) - len(metrics), 'more metric')}", style="dim"))
    return lines


def sparkline(overview: Overview, series: str, width: int) -> Text:
    """A series as one line of blocks, without the attempts that were abandoned. It shows the highest value of each column, of
    margins the lowest. The blocks tell apart all but the outermost 2 % of the columns, so that a spike does not flatten the
    rest. Red ✗: a value that was not finite."""
    lowest = series.rpartition("/")[2].startswith("margin")
    lows, highs, marks = overview.curve(series)
    line = ~overview.abandoned_buckets
    values, nonfinite = (lows if lowest else highs)[line], marks[line]
    there = ~np.isnan(values) | nonfinite
    values, nonfinite = values[there], nonfinite[there]
    edges = np.unique(np.linspace(0, len(values), min(width, len(values)) + 1).astype(int))[:-1]
    blocks = Text(no_wrap=True)
    if len(edges):
        values, nonfinite = (np.fmin if lowest else np.fmax).reduceat(values, edges), np.logical_or.reduceat(nonfinite, edges)
        finite = values[~np.isnan(values)]
        low, high = np.quantile(finite, (0.02, 0.98)) if finite.size else (0.0, 0.0)
        for value, wrong in zip(values.tolist(), nonfinite.tolist(), strict=True):
            if math.isnan(value) or (wrong and not lowest):
                blocks.append("∞" if lowest else "✗", style="dim" if lowest else "red")
            else:
                place = min(1.0, max(0.0, (value - low) / (high - low))) if high > low else 0.5
                blocks.append(SPARKS[min(len(SPARKS) - 1, int(place * len(SPARKS)))], style="cyan")
    return blocks.append(" " * (1 + width - len(edges)))


def _tensor_table(reading: Reading, run: Story, width: int, rows: int) -> Table:
    """The tensors of a reading, as many as there are rows for. Those that a verdict names come first."""
    columns = _columns(width)
    named = {name: True for verdict in run.verdicts for name in verdict["where"] if name in reading.tensors}
    names = list(dict.fromkeys([*named, *reading.tensors]))
    shown = names if len(names) <= rows else names[: max(0, rows - 1)]
    prefix = os.path.commonprefix(names).rpartition(".")[0] if len(names) > 1 else ""  # noqa: RUF071
    room = width - 9 * len(columns)
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    table.add_column(Text(f"\n{printable(f'tensor of {prefix}' if prefix else 'tensor', room)}"), no_wrap=True)
    for name in columns:
        table.add_column("\n".join(COLUMNS[name].heading.rsplit(" ", 1)), justify="right", no_wrap=True, min_width=8)
    for name in shown:
        short = printable(name[len(prefix) + 1 if prefix else 0 :], room)
        cells = (_cell(reading.tensors[name], column) for column in columns)
        table.add_row(Text(short, style="red" if name in named else ""), *cells)
    if len(shown) < len(names):
        table.add_row(Text(f"and {len(names) - len(shown)} more", style="dim"))
    return table


def _columns(width: int) -> list[str]:
    """The columns that there is room for beside the names."""
    return list(COLUMNS)[: max(3, min(len(COLUMNS), (width - 34) // 9))]


def _cell(tensor: TensorReading, column: str) -> Text:
    value = getattr(tensor, column)
    if word := absent(column, value, tensor.parameter_rms):
        return Text(word, style="dim")
    if column.endswith("fraction") and math.isfinite(value):
        return Text(f"{value:.1%}", style="red" if column == "nonfinite_fraction" and value > 0 else "")
    exceeded = column == "largest_update" and value > tensor.bound
    return _number(value, "red" if exceeded else "", expected=column == "bound")


def _margin(value: float) -> Text:
    return _number(value, "red" if value <= 0 else "", expected=True)


def _number(value: float, style: str = "", *, expected: bool = False) -> Text:
    if math.isfinite(value):
        return Text(f"{value:.4g}" if 1e-3 <= abs(value) < 1e5 or value == 0 else f"{value:.2e}", style=style)
    shown = "nan" if math.isnan(value) else "∞" if value > 0 else "-∞"
    return Text(shown, style="dim" if expected and value > 0 else "bold red")


def _duration(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _height(text: Text, width: int) -> int:
    return max(1, -(-text.cell_len // width))
