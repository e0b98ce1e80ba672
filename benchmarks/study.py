"""What a study costs besides its trials, and what a second worker brings. Run `python benchmarks/study.py` on a quiet machine.

The same training of five seconds runs in a plain loop, and as the trials of a short and of a longer study with one worker and
with two. What the longer study takes more, for each further trial, is the price of a trial; the rest is paid once.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from equipoise.study import run
from equipoise.study._report.progress import ConsoleProgress

SECONDS = 5.0
"""How long a trial trains."""

SHORT, LONG = 2, 8
"""Comparison seeds of the two studies."""

TRIALS_MORE = 2 * (LONG - SHORT)
"""Both arms train on every seed."""

TASK = """
import torch

def train_steps(model, optimizer, steps):
    inputs = torch.ones(64, 256)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = model(inputs).square().mean()
        loss.backward()
        optimizer.step()
    return loss.item()

def make_model():
    return torch.nn.Sequential(torch.nn.Linear(256, 256), torch.nn.ReLU(), torch.nn.Linear(256, 256))

def train(trial):
    model = make_model()
    optimizer = trial.optimizer(model.named_parameters())
    for epoch in trial.epochs():
        trial.report(loss=train_steps(model, optimizer, STEPS))
"""

STUDY = """
name = "cost-{seeds}-{workers}"
task = "task.py:train"
metric = "loss"
goal = "minimize"
epochs = 5
seeds = {seeds}
tuning_seeds = 1
learning_rates = [0.001]

[[arm]]
name = "adam"
optimizer = "torch.optim.Adam"
baseline = true

[[arm]]
name = "adamw"
optimizer = "torch.optim.AdamW"
"""


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def plain_loop(namespace: dict[str, Any], steps: int) -> None:
    """What a trial trains, in a script of one's own."""
    model = namespace["make_model"]()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(5):
        namespace["train_steps"](model, optimizer, steps)


def main() -> None:
    """Measure, and print a table."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.set_num_threads(1)
    namespace: dict[str, Any] = {}
    exec(compile(TASK, "task.py", "exec"), namespace)  # noqa: S102  (the text above)
    plain_loop(namespace, 100)
    steps = round(100 * SECONDS / seconds(lambda: plain_loop(namespace, 100)))
    plain: list[float] = []
    took: dict[tuple[int, int], float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "task.py").write_text(TASK.replace("STEPS", str(steps)), encoding="utf-8")
        for workers in (1, 2):
            for seeds in (SHORT, LONG):
                plain += [seconds(lambda: plain_loop(namespace, steps)) for _ in range(3)]
                file = folder / f"study-{seeds}-{workers}.toml"
                file.write_text(STUDY.format(seeds=seeds, workers=workers), encoding="utf-8")
                with ConsoleProgress(Console(stderr=True)) as progress:
                    took[workers, seeds] = seconds(
                        lambda file=file, workers=workers, progress=progress: run(file, workers=workers, progress=progress)
                    )
    alone = statistics.median(plain)
    each = {workers: (took[workers, LONG] - took[workers, SHORT]) / TRIALS_MORE for workers in (1, 2)}
    once = took[1, SHORT] - (2 + 2 * SHORT) * each[1]
    print(f"| a training in a plain loop | {alone:.2f} s (from {min(plain):.2f} to {max(plain):.2f}) |")
    print("|---|---|")
    print(f"| each trial of a study, one worker | {each[1]:.2f} s: {100 * (each[1] / alone - 1):+.1f} % |")
    print(f"| each trial of a study, two workers | {each[2]:.2f} s: {each[1] / each[2]:.2f} times as fast as one |")
    print(f"| once for each study | {once:.1f} s |")


if __name__ == "__main__":
    sys.exit(main())
