"""Readings are plain data."""

from __future__ import annotations

import dataclasses
import pickle
import subprocess
import sys

import pytest

import equipoise.monitor
from equipoise.monitor import GroupReading, Reading, TensorReading

READING = Reading(
    7,
    0.0,
    True,
    {"loss": float("inf")},
    (GroupReading(0.1, (0.5,), ((0.9, 0.999),), 0.1, 0.1, 0.0, 0.0),),
    {"weight": TensorReading(*range(10))},
)


def test_a_reading_is_never_changed_and_survives_a_pickle():
    with pytest.raises(dataclasses.FrozenInstanceError):
        READING.step = 8
    assert pickle.loads(pickle.dumps(READING)) == READING


def test_to_read_a_run_imports_no_torch():
    code = "import sys; from equipoise.monitor import Reading; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_can_be_imported():
    for name in equipoise.monitor.__all__:
        assert getattr(equipoise.monitor, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Watcher'; public names are"):
        _ = equipoise.monitor.Watcher
