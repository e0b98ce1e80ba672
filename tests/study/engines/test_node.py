"""What a cluster's node does with a trial, without a cluster."""

from __future__ import annotations

import platform
import shutil
import sys
from importlib.metadata import version

import pytest

from equipoise.errors import ArgumentError, UnusableInputError
from equipoise.study import RayCluster, read_study
from equipoise.study._cells import Table
from equipoise.study._engines.arrival import arrive
from equipoise.study._engines.node import Order, carry_out
from equipoise.study._task_source import locate_task

from ..conftest import TASK
from ..recorder import run

PRINTING = TASK.replace("    centre", "    print('seed', trial.seed)\n    centre")


@pytest.fixture
def as_on_a_node(tmp_path, monkeypatch):
    """This process is in a copy of a folder, as Ray's are, and none of its modules is the study's script."""

    def enter(folder):
        copy = tmp_path / "copy"
        shutil.copytree(folder, copy)
        monkeypatch.chdir(copy)
        monkeypatch.setattr(sys.modules["__main__"], "__file__", None, raising=False)

    return enter


def first_order(path, mark):
    table = Table(read_study(path), locate_task("task.py:train", path.parent))
    return Order(table.plan_tuning()[0], 60, None, mark)


def test_a_trial_on_a_node_has_the_result_the_sources_and_the_output_of_one_at_home(write_study, tmp_path, as_on_a_node):
    path = write_study(task=PRINTING)
    _, recorder = run(path, workers=1)
    at_home = recorder.cells[0]
    as_on_a_node(tmp_path)
    order = first_order(path, tmp_path / "elsewhere" / "mark")
    outcome = carry_out(order)
    assert outcome.failure is None
    assert order.cell.assignment.key == at_home.assignment.key
    assert outcome.result.curves == at_home.result.curves
    assert outcome.sources["task.py"] == PRINTING
    assert outcome.log.startswith(b"seed 0\n")  # whatever measures coverage may print after it


def test_a_trial_that_is_cut_short_goes_on_where_the_nodes_see_the_folder_of_the_study(write_study, tmp_path, as_on_a_node):
    task = TASK.replace("    for epoch", "    first = trial.resume(optimizer=optimizer) + 1\n    for epoch").replace(
        "        trial.report", "        print(first, epoch)\n        assert epoch < 3 or first > 1\n        trial.report"
    )
    as_on_a_node(write_study(task=task).parent)
    order = first_order(tmp_path / "study.toml", tmp_path / "mark")
    # What is there is another folder of that name.
    assert [carry_out(order).log.count(b"\nAssertionError") for _ in range(2)] == [1, 1]
    (tmp_path / "mark").touch()
    assert carry_out(order).failure.reason.startswith("AssertionError")
    outcome = carry_out(order)
    assert outcome.log.splitlines()[0] == b"3 3"  # and no epoch before
    assert len(outcome.result.curves["loss"]) == 3


def test_a_node_that_lacks_the_package_or_has_another_version_says_so_and_how_to_install_it():
    said = arrive(b"", {"equipoise": "9.9", "torch": version("torch")})
    node = f"node {platform.node()} of the Ray cluster"
    assert said.startswith(f"{node} has {version('equipoise')} of equipoise where it needs 9.9, so that its trials")
    assert said.endswith(f"run pip install 'equipoise[study,ray]==9.9' 'torch=={version('torch')}' there")
    assert "has none of no-such-package" in arrive(b"", {"no-such-package": "1"})


def test_a_folder_that_is_too_large_to_be_sent_is_refused_with_what_to_do(write_study, tmp_path):
    path = write_study()
    with (tmp_path / "images.bin").open("wb") as file:
        file.truncate(300_000_000)
    with pytest.raises(UnusableInputError, match=r"has more than 200 MB.* keep data elsewhere, .* in a file \.rayignore"):
        run(path, engine=RayCluster("local"))


def test_a_task_outside_of_the_folder_that_is_sent_is_refused(write_study, tmp_path):
    path = write_study()
    inner = tmp_path / "inner"
    inner.mkdir()
    path = path.rename(inner / "study.toml")
    path.write_text(path.read_text().replace("task.py", "../task.py"))
    with pytest.raises(UnusableInputError, match=r"task\.py is outside of the study's folder, .*: move the file there"):
        run(path, engine=RayCluster("local"))


@pytest.mark.parametrize("address", ["", "head", "ray://head:10001", "head:", ":6379", "head:port", "head:65536"])
def test_what_is_no_address_of_a_cluster_is_refused(address):
    with pytest.raises(ArgumentError, match="address must be 'auto', 'local' or HOST:PORT"):
        RayCluster(address)


def test_an_address_where_nothing_answers_is_refused_at_once(write_study):
    with pytest.raises(UnusableInputError, match=r"no Ray cluster answers at address '127.0.0.1:1': .*Connection refused"):
        run(write_study(), engine=RayCluster("127.0.0.1:1"))


def test_an_address_without_ray_is_refused(write_study, run):
    code, _, said = run("study", "run", write_study(), "--address", "auto")
    assert code == 2
    assert "address = 'auto' is not accepted: address must be given together with --engine ray" in said
