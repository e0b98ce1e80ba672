"""Which choice of the exponent holds up? Controllers and fixed exponents against AdamW and SGD, on the tasks of the package.

Every task is a study (`equipoise study`): equally many learning rates and tuning seeds for every arm, and the comparison on
fresh seeds. Finished trials are kept in OUT/evidence.db and are not run again; OUT has each study's own report, and
evidence.json, from which the table that is printed at the end follows.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from scipy import stats

from equipoise.study import Analysis, Study
from equipoise.study import run as run_study
from equipoise.study._analysis import Compared
from equipoise.study._report.progress import ConsoleProgress
from equipoise.study._store import sqlite_url


def half_decades(low: float) -> list[float]:
    """Six learning rates, 2.5 decades."""
    return [float(f"{low * factor:.3g}") for factor in (1, 10 / 3, 10, 100 / 3, 100, 1000 / 3)]


class Setting(NamedTuple):
    """What a task's study has besides its arms."""

    metric: str
    goal: str
    epochs: int
    lowest: float = 3e-4
    """Learning rate."""
    lowest_of_sgd: float = 3e-3
    diverged: float | None = None
    """What a diverged trial counts with, where the worst value seen is not bounded."""


TASKS = {
    "digits": Setting("accuracy", "maximize", 8),
    "digits-batchnorm": Setting("accuracy", "maximize", 8),
    "deep-digits": Setting("accuracy", "maximize", 20),
    "long-tail-digits": Setting("balanced_accuracy", "maximize", 8),
    "characters": Setting("test_loss", "minimize", 10, diverged=math.log(128)),  # as guessing
    "characters-layernorm": Setting("test_loss", "minimize", 10, diverged=math.log(128)),
    "words": Setting("accuracy", "maximize", 4, lowest=3e-3, lowest_of_sgd=0.3),
    "diabetes": Setting("rmse", "minimize", 20, lowest_of_sgd=3e-4),
}

FIXED = {"0": 0.0, "1/8": 0.125, "1/4": 0.25, "3/8": 0.375}
"""The exponents besides 1/2, which is AdamW."""

CONTROLLERS: dict[str, dict[str, Any]] = {
    "spread": {"name": "SpreadController", "every": 10},
    "hypergradient": {"name": "HypergradientController", "every": 5, "rate": 0.01},
    "generalization": {"name": "GeneralizationController", "rate": 0.1},
}
"""All start from 1/2. These runs are short, so they look often."""


def arms(setting: Setting) -> list[dict[str, Any]]:
    """As in a study file."""
    sgd = {"optimizer": "torch.optim.SGD", "momentum": 0.9, "learning_rates": half_decades(setting.lowest_of_sgd)}
    smes = {"optimizer": "equipoise.SMES", "weight_decay": 0.01}
    return [
        {"name": "adamw", "optimizer": "torch.optim.AdamW", "weight_decay": 0.01, "baseline": True},
        {"name": "sgd", **sgd},
        *({"name": name, "exponent": exponent, **smes} for name, exponent in FIXED.items()),
        *(
            {"name": name, "exponent": 0.5, "controller": {**given, "name": f"equipoise.balance.{given['name']}"}, **smes}
            for name, given in CONTROLLERS.items()
        ),
    ]


def run(task: str, options: argparse.Namespace) -> Analysis:
    """The study of one task."""
    setting = TASKS[task]
    study = Study.model_validate(
        {
            "name": task,
            "task": task,
            "metric": setting.metric,
            "goal": setting.goal,
            "epochs": setting.epochs,
            "seeds": options.seeds,
            "tuning_seeds": 2,
            "diverged": setting.diverged,
            "learning_rates": half_decades(setting.lowest),
            "arm": arms(setting),
        }
    )
    with ConsoleProgress(Console(stderr=True)) as progress:
        return run_study(
            study,
            folder=options.out,
            store=sqlite_url(options.out / "evidence.db"),
            report=options.out / f"{task}.report.html",
            workers=options.workers,
            progress=progress,
        )


