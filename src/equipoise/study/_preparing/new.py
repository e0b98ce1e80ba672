"""The files that a study begins with: a study file and a task, which run as they are, for a user to put his own in."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from string import Template

from equipoise._files import replace_file
from equipoise.errors import ArgumentError, UnusableInputError
from equipoise.study._spec import FILE_NAME

KINDS = {
    "images": {
        "metric": "accuracy",
        "select_by": "validation_accuracy",
        "goal": "maximize",
        "epochs": "4",
        "margin": "0.005",
        "target": "0.95",
    },
    "text": {
        "metric": "test_loss",
        "select_by": "validation_loss",
        "goal": "minimize",
        "epochs": "4",
        "margin": "0.02",
        "target": "2.5",
    },
    "table": {
        "metric": "error",
        "select_by": "validation_error",
        "goal": "minimize",
        "epochs": "10",
        "margin": "0.01",
        "target": "0.75",
    },
}
"""What the study file of each kind says."""


def new_study(name: str, kind: str, folder: Path) -> Sequence[Path]:
    """Write a study file and a task.

    Args:
        name: of the study: the files are NAME.toml and NAME_task.py.
        kind: one of :data:`KINDS`.
        folder: where to write them.

    Returns:
        The study file and the task.

    Raises:
        ArgumentError: the name cannot be one of a study.
        UnusableInputError: a file exists, or cannot be written.
    """
    if not re.fullmatch(FILE_NAME, name):
        raise ArgumentError("name", name, "made of letters, digits, '.', '_' and '-', and begin with a letter or a digit")
    starters = files("equipoise.study._preparing") / "starters"
    study = Template((starters / "study.toml").read_text(encoding="utf-8")).substitute(KINDS[kind], name=name)
    study = _aligned(study)
    task = (starters / f"{kind}.py").read_text(encoding="utf-8")
    written = {folder / f"{name}.toml": study, folder / f"{name}_task.py": task}
    for path in written:
        if path.exists():
            raise UnusableInputError(f"{path} exists: choose another name, nothing is overwritten")
    for path, text in written.items():
        replace_file(path, text.encode())
    return list(written)


def _aligned(text: str) -> str:
    """The same with the comments that follow values below each other."""
    halves = [line.partition("  # ") for line in text.splitlines()]
    width = max(len(value.rstrip()) for value, comment, _ in halves if comment)
    return "".join(f"{value.rstrip():{width}}  # {said}\n" if comment else f"{value}\n" for value, comment, said in halves)
