"""What a database cannot do it is asked again, and nothing that was finished is lost over it."""

from __future__ import annotations

import sqlite3
import subprocess
import threading
import time

import pytest
from sqlalchemy import text

from equipoise.errors import StudyStoppedError, UnusableInputError
from equipoise.study._cells import Assignment, Cell, Failure, Result
from equipoise.study._store import Spool, Store, Turn, sqlite_url
from equipoise.study._store import patience as patience_module
from equipoise.study._store import turn as turn_module
from equipoise.study._store.store import record
from equipoise.study._task_source import TaskSource

from .recorder import Recorder, run

ONE_POINT = ("tuning_seeds = 2\nlearning_rates = [0.01, 0.1]", "tuning_seeds = 1\nlearning_rates = [0.1]")


def make_cell(seed: int = 0) -> Cell:
    assigned = Assignment(TaskSource("task.py", "train", ""), "loss", 3, "torch.optim.SGD", {}, 0.1, seed)
    return Cell("arm", "tuning", assigned, Result(False, 1.0, {"loss": {1: 0.5, 2: float("inf"), 3: float("nan")}}))


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(patience_module, "PATIENCE", 1.0)
    monkeypatch.setattr(turn_module, "GONE", 2)


@pytest.fixture
def store(tmp_path):
    told = []
    store = Store(sqlite_url(tmp_path / "study.db"), tmp_path, told.append)
    store.told = told
    yield store
    store.close()


@pytest.fixture
def any_store(store_url, tmp_path):
    store = Store(store_url, tmp_path)
    yield store
    store.close()


class Lock:
    """Another program that writes to the database."""

    def __init__(self, path):
        self.connection = sqlite3.connect(path, check_same_thread=False)
        self.connection.execute("BEGIN IMMEDIATE")

    def release(self):
        self.connection.rollback()
        self.connection.close()


def test_a_locked_store_is_waited_for_and_that_is_said_once(store, tmp_path):
    lock = Lock(tmp_path / "study.db")
    timer = threading.Timer(2.5, lock.release)
    timer.start()
    store.add("study", make_cell())
    timer.join()
    assert store.told == [f"the store {store.name} cannot be used now: database is locked; trying again for 60 s"]
    assert store.results([make_cell().assignment.key]).keys() == {make_cell().assignment.key}


def test_a_store_that_stays_locked_is_one_line(store, tmp_path, impatient):
    lock = Lock(tmp_path / "study.db")
    with pytest.raises(StudyStoppedError, match=r"^the store \S+ could not be used for 1 s: database is locked$"):
        store.add("study", make_cell())
    lock.release()


def test_results_that_the_store_cannot_take_are_spooled_and_the_next_run_reads_them_in(
    write_study, executed, tmp_path, impatient
):
    path = write_study(ONE_POINT)

    class Locker(Recorder):
        lock = None

        def finished(self, cell):
            super().finished(cell)
            self.lock = self.lock or Lock(tmp_path / "store.db")

    locker = Locker()
    with pytest.raises(StudyStoppedError, match=r"for 1 s: database is locked; results are in \S+store.spool"):
        run(path, locker, workers=2)
    locker.lock.release()
    begun = len(executed())
    assert list((tmp_path / "store.spool").iterdir())
    analysis, recorder = run(path)
    assert any("result(s) that the store could not take" in each for each in recorder.told)
    assert len(executed()) == 2 + 2 * 3
    assert begun >= 2
    assert not (tmp_path / "store.spool").exists()
    assert analysis.missing == ()


def test_a_spooled_result_is_the_one_that_was_kept(store, tmp_path):
    direct, spooled = make_cell(0), make_cell(1)
    spool = Spool(tmp_path / "spool")
    spool.write(record("study", spooled, {"task.py": "x = 1\n"}))
    (tmp_path / "task.py").write_text("x = 1\n")
    assert spool.empty_into(store) == 1
    store.add("study", direct, {"task.py": "x = 1\n"})
    found = store.results([direct.assignment.key, spooled.assignment.key])
    assert repr(found[spooled.assignment.key]) == repr(found[direct.assignment.key]) == repr(direct.result)


