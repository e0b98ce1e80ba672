"""A fork is another study: it shares trials with the first one, which stays what it was."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path

import pytest

CHANGES = ("--set", "seeds=4", "--set", "target=4.0", "--set", "margin=0.5")


@pytest.fixture
def folder(finished, tmp_path):
    shutil.copytree(finished.folder, tmp_path / "copy")
    return tmp_path / "copy"


def test_a_fork_runs_only_what_differs_and_leaves_the_study_as_it_was(folder, run):
    before = json.loads(run("study", "report", folder / "study.toml", "--json")[1])
    code, out, _ = run("study", "fork", folder / "study.toml", "four", *CHANGES)
    assert code == 0
    assert "8 of its 8 tuning trials are kept" in out
    code, out, _ = run("study", "run", folder / "four.toml", "--json")
    forked = json.loads(out)
    assert (code, forked["study"], forked["target"]) == (0, "four", 4.0)
    assert len((folder / "executed.log").read_text().splitlines()) == 8 + 6 + 2
    assert [arm["values"][:3] for arm in forked["arms"]] == [arm["values"] for arm in before["arms"]]
    after = json.loads(run("study", "report", folder / "study.toml", "--json")[1])
    assert after == before
    assert "complete" in run("study", "status", folder / "four.toml")[1]
    assert not (folder / "four.db").exists()


def test_comments_stay_and_arms_are_changed_by_name(write_study, run):
    path = write_study(("epochs = 3", "epochs = 3    # short"))
    changes = ("--set", "arm.quarter.exponent=0.3", "--set", 'arm.adamw.schedule="cosine"')
    assert run("study", "fork", path, "other", *changes)[0] == 0
    text = path.with_name("other.toml").read_text()
    assert "epochs = 3    # short" in text
    former, found = tomllib.loads(path.read_text()), tomllib.loads(text)
    assert found.pop("name") == "other"
    assert found.pop("store") == former.pop("name") == "quadratic"
    assert found["arm"][0].pop("schedule") == "cosine"
    assert found["arm"][1].pop("exponent") == 0.3
    assert former["arm"][1].pop("exponent") == 0.25
    assert found == former


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("quadratic",), "choose another one, nothing is overwritten"),
        (("a/b",), "name = 'a/b' is not accepted"),
        (("other", "--set", "seeds"), "set = 'seeds' is not accepted: set must be KEY=VALUE"),
        (("other", "--set", "metric=loss"), "set must be KEY=VALUE, with a value as in the study file"),
        (("other", "--set", "arm.quarte.exponent=1"), "did you mean 'quarter'?"),
        (("other", "--set", "sedes=12"), "did you mean 'seeds'?"),
        (("other", "--set", "seeds=0"), "seeds = 0 must be greater than or equal to 2"),
    ],
)
def test_what_makes_no_study_is_refused_and_nothing_is_written(write_study, run, arguments, said):
    path = write_study()
    code, out, err = run("study", "fork", path, *arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert {each.name for each in Path(path).parent.iterdir()} == {"study.toml", "task.py"}
