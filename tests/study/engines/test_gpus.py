"""Each trial has a GPU of its own, of those that the study may use. What it sees in its environment needs no GPU."""

from __future__ import annotations

from collections import Counter

import pytest

from equipoise.errors import ArgumentError
from equipoise.study._processes.gpus import first_gpus

from ..recorder import run

TASK = """
import os, time
from pathlib import Path

import torch

def train(trial):
    gpu = os.environ["CUDA_VISIBLE_DEVICES"]
    held = Path(__file__).with_name(f"held by {gpu}")
    held.touch(exist_ok=False)
    for _ in trial.epochs():
        trial.optimizer([torch.nn.Parameter(torch.zeros(1))])
        trial.report(loss=trial.seed % 7 + trial.learning_rate)
    time.sleep(0.2)
    held.unlink()
    with Path(__file__).with_name("given").open("a") as file:
        file.write(f"{gpu}\\n")
"""


def test_every_trial_sees_one_gpu_that_no_other_sees_at_that_time(write_study, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-5f,7")
    analysis, recorder = run(write_study(("tuning_seeds = 2", "tuning_seeds = 1"), task=TASK), gpus=2)
    assert analysis.missing == ()
    assert recorder.failures == []
    given = Counter((tmp_path / "given").read_text().split())
    assert sum(given.values()) == 4 + 6
    assert set(given) == {"3", "GPU-5f"}


@pytest.mark.parametrize(("visible", "accepted"), [("0", "at most 1"), ("", "at most 0"), ("4, 5", "at most 2")])
def test_more_gpus_than_there_are_are_refused(visible, accepted, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(ArgumentError, match=f"gpus must be {accepted}, the number of GPUs of CUDA_VIS"):
        first_gpus(3)
