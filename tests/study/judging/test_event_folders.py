"""Folders of TensorBoard's event files are judged as tables are."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from equipoise.errors import UnusableInputError
from equipoise.study import judge

pytest.importorskip("tensorboard")
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.summary.writer.event_file_writer import EventFileWriter

QUESTION = {"arm": "optimizer", "seed": "seed", "metric": "eval/accuracy", "baseline": "adamw"}


def write_run(folder: Path, accuracies: list[float], *, modern: bool = False) -> None:
    writer = EventFileWriter(str(folder))
    for index, accuracy in enumerate(accuracies):
        if modern:
            summary = scalar_pb("eval/accuracy", accuracy)
        else:
            summary = Summary(value=[Summary.Value(tag="eval/accuracy", simple_value=accuracy)])
        writer.add_event(Event(wall_time=1_000.0 + 60 * index, step=100 * (index + 1), summary=summary))
    writer.close()


def write_runs(folder: Path, pattern: str = "{}/{}", *, modern: bool = False) -> Path:
    for arm, end in (("adamw", 0.90), ("sgd", 0.93)):
        for seed in range(5):
            ending = end + 0.001 * (seed * 7 % 5) - 0.0007 * (seed * len(arm) % 3)
            write_run(folder / pattern.format(arm, seed), [0.5, ending - 0.02, ending], modern=modern)
    return folder


@pytest.mark.parametrize("modern", [False, True], ids=["simple values", "tensors"])
def test_the_last_reading_of_each_run_decides_and_its_steps_tell_the_time(tmp_path, modern):
    found = judge(write_runs(tmp_path, modern=modern), **QUESTION, target=0.905)
    assert [arm.seeds for arm in found.arms] == [("0", "1", "2", "3", "4")] * 2
    assert found.contrasts[0].verdict == "better"
    steps, seconds = found.time_to_target
    assert (steps.unit, steps.budget, seconds.budget) == ("step", 300, 120)
    assert set(steps.times["sgd"].values()) == {200}
    assert steps.reached("adamw") < 5


def test_a_pattern_says_where_the_runs_lie(tmp_path):
    write_runs(tmp_path, "first try/{}-lr0.1/seed-{}")
    found = judge(tmp_path, **QUESTION, folders="first try/{optimizer}-lr0.1/seed-{seed}")
    assert [arm.name for arm in found.arms] == ["adamw", "sgd"]
    with pytest.raises(UnusableInputError, match=r"which does not match --folders '\{optimizer\}/\{seed\}'"):
        judge(tmp_path, **QUESTION)


def test_a_tag_that_is_not_there_is_named_with_those_that_are(tmp_path):
    with pytest.raises(UnusableInputError, match="has no scalar 'accuracy'; its tags are 'eval/accuracy'"):
        judge(write_runs(tmp_path), **QUESTION | {"metric": "accuracy"})


def test_a_folder_without_event_files_is_refused(tmp_path):
    with pytest.raises(UnusableInputError, match="holds no event files"):
        judge(tmp_path, **QUESTION)


def test_an_event_file_whose_end_is_missing_counts_up_to_there_and_garbage_is_refused(tmp_path):
    write_runs(tmp_path)
    file = next((tmp_path / "sgd" / "3").iterdir())
    whole = file.read_bytes()
    file.write_bytes(whole[:-20])
    assert judge(tmp_path, **QUESTION).arms[1].results[3].curves["eval/accuracy"].keys() == {100, 200}
    file.write_bytes(struct.pack("<Q", 2**62) + b"garbage" * 100)
    with pytest.raises(UnusableInputError, match=r"sgd.3 "):
        judge(tmp_path, **QUESTION)
