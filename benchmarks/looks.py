"""How long a look at a large study takes. Run `python benchmarks/looks.py` on a quiet machine; `--store URL` uses a server.

It makes a store with a finished study of 10,000 trials, each with three numbers in every one of 100 epochs, and times
`equipoise study status` and `equipoise study report` on it, from the start of the process to its end.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from sqlalchemy import insert

from equipoise.study._analysis import tune
from equipoise.study._cells import Cell, Cost, Result, Table
from equipoise.study._records import record_cells, record_study
from equipoise.study._spec import Study, read_study
from equipoise.study._store import Store, sqlite_url
from equipoise.study._store.schema import COSTS, READINGS, TRIALS
from equipoise.study._store.store import record
from equipoise.study._task_source import locate_task

ARMS = ("adamw", "sgd", "quarter", "eighth", "kadam", "lion", "muon", "soap", "adopt", "prodigy")
EPOCHS, POINTS, TUNING_SEEDS, SEEDS = 100, 50, 10, 500
TRIALS_IN_ALL = len(ARMS) * (POINTS * TUNING_SEEDS + SEEDS)
AT_ONCE = 200
"""Trials in one transaction."""

STUDY = f"""
name = "large"
task = "digits"
metric = "accuracy"
select_by = "validation_accuracy"
goal = "maximize"
epochs = {EPOCHS}
seeds = {SEEDS}
tuning_seeds = {TUNING_SEEDS}
points = {POINTS}
"""

ARM = """
[[arm]]
name = "{name}"
optimizer = "torch.optim.AdamW"
eps = 1e-{number}
baseline = {baseline}
search = {{ lr = {{ low = 1e-4, high = 1e-1 }}, weight_decay = [0.0, 0.01, 0.1] }}
"""


def make_store(store: Store, study: Study, file: str, folder: Path) -> int:
    """Fill a store with the study as if it had run. Returns the number of its trials."""
    table = Table(study, locate_task(study.task, folder))
    noise = np.random.default_rng(0)
    store.do(lambda connection: record_study(connection, table, file, store.address))
    _train(store, study.name, table, table.plan_tuning(), noise)
    chosen = {found.arm.name: found.point for arm in study.arms if (found := tune(table, arm)) is not None}
    _train(store, study.name, table, table.plan_comparison(chosen), noise)
    return len(table.cells)


def _train(store: Store, study: str, table: Table, cells: list[Cell], noise: np.random.Generator) -> None:
    store.do(lambda connection: record_cells(connection, table, cells))
    rising = 1 - np.exp(-np.arange(1, EPOCHS + 1) / 20)
    for start in range(0, len(cells), AT_ONCE):
        made = []
        for cell in cells[start : start + AT_ONCE]:
            best = 0.9 - 0.02 * abs(np.log10(cell.assignment.learning_rate) + 2) + 0.002 * ARMS.index(cell.arm)
            values = (best + noise.normal(0, 0.004)) * rising + noise.normal(0, 0.002, EPOCHS)
            named = {"accuracy": values, "validation_accuracy": values + 0.01, "loss": 1.1 - values}
            curves = {name: dict(enumerate(curve.tolist(), 1)) for name, curve in named.items()}
            cell.result = Result(False, 60.0, curves, Cost(600_000_000, 8_000, 1_000))
            made.append(record(study, cell, {}))

        def insert_all(connection, made=made):
            connection.execute(insert(TRIALS), [each["trial"] for each in made])
            connection.execute(insert(READINGS), [reading for each in made for reading in each["readings"]])
            connection.execute(insert(COSTS), [each["cost"] for each in made])

        store.do(insert_all)


def look(command: str, file: Path, store: str) -> tuple[float, float]:
    """The seconds that a look takes, and those of processor time."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.perf_counter()
    arguments = [sys.executable, "-m", "equipoise", "study", command, str(file), "--store", store]
    subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL)  # noqa: S603  (our own command)
    taken, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    return taken, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Make the store, look, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", metavar="URL", help="An empty database; the default is a SQLite file that is deleted.")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="Keep the study and its report there.")
    parser.add_argument("--times", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = options.keep or Path(name)
        folder.mkdir(exist_ok=True)
        file, url = folder / "large.toml", options.store or sqlite_url(folder / "large.db")
        arms = [ARM.format(name=arm, number=number + 3, baseline=str(number == 0).lower()) for number, arm in enumerate(ARMS)]
        file.write_text(STUDY + "".join(arms), encoding="utf-8")
        store = Store(url, folder)
        trials = make_store(store, read_study(file), file.read_text(encoding="utf-8"), folder)
        print(f"{trials:,} trials, {3 * EPOCHS * trials:,} readings, in {store.name.partition(':')[0]}")
        store.close()
        print("| look | seconds | of processor time |")
        print("|---|---|---|")
        for command in ("status", "report"):
            taken = [look(command, file, url) for _ in range(options.times)]
            wall, processor = (statistics.median(column) for column in zip(*taken, strict=True))
            print(f"| `equipoise study {command}` | {wall:.2f} (from {min(taken)[0]:.2f}) | {processor:.2f} |")
        print(f"\nThe report has {file.with_name('large.report.html').stat().st_size / 1e6:.1f} MB.")


if __name__ == "__main__":
    main()
