"""A disk that is full, or that does not give back what was written, costs a snapshot or two and no training."""

import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from equipoise.errors import UnusableInputError
from equipoise.monitor import Rollback, Warn
from equipoise.monitor._recording.run_file import FILE

from .training import SNAPSHOTS, STEPS, Run, bad_gradient, same, steps_read, unfaulted

resource = pytest.importorskip("resource")

ROOT = Path(__file__).parents[2]


@contextmanager
def full(at):
    """No file of this process can grow beyond so many bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (at, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def on_disk(folder):
    return sorted({int(path.name.partition(".")[0]) for path in (folder / SNAPSHOTS).iterdir()})


def test_a_full_disk_stops_no_training_costs_no_snapshot_and_is_used_again_when_there_is_room(tmp_path, caplog):
    run = Run(Warn(), folder=tmp_path).train(4)
    [size] = {path.stat().st_size // 100 * 100 for path in (tmp_path / SNAPSHOTS).glob("*.pt")}
    with full(size // 2):
        run.train(8)
    assert caplog.text.count("could not be written to") == 2  # those of 5 and 7
    assert on_disk(tmp_path) == [1, 3]
    assert run.snapshots.steps == [5, 7]
    shutil.copytree(tmp_path / SNAPSHOTS, tmp_path / "then" / SNAPSHOTS)
    run.train().monitor.close()
    assert same(run.state(), unfaulted())
    assert on_disk(tmp_path) == [9, 11]
    assert steps_read(tmp_path) == list(range(1, STEPS + 1))
    died = Run(Warn(), folder=tmp_path / "then").resume()
    assert died.monitor.steps == 3
    assert same(died.train().state(), unfaulted())
    died.monitor.close()


def test_a_run_file_that_cannot_grow_ends_with_a_whole_line_and_training_goes_on(tmp_path, caplog):
    run = Run(Warn(), folder=tmp_path).train(4)
    with full((tmp_path / FILE).stat().st_size + 100):
        run.train(8)
    run.train().monitor.close()
    assert same(run.state(), unfaulted())
    assert steps_read(tmp_path) == [1, 2, 3, 4]
    assert caplog.text.count("gets no more readings, training goes on: write failed") == 1


def test_a_file_system_without_room_for_one_more_snapshot_keeps_those_that_it_has(tmp_path):
    # One of its own, which is gone with the process: what is on it is copied out.
    disk, kept, size = tmp_path / "disk", tmp_path / "kept", 4096 * 20
    disk.mkdir()
    script = 'mount -t tmpfs -o size=$0 tmpfs "$1" || exit 99; "$3" -m tests.faults.child "$1" 12 none && cp -r "$1" "$2"'
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, str(size), disk, kept, sys.executable]
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode == 99 or done.stderr.startswith("unshare"):
        pytest.skip(f"may not mount a file system: {done.stderr}")
    assert done.stdout.split() == [*map(str, range(1, STEPS + 1)), "done"]
    assert done.stderr.count("No space left on device") >= 4  # for the snapshots of 5, 7, 9 and 11
    assert on_disk(kept) == [1, 3]
    run = Run(Warn(), folder=kept).resume()
    assert run.monitor.steps == 3
    assert same(run.train().state(), unfaulted())
    run.monitor.close()
    read = steps_read(kept)
    assert read == [*range(1, len(read) - 8), *range(4, STEPS + 1)]


def test_a_folder_that_is_removed_while_training_stops_nothing_and_loses_no_state_in_memory(tmp_path, caplog):
    run = Run(Rollback(), folder=tmp_path / "run").train(4)
    shutil.rmtree(tmp_path / "run")
    run.train(faults=[(8, bad_gradient)])
    run.monitor.close()
    assert "No such file or directory" in caplog.text
    assert run.guard.rollbacks == 1
    assert same(run.state(), unfaulted())


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize("suffix", ["pt", "json"])
def test_a_flipped_bit_in_either_file_of_a_snapshot_makes_the_one_before_be_used_and_nothing_is_lost(tmp_path, suffix, caplog):
    Run(Warn(), folder=tmp_path / "whole").train(8).monitor.close()
    whole = (tmp_path / "whole" / SNAPSHOTS / f"000000007.rank0.{suffix}").read_bytes()
    first = whole.index(b'"sha256": "') + 11 if suffix == "json" else 0
    last = first + 64 if suffix == "json" else len(whole)
    for place in range(first, last, (last - first) // 12):
        folder = tmp_path / str(place)
        shutil.copytree(tmp_path / "whole", folder)
        flip(folder / SNAPSHOTS / f"000000007.rank0.{suffix}", place)
        caplog.clear()
        run = Run(Warn(), folder=folder).resume()
        assert run.monitor.steps == 5
        assert "000000007.rank0.pt is damaged and is not used" in caplog.text
        run.train().monitor.close()
        assert same(run.state(), unfaulted())


def test_where_every_snapshot_is_damaged_that_is_said_and_nothing_touched(tmp_path):
    Run(Warn(), folder=tmp_path).train(8).monitor.close()
    for path in (tmp_path / SNAPSHOTS).glob("*.pt"):
        flip(path, 1000)
    run = Run(Warn(), folder=tmp_path)
    before = run.state()
    with pytest.raises(UnusableInputError, match="no snapshot to go back to"):
        run.resume()
    assert same(run.state(), before)
    assert len(list((tmp_path / SNAPSHOTS).glob("*.damaged"))) == 4  # kept for whoever wants to look
    assert same(run.train().state(), unfaulted())
    run.monitor.close()
