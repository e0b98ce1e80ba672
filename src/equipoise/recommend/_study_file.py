"""A study that puts a recommendation to the test."""

from __future__ import annotations

import json
import math
import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from equipoise._files import replace_file
from equipoise.errors import UnusableInputError
from equipoise.recommend._evidence import Evidence, typical_scale
from equipoise.recommend._recommendation import DIFFERENT, Answer
from equipoise.study._spec import Study, locate_task
from equipoise.theory._exponent import scale_degree

SEEDS, TUNING_SEEDS = 8, 2
"""Four comparisons at 5 % need 8 seeds to be able to show anything."""

SPAN, COUNT = 10.0, 5
"""Learning rates: so many, from a tenth to ten times what the run had."""

MOMENTUM = 0.9


@dataclass(frozen=True)
class Test:
    """What a study needs to know besides the recommendation."""

    task: str
    """As in a study file; ``file.py:function`` is relative to the working directory."""
    metric: str
    goal: Literal["maximize", "minimize"]
    epochs: int


def write_study(path: Path, evidence: Evidence, answers: list[Answer], test: Test) -> Answer:
    """Write a study of AdamW (the baseline), SGD, the recommended exponent and its two neighbours, with equal budgets.

    A study gives all parameter groups one exponent: that of the group with the most parameters.

    Returns:
        The answer that is tested.

    Raises:
        UnusableInputError: the file exists or cannot be written, or there is no such task.
    """
    if path.exists():
        raise UnusableInputError(f"{path} exists: choose another name, nothing is overwritten")
    tested = max(answers, key=lambda each: sum(math.prod(change.layer.shape) for change in each.changes))
    text = _text(path, evidence, tested, test)
    study = Study.model_validate(tomllib.loads(text))
    locate_task(study.task, path.parent)
    replace_file(path, text.encode())
    return tested


def _text(path: Path, evidence: Evidence, tested: Answer, test: Test) -> str:
    group = evidence.groups[tested.group]
    scale = typical_scale([change.layer for change in tested.changes])
    betas = {"betas": list(group.betas)} if group.betas != (0.9, 0.999) and group.betas[0] else {}
    family = {**betas, "weight_decay": 0.01}
    arms: list[dict[str, Any]] = [
        {"name": "adamw", "optimizer": "torch.optim.AdamW", "baseline": True, **family},
        {
            "name": "sgd",
            "optimizer": "torch.optim.SGD",
            "momentum": MOMENTUM,
            # Its updates are then as large as Adam's where gradients have the typical scale (E7).
            "learning_rates": _rates(group.rate * (1 - MOMENTUM) / scale),
        },
    ]
    for name, exponent in _exponents(tested):
        arm: dict[str, Any] = {"name": name, "optimizer": "equipoise.SMES", "exponent": exponent, **family}
        if evidence.reference != "none":
            arm["reference"] = evidence.reference
        else:
            arm |= {"reference": "none", "learning_rates": _rates(group.rate * scale ** -scale_degree(exponent))}
        arms.append(arm)
    head = {
        "name": re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).lstrip("._-") or "recommended",
        "task": _relative(test.task, path.parent),
        "metric": test.metric,
        "goal": test.goal,
        "epochs": test.epochs,
        "seeds": SEEDS,
        "tuning_seeds": TUNING_SEEDS,
        "learning_rates": _rates(group.rate),
    }
    comment = f"# Tests a recommendation: exponent {tested.exponent:.3g}, from {evidence.source}."
    blocks = [comment, _table(head), *(f"[[arm]]\n{_table(arm)}" for arm in arms)]
    return "\n\n".join(blocks) + "\n"


def _exponents(tested: Answer) -> list[tuple[str, float]]:
    """The recommended exponent and the two next to it, without that of the baseline."""
    middle = round(tested.exponent, 3)
    low = round(max(0.0, middle - DIFFERENT), 3)
    high = round(min(tested.highest, middle + DIFFERENT), 3)
    found = {"lower": low, "recommended": middle, "higher": high}
    if low == middle:
        found = {"recommended": middle, "higher": high, "higher-still": round(min(tested.highest, high + DIFFERENT), 3)}
    elif high == middle:
        found = {"lower-still": round(max(0.0, low - DIFFERENT), 3), "lower": low, "recommended": middle}
    return [(name, exponent) for name, exponent in found.items() if exponent != 0.5]


def _rates(middle: float) -> list[float]:
    return [float(f"{middle * SPAN ** (2 * i / (COUNT - 1) - 1):.3g}") for i in range(COUNT)]


def _relative(task: str, folder: Path) -> str:
    module, separator, function = task.rpartition(":")
    return f"{os.path.relpath(module, folder)}{separator}{function}" if module.endswith(".py") else task


def _table(values: dict[str, Any]) -> str:
    # TOML writes these values as JSON does.
    return "\n".join(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in values.items())
