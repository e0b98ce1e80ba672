"""Snapshots are whole, share no memory with what trains, and survive a damaged disk."""

import hashlib
import itertools
import json
import logging
import os
import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from equipoise import SMES
from equipoise.errors import ArgumentError, UnusableInputError
from equipoise.monitor import Snapshots
from equipoise.monitor._guarding.archive import spaced


class Counter:
    """Something with a state."""

    def __init__(self, value=0):
        self.value = value

    def state_dict(self):
        return {"value": self.value}

    def load_state_dict(self, state_dict):
        self.value = state_dict["value"]


def trained(optimizer_class=SMES):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))
    optimizer = optimizer_class(model.parameters(), lr=0.01)
    train(model, optimizer)
    return model, optimizer


def train(model, optimizer, steps=3):
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(16, 4)).square().mean().backward()
        optimizer.step()


def everything(model, optimizer):
    state = [value for each in optimizer.state.values() for value in each.values()]
    tensors = [*model.state_dict().values(), *(value for value in state if isinstance(value, torch.Tensor))]
    return [tensor.clone() for tensor in tensors]


def same(one, other):
    return len(one) == len(other) and all(map(torch.equal, one, other))


@pytest.mark.parametrize("optimizer_class", [SMES, torch.optim.AdamW])  # torch's keeps the tensors that it is given
@pytest.mark.parametrize("on_disk", [False, True])
def test_a_snapshot_can_be_gone_back_to_again_and_again(tmp_path, optimizer_class, on_disk):
    model, optimizer = trained(optimizer_class)
    snapshots = Snapshots({"model": model, "optimizer": optimizer}, folder=tmp_path if on_disk else None)
    snapshots.take(3)
    expected = everything(model, optimizer)
    for _ in range(2):
        train(model, optimizer)
        assert not same(everything(model, optimizer), expected)
        assert snapshots.restore().step == 3
        assert same(everything(model, optimizer), expected)


def test_a_new_process_goes_on_from_the_disk_as_if_it_were_the_old_one(tmp_path):
    model, optimizer = trained()
    Snapshots({"model": model, "optimizer": optimizer}, folder=tmp_path).take(3)
    train(model, optimizer)
    expected = everything(model, optimizer)
    torch.manual_seed(1)
    model, optimizer = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 1)), None
    optimizer = SMES(model.parameters())
    assert Snapshots({"model": model, "optimizer": optimizer}, folder=tmp_path).restore().step == 3
    train(model, optimizer)  # draws the same random numbers
    assert same(everything(model, optimizer), expected)


@pytest.mark.parametrize("on_disk", [False, True])
def test_all_random_numbers_go_back(tmp_path, on_disk):
    snapshots = Snapshots({"counter": Counter()}, folder=tmp_path if on_disk else None)
    np.random.standard_normal()  # noqa: NPY002 (leaves half a pair behind)
    snapshots.take(1)

    def drawn():
        return random.gauss(), np.random.standard_normal(3).tolist(), torch.randn(3).tolist()  # noqa: NPY002

    first = drawn()
    if on_disk:
        snapshots = Snapshots({"counter": Counter()}, folder=tmp_path)
    snapshots.restore()
    assert drawn() == first


@given(st.lists(st.integers(1, 50), min_size=1, max_size=300), st.integers(2, 6))
def test_recent_snapshots_are_kept_close_together_and_some_old_ones(gaps, keep):
    kept, every = [], []
    for step in itertools.accumulate(gaps):
        every.append(step)
        kept = spaced([*kept, step], keep)
        assert kept == sorted(set(kept))
        assert kept[-1] == step
        assert len(kept) == min(keep, len(every))
        if len(kept) == keep > 2:  # there is one that is older than those just before
            assert kept[0] < every[-2]


def test_the_oldest_is_some_times_as_old_as_the_one_before_the_newest():
    kept, ages = [], []
    for step in range(10, 20_000, 10):
        kept = spaced([*kept, step], 4)
        ages.append((step - kept[0]) / (step - kept[-2]) if len(kept) == 4 else 3)
    assert min(ages) >= 3
    assert max(ages) == 16


def test_without_a_distance_snapshots_are_closer_early_in_a_run():
    snapshots = Snapshots({"counter": Counter()})
    taken = []
    for step in range(1, 1001):
        if snapshots.due(step):
            snapshots.take(step)
            taken.append(step)
    assert taken[:9] == [1, 2, 3, 4, 5, 6, 7, 8, 10]
    assert taken[-3:] == [757, 857, 957]
    assert len(taken) < 35


