"""Whatever a file of results holds, it is judged or refused in one line: never a traceback, never without end."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from equipoise.errors import EquipoiseError
from equipoise.study import judge
from equipoise.study._report.table import as_plain

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.sampled_from(["", "nan", "1e400", "-1e308", "1e308", "adamw", "0", "\x00", "\ud7ff", "1_0", '"', ","]),
    st.text(max_size=5),
)
cells = scalars | st.lists(scalars, max_size=2) | st.dictionaries(st.text(max_size=3), scalars, max_size=2)
names = st.sampled_from(["optimizer", "seed", "accuracy", "epoch", "config.seed"]) | st.text(max_size=4)
sound = st.fixed_dictionaries(
    {
        "optimizer": st.sampled_from(["adamw", "sgd", "<b>"]),
        "seed": st.integers(0, 3),
        "accuracy": st.floats() | st.floats(0, 1),
        "epoch": st.integers(0, 5),
    }
)
rows = st.lists(sound | st.dictionaries(names, cells, max_size=5), max_size=8)


def judged_or_refused(text: str | bytes, suffix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"results{suffix}")
        path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
        for epochs in ({}, {"epoch": "epoch", "target": 0.5, "seconds": "epoch"}):
            message = ""
            try:
                found = judge(path, arm="optimizer", seed="seed", metric="accuracy", baseline="adamw", **epochs)
                json.dumps(as_plain(found), allow_nan=False)
                assert found.headline
                assert not any("nan" in remark for remark in found.remarks)
            except EquipoiseError as error:
                message = str(error)
            assert "\n" not in message
            assert len(message) < 1_000 + len(folder)


@given(rows)
def test_json_lines_of_any_values_are_judged_or_refused(records):
    judged_or_refused("".join(json.dumps(record) + "\n" for record in records), ".jsonl")


@given(rows, st.sampled_from([",", ";", "\t"]))
def test_tables_of_any_values_are_judged_or_refused(records, delimiter):
    columns = list(dict.fromkeys(column for record in records for column in record))
    lines = [columns, *([record.get(column, "") for column in columns] for record in records)]
    judged_or_refused("\n".join(delimiter.join(map(str, line)) for line in lines), ".csv")


@given(st.binary(max_size=200))
def test_any_bytes_are_judged_or_refused(content):
    judged_or_refused(content, ".csv")


@given(st.lists(sound, min_size=4, max_size=12), st.data())
def test_a_sound_table_with_a_damaged_part_is_judged_or_refused(records, data):
    text = "optimizer,seed,accuracy,epoch\n" + "\n".join(",".join(map(str, record.values())) for record in records)
    place = data.draw(st.integers(0, len(text)))
    damage = data.draw(st.text(max_size=4))
    judged_or_refused(text[:place] + damage + text[place + data.draw(st.integers(0, 4)) :], ".csv")


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/null", "missing.csv"])
def test_what_is_no_file_of_a_bounded_size_is_refused_at_once(run, name):
    arguments = ("--arm", "optimizer", "--seed", "seed", "--metric", "accuracy", "--baseline", "adamw")
    code, out, err = run("study", "judge", name, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {name} ")
    assert err.count("\n") == 1
