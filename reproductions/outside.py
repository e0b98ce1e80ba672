"""What training loses outside of the stable region, by the rate at which the worst case grows.

No claim of a paper: it is what the grades of ``equipoise check`` rest on. The damage of a pair of betas is the share of what
training gains over guessing that is lost against (beta1, 0.999), at the same beta1 and on the same seeds: 0 is no loss, 1 is no
better than guessing. The same beta1 on both sides, because a longer momentum alone changes the loss.

The rule, written before the runs. Over five tasks, three beta1 and the rates of :data:`RATES`:

- A rate is slow if neither it nor any smaller one has a mean damage above 5 % on any task at any beta1.
- A rate is fast if it or a smaller one has a mean damage of 50 % and more on any task at any beta1.
- Rates between them are moderate.

Every pair has its own best of three learning rates, chosen by the validation loss of one seed; the damage is of the test loss
on three fresh seeds. What diverges counts as guessing.
"""

from __future__ import annotations

import concurrent.futures
import json
import math
import pkgutil
import statistics
import warnings
from pathlib import Path

import torch

from equipoise import StabilityWarning
from equipoise.study._cells import Assignment
from equipoise.study._task_source import BUILT_IN_TASKS, TaskSource
from equipoise.study._worker import DivergedError, Report, Trial

TASKS = {
    "digits": (4, math.log(10)),
    "digits-batchnorm": (4, math.log(10)),
    "characters": (8, math.log(128)),
    "characters-layernorm": (8, math.log(128)),
    "words": (3, math.log(64)),
}
"""Epochs, and the loss of guessing, in nats."""
BETA1 = (0.8, 0.9, 0.95)
RATES = (-0.03, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7)
"""In nats per step. The first is inside of the region."""
LEARNING_RATES = (0.003, 0.01, 0.03)
TUNING_SEED, SEEDS = 0, (10_000, 10_001, 10_002)
SLOW, FAST = 0.05, 0.5
RESULTS = Path(__file__).parent / "results" / "outside.json"


def beta2_growing(beta1: float, rate: float) -> float:
    """The beta2 at which the worst case grows by so many nats per step, at an exponent of 1/2."""
    return (beta1 * math.exp(-rate)) ** 2


def losses(task: str, betas: tuple[float, float], learning_rate: float, seed: int) -> dict[str, float]:
    """The validation and the test loss at the end of a run of Adam; those of guessing where it diverged or is worse."""
    epochs, guessing = TASKS[task]
    assigned = Assignment(
        TaskSource("", "", ""), "test_loss", epochs, "torch.optim.Adam", {"betas": betas}, learning_rate, seed
    )
    reports: list[Report] = []
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StabilityWarning)
        try:
            pkgutil.resolve_name(BUILT_IN_TASKS[task])(Trial(assigned, reports.append))
        except DivergedError:
            return {"validation_loss": guessing, "test_loss": guessing}
    return {name: min(reports[-1].metrics[name], guessing) for name in ("validation_loss", "test_loss")}


def at_the_best_rate(task: str, betas: tuple[float, float]) -> list[float]:
    """The test losses of the fresh seeds, at the learning rate that the tuning seed found best."""
    best = min(LEARNING_RATES, key=lambda rate: losses(task, betas, rate, TUNING_SEED)["validation_loss"])
    return [losses(task, betas, best, seed)["test_loss"] for seed in SEEDS]


def damages(task: str, beta1: float) -> dict[float, float]:
    """The mean damage of every rate."""
    guessing = TASKS[task][1]
    good = at_the_best_rate(task, (beta1, 0.999))
    found: dict[float, float] = {}
    for rate in RATES:
        bad = at_the_best_rate(task, (beta1, beta2_growing(beta1, rate)))
        found[rate] = statistics.fmean((worse - fine) / (guessing - fine) for worse, fine in zip(bad, good, strict=True))
    return found


def main() -> None:
    """Measure, and print the largest damage of every rate and the grades that follow."""
    cases = [(task, beta1) for task in TASKS for beta1 in BETA1]
    with concurrent.futures.ProcessPoolExecutor(2) as pool:
        measured = dict(zip(cases, pool.map(damages, *zip(*cases, strict=True)), strict=True))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps([[*case, found] for case, found in measured.items()], indent=1))
    for (task, beta1), found in measured.items():
        print(f"{task}, beta1 {beta1}: " + ", ".join(f"{rate:+.2f}: {damage:.1%}" for rate, damage in found.items()))
    largest = 0.0
    for rate in RATES:
        largest = max(largest, *(found[rate] for found in measured.values()))
        grade = "slow" if largest <= SLOW else "fast" if largest >= FAST else "moderate"
        print(f"rate {rate:+.2f} nats per step: up to {largest:.1%}, {grade}")


if __name__ == "__main__":
    main()
