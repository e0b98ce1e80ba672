"""Whoever has an export comes to the verdict of the study, to the digit."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc
from contextlib import closing

import pytest
from sqlalchemy import text

from equipoise.study import judge
from equipoise.study._report.contents import of_store
from equipoise.study._report.export import export
from equipoise.study._store import Store, sqlite_url
from equipoise.study._store.schema import METADATA
from tests.study.report.made import DIVERGED, make_store

QUESTION = {"arm": "arm", "seed": "seed", "status": "status", "where": {"phase": "comparison"}, "seconds": "seconds"}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A made-up study in which one seed diverged, one collapsed, and one failed."""
    with closing(make_store(tmp_path_factory.mktemp("made") / "widgets.db", trouble=True)) as store:
        yield store


def exported(store, table, form="csv"):
    file = io.StringIO()
    export(store, None, table, form, file)
    return file.getvalue()


@pytest.mark.parametrize("form", ["csv", "jsonl"])
@pytest.mark.parametrize("table", ["trials", "readings"])
def test_an_export_is_judged_as_the_study_was(store, tmp_path, table, form):
    analysis = of_store(store).analysis
    path = tmp_path / f"table.{form}"
    path.write_text(exported(store, table, form))
    epoch = "epoch" if table == "readings" else None
    judged = judge(path, metric="accuracy", baseline="adamw", diverged=analysis.diverged_value, epoch=epoch, **QUESTION)
    assert [arm.values for arm in judged.arms] == [arm.values for arm in analysis.arms]
    assert [found.interval for found in judged.contrasts] == [found.interval for found in analysis.contrasts]
    assert [found.p_value for found in judged.contrasts] == [found.p_value for found in analysis.contrasts]
    assert judged.headline == analysis.headline
    assert [arm.diverged for arm in judged.arms] == [0, 0, 1, 0]


def test_the_commands_agree_on_a_study_that_was_run(finished, run, tmp_path):
    reported = json.loads(run("study", "report", finished.folder / "study.toml", "--json")[1])
    path = tmp_path / "trials.csv"
    assert run("study", "export", finished.folder / "study.toml", "--out", path)[:2] == (0, f"{path}\n")
    question = ("--arm", "arm", "--seed", "seed", "--metric", "loss", "--baseline", "adamw", "--where", "phase=comparison")
    judged = json.loads(run("study", "judge", path, *question, "--status", "status", "--json")[1])
    for ours, theirs in zip(reported["arms"], judged["arms"], strict=True):
        for key in ours.keys() & {"name", "values", "mean", "difference", "interval", "adjusted_p_value", "verdict"}:
            assert ours[key] == theirs[key]
    code, _, err = run("study", "judge", path, *question[:-1], "phase=final", "--status", "status")
    assert (code, err.count("\n")) == (2, 1)
    assert "has no row with phase = 'final'; its values are 'comparison', 'tuning'" in err


def test_a_row_holds_a_trial_and_what_it_took(store):
    rows = list(csv.DictReader(io.StringIO(exported(store, "trials"))))
    assert len(rows) == 32 + 28 - 1  # without the one that failed
    first = rows[0]
    assert (first["arm"], first["phase"], first["seed"], first["status"]) == ("adamw", "tuning", "0", "finished")
    assert (first["seconds"], first["memory_bytes"], first["state_bytes"]) == ("10.0", "600000000", "8000")
    assert float(first["lr"]) > 0
    assert {"weight_decay", "accuracy", "validation_accuracy", "loss"} <= first.keys()
    readings = [json.loads(line) for line in exported(store, "readings", "jsonl").splitlines()]
    assert [row["epoch"] for row in readings[:4]] == [1, 2, 3, 4]
    (*_, last) = (row for row in readings if row["seed"] == DIVERGED and row["arm"] == "quarter")
    assert (last["epoch"], last["accuracy"]) == (2, "nan")


def test_a_large_store_takes_as_little_memory_as_a_small_one(tmp_path):
    make_store(tmp_path / "widgets.db").close()
    with closing(Store(sqlite_url(tmp_path / "widgets.db"))) as store:
        small = peak(store)
        store.do(lambda connection: [multiply(connection, table, 10) for table in ("trial", "reading", "cost", "cell")])
        assert len(exported(store, "trials").splitlines()) == 11 * 60 + 1
        assert peak(store) < 1.5 * small


def multiply(connection, table, copies):
    """Give every trial so many copies, with all that belongs to it."""
    columns = [column.name for column in METADATA.tables[table].columns]
    others = {"key": "key || '-' || n", "trial": "trial || '-' || n", "position": "position + 1000 * n"}
    chosen = ", ".join(others.get(column, f'"{column}"') for column in columns)
    count = f"WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < {copies})"
    names = ", ".join(f'"{column}"' for column in columns)
    connection.execute(text(f'INSERT INTO "{table}" ({names}) {count} SELECT {chosen} FROM "{table}", number'))


def peak(store):
    """The most bytes that an export of readings has in memory."""
    tracemalloc.start()
    try:
        with open("/dev/null", "w") as nowhere:
            export(store, None, "readings", "csv", nowhere)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
