"""A store on a PostgreSQL server is the same store: it waits for its server, hides passwords, and says what is wrong."""

from __future__ import annotations

import re
import shlex
import sys
import threading
from contextlib import closing
from urllib.parse import quote

import pytest
from sqlalchemy import insert, text

from equipoise.errors import MissingExtraError, StudyStoppedError, UnusableInputError
from equipoise.study._report.contents import of_store
from equipoise.study._report.page import report_study
from equipoise.study._report.status import read_status
from equipoise.study._sources import digest
from equipoise.study._store import Store, Turn, sqlite_url
from equipoise.study._store import patience as patience_module
from equipoise.study._store import turn as turn_module
from equipoise.study._store.schema import SOURCES

from .postgresql import PASSWORD
from .report.made import make_store
from .test_stores import make_cell


@pytest.fixture(scope="module")
def made(postgresql):
    """A store with a whole study, made by a command that names its password twice."""
    url = postgresql.place()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "orig_argv", ["python", "-m", "equipoise", f"--store={url}", "--password", PASSWORD])
        make_store(url, trouble=True).close()
    return url


@pytest.fixture
def url(postgresql):
    return postgresql.place()


@pytest.fixture
def store(url, tmp_path):
    told = []
    with closing(Store(url, tmp_path, told.append)) as store:
        store.told = told
        yield store


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"password": "my-secret"}, r"password authentication failed for user .tester.; check that the server runs, that"),
        ({"database": "nosuch"}, r"database .nosuch. does not exist; check .* that the database was made \(createdb nosuch\)$"),
        ({"database": "postgres?colour=red"}, "invalid connection option .colour."),
    ],
)
def test_a_server_that_refuses_is_one_line_that_says_what_to_do(postgresql, changed, said):
    expected = rf"^the store postgresql://tester:\*\*\*@\S+ cannot be opened: .*{said}"
    with pytest.raises(UnusableInputError, match=expected) as refused:
        Store(postgresql.url(**{"database": "postgres"} | changed))
    assert "\n" not in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_server_that_is_not_there_is_not_waited_for(postgresql):
    with pytest.raises(UnusableInputError, match=r"Connection refused.*; check that the server runs"):
        Store(postgresql.url("postgres").replace(str(postgresql.port), "1"))


