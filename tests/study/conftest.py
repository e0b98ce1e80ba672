"""A small study with a real task that takes milliseconds, so that tests can run whole studies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from equipoise.study import run as run_study
from equipoise.study._run import probe
from equipoise.study._store import sqlite_url

TASK = '''
import os
from pathlib import Path

import torch

LOG = Path(__file__).with_name("executed.log")


def train(trial):
    """Minimise a quadratic whose centre is drawn by the seed."""
    with LOG.open("a") as log:
        log.write(f"{trial.learning_rate} {trial.seed}\\n")
    centre = torch.randn(5)
    weight = torch.nn.Parameter(torch.zeros(5))
    optimizer = trial.optimizer([weight])
    for epoch in trial.epochs():
        loss = ((weight - centre) ** 2).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        trial.report(loss=loss)
'''

STUDY = """
name = "quadratic"
task = "task.py:train"
metric = "loss"
goal = "minimize"
epochs = 3
seeds = 3
tuning_seeds = 2
learning_rates = [0.01, 0.1]

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
class StudyWriter:
    """Writes the study above into a folder."""

    folder: Path

    def __call__(self, *replacements: tuple[str, str], task: str = TASK) -> Path:
        """Write it, with parts of its text replaced, and return the path of its TOML file."""
        text = STUDY
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new)
        (self.folder / "task.py").write_text(task)
        path = self.folder / "study.toml"
        path.write_text(text)
        return path


@pytest.fixture
def write_study(tmp_path: Path) -> StudyWriter:
    """What writes the study above."""
    return StudyWriter(tmp_path)


@pytest.fixture
def executed(tmp_path: Path) -> Callable[[], list[str]]:
    """The trials that were executed so far, each as "learning-rate seed", in the order of their start."""
    log = tmp_path / "executed.log"
    return lambda: log.read_text().splitlines() if log.exists() else []


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a store that is not made yet, of each kind."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path / "a folder with spaces.db")
    return request.getfixturevalue("postgresql").place()


@dataclass
class Finished:
    """The study above, probed and then run whole."""

    folder: Path
    probed: list[str]
    """The trials that the probe executed."""
    executed: list[str]
    """All of them, after the run."""


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """It, run once for all tests: they read it, or copy its folder and go on there."""
    folder = tmp_path_factory.mktemp("finished")
    path, log = StudyWriter(folder)(), folder / "executed.log"
    probe(path, workers=2)
    probed = log.read_text().splitlines()
    run_study(path, workers=2)
    return Finished(folder, probed, log.read_text().splitlines())
