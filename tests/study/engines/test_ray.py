"""A study on a real Ray cluster of two nodes, of which processes and nodes are killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from equipoise.study import Analysis, RayCluster
from equipoise.study._store import Store, sqlite_url

from ..conftest import TASK
from ..recorder import run

pytestmark = pytest.mark.long

NODE = {"num_cpus": 1, "num_gpus": 1, "object_store_memory": 100_000_000, "include_dashboard": False}

SLOW = '''
import multiprocessing, os, time
from pathlib import Path

import torch

BEGUN = Path({folder!r}) / "begun"

def train(trial):
    """A trial of a second and a half, which says where it runs."""
    with BEGUN.open("a") as file:
        file.write(f"{{multiprocessing.parent_process().pid}} {{os.getpid()}}\\n")
    for epoch in trial.epochs():
        trial.optimizer([torch.nn.Parameter(torch.zeros(1))])
        time.sleep(0.5)
        trial.report(loss=trial.seed % 7 + trial.learning_rate)
'''


@pytest.fixture
def cluster(monkeypatch):
    """A Ray cluster of two nodes, for one trial each."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    made = cluster_utils.Cluster(initialize_head=True, head_node_args=NODE)
    made.add_node(**NODE)
    yield made
    made.shutdown()


def on(cluster) -> RayCluster:
    return RayCluster(cluster.address)


def test_a_study_has_the_same_verdict_to_the_digit_on_either_engine_and_may_run_in_part_on_both(write_study, tmp_path, cluster):
    here, _ = run(write_study())
    (tmp_path / "store.db").unlink()
    shutil.rmtree(tmp_path / "store.logs")
    there, recorder = run(write_study(("\nseeds = 3", "\nseeds = 2")), engine=on(cluster))
    assert len(recorder.cells) == 8 + 4
    assert there.headline == here.headline
    logs = {log.name for log in (tmp_path / "store.logs").iterdir()}
    assert len(logs) == 8 + 4
    assert not (tmp_path / "store.resume").exists()
    # The rest runs here, and reuses what ran there; and the other way round.
    both, recorder = run(write_study())
    assert len(recorder.cells) == 2
    assert any(message.startswith("4 trial(s) are reused") for message in recorder.told)
    _, recorder = run(write_study(), engine=on(cluster))
    assert recorder.cells == []
    assert values(both) == values(here)
    assert (both.contrasts, both.remarks) == (here.contrasts, here.remarks)


def values(analysis: Analysis) -> list[Any]:
    """Everything that trials reported, to the last bit."""
    return [(arm.name, arm.seeds, [result.curves for result in arm.results]) for arm in analysis.arms]


def test_a_trial_that_raises_is_recorded_with_its_reason_and_output_and_not_tried_again(write_study, tmp_path, cluster):
    task = TASK.replace("    centre", f"    open({str(tmp_path / 'begun')!r}, 'a').write('x')\n    print('before')\n    centre")
    task = task.replace("print('before')", "print('before, on GPU', os.environ['CUDA_VISIBLE_DEVICES'])")
    task = task.replace("        loss =", "        if trial.seed == 10_001: raise RuntimeError('out of luck')\n        loss =")
    analysis, recorder = run(write_study(("tuning_seeds = 2", "tuning_seeds = 1"), task=task), gpus=2, engine=on(cluster))
    assert len(analysis.missing) == 2
    for _, failure, again in recorder.failures:
        assert failure.reason.startswith("RuntimeError: out of luck (task.py, line ")
        assert failure.output.splitlines()[0] == "before, on GPU 0"
        assert Path(failure.log).read_text().startswith("before, on GPU 0\nTraceback")
        assert not again
    assert len((tmp_path / "begun").read_text()) == 4 + 6


def test_trials_that_lose_their_process_or_their_node_begin_again_and_every_one_is_kept_once(write_study, tmp_path, cluster):
    begun = tmp_path / "begun"
    killed: list[int] = []

    def strike() -> None:
        process, trial = when_begun(begun, 2)[1]
        killed.append(trial)
        os.kill(process, signal.SIGKILL)
        node = next(iter(cluster.worker_nodes))
        [raylet] = [started.process.pid for started in node.all_processes["raylet"]]
        count = len(when_begun(begun, 2)) + 1
        while parent((last := when_begun(begun, count)[-1])[0]) != raylet:
            count += 1
        killed.append(last[1])
        cluster.remove_node(node, allow_graceful=False)

    striking = threading.Thread(target=strike)
    striking.start()
    path = write_study(("tuning_seeds = 2", "tuning_seeds = 1"), task=SLOW.format(folder=str(tmp_path)))
    analysis, recorder = run(path, engine=on(cluster))
    striking.join()
    assert analysis.missing == ()
    assert [again for _, _, again in recorder.failures] == [True] * len(recorder.failures)
    assert len(recorder.failures) == 2
    assert all(failure.reason.startswith("its process or its node was lost: ") for _, failure, _ in recorder.failures)
    store = Store(sqlite_url(tmp_path / "store.db"), tmp_path)
    assert Counter(store.keys_of("quadratic")) == Counter({cell.assignment.key: 1 for cell in recorder.cells})
    store.close()
    assert len(recorder.cells) == 4 + 6
    # What was running is gone with its process.
    assert [os.path.exists(f"/proc/{trial}") for trial in killed] == [False, False]


def test_ctrl_c_lets_the_trials_finish_that_the_cluster_has_and_the_second_one_ends_them(write_study, tmp_path):
    path = write_study(("epochs = 3", "epochs = 300"), task=SLOW.format(folder=str(tmp_path)))
    options = "--engine", "ray", "--address", "local", "--workers", "2"
    command = [sys.executable, "-m", "equipoise", "study", "run", str(path), *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, process_group=0)
    trials = [trial for _, trial in when_begun(tmp_path / "begun", 2)]
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    time.sleep(3)
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    assert process.communicate(timeout=60)[1].splitlines()[-1].startswith("error: stopped by Ctrl-C; what is finished is kept")
    assert process.returncode == 3
    assert len(when_begun(tmp_path / "begun", 2)) == 2
    until = time.monotonic() + 10
    while any(os.path.exists(f"/proc/{trial}") for trial in trials) and time.monotonic() < until:
        time.sleep(0.1)
    assert [os.path.exists(f"/proc/{trial}") for trial in trials] == [False, False]


def when_begun(begun: Path, count: int) -> list[tuple[int, int]]:
    """The processes of trials that began, as soon as there are so many: that of Ray's worker, and the trial's own."""
    until = time.monotonic() + 300
    while not begun.exists() or len(begun.read_text().splitlines()) < count:
        assert time.monotonic() < until
        time.sleep(0.05)
    return [(int(worker), int(trial)) for worker, trial in map(str.split, begun.read_text().splitlines())]


def parent(process: int) -> int:
    """The parent of a process; 0 if it has ended."""
    try:
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0
