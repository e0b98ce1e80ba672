"""A finished trial is in the store whole or not at all, and comes back as it was."""

from __future__ import annotations

import hashlib
import json
import math
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from sys import float_info

import pytest
from sqlalchemy import text

from equipoise.errors import UnusableInputError
from equipoise.study._cells import Assignment, Cell, Cost, Result
from equipoise.study._sources import as_text
from equipoise.study._store import Store, sqlite_url
from equipoise.study._task_source import TaskSource

FIRST_SCHEMA = ("arguments", "controller", "epochs", "learning_rate", "metric", "optimizer", "seed")
"""What an assignment held besides the task."""


def make_assignment(seed: int = 0) -> Assignment:
    return Assignment(TaskSource("task.py", "train", "0" * 64), "loss", 3, "torch.optim.SGD", {"momentum": 0.9}, 0.1, seed)


def make_cell(result: Result, seed: int = 0) -> Cell:
    return Cell("arm", "tuning", make_assignment(seed), result)


@pytest.fixture
def store(store_url, tmp_path):
    store = Store(store_url, tmp_path)
    yield store
    store.close()


def test_a_result_comes_back_as_it_was(store):
    result = Result(False, 1.5, {"loss": {1: 0.5, 2: 0.25}, "accuracy": {2: 1.0}})
    store.add("study", make_cell(result))
    assert store.results([make_assignment().key]) == {make_assignment().key: result}


def test_infinity_and_nan_survive(store):
    curve = {1: 1.0, 2: math.inf, 3: -math.inf, 4: math.nan, 5: 5e-324, 6: -float_info.max, 7: 0.1 + 0.2}
    store.add("study", make_cell(Result(True, 0.1, {"loss": curve})))
    back = store.results([make_assignment().key])[make_assignment().key].curves["loss"]
    assert math.isnan(back.pop(4))
    assert back == {epoch: value for epoch, value in curve.items() if epoch != 4}


def test_only_what_was_asked_for_is_returned(store):
    for seed in range(3):
        store.add("study", make_cell(Result(False, 1.0, {"loss": {1: float(seed)}}), seed))
    assert store.results([make_assignment(1).key, make_assignment(7).key]).keys() == {make_assignment(1).key}


def test_the_first_of_two_runners_that_finish_the_same_trial_is_kept(store):
    first, second = Result(False, 1.0, {"loss": {1: 0.5}}), Result(False, 2.0, {"loss": {1: 0.5}})
    store.add("study", make_cell(first))
    store.add("study", make_cell(second))
    assert store.results([make_assignment().key]) == {make_assignment().key: first}


def test_a_trial_without_its_readings_is_not_kept(store):
    broken = Result(False, 1.0, {"loss": {1: 0.5}, None: {1: 0.5}})  # pyright: ignore[reportArgumentType]
    with pytest.raises(Exception, match="name"):
        store.add("study", make_cell(broken))
    assert store.results([make_assignment().key]) == {}


def test_a_reader_sees_finished_trials_while_another_process_writes(tmp_path):
    with closing(Store(sqlite_url(tmp_path / "study.db"))) as store, store.engine.connect() as reader:
        assert reader.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert reader.execute(text("PRAGMA synchronous")).scalar() == 2  # full: a commit is on the disk


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqlite:////no/such/folder/x.db", "sqlite:////no/such/folder/x.db cannot be opened: unable to open database file"),
        ("no url", "must be a URL, as sqlite:///study.db or postgresql://user@host/database$"),
        ("postgresql://me:secret@host:x/y", "must be a URL, as"),
        ("nosuchdatabase://me:secret@host/x", "must be a URL, .*; it begins with 'nosuchdatabase'$"),
        ("postgresql://me:my@secret@host/x", "an @ in a user's name or a password must be written as %40"),
    ],
)
def test_a_store_that_cannot_be_opened_is_named_without_its_password(url, said):
    with pytest.raises(UnusableInputError, match=said) as refused:
        Store(url)
    assert "secret" not in str(refused.value)


def test_times_come_back_in_utc_whatever_the_zone_of_the_server(store):
    begun = datetime.now(UTC)
    store.add("study", make_cell(Result(False, 1.0, {})))
    first, last = store.finished_between([make_assignment().key])
    assert first == last
    assert first.utcoffset() == timedelta(0)
    assert begun <= first <= datetime.now(UTC)


def test_a_source_with_nul_characters_is_kept_and_compared(store, tmp_path):
    (tmp_path / "odd.py").write_bytes(b"x = '\0'\n")
    text = as_text((tmp_path / "odd.py").read_bytes())
    store.add("study", make_cell(Result(False, 1.0, {})), {"odd.py": text})
    assert store.results([make_assignment().key])
    (tmp_path / "odd.py").write_bytes(b"x = 1\n")
    assert store.outdated([make_assignment().key]).texts == {"odd.py": (text, "x = 1\n")}


def test_a_store_of_the_first_schema_becomes_one_of_this_and_keeps_its_trials(store_url, tmp_path):
    task = tmp_path / "task.py"
    task.write_text("def train(trial): ...\n")
    source = TaskSource(str(task), "train", str(tmp_path))
    cells = [
        Cell(
            "arm",
            "tuning",
            replace(make_assignment(seed), task=source),
            Result(seed == 1, 1.5, {"loss": {1: 0.5, 2: 0.1 * seed}}),
        )
        for seed in range(3)
    ]
    cells[2].result.cost = Cost(2**40, 2, 3)
    with closing(Store(store_url, tmp_path)) as store:
        for cell in cells:
            store.add("study", cell, {"task.py": task.read_text()})
        with store.engine.begin() as connection:
            for table in ("equipoise", "code", "source", "failure", "runner"):
                connection.exec_driver_sql(f"DROP TABLE {table}")
            for column in ("code", "former"):
                connection.exec_driver_sql(f"ALTER TABLE trial DROP COLUMN {column}")
            for row in connection.execute(text("SELECT * FROM trial")).mappings().all():
                values = {name: json.loads(row["assignment"])[name] for name in FIRST_SCHEMA}
                values["task"] = {
                    "function": "train",
                    "module": str(task),
                    "sha256": hashlib.sha256(task.read_bytes()).hexdigest(),
                }
                former = dict(row) | {"key": f"of schema 1: {row['key']}"[:64], "assignment": json.dumps(values)}
                names = ", ".join(f":{name}" for name in former)
                connection.execute(text(f"INSERT INTO trial ({', '.join(former)}) VALUES ({names})"), former)
                for table in ("reading", "cost"):
                    connection.execute(
                        text(f"UPDATE {table} SET trial = :new WHERE trial = :old"), {"new": former["key"], "old": row["key"]}
                    )
                connection.execute(text("DELETE FROM trial WHERE key = :key"), {"key": row["key"]})
    with closing(Store(store_url, tmp_path)) as store:
        assert store.results(cell.assignment.key for cell in cells) == {cell.assignment.key: cell.result for cell in cells}
        assert store.outdated(cell.assignment.key for cell in cells).keys == []
    with closing(Store(store_url, tmp_path)) as store, store.engine.connect() as connection:
        assert connection.execute(text("SELECT schema FROM equipoise")).scalars().all() == [2]