@pytest.mark.parametrize(
    ("statements", "said"),
    [
        (["CREATE TABLE trial (key TEXT, colour TEXT)"], "its table 'trial' is another program's: it has no column arm, "),
        (
            ["CREATE TABLE equipoise (schema INTEGER PRIMARY KEY)", "INSERT INTO equipoise VALUES (99)"],
            r"later version of Equipoise \(schema 99; this one knows 2\)",
        ),
    ],
)
def test_a_database_that_is_no_store_of_ours_is_refused_in_one_line(tmp_path, statements, said):
    database = sqlite3.connect(tmp_path / "other.db")
    for statement in statements:
        database.execute(statement)
    database.commit()
    database.close()
    with pytest.raises(UnusableInputError, match=said) as refused:
        Store(sqlite_url(tmp_path / "other.db"))
    assert "\n" not in str(refused.value)


def test_a_file_that_is_no_database_is_refused_in_one_line(tmp_path):
    (tmp_path / "other.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(UnusableInputError, match=r"^the store \S+ cannot be opened: file is not a database$"):
        Store(sqlite_url(tmp_path / "other.db"))


def test_a_damaged_store_is_one_line(store, tmp_path):
    for seed in range(200):
        store.add("study", make_cell(seed))
    store.close()
    path = tmp_path / "study.db"
    content = bytearray(path.read_bytes())
    for place in range(4096, len(content)):
        content[place] ^= 0x55
    path.write_bytes(content)
    said = r"^the store \S+ cannot be (used|opened): database disk image is malformed$"
    with pytest.raises((UnusableInputError, StudyStoppedError), match=said):
        Store(sqlite_url(path)).results([make_cell().assignment.key])


def test_failures_are_kept_and_given_to_cells_without_a_result(any_store):
    cell = make_cell()
    cell.result, cell.failure = None, Failure("it broke", "x.log", "the\nend")
    any_store.add_failure("study", cell)
    again = Cell("arm", "tuning", cell.assignment)
    any_store.fill([again])
    assert again.failure == cell.failure


def test_a_second_runner_waits_for_its_turn_and_says_for_whom(any_store):
    told, order = [], []

    def second():
        with Turn(any_store, "study", told.append, lambda: False):
            order.append("second")

    with Turn(any_store, "study", told.append, lambda: False):
        waiting = threading.Thread(target=second)
        waiting.start()
        while not told:
            time.sleep(0.05)
        order.append("first")
    waiting.join()
    assert order == ["first", "second"]
    assert len(told) == 1
    assert "has been running this study since" in told[0]
    with Turn(any_store, "another study", told.append, lambda: False), Turn(any_store, "study", told.append, lambda: False):
        assert len(told) == 1


def test_whoever_waits_can_be_stopped(any_store):
    with Turn(any_store, "study", print, lambda: False), pytest.raises(StudyStoppedError, match="nothing was begun"):
        Turn(any_store, "study", lambda _: None, lambda: True).__enter__()


def test_a_runner_without_a_sign_of_life_loses_its_place_and_stops(any_store, monkeypatch):
    monkeypatch.setattr(turn_module, "GONE", 2)
    monkeypatch.setattr(turn_module, "BEAT", 0.0)
    frozen = Turn(any_store, "study", print, lambda: False).__enter__()
    frozen.beat()
    with Turn(any_store, "study", lambda _: None, lambda: False) as other:
        with pytest.raises(StudyStoppedError, match="another process runs this study now"):
            frozen.beat()
        other.beat()


def test_a_runner_whose_process_is_gone_is_followed_at_once(store):
    Turn(store, "study", print, lambda: False).__enter__()
    with subprocess.Popen(["true"]) as gone:
        pass
    with store.engine.begin() as connection:
        connection.execute(text(f"UPDATE runner SET process = {gone.pid}"))
    told = []
    with Turn(store, "study", told.append, lambda: False):
        assert told == []
