"""Handwritten digits: scikit-learn's copy of the UCI data, 1,797 images of 8 x 8 pixels."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, cast

import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]
from torch import Tensor, nn

from equipoise.study._tasks.training import Data, Examples, Shuffled, accuracy, cross_entropy, split, train
from equipoise.study._worker import Trial

LONG_TAIL = tuple(round(100 * 0.6**rank) for rank in range(10))
"""Training images of each class: 100, 60, ..., 1."""


def digits(trial: Trial) -> None:
    """A small convolutional network without normalization layers; reports accuracy."""
    _classify(trial, convolutional(nn.Identity))


def digits_batchnorm(trial: Trial) -> None:
    """The same network with BatchNorm after each convolution; reports accuracy."""
    _classify(trial, convolutional(nn.BatchNorm2d))


def deep_digits(trial: Trial) -> None:
    """Ten hidden layers of 32 tanh units, through which gradients vanish as torch initialises them; reports accuracy."""
    widths = [64, *[32] * 10]
    hidden = [layer for pair in pairwise(widths) for layer in (nn.Linear(*pair), nn.Tanh())]
    _classify(trial, nn.Sequential(nn.Flatten(), *hidden, nn.Linear(32, 10)))


def long_tail_digits(trial: Trial) -> None:
    """The network with BatchNorm, and from 100 down to 1 training images per class; reports balanced_accuracy.

    Which digit is how rare is drawn by the seed. Validation and test hold all digits alike; balanced accuracy is the mean over
    classes of the share that is recognised.
    """
    images = _images()
    shuffled = torch.randperm(len(images.targets))
    members = [shuffled[images.targets[shuffled] == digit] for digit in torch.randperm(10)]
    training = torch.cat([some[:count] for some, count in zip(members, LONG_TAIL, strict=True)])
    validation, test = (torch.cat([some[part] for some in members]) for part in (slice(100, 120), slice(120, None)))
    data = Data(Shuffled(images.only(training), 16), images.only(validation), images.only(test))
    train(trial, convolutional(nn.BatchNorm2d), data, cross_entropy, _balanced_accuracy)


def convolutional(norm: Callable[[int], nn.Module]) -> nn.Module:
    """Two convolutions, each with normalization of its channels, and a linear layer: from 8 x 8 pixels to 10 scores."""
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), norm(16), nn.ReLU()),
        *(nn.Conv2d(16, 32, 3, padding=1), norm(32), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(32 * 4 * 4, 10)),
    )


def _balanced_accuracy(scores: Tensor, labels: Tensor) -> dict[str, Tensor]:
    right = (scores.argmax(-1) == labels).double()
    return {"balanced_accuracy": torch.stack([right[labels == digit].mean() for digit in range(10)]).mean()}


def _classify(trial: Trial, network: nn.Module) -> None:
    train(trial, network, split(_images(), training=1200, validation=197, batch=64), cross_entropy, accuracy)


def _images() -> Examples:
    pixels, target = cast(tuple[NDArray[Any], NDArray[Any]], load_digits(return_X_y=True))
    return Examples(torch.tensor(pixels, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16, torch.tensor(target))  # in [0, 1]
