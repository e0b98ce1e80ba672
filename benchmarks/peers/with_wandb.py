"""What can be tried of W&B sweeps without a server: the engine that chooses the points of a sweep (`sweeps`)."""

import json
import sys
import warnings

import wandb
from objective import valley
from sweeps import next_run
from sweeps.run import RunState, SweepRun


def run() -> None:
    """Try to make a sweep."""
    grid = {"method": "grid", "parameters": {"arm": {"values": ["adamw", "sgd"]}, "seed": {"values": [0, 1, 2]}}}
    try:
        print(wandb.sweep(grid, project="peers"))
    except wandb.Error as error:
        print("RESULT", json.dumps({"refused": str(error)}))


def search(repeats: int, trials: int) -> None:
    """The best value of `trials`, by Bayesian search."""
    config = {
        "method": "bayes",
        "metric": {"name": "loss", "goal": "minimize"},
        "parameters": {
            "lr": {"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-1},
            "weight_decay": {"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-1},
            "one_minus_beta1": {"distribution": "log_uniform_values", "min": 1e-3, "max": 5e-1},
            "warmup": {"distribution": "uniform", "min": 0.0, "max": 0.3},
        },
    }
    warnings.simplefilter("ignore")  # of the Gaussian process: its fit did not converge
    best: list[float] = []
    for _ in range(repeats):
        runs: list[SweepRun] = []
        losses: list[float] = []
        for _ in range(trials):
            chosen = next_run(config, runs)
            assert chosen is not None  # a search of this kind has no end
            point = {name: setting["value"] for name, setting in chosen.config.items()}
            losses.append(valley(point["lr"], point["weight_decay"], 1 - point["one_minus_beta1"], point["warmup"]))
            chosen.state, chosen.summary_metrics = RunState.finished, {"loss": losses[-1]}
            runs.append(chosen)
        best.append(min(losses))
    print("RESULT", json.dumps(best))


if __name__ == "__main__":
    search(*map(int, sys.argv[1:])) if sys.argv[1:] else run()
