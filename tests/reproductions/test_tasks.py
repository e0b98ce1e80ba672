"""The tasks train what they say, the same way for the same seed and for every arm."""

from __future__ import annotations

import pytest
import torch

from equipoise.study._cells import Assignment
from equipoise.study._task_source import TaskSource
from equipoise.study._worker import Report, Trial
from reproductions import tasks
from reproductions.resnet import resnet18

PAIRS = {"digits": "digits_norm", "stdlib": "stdlib_norm", "small_stdlib": "small_stdlib_norm"}


def train(task: str, epochs: int = 1, optimizer: str = "torch.optim.Adam", rate: float = 0.003) -> list[dict[str, float]]:
    reports: list[Report] = []
    torch.manual_seed(7)
    assigned = Assignment(TaskSource("", "", ""), "loss", epochs, optimizer, {}, rate, 7)
    getattr(tasks, task)(Trial(assigned, reports.append))
    return [report.metrics for report in reports]


@pytest.mark.parametrize("task", ["digits", "digits_norm", "few_digits_norm", "stdlib", "stdlib_norm", "small_stdlib_norm"])
def test_training_lowers_the_loss_on_unseen_data(task: str):
    reports = train(task, epochs=2)
    assert reports[1]["test_loss"] < reports[0]["test_loss"]
    assert reports[1]["loss"] < reports[0]["loss"]


@pytest.mark.parametrize("task", ["digits_norm", "stdlib"])
def test_a_seed_fixes_the_whole_trial(task: str):
    assert train(task) == train(task)


@pytest.mark.parametrize("task", ["digits", "stdlib_norm"])
def test_every_arm_starts_from_the_same_weights_on_the_same_data(task: str):
    assert train(task, rate=1e-30) == train(task, rate=1e-30, optimizer="equipoise.SMES")


@pytest.mark.parametrize(("without", "normalized"), PAIRS.items())
def test_normalization_makes_a_difference(without: str, normalized: str):
    assert train(without) != train(normalized)


def test_a_picture_is_moved_by_up_to_four_pixels_and_may_be_mirrored():
    torch.manual_seed(0)
    pictures = torch.zeros(200, 3, 32, 32)
    pictures[:, :, 10, 8] = 1.0
    moved = tasks.shift_and_flip(pictures)
    assert moved.shape == pictures.shape
    assert (moved.sum((2, 3)) == 1).all()
    rows, columns = {int(at) for at in moved[:, 0].nonzero()[:, 1]}, {int(at) for at in moved[:, 0].nonzero()[:, 2]}
    assert rows == set(range(6, 15))
    assert columns == set(range(4, 13)) | {31 - column for column in range(4, 13)}
    assert (moved[:, 0] == moved[:, 2]).all()  # a picture's colours move together


def test_resnet18_has_its_size():
    network = resnet18(10)
    convolutions = [layer for layer in network.modules() if isinstance(layer, torch.nn.Conv2d) and layer.kernel_size == (3, 3)]
    assert len(convolutions) + 1 == 18  # and the last, linear layer
    assert sum(weight.numel() for weight in network.parameters()) == pytest.approx(11.17e6, rel=1e-3)
    assert resnet18(100, torch.nn.Identity, width=4)(torch.zeros(2, 3, 32, 32)).shape == (2, 100)
