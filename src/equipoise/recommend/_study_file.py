"""A study that puts a recommendation to the test."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import tomlkit

from equipoise._files import replace_file
from equipoise.errors import UnusableInputError
from equipoise.recommend._evidence import Evidence, typical_scale
from equipoise.recommend._recommendation import DIFFERENT, Recommendation
from equipoise.study._spec import Study
from equipoise.study._task_source import locate_task
from equipoise.theory._exponent import scale_degree

SEEDS, TUNING_SEEDS = 8, 2
"""With four comparisons, eight seeds show a difference of 1.5 times its spread between seeds."""

SPAN, COUNT = 10.0, 5
"""How many learning rates are tried, from a tenth to ten times what the run had."""

MOMENTUM = 0.9
WEIGHT_DECAY = 0.01


def write_study(
    path: str | Path,
    evidence: Evidence,
    recommendations: Sequence[Recommendation],
    *,
    task: str,
    metric: str,
    goal: Literal["maximize", "minimize"],
    select_by: str | None = None,
    epochs: int = 10,
) -> Recommendation:
    """Write a study of AdamW (the baseline), SGD, the recommended exponent and its two neighbours, with equal budgets.

    A study has one exponent for all parameter groups: that of the group with the most parameters.

    Args:
        path: the TOML file to write. It must not exist.
        evidence: what the recommendations follow from.
        recommendations: for the parameter groups of a run.
        task: as in a study file; ``file.py:function`` is relative to the working directory.
        metric: the name under which the task reports what the study decides by.
        goal: whether the metric is to be maximized or minimized.
        select_by: the name under which the task reports, with the same goal, what chooses the learning rates. None if that is
            the metric as well, which the study warns of.
        epochs: how long a trial trains.

    Returns:
        The recommendation that is tested.

    Raises:
        UnusableInputError: the file exists or cannot be written, or there is no such task.
        MissingExtraError: the packages of ``equipoise[study]`` are not installed.
    """
    path = Path(path)
    if path.exists():
        raise UnusableInputError(f"{path} exists: choose another name, nothing is overwritten")
    tested = max(recommendations, key=lambda each: sum(math.prod(update.layer.shape) for update in each.updates))
    content = {
        "name": re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).lstrip("._-") or "recommended",
        "task": _relative(task, path.parent),
        "metric": metric,
        **({} if select_by is None else {"select_by": select_by}),
        "goal": goal,
        "epochs": epochs,
        "seeds": SEEDS,
        "tuning_seeds": TUNING_SEEDS,
        "learning_rates": _learning_rates(tested.adam_lr),
        "arm": _arms(evidence, tested),
    }
    locate_task(Study.model_validate(content).task, path.parent)
    comment = f"# Tests a recommendation: exponent {tested.exponent:.3g}, from {evidence.source}.\n\n"
    replace_file(path, (comment + tomlkit.dumps(content)).encode())
    return tested


def _relative(task: str, folder: Path) -> str:
    module, separator, function = task.rpartition(":")
    return f"{os.path.relpath(module, folder)}{separator}{function}" if module.endswith(".py") else task


def _arms(evidence: Evidence, tested: Recommendation) -> list[dict[str, Any]]:
    scale = typical_scale([update.layer for update in tested.updates])
    betas = {"betas": list(tested.betas)} if tested.betas != (0.9, 0.999) and tested.betas[0] else {}
    shared = {**betas, "weight_decay": WEIGHT_DECAY}
    arms: list[dict[str, Any]] = [
        {"name": "adamw", "optimizer": "torch.optim.AdamW", "baseline": True, **shared},
        {
            "name": "sgd",
            "optimizer": "torch.optim.SGD",
            "momentum": MOMENTUM,
            # Its updates are then as large as Adam's where gradients have the typical scale.
            "learning_rates": _learning_rates(tested.adam_lr * (1 - MOMENTUM) / scale),
        },
    ]
    for name, exponent in _neighbours(tested):
        arm: dict[str, Any] = {"name": name, "optimizer": "equipoise.SMES", "exponent": exponent, **shared}
        arm["reference"] = evidence.reference
        if evidence.reference == "none":
            arm["learning_rates"] = _learning_rates(tested.adam_lr * scale ** -scale_degree(exponent))
        arms.append(arm)
    return arms


def _neighbours(tested: Recommendation) -> list[tuple[str, float]]:
    """The recommended exponent and the two next to it, without the exponent of the baseline."""
    middle = round(tested.exponent, 3)
    low = round(max(0.0, middle - DIFFERENT), 3)
    high = round(min(tested.highest, middle + DIFFERENT), 3)
    found = {"lower": low, "recommended": middle, "higher": high}
    if low == middle:
        found = {"recommended": middle, "higher": high, "higher-still": round(min(tested.highest, high + DIFFERENT), 3)}
    elif high == middle:
        found = {"lower-still": round(max(0.0, low - DIFFERENT), 3), "lower": low, "recommended": middle}
    return [(name, exponent) for name, exponent in found.items() if exponent != 0.5]


def _learning_rates(middle: float) -> list[float]:
    return [float(f"{middle * SPAN ** (2 * i / (COUNT - 1) - 1):.3g}") for i in range(COUNT)]
