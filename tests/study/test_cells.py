"""A study is a table of cells, and the identity of a cell's trial is what determines its outcome."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from pathlib import Path

import pytest

import equipoise
from equipoise.study import read_study
from equipoise.study._analysis import analyse, tune
from equipoise.study._arms.space import Point
from equipoise.study._cells import Assignment, Result, Table, trials
from equipoise.study._store import Store, sqlite_url
from equipoise.study._task_source import TaskSource, locate_task


@pytest.fixture
def make_table(write_study):
    def make(*replacements: tuple[str, str]) -> Table:
        path: Path = write_study(*replacements)
        study = read_study(path)
        return Table(study, locate_task(study.task, path.parent))

    return make


@pytest.fixture
def store(tmp_path):
    store = Store(sqlite_url(tmp_path / "store.db"))
    yield store
    store.close()


def fill(cells) -> None:
    """The loss is the learning rate, and grows a little with the seed."""
    for cell in cells:
        loss = cell.assignment.learning_rate + cell.assignment.seed % 10_000 / 1000
        cell.result = Result(False, 1.0, {"loss": {1: 9.0, 3: loss}})


def test_tuning_is_every_arm_at_every_learning_rate_seed_by_seed(make_table):
    cells = make_table().plan_tuning()
    assert [cell.label for cell in cells] == [
        f"{arm} lr={rate} seed={seed}" for seed in (0, 1) for arm in ("adamw", "quarter") for rate in (0.01, 0.1)
    ]
    assert {cell.phase for cell in cells} == {"tuning"}
    assert all(cell.result is None for cell in cells)


def test_comparison_is_every_arm_at_its_own_learning_rate_on_the_same_fresh_seeds(make_table):
    cells = make_table().plan_comparison({"adamw": Point({"lr": 0.01}), "quarter": Point({"lr": 0.1})})
    assert [cell.label for cell in cells] == [
        f"{arm} seed={seed}" for seed in (10_000, 10_001, 10_002) for arm in ("adamw lr=0.01", "quarter lr=0.1")
    ]
    assert {cell.phase for cell in cells} == {"comparison"}


def test_a_cell_has_what_its_arm_is_made_of(make_table):
    *_, last = make_table(("exponent = 0.25", 'exponent = 0.25\ncontroller = { name = "a.B", every = 2 }')).plan_tuning()
    made = last.assignment
    assert (made.optimizer, made.arguments, made.controller) == (
        "equipoise.SMES",
        {"exponent": 0.25},
        {"name": "a.B", "every": 2},
    )


def test_the_analysis_reads_the_cells(make_table):
    table = make_table()
    fill(table.plan_tuning())
    tuned = [tune(table, arm) for arm in table.study.arms]
    assert [found.chosen for found in tuned] == [0.01, 0.01]
    assert tuned[0].scores == ((0.01, 0.011), (0.1, 0.101))
    fill(table.plan_comparison({found.arm.name: found.point for found in tuned}))
    analysis = analyse(table, tuned)
    assert [arm.values for arm in analysis.arms] == [(0.01, 0.011, 0.012)] * 2
    assert analysis.arms[0].results == tuple(table.results("comparison", "adamw", Point({"lr": 0.01})).values())


def test_the_store_fills_the_cells_of_another_table_of_the_same_study(make_table, store):
    cells = make_table().plan_tuning()
    fill(cells[:3])
    for cell in cells[:3]:
        store.add("quadratic", cell)
    again = make_table().plan_tuning()
    store.fill(again)
    assert again == cells
    assert [cell.result is None for cell in again] == [False] * 3 + [True] * 5


def test_arms_that_differ_in_their_names_alone_share_their_trials(make_table, store):
    twin = make_table(("equipoise.SMES", "torch.optim.AdamW"), ("exponent = 0.25\n", ""))
    cells = twin.plan_tuning()
    once = trials(cells)
    assert (len(cells), len(once)) == (8, 4)
    fill(once)
    for cell in once:
        store.add("quadratic", cell)
    store.fill(cells)
    for point in (Point({"lr": 0.01}), Point({"lr": 0.1})):
        assert twin.results("tuning", "adamw", point) == twin.results("tuning", "quarter", point)


@pytest.fixture
def identity(write_study):
    """The key of one trial of the study with replacements; the task may be changed as well."""

    def key(*replacements, learning_rate: float = 0.1, seed: int = 0, **task: str) -> str:
        path: Path = write_study(*replacements, **task)
        study = read_study(path)
        table = Table(study, locate_task(study.task, path.parent))
        cells = table.plan_comparison({arm.name: Point({"lr": learning_rate}) for arm in study.arms})
        return [cell.assignment.key for cell in cells if cell.arm == study.arms[1].name][seed]

    return key


def test_what_determines_the_outcome_determines_the_identity(identity):
    changed = {
        identity(),
        identity(learning_rate=0.2),
        identity(seed=1),
        identity(("epochs = 3", "epochs = 4")),
        identity(("exponent = 0.25", "exponent = 0.125")),
        identity(("equipoise.SMES", "equipoise.Equipoise")),
        identity(("epochs = 3", "epochs = 3\nthreads = 2")),
        identity(("task.py:train", "task.py:other")),
    }
    assert len(changed) == 8


def test_what_cannot_change_the_outcome_does_not_change_the_identity(identity):
    same = identity(('"quarter"', '"other"'), ("seeds = 3", "seeds = 9"), ("[0.01, 0.1]", "[0.01, 0.1, 1.0]"))
    assert same == identity()
    assert identity(('metric = "loss"', 'metric = "accuracy"')) == identity()
    # What the task is made of is noted when it runs, and kept beside each trial.
    assert identity(task="def train(trial): ...") == identity()


def test_a_trial_without_a_controller_is_the_trial_that_it_was_before_there_were_any():
    values = {"task": TaskSource("a.b", "f", ""), "metric": "loss", "epochs": 1, "optimizer": "o", "arguments": {}}
    plain = Assignment(**values, learning_rate=0.1, seed=0)
    assert plain.key != Assignment(**values, learning_rate=0.1, seed=0, controller={"name": "equipoise.balance.X"}).key
    identity = {"task": ["a.b", "f"], "epochs": 1, "optimizer": "o", "arguments": {}, "learning_rate": 0.1, "seed": 0}
    identity["software"] = [equipoise.__version__, version("torch")]
    assert plain.key == hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