def test_the_log_says_how_much_memory_and_disk_they_will_take(tmp_path, caplog):
    model = nn.Linear(1000, 1000, bias=False)
    optimizer = torch.optim.Adam(model.parameters())
    snapshots = Snapshots({"model": model, "optimizer": optimizer}, folder=tmp_path, every=1)
    snapshots.take(0)
    model.weight.grad = torch.ones(1000, 1000)
    optimizer.step()
    snapshots.take(1)
    snapshots.take(2)
    first, second = [record.message for record in caplog.records]
    assert "a snapshot takes 4 MB; the 3 that are kept, 12 MB, and as much in" in first
    assert "a snapshot takes 12 MB; the 3 that are kept, 36 MB" in second


def test_the_newest_and_an_old_one_are_kept_in_memory_and_on_disk(tmp_path):
    counter = Counter()
    snapshots = Snapshots({"counter": counter}, folder=tmp_path, every=10, keep=3)
    for step in range(10, 60, 10):
        assert snapshots.due(step)
        assert not (snapshots.steps and snapshots.due(step - 1))
        counter.value = step
        snapshots.take(step)
    assert snapshots.steps == [10, 40, 50]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        f"{step:09d}.rank0.{suffix}" for step in (10, 40, 50) for suffix in ("pt", "json")
    )
    assert snapshots.restore(before=50).step == 40
    assert counter.value == 40
    assert snapshots.steps == [10, 40]
    assert len(list(tmp_path.iterdir())) == 4  # what came after it is gone
    assert snapshots.restore(before=1).step == 10  # the oldest, where there is none


def test_the_manifest_has_the_sha256_of_the_file(tmp_path):
    Snapshots({"counter": Counter()}, folder=tmp_path).take(7)
    manifest = json.loads((tmp_path / "000000007.rank0.json").read_text())
    assert manifest["sha256"] == hashlib.sha256((tmp_path / "000000007.rank0.pt").read_bytes()).hexdigest()
    assert manifest["step"] == 7


def flip(path, index):
    content = bytearray(path.read_bytes())
    content[index % len(content)] ^= 16
    path.write_bytes(content)


@pytest.mark.parametrize("index", [0, 100, 1000, -100, -1])
def test_one_flipped_bit_makes_the_one_before_be_used(tmp_path, caplog, index):
    counter = Counter()
    snapshots = Snapshots({"counter": counter}, folder=tmp_path)
    for step in (1, 2):
        counter.value = step
        snapshots.take(step)
    flip(tmp_path / "000000002.rank0.pt", index)
    again = Snapshots({"counter": counter}, folder=tmp_path)
    assert again.restore().step == 1
    assert counter.value == 1
    assert "is damaged and is not used" in caplog.text
    assert (tmp_path / "000000002.rank0.pt.damaged").exists()
    again.take(2)  # in its place


def test_no_flipped_bit_in_a_manifest_gives_a_wrong_state(tmp_path):
    counter = Counter()
    snapshots = Snapshots({"counter": counter}, folder=tmp_path)
    for step in (1, 2):
        counter.value = step
        snapshots.take(step)
    whole = {path: path.read_bytes() for path in tmp_path.iterdir()}
    manifest = tmp_path / "000000002.rank0.json"
    found = []
    for index in range(len(whole[manifest])):
        for path in tmp_path.iterdir():
            path.unlink()
        for path, content in whole.items():
            path.write_bytes(content)
        flip(manifest, index)
        found.append(Snapshots({"counter": counter}, folder=tmp_path).restore().step)
        assert counter.value == found[-1]
    assert found.count(1) > 64  # each digit of the hash, and what makes it JSON


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("000000003.rank0.json", "[" * 100_000),
        ("000000003.rank0.json", "1" * 5000),
        ("000000003.rank0.json", "null"),
        ("notes.rank0.json", "{}"),
        ("3.rank0.json", "{}"),
    ],
)
def test_a_foreign_or_malformed_manifest_does_not_hide_the_older_good_snapshot(tmp_path, name, content):
    counter = Counter(2)
    Snapshots({"counter": counter}, folder=tmp_path).take(2)
    (tmp_path / name).write_text(content)
    counter.value = 0
    again = Snapshots({"counter": counter}, folder=tmp_path)
    assert again.restore().step == counter.value == 2
    again.take(4)
    assert (tmp_path / name).exists() == (name != "000000003.rank0.json")  # what is not ours is left alone


