"""Every command that reads the file of a run answers, whatever the file holds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from .answers import answered, many
from .runs import files


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("run")


@many
@given(files(), st.booleans())
def test_watch_answers_for_every_run(folder, content, as_json):
    (folder / "readings.jsonl").write_bytes(content)
    answered("watch", folder, "--json" if as_json else "--once")


@many
@given(files(), st.booleans(), st.booleans())
def test_recommend_answers_for_every_run(folder, content, referenced, as_json):
    (folder / "readings.jsonl").write_bytes(content)
    answered("recommend", folder, *([] if referenced else ["--reference", "none"]), *(["--json"] if as_json else []))
