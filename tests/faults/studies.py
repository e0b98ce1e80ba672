"""Strikes a running study, again and again: its runner or one of its trials is killed at a random moment."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from sqlalchemy import NullPool, create_engine, inspect, select

from equipoise.study._store import sqlite_url
from equipoise.study._store.schema import READINGS, TRIALS

ROOT = Path(__file__).parents[2]

TASK = """
import os, time
from pathlib import Path

import torch

LOG = Path(__file__).with_name("processes")

def train(trial):
    with LOG.open("a") as log:
        log.write(f"{os.getpid()}\\n")
    model = torch.nn.Linear(4, 1)
    optimizer = trial.optimizer(model.parameters())
    trial.resume(model=model, optimizer=optimizer)
    for epoch in trial.epochs():
        loss = (model(torch.randn(8, 4)) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        time.sleep(PAUSE)
        trial.report(loss=loss)
"""

STUDY = """
name = "struck"
task = "task.py:train"
metric = "loss"
goal = "minimize"
epochs = 4
seeds = SEEDS
tuning_seeds = 2
learning_rates = [0.01, 0.1]
retries = 3

[[arm]]
name = "adamw"
optimizer = "torch.optim.AdamW"
baseline = true

[[arm]]
name = "quarter"
optimizer = "equipoise.SMES"
exponent = 0.25
"""


@dataclass
class Struck:
    """A study in a folder, and what its store held whenever it was looked at."""

    folder: Path
    seeds: int
    pause: float
    store: str = ""
    """Its URL; by default the file beside the study."""
    seen: dict[str, datetime] = field(default_factory=dict[str, datetime])
    """When each trial was finished, by its key."""

    def __post_init__(self) -> None:
        self.folder.mkdir()
        (self.folder / "task.py").write_text(TASK.replace("PAUSE", str(self.pause)))
        (self.folder / "study.toml").write_text(STUDY.replace("SEEDS", str(self.seeds)))
        self.store = self.store or sqlite_url(self.folder / "struck.db")
        self.engine = create_engine(self.store, poolclass=NullPool)

    @property
    def trials(self) -> int:
        return 2 * 2 * 2 + 2 * self.seeds

    def start(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "equipoise", "study", "run", str(self.folder / "study.toml"), "--workers", "2"]
        command += ["--store", self.store]
        streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, cwd=ROOT, start_new_session=True, **streams)

    def processes(self) -> list[int]:
        """The trials that have begun, of all runs."""
        log = self.folder / "processes"
        return [int(line) for line in log.read_text().split()] if log.exists() else []

    def look(self) -> None:
        """What was finished stays finished, and is not finished again."""
        with self.engine.connect() as connection:
            begun = inspect(connection).has_table("trial")  # else it was struck before there were tables
            rows = connection.execute(select(TRIALS.c.key, TRIALS.c.finished_at)).all() if begun else []
        finished = {row.key: row.finished_at for row in rows}
        assert self.seen.items() <= finished.items(), "a finished trial was lost or repeated"
        self.seen = finished

    def readings(self) -> list[tuple[object, ...]]:
        """All that the store holds of the trials, but for times."""
        wanted = select(
            TRIALS.c.arm, TRIALS.c.learning_rate, TRIALS.c.seed, READINGS.c.name, READINGS.c.epoch, READINGS.c.value
        )
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(wanted.join(READINGS).order_by(*wanted.selected_columns))]


def strike(struck: Struck, strikes: int, rng: random.Random) -> int:
    """Strike so many times, and let the study end. Returns how often its runner was struck."""
    runners = 0
    process = struck.start()
    while strikes:
        begun = len(struck.processes())
        deadline = time.monotonic() + 60
        while process.poll() is None and len(struck.processes()) == begun and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 6 * struck.pause))
        if process.poll() is not None:
            break
        if rng.random() < 0.5:
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
            struck.look()
            runners += 1
            process = struck.start()
        else:
            try:
                os.kill(struck.processes()[-1], signal.SIGKILL)
            except ProcessLookupError:  # it has just ended
                continue
        strikes -= 1
    for _ in range(3):  # trials that were struck more often than they are tried again
        process.communicate(timeout=600)
        struck.look()
        if process.returncode == 0:
            break
        assert process.returncode == 3
        process = struck.start()
    return runners