def verdicts(analysis: Analysis) -> dict[str, Any]:
    """Every arm's outcome; of controllers also whether they hold against the best fixed exponent, SGD and AdamW."""
    sign = 1.0 if analysis.question.goal == "maximize" else -1.0
    by_name = {arm.name: arm for arm in analysis.arms}
    best = max((by_name[name] for name in ("adamw", *FIXED)), key=lambda arm: sign * arm.mean)

    def against(arm: Compared, other: Compared) -> tuple[float, float, float]:
        """How much better: the mean, and its interval of 95 %."""
        differences = sign * (np.array(arm.values) - np.array(other.values))
        interval = stats.ttest_1samp(differences, 0.0).confidence_interval(0.95)
        return float(differences.mean()), float(interval.low), float(interval.high)

    rows: dict[str, Any] = {}
    for arm in analysis.arms:
        rows[arm.name] = {
            "mean": arm.mean,
            "values": arm.values,
            "learning_rate": arm.tuned.chosen,
            "by_learning_rate": dict(zip(arm.tuned.rates, arm.tuned.means, strict=True)),
            "at_edge": arm.tuned.at_edge,
            "diverged": arm.diverged,
            "against_adamw": None if arm.name == "adamw" else against(arm, by_name["adamw"]),
        }
        if arm.name in CONTROLLERS:
            to_best, to_sgd, to_adamw = (against(arm, other) for other in (best, by_name["sgd"], by_name["adamw"]))
            rows[arm.name] |= {
                "exponents_at_the_end": [round(result.last("exponent"), 3) for result in arm.results],
                "against_best_fixed": to_best,
                "within_best_fixed": to_best[2] >= 0,
                "worse_than_both": to_sgd[2] < 0 and to_adamw[2] < 0,
            }
    return {"metric": analysis.question.metric, "goal": analysis.question.goal, "best_fixed": best.name, "arms": rows}


def table(found: dict[str, Any]) -> str:
    """Markdown: one row per task."""
    names = list(next(iter(found.values()))["arms"])
    lines = [f"| task | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    for task, result in found.items():
        cells: list[str] = []
        for name in names:
            row = result["arms"][name]
            difference = row["against_adamw"]
            mark = "" if difference is None else " +" if difference[1] > 0 else " -" if difference[2] < 0 else ""
            bold = "**" if name == (result["best_fixed"]) else ""
            fails = "" if row.get("within_best_fixed", True) else " !"
            cells.append(f"{bold}{row['mean']:.3f}{bold}{mark}{fails}")
        lines.append(f"| {task} ({result['metric']}) | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=f"of {', '.join(TASKS)} (default: all)")
    parser.add_argument("--seeds", type=int, default=18)
    parser.add_argument("--workers", type=int, help="trials at once (default: one per core)")
    parser.add_argument("--out", type=Path, default=Path("evidence"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    found = {task: verdicts(run(task, options)) for task in options.tasks or TASKS}
    (options.out / "evidence.json").write_text(json.dumps(found) + "\n")
    print(table(found))
    print("\nTwo steps of the grid (a decade) below AdamW's learning rate, on the two tuning seeds:")
    for task, result in found.items():
        adamw = result["arms"]["adamw"]
        rates = list(adamw["by_learning_rate"])
        lower = rates[max(0, rates.index(adamw["learning_rate"]) - 2)]
        values = {name: result["arms"][name]["by_learning_rate"][lower] for name in ("adamw", *CONTROLLERS)}
        print(f"{task} at {lower:g}: {', '.join(f'{name} {value:.3f}' for name, value in values.items())}")
    for name in CONTROLLERS:
        within = [task for task, result in found.items() if result["arms"][name]["within_best_fixed"]]
        worse = [task for task, result in found.items() if result["arms"][name]["worse_than_both"]]
        held = f"within the interval of the best fixed exponent on {len(within)} of {len(found)}"
        print(f"{name}: {held}; worse than SGD and AdamW on {', '.join(worse) or 'none'}")


if __name__ == "__main__":
    main()
