"""A finished trial is in the store whole or not at all, and comes back as it was."""

from __future__ import annotations

import math

import pytest
from sqlalchemy import text

from equipoise.errors import UnusableInputError
from equipoise.study._cells import Assignment, Cell, Result
from equipoise.study._spec import TaskSource
from equipoise.study._store import Store, sqlite_url


def make_assignment(seed: int = 0) -> Assignment:
    return Assignment(TaskSource("task.py", "train", "0" * 64), "loss", 3, "torch.optim.SGD", {"momentum": 0.9}, 0.1, seed)


def make_cell(result: Result, seed: int = 0) -> Cell:
    return Cell("arm", "tuning", make_assignment(seed), result)


@pytest.fixture
def store(tmp_path):
    store = Store(sqlite_url(tmp_path / "a folder with spaces.db"))
    yield store
    store.close()


def test_a_result_comes_back_as_it_was(store):
    result = Result(False, 1.5, {"loss": {1: 0.5, 2: 0.25}, "accuracy": {2: 1.0}})
    store.add("study", make_cell(result))
    assert store.results([make_assignment().key]) == {make_assignment().key: result}


def test_infinity_and_nan_survive(store):
    curve = {1: 1.0, 2: math.inf, 3: -math.inf, 4: math.nan}
    store.add("study", make_cell(Result(True, 0.1, {"loss": curve})))
    back = store.results([make_assignment().key])[make_assignment().key].curves["loss"]
    assert [back[epoch] for epoch in (1, 2, 3)] == [1.0, math.inf, -math.inf]
    assert math.isnan(back[4])


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


def test_a_reader_sees_finished_trials_while_another_process_writes(store):
    with store.engine.connect() as reader:
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
