"""The situations with Equipoise: the task of `with_equipoise.toml`."""

import json
import sys

import torch
from objective import train, valley

from equipoise.study import Arm, Study, Trial


def train_once(trial: Trial) -> None:
    """One trial of the study: the optimizer says which arm it is."""
    optimizer = trial.optimizer(torch.nn.Linear(1, 1))
    for _ in trial.epochs():
        accuracy = train(type(optimizer).__name__.lower(), trial.seed)
        trial.report(accuracy=accuracy, validation_accuracy=accuracy)


def search(repeats: int, trials: int) -> None:
    """The best value of `trials`, at the points that a study tries."""
    space = {
        "lr": {"low": 1e-5, "high": 1e-1},
        "weight_decay": {"low": 1e-5, "high": 1e-1},
        "betas.0": {"low": 0.5, "high": 0.999},
        "warmup": {"low": 0.0, "high": 0.3},
    }
    best: list[float] = []
    for seed in range(repeats):
        arms = [
            Arm(name=name, optimizer="torch.optim.AdamW", betas=[0.9, 0.999], search=space, baseline=name == "one")
            for name in ("one", "two")
        ]
        counts = {"epochs": 1, "seeds": 2, "tuning_seeds": 1, "points": trials, "search_seed": seed}
        study = Study.model_validate(
            counts | {"name": "peers", "task": "digits", "metric": "a", "goal": "minimize", "arm": arms}
        )
        points = [point.values for point in study.points_of(study.baseline)]
        best.append(min(valley(at["lr"], at["weight_decay"], at["betas.0"], at["warmup"]) for at in points))
    print("RESULT", json.dumps(best))


if __name__ == "__main__":
    search(*map(int, sys.argv[1:]))
