"""Pictures that lie in the folder for data: Fashion-MNIST, CIFAR-10 and CIFAR-100, and pictures of one's own.

A seed draws which training pictures are for validation, a tenth of them; the test is that of the data. Nothing is augmented.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from equipoise.study._data import Pictures, load, require
from equipoise.study._tasks.training import Data, Examples, Shuffled, accuracy, cross_entropy, train
from equipoise.study._worker import Trial

Norm = Callable[[int], nn.Module]
"""From a number of channels to a layer."""

BATCH = 128


def fashion_mnist(trial: Trial) -> None:
    """Two convolutions with pooling and a linear layer, without normalization layers; reports accuracy."""
    _classify(trial, "fashion-mnist", convolutional, nn.Identity)


def fashion_mnist_batchnorm(trial: Trial) -> None:
    """The same with BatchNorm after each convolution; reports accuracy."""
    _classify(trial, "fashion-mnist", convolutional, nn.BatchNorm2d)


def cifar_10(trial: Trial) -> None:
    """A residual network of 7 convolutions, without normalization layers; reports accuracy."""
    _classify(trial, "cifar-10", residual, nn.Identity)


def cifar_10_batchnorm(trial: Trial) -> None:
    """The same with BatchNorm after each convolution; reports accuracy."""
    _classify(trial, "cifar-10", residual, nn.BatchNorm2d)


def cifar_100(trial: Trial) -> None:
    """The residual network on 100 classes, without normalization layers; reports accuracy."""
    _classify(trial, "cifar-100", residual, nn.Identity)


def cifar_100_batchnorm(trial: Trial) -> None:
    """The same with BatchNorm after each convolution; reports accuracy."""
    _classify(trial, "cifar-100", residual, nn.BatchNorm2d)


def own_pictures(trial: Trial) -> None:
    """The residual network on the pictures that were read as ``pictures``, without normalization layers; reports accuracy."""
    _classify(trial, "pictures", residual, nn.Identity)


def own_pictures_batchnorm(trial: Trial) -> None:
    """The same with BatchNorm after each convolution; reports accuracy."""
    _classify(trial, "pictures", residual, nn.BatchNorm2d)


class Scaled(nn.Module):
    """From bytes to numbers around 0."""

    def forward(self, pixels: Tensor) -> Tensor:
        """From any shape to the same, in [-2, 2]."""
        return (pixels.float() / 255 - 0.5) / 0.25


class Block(nn.Module):
    """Two convolutions and a way around them."""

    def __init__(self, inputs: int, outputs: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            *(nn.Conv2d(inputs, outputs, 3, stride, padding=1), norm(outputs), nn.ReLU()),
            *(nn.Conv2d(outputs, outputs, 3, padding=1), norm(outputs)),
        )
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """From (batch, inputs, height, width) to (batch, outputs, height / stride, width / stride)."""
        return functional.relu(self.branch(x) + self.shortcut(x))


def convolutional(colours: int, classes: int, norm: Norm) -> nn.Module:
    """For pictures of 28 x 28 pixels, as bytes; 20 thousand parameters."""
    return nn.Sequential(
        Scaled(),
        *(nn.Conv2d(colours, 16, 3, padding=1), norm(16), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), norm(32), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(32 * 7 * 7, classes)),
    )


def residual(colours: int, classes: int, norm: Norm, width: int = 16) -> nn.Module:
    """For pictures of any size, as bytes; 78 thousand parameters.

    Source: He et al., arXiv 1512.03385, the network for CIFAR, with one block in each of its three groups.
    """
    return nn.Sequential(
        Scaled(),
        *(nn.Conv2d(colours, width, 3, padding=1), norm(width), nn.ReLU()),
        Block(width, width, 1, norm),
        Block(width, 2 * width, 2, norm),
        Block(2 * width, 4 * width, 2, norm),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * width, classes)),
    )


def _classify(trial: Trial, name: str, network: Callable[[int, int, Norm], nn.Module], norm: Norm) -> None:
    found = load(trial.data(require(name)), Pictures)
    seen = Examples(torch.as_tensor(found.training_pixels), torch.as_tensor(found.training_labels).long())
    test = Examples(torch.as_tensor(found.test_pixels), torch.as_tensor(found.test_labels).long())
    order = torch.randperm(len(seen.targets))
    validation, training = order.tensor_split([len(order) // 10])
    data = Data(Shuffled(seen.only(training), BATCH), seen.only(validation), test)
    train(trial, network(found.training_pixels.shape[1], found.classes, norm), data, cross_entropy, accuracy)