def test_without_the_driver_the_message_is_the_pip_line(url, monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'equipoise\[postgres\]'$"):
        Store(url)


def test_a_database_that_lacks_characters_is_refused(postgresql):
    url = postgresql.create("--encoding=LATIN1", "--template=template0")
    with pytest.raises(UnusableInputError, match=r"its encoding is LATIN1, .*; createdb --encoding=UTF8"):
        Store(url)


def test_another_programs_tables_are_refused_in_one_line(url, postgresql):
    postgresql.query(url, "CREATE TABLE trial (key text, colour text)")
    with pytest.raises(UnusableInputError, match=r"its table 'trial' is another program's: it has no column arm, ") as refused:
        Store(url)
    assert "\n" not in str(refused.value)


def test_an_account_that_may_make_no_tables_is_refused_in_the_servers_words(postgresql):
    url = postgresql.create()
    postgresql.query(url, "CREATE ROLE guest LOGIN PASSWORD 'guest'")
    with pytest.raises(UnusableInputError, match=r"guest:\*\*\*\S+ cannot be opened: permission denied for schema public$"):
        Store(postgresql.url(url.rpartition("/")[2], "guest", "guest"))


def test_an_account_that_may_only_read_can_look(postgresql, made):
    place = made.rpartition("D")[2]
    postgresql.query(made, "CREATE ROLE reader LOGIN PASSWORD 'reader'")
    postgresql.query(made, f"GRANT USAGE ON SCHEMA {place} TO reader")
    postgresql.query(made, f"GRANT SELECT ON ALL TABLES IN SCHEMA {place} TO reader")
    with closing(Store(postgresql.url(made.rpartition("/")[2], "reader", "reader"))) as reader, closing(Store(made)) as owner:
        assert read_status(reader) == read_status(owner)
        assert of_store(reader).settled


def test_several_runners_may_make_the_tables_at_once(url):
    failed = []

    def make():
        try:
            Store(url).close()
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_two_studies_may_keep_the_same_sources_at_once(store):
    add = threading.Thread(target=store.add, args=("study", make_cell(), {"task.py": "x = 1\n"}))
    with store.engine.begin() as another:
        another.execute(insert(SOURCES), {"sha256": digest("x = 1\n"), "text": "x = 1\n"})
        add.start()  # and waits for what the other one does
        while not another.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")):
            pass
    add.join()
    with store.engine.connect() as connection:
        assert [connection.scalar(text(f"SELECT count(*) FROM {table}")) for table in ("trial", "code", "source")] == [1, 1, 1]


def test_the_same_trials_have_the_same_verdict_to_the_last_digit_on_both(made, tmp_path):
    file = sqlite_url(tmp_path / "widgets.db")
    make_store(file, trouble=True).close()
    found = []
    for url in (made, file):
        with closing(Store(url)) as store:
            contents = report_study(store, None, tmp_path / "widgets.report.html")
        verdict, trials = contents.verdict, (tmp_path / "widgets.report.csv").read_text()
        found.append((verdict.contrasts, verdict.remarks, [arm.values for arm in verdict.arms], contents.curves, trials))
        assert verdict.missing
    assert found[0] == found[1]


def test_passwords_are_shown_and_kept_nowhere(postgresql, made, tmp_path):
    with closing(Store(made)) as store:
        contents = report_study(store, None, tmp_path / "widgets.report.html")
        shown = [repr(store.engine), store.name, str(read_status(store)), *(path.read_text() for path in tmp_path.iterdir())]
    name = f"postgresql://tester:***@127.0.0.1:{postgresql.port}/{made.rpartition('/')[2]}"
    expected = ["python", "-m", "equipoise", f"--store={name}"]
    assert contents.record.run.command == shlex.join([*expected, "--password", "***"])
    for each in (*shown, postgresql.dump(made)):
        assert PASSWORD not in each
        assert quote(PASSWORD, safe="") not in each


def test_a_password_behind_the_question_mark_is_hidden_too(postgresql, url):
    hidden = f"postgresql://127.0.0.1:{postgresql.port}/postgres?password={quote(PASSWORD)}&user=tester"
    with closing(Store(hidden)) as store:
        assert store.name == f"postgresql://127.0.0.1:{postgresql.port}/postgres?password=hidden&user=tester"
        assert store.address.hide(f"--store {hidden} {PASSWORD}") == f"--store {store.name} ***"


def test_a_server_that_restarts_is_waited_for_and_nothing_is_lost(store, postgresql):
    store.add("study", make_cell(0))
    postgresql.restart()
    store.add("study", make_cell(1))
    (said,) = store.told
    assert re.fullmatch(r"the store \S+ cannot be used now: .*; trying again for 60 s", said)
    assert len(store.results(make_cell(seed).assignment.key for seed in range(2))) == 2


def test_a_server_that_stays_away_is_one_line(store, postgresql, monkeypatch):
    monkeypatch.setattr(patience_module, "PATIENCE", 0.3)
    postgresql.stop()
    with pytest.raises(StudyStoppedError, match=r"^the store \S+ could not be used for 0.3 s: .*Connection refused") as stopped:
        store.add("study", make_cell())
    postgresql.start()
    assert PASSWORD not in str(stopped.value)
    assert "\n" not in str(stopped.value)


def test_what_waiting_does_not_mend_is_not_waited_for(store):
    with pytest.raises(StudyStoppedError, match="index row requires"):
        store.add("study", make_cell(), {"".join(chr(0x4E00 + place) for place in range(4000)): "x = 1\n"})
    assert store.told == []


@pytest.mark.long
def test_a_runner_keeps_its_place_however_long_the_server_is_away(store, url, postgresql, tmp_path, monkeypatch):
    monkeypatch.setattr(turn_module, "LOOK", 0.02)
    monkeypatch.setattr(turn_module, "GONE", 100)
    monkeypatch.setattr(turn_module, "BEAT", 0.0)
    told, stopped = [], threading.Event()

    def wait():
        with closing(Store(url, tmp_path)) as other, pytest.raises(StudyStoppedError, match="nothing was begun"):
            Turn(other, "study", told.append, stopped.is_set).__enter__()

    with Turn(store, "study", print, lambda: False) as turn:
        waiting = threading.Thread(target=wait)
        waiting.start()
        while not told:
            turn.beat()
        postgresql.stop()
        stopped.wait(2.5)  # longer than 100 looks take
        postgresql.start()
        stopped.wait(1.2)  # and so long after that the other one has looked again
        turn.beat()
        stopped.set()
        waiting.join()
        turn.beat()
