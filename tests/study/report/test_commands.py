"""``equipoise study report`` and ``status`` as a person meets them."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from equipoise.cli import main
from equipoise.study._store.schema import RUNNERS
from tests.study.report.made import make_store


@pytest.fixture
def call(capsys):
    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(["study", *map(str, arguments)])
        said = capsys.readouterr()
        return ended.value.code, said.out, said.err

    return run


def test_the_report_of_a_finished_study_is_printed_and_written_beside_the_store(call, tmp_path):
    make_store(tmp_path / "widgets.db").close()
    code, out, _ = call("report", tmp_path / "widgets.db")
    assert code == 0
    assert "sgd beats adamw" in out
    assert f"report: {tmp_path / 'widgets.report.html'}" in out
    assert {path.suffix for path in tmp_path.glob("widgets.report.*")} == {".html", ".md", ".csv"}


def test_a_study_that_runs_has_a_status_and_a_report_but_no_verdict(call, tmp_path):
    store = make_store(tmp_path / "widgets.db", compared=0.5)
    runner = {"study": "widgets", "token": "t", "host": "here", "process": 7, "beat": 1}
    store.do(lambda connection: connection.execute(RUNNERS.insert(), runner | {"since": datetime.now(UTC)}))
    store.close()
    code, out, _ = call("status", tmp_path / "widgets.db", "--json")
    found = json.loads(out)
    assert (code, found["runner"], found["phases"]["comparison"]["finished"]) == (0, "process 7 on here", 14)
    assert found["seconds_left"] > 0
    code, out, _ = call("status", tmp_path / "widgets.db")
    assert "widgets: running, by process 7 on here" in out
    code, out, _ = call("report", tmp_path / "widgets.db", "--json")
    found = json.loads(out)
    assert (code, found["decision"]) == (0, "No decision yet: 46 of 60 trials are finished.")
    assert "arms" not in found


def test_a_study_that_was_never_run_is_told_so_and_no_store_is_made(call, write_study, tmp_path):
    for command in ("report", "status"):
        code, out, err = call(command, write_study())
        assert (code, out) == (2, "")
        assert err == f"error: {tmp_path / 'quadratic.db'} is not there: no trial of this study was run yet\n"
    assert not list(tmp_path.glob("*.db"))


def test_another_programs_database_is_refused_in_one_line(call, tmp_path):
    (tmp_path / "other.db").write_bytes(b"not a database" * 100)
    code, _, err = call("status", tmp_path / "other.db")
    assert code == 2
    assert err.startswith("error: the store ")
    assert err.count("\n") == 1


def test_a_look_at_a_study_does_not_import_torch(tmp_path):
    make_store(tmp_path / "widgets.db").close()
    script = "import sys; from equipoise.cli import main\ntry: main(sys.argv[1:])\nfinally: assert 'torch' not in sys.modules"
    for command in ("status", "report"):
        done = subprocess.run(
            [sys.executable, "-c", script, "study", command, str(tmp_path / "widgets.db")], capture_output=True, timeout=120
        )
        assert done.returncode == 0, done.stderr.decode()
