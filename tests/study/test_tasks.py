"""The built-in tasks train on real digits, the same way for the same seed and for every arm."""

from __future__ import annotations

import pytest
import torch

from equipoise.study.spec import Assignment, TaskSource
from equipoise.study.tasks import digits, digits_batchnorm
from equipoise.study.worker import Report, Trial


def train(task, seed: int = 0, epochs: int = 2, optimizer: str = "torch.optim.AdamW", rate: float = 0.01) -> list[Report]:
    reports: list[Report] = []
    assigned = Assignment(TaskSource("", "", ""), "accuracy", epochs, optimizer, {}, rate, seed)
    torch.manual_seed(seed)
    task(Trial(assigned, reports.append))
    return reports


@pytest.mark.parametrize("task", [digits, digits_batchnorm])
def test_a_few_epochs_recognise_most_digits(task):
    reports = train(task, epochs=4)
    assert [report.epoch for report in reports] == [1, 2, 3, 4]
    assert reports[-1].metrics["accuracy"] > 0.93
    assert reports[-1].metrics["loss"] < reports[0].metrics["loss"]
    assert reports[-1].metrics.keys() == {"loss", "test_loss", "accuracy"}


def test_a_seed_fixes_the_whole_trial():
    assert train(digits, seed=3) == train(digits, seed=3)
    assert train(digits, seed=3) != train(digits, seed=4)


def test_every_arm_starts_from_the_same_weights_on_the_same_images():
    still = {name: train(digits, optimizer=name, rate=1e-30) for name in ("torch.optim.SGD", "equipoise.SMES")}
    assert still["torch.optim.SGD"] == still["equipoise.SMES"]


def test_normalization_is_the_only_difference_between_the_tasks():
    assert train(digits, epochs=1) != train(digits_batchnorm, epochs=1)