def test_leftovers_of_a_write_that_was_killed_are_no_snapshots_and_are_cleared_away(tmp_path):
    counter = Counter(1)
    Snapshots({"counter": counter}, folder=tmp_path).take(1)
    (tmp_path / "000000002.rank0.ptabc.part").write_bytes(b"half")
    (tmp_path / "000000003.rank0.pt").write_bytes(b"whole, but without a manifest")
    snapshots = Snapshots({"counter": counter}, folder=tmp_path)
    assert snapshots.restore().step == 1
    snapshots.take(2)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"00000000{step}.rank0.{suffix}" for step in (1, 2) for suffix in ("json", "pt")]


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_disk_that_fails_costs_no_snapshot_in_memory_and_none_on_disk(tmp_path, monkeypatch, caplog, failing):
    counter = Counter(1)
    snapshots = Snapshots({"counter": counter}, folder=tmp_path)
    snapshots.take(1)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, failing, full)
    with caplog.at_level(logging.ERROR):
        counter.value = 2
        snapshots.take(2)
    assert "No space left on device" in caplog.text
    monkeypatch.undo()
    assert snapshots.restore().step == 2
    assert Snapshots({"counter": counter}, folder=tmp_path).restore().step == 1


def test_a_disk_that_fills_up_in_the_middle_of_a_file_costs_no_snapshot(tmp_path, caplog):
    resource = pytest.importorskip("resource")
    signal = pytest.importorskip("signal")
    model = nn.Linear(100, 100)
    snapshots = Snapshots({"model": model}, folder=tmp_path)
    snapshots.take(1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        snapshots.take(2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert "in memory only: " in caplog.text
    assert snapshots.steps == [1, 2]
    assert Snapshots({"model": model}, folder=tmp_path).restore().step == 1
    assert not list(tmp_path.glob("*.part"))


def test_a_run_that_begins_anew_in_the_same_folder_sets_the_snapshots_of_the_earlier_one_aside(tmp_path, caplog):
    for value in (1, 2, 3):
        snapshots = Snapshots({"counter": Counter(value=value)}, folder=tmp_path)
        snapshots.take(100)
        snapshots.take(500)
    assert f"{tmp_path} held snapshots of an earlier run; they are in {tmp_path / 'earlier-2'} now" in caplog.text
    counter = Counter()
    for folder, value in ((tmp_path, 3), (tmp_path / "earlier-1", 1), (tmp_path / "earlier-2", 2)):
        assert Snapshots({"counter": counter}, folder=folder).restore().step == 500
        assert counter.value == value


def test_a_run_that_goes_on_keeps_its_snapshots_where_they_are(tmp_path):
    Snapshots({"counter": Counter()}, folder=tmp_path).take(500)
    again = Snapshots({"counter": Counter()}, folder=tmp_path)
    again.restore()
    again.take(600)
    Snapshots({"counter": Counter()}, folder=tmp_path).take(700)  # from a checkpoint of its own
    assert not list(tmp_path.glob("earlier*"))


def test_the_step_of_a_snapshot_is_after_that_of_the_one_before(tmp_path):
    snapshots = Snapshots({"counter": Counter()}, folder=tmp_path)
    snapshots.take(500)
    with pytest.raises(ArgumentError, match="step = 500 is not accepted: step must be after 500"):
        snapshots.take(500)


def test_a_state_that_the_disk_cannot_give_back_is_refused_at_the_first_snapshot(tmp_path):
    snapshots = Snapshots({"counter": Counter(value=Counter())}, folder=tmp_path)
    with pytest.raises(ArgumentError, match=r"objects = \['counter'\] .* nothing but tensors and plain values"):
        snapshots.take(1)


def test_what_does_not_fit_is_refused_and_nothing_restored(tmp_path):
    with pytest.raises(ArgumentError, match="state_dict and load_state_dict"):
        Snapshots({"model": 3})
    with pytest.raises(ArgumentError, match="at least one object"):
        Snapshots({})
    with pytest.raises(ArgumentError, match=r"keep = 1 .* at least 2"):
        Snapshots({"counter": Counter()}, keep=1)
    with pytest.raises(UnusableInputError, match="no snapshot"):
        Snapshots({"counter": Counter()}, folder=tmp_path).restore()
    Snapshots({"counter": Counter(5)}, folder=tmp_path).take(1)
    counter = Counter()
    with pytest.raises(UnusableInputError, match="of counter, and the objects to restore are counter, other"):
        Snapshots({"counter": counter, "other": Counter()}, folder=tmp_path).restore()
    assert counter.value == 0


@pytest.mark.parametrize("states", [torch.ones(1).expand(10**6, 10**6), torch.ones(3), [1], ["x"], [torch.ones(16)], None])
def test_the_random_states_of_gpus_are_a_list_of_bytes(tmp_path, states):
    counter = Counter(1)
    for step in (1, 2):
        Snapshots({"counter": counter}, folder=tmp_path).take(step)
    newest = tmp_path / "000000002.rank0.pt"
    content = torch.load(newest, weights_only=True)
    torch.save(content | {"random": content["random"] | {"cuda": states}}, newest)
    digest = hashlib.sha256(newest.read_bytes()).hexdigest()
    newest.with_suffix(".json").write_text(json.dumps({"sha256": digest}))
    assert Snapshots({"counter": counter}, folder=tmp_path).restore().step == 1
