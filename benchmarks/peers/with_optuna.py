"""The situations with Optuna, as its documentation does them: a grid, a database with heartbeats, errors caught."""

import json
import os
import sys
from pathlib import Path

import optuna
from objective import train, valley

FOLDER = Path.cwd()
LIMIT = float(os.environ["TIME_LIMIT"]) if "TIME_LIMIT" in os.environ else None
SPACE = {"arm": ["adamw", "sgd"], "seed": list(range(int(os.environ.get("SEEDS", "3"))))}


def objective(trial: optuna.Trial) -> float:
    """One trial of the grid."""
    arm = trial.suggest_categorical("arm", SPACE["arm"])
    return train(arm, trial.suggest_int("seed", 0, len(SPACE["seed"]) - 1))


def run() -> None:
    """Begin the study, or go on with it, and say what the database has."""
    storage = optuna.storages.RDBStorage(
        f"sqlite:///{FOLDER / 'optuna.db'}",
        heartbeat_interval=1,
        grace_period=3,
        heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=1),
    )
    study = optuna.create_study(
        storage=storage,
        study_name="peers",
        direction="maximize",
        load_if_exists=True,
        sampler=optuna.samplers.GridSampler(SPACE, seed=0),
    )
    try:
        study.optimize(objective, catch=(Exception,), timeout=LIMIT)
    finally:
        complete = study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
        kept = [f"{trial.params['arm']}-{trial.params['seed']}" for trial in complete]
        failed = len(study.get_trials(states=(optuna.trial.TrialState.FAIL,)))
        best = study.best_params if complete else None
        print("RESULT", json.dumps({"kept": kept, "failed": failed, "nan": 0, "best": best}))
    study.trials_dataframe().to_csv(FOLDER / "trials.csv", index=False)


def search(repeats: int, trials: int) -> None:
    """The best value of `trials`, by the sampler that Optuna takes by default."""

    def loss(trial: optuna.Trial) -> float:
        return valley(
            trial.suggest_float("lr", 1e-5, 1e-1, log=True),
            trial.suggest_float("weight_decay", 1e-5, 1e-1, log=True),
            1 - trial.suggest_float("one_minus_beta1", 1e-3, 5e-1, log=True),
            trial.suggest_float("warmup", 0.0, 0.3),
        )

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    best: list[float] = []
    for seed in range(repeats):
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
        study.optimize(loss, n_trials=trials)
        best.append(study.best_value)
    print("RESULT", json.dumps(best))


if __name__ == "__main__":
    search(*map(int, sys.argv[1:])) if sys.argv[1:] else run()
