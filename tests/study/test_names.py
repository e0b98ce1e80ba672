"""Names that a database cannot hold are refused where they enter, with one line; all others are kept as they are."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from equipoise.errors import ArgumentError, UnusableInputError
from equipoise.study._cells import Assignment, Cell, Result
from equipoise.study._names import check_reported_names
from equipoise.study._spec import read_study
from equipoise.study._store import Store, sqlite_url
from equipoise.study._task_source import TaskSource
from equipoise.study._worker import Trial

ASSIGNMENT = Assignment(TaskSource("task.py", "train", "0" * 64), "loss", 3, "torch.optim.SGD", {}, 0.1, 0)


@pytest.mark.parametrize("name", ["", "a\0b", "half \ud800", "x" * 256, "\0" * 10_000])
def test_a_reported_number_with_a_name_that_cannot_be_stored_is_refused_in_one_line(name):
    sent = []
    with pytest.raises(ArgumentError, match=r"the name of a reported number = .* must be 1 to 255 characters") as caught:
        Trial(ASSIGNMENT, sent.append).report(**{name: 1.0})
    assert sent == []
    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"quarter"', '"a\\u0000b"', "arm[2] name = 'a\\x00b' must not hold NUL"),
        ('metric = "loss"', 'metric = "lo\\u0000ss"', "metric = 'lo\\x00ss' must not hold NUL"),
        ('"task.py:train"', '"task\\u0000.py:train"', "task = 'task\\x00.py:train' must not hold NUL"),
        ('"quarter"', f'"{"x" * 256}"', "must have at most 255 characters"),
        ('"quadratic"', f'"{"x" * 201}"', "must have at most 200 characters"),
    ],
)
def test_a_name_in_a_study_file_that_cannot_be_stored_is_refused_before_anything_runs(write_study, old, new, said):
    with pytest.raises(UnusableInputError) as caught:
        read_study(write_study((old, new)))
    assert said in str(caught.value)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    opened = Store(sqlite_url(tmp_path_factory.mktemp("store") / "study.db"))
    yield opened
    opened.close()


SEEDS = itertools.count()


@given(st.lists(st.text(max_size=300), max_size=5, unique=True))
def test_every_name_that_is_accepted_comes_back_from_the_store_as_it_was(store, names):
    accepted = {name: {1: 1.0} for name in names if _is_accepted(name)}
    assignment = replace(ASSIGNMENT, seed=next(SEEDS))
    store.add("study", Cell("arm", "tuning", assignment, Result(False, 1.0, accepted)))
    assert store.results([assignment.key])[assignment.key].curves == accepted


def _is_accepted(name: str) -> bool:
    try:
        check_reported_names([name])
    except ArgumentError:
        return False
    return True
