"""Built-in tasks on real data that is part of an installed package: nothing is downloaded.

``digits`` and ``digits-batchnorm``: scikit-learn's copy of the UCI handwritten digits, 1,797 images of 8 x 8 pixels. A seed
draws its own 1,200 images for training, the initial weights and the order of the batches; the other 597 images are the test.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]
from torch import Tensor, nn
from torch.nn import functional

from equipoise.study.worker import Trial

TRAINING_IMAGES = 1200
BATCH = 64


def digits(trial: Trial) -> None:
    """A small convolutional network without normalization layers; reports loss, test_loss and accuracy."""
    _train(trial, _network(normalize=False))


def digits_batchnorm(trial: Trial) -> None:
    """The same network with BatchNorm after each convolution."""
    _train(trial, _network(normalize=True))


def _network(*, normalize: bool) -> nn.Module:
    def block(inputs: int, outputs: int) -> list[nn.Module]:
        norm = [nn.BatchNorm2d(outputs)] if normalize else []
        return [nn.Conv2d(inputs, outputs, 3, padding=1), *norm, nn.ReLU()]

    return nn.Sequential(*block(1, 16), *block(16, 32), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32 * 4 * 4, 10))


def _train(trial: Trial, network: nn.Module) -> None:
    pixels, target = cast(tuple[NDArray[Any], NDArray[Any]], load_digits(return_X_y=True))
    images = torch.tensor(pixels, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16  # in [0, 1]
    labels = torch.tensor(target)
    shuffled = torch.randperm(len(images))
    training, test = shuffled[:TRAINING_IMAGES], shuffled[TRAINING_IMAGES:]

    optimizer = trial.optimizer(network.parameters())
    steps = trial.total_epochs * -(-TRAINING_IMAGES // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    for _ in trial.epochs():
        network.train()
        total = 0.0
        for batch in torch.split(training[torch.randperm(TRAINING_IMAGES)], BATCH):
            loss = functional.cross_entropy(network(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()  # pyright: ignore[reportUnknownMemberType]
            optimizer.step()
            schedule.step()
            total += loss.item() * len(batch)
        test_loss, accuracy = _evaluate(network, images[test], labels[test])
        trial.report(loss=total / TRAINING_IMAGES, test_loss=test_loss, accuracy=accuracy)


@torch.no_grad()  # pyright: ignore[reportUntypedFunctionDecorator]
def _evaluate(network: nn.Module, images: Tensor, labels: Tensor) -> tuple[float, float]:
    network.eval()
    scores: Tensor = network(images)
    correct = int((scores.argmax(1) == labels).sum())
    return functional.cross_entropy(scores, labels).item(), correct / len(labels)
