"""Runs that TensorBoard has recorded: folders of event files, read with TensorBoard's own reader."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from equipoise._words import listed, printable
from equipoise.errors import MissingExtraError, UnusableInputError
from equipoise.study._judging.tables import ResultTable, Row

EVENT_FILES = "*tfevents*"
MOST_RUNS = 10_000

STEP, SECONDS = "step", "seconds"
"""The columns besides those that the folders' names hold and the metric's."""


def read_event_folders(folder: Path, pattern: str, metric: str) -> ResultTable:
    """The readings of a metric in every folder of event files below `folder`, one row for each.

    Args:
        folder: what ``tensorboard --logdir`` is given.
        pattern: the path of a run below it, with columns in braces: ``"{optimizer}/seed-{seed}"``.
        metric: the tag of a scalar.

    Raises:
        MissingExtraError: TensorBoard is not installed.
        UnusableInputError: there is no event file, a run's folder does not match the pattern, or a file is damaged.
    """
    runs = sorted({file.parent for file in folder.rglob(EVENT_FILES) if file.is_file()})
    if not runs:
        raise UnusableInputError(f"{folder} holds no event files of TensorBoard (their names contain 'tfevents')")
    if len(runs) > MOST_RUNS:
        raise UnusableInputError(f"{folder} holds {len(runs):,} runs: accepted are up to {MOST_RUNS:,}")
    columns = re.findall(r"\{([^{}]*)\}", pattern)
    expression = re.compile("([^/]+)".join(map(re.escape, re.split(r"\{[^{}]*\}", pattern))))
    rows: list[Row] = []
    for run in runs:
        path = run.relative_to(folder).as_posix()
        matched = expression.fullmatch(path)
        if matched is None:
            raise UnusableInputError(f"{folder} holds the run {printable(path)!r}, which does not match --folders {pattern!r}")
        named = dict(zip(columns, matched.groups(), strict=True))
        rows += [Row(str(run), named | reading) for reading in _readings(run, metric)]
    return ResultTable(folder, (*dict.fromkeys(columns), metric, STEP, SECONDS), tuple(rows))


def _readings(run: Path, metric: str) -> Iterator[dict[str, Any]]:
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    except ImportError as error:
        raise MissingExtraError("a folder of event files", "tensorboard") from error

    make_array: Any = importlib.import_module("tensorboard.util.tensor_util").make_ndarray
    accumulator: Any = EventAccumulator(str(run), size_guidance={"scalars": 0, "tensors": 0})
    try:
        accumulator.Reload()
        tags = accumulator.Tags()
        if metric in tags["scalars"]:
            found = [(event.step, event.wall_time, event.value) for event in accumulator.Scalars(metric)]
        elif metric in tags["tensors"]:
            events = accumulator.Tensors(metric)
            found = [(event.step, event.wall_time, float(make_array(event.tensor_proto))) for event in events]
        else:
            there = listed([repr(printable(tag, 60)) for tag in (*tags["scalars"], *tags["tensors"])], 10) or "none"
            raise UnusableInputError(f"{run} has no scalar {metric!r}; its tags are {there}")
    except UnusableInputError:
        raise
    except Exception as error:  # whatever the reader makes of a damaged file
        raise UnusableInputError(
            f"{run} cannot be read by TensorBoard: {printable(str(error)) or type(error).__name__}"
        ) from None
    begun = min(time for _, time, _ in found)
    return ({STEP: step, metric: value, SECONDS: time - begun} for step, time, value in found)
