"""How the claims (f) to (i) measure: by ``equipoise study``, same fresh seeds and equally many learning rates for every arm.

Finished trials are kept beside the figures and are not run again.
"""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from rich.console import Console

from equipoise.study import Analysis, Study
from equipoise.study import _processes as processes
from equipoise.study import _tasks as built_in
from equipoise.study import run as run_study
from equipoise.study._data import require
from equipoise.study._report.progress import ConsoleProgress
from equipoise.study._store import sqlite_url
from reproductions import tasks
from reproductions.claim import Interval, Options

FOLDER = Path(__file__).parent

processes.preload("reproductions.studies")
# A trial's process imports the script that is running; what a script imports is imported once, 0.5 s less per trial.

TRAINED = [
    *(Path(__file__).with_name(name) for name in ("resnet.py", "sizes.py", "tasks.py", "text.py")),
    *sorted(Path(built_in.__file__).parent.glob("*.py")),
]
"""What a trial does depends on these files."""

PICTURES, TEXT, SMALL_TEXT = "pictures", "text", "small text"
"""The last is TEXT for a smaller transformer, where many trials are needed."""


def task(options: Options, data: str, *, normalized: bool) -> str:
    """The task for that data at this scale."""
    small = {PICTURES: "digits", TEXT: "stdlib", SMALL_TEXT: "small_stdlib"}
    full = {PICTURES: "cifar10", TEXT: "stdlib_30m", SMALL_TEXT: "stdlib_30m"}
    name = options.choose(small, small, full)[data]
    return f"{name}_norm" if normalized else name


def epochs(options: Options, data: str) -> int:
    """How long a trial trains."""
    quick, default, full = {PICTURES: (2, 6, 30), TEXT: (3, 8, 80), SMALL_TEXT: (3, 8, 80)}[data]
    return options.choose(quick, default, full)


def run(options: Options, *, task: str, arms: list[dict[str, Any]], **spec: Any) -> Analysis:
    """Run a study, and write its own report beside the figures.

    Args:
        options: of the script.
        task: a function of :mod:`reproductions.tasks`.
        arms: as in a study file.
        spec: everything else that a study file has.
    """
    study = Study.model_validate({"task": f"reproductions.tasks:{task}", "arm": arms, **spec})
    if task.startswith("cifar"):
        require("cifar-100" if task.startswith("cifar100") else "cifar-10")
    os.environ[tasks.DEVICE] = str(options.device)
    options.out.mkdir(parents=True, exist_ok=True)
    with ConsoleProgress(Console(stderr=True)) as progress:
        return run_study(
            study,
            folder=FOLDER,
            store=sqlite_url(options.out / f"trials-{origin(options.device)}.db"),
            report=options.out / f"{study.name}.report.html",
            workers=None if options.device.type == "cpu" else 1,  # trials share the accelerator
            progress=progress,
        )


def draw(axes: Axes, found: Mapping[str, Interval]) -> None:
    """One line per interval, first at the top, and where zero is."""
    names, values = list(found), list(found.values())
    middle = [value.value for value in values]
    sides = [[value.value - value.low for value in values], [value.high - value.value for value in values]]
    axes.errorbar(middle, range(len(names)), xerr=sides, fmt="o", capsize=3)
    axes.axvline(0, color="grey", linewidth=0.8)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()


def origin(device: torch.device) -> str:
    """What a kept trial depends on besides its assignment: the code that it runs, the text of this Python, the device."""
    digest = hashlib.sha256(f"{platform.python_version()} {device}".encode())
    for path in TRAINED:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
