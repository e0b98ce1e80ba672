"""The situations with Ray Tune, as its documentation does them: a tuner, which is restored where it can be."""

import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import ray
from objective import train, valley
from ray import tune
from ray.tune.search.optuna import OptunaSearch

FOLDER = Path.cwd()
LIMIT = float(os.environ["TIME_LIMIT"]) if "TIME_LIMIT" in os.environ else None
EXPERIMENT = FOLDER / "results" / "peers"


def trainable(config: dict[str, Any]) -> None:
    """One trial of the grid."""
    tune.report({"accuracy": train(config["arm"], config["seed"])})


def run() -> None:
    """Begin the experiment, or go on with it, and say what it has."""
    if "RAY_ADDRESS" in os.environ:
        ray.init(log_to_driver=False)
    else:
        ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=10**8)
    if tune.Tuner.can_restore(EXPERIMENT):
        tuner = tune.Tuner.restore(str(EXPERIMENT), trainable, restart_errored=True)
    else:
        seeds = range(int(os.environ.get("SEEDS", "3")))
        tuner = tune.Tuner(
            trainable,
            param_space={"arm": tune.grid_search(["adamw", "sgd"]), "seed": tune.grid_search(list(seeds))},
            tune_config=tune.TuneConfig(metric="accuracy", mode="max", time_budget_s=LIMIT),
            run_config=tune.RunConfig(name=EXPERIMENT.name, storage_path=str(EXPERIMENT.parent), verbose=1),
        )
    results = tuner.fit()
    complete = [result for result in results if result.metrics and "accuracy" in result.metrics]
    kept = [f"{result.config['arm']}-{result.config['seed']}" for result in complete if result.config]
    best = results.get_best_result("accuracy", "max").config if complete else None
    nan = sum(math.isnan(result.metrics["accuracy"]) for result in complete if result.metrics)
    print("RESULT", json.dumps({"kept": kept, "failed": results.num_errors, "nan": nan, "best": best}))


def search(repeats: int, trials: int) -> None:
    """The best value of `trials`, by a searcher that Ray Tune wraps. It needs no cluster for this."""
    space = {
        "lr": tune.loguniform(1e-5, 1e-1),
        "weight_decay": tune.loguniform(1e-5, 1e-1),
        "one_minus_beta1": tune.loguniform(1e-3, 5e-1),
        "warmup": tune.uniform(0.0, 0.3),
    }
    best: list[float] = []
    for seed in range(repeats):
        searcher = OptunaSearch(space, metric="loss", mode="min", seed=seed)
        losses: list[float] = []
        for number in range(trials):
            point = searcher.suggest(str(number))
            losses.append(valley(point["lr"], point["weight_decay"], 1 - point["one_minus_beta1"], point["warmup"]))
            searcher.on_trial_complete(str(number), {"loss": losses[-1]})
        best.append(min(losses))
    print("RESULT", json.dumps(best))


if __name__ == "__main__":
    search(*map(int, sys.argv[1:])) if sys.argv[1:] else run()
