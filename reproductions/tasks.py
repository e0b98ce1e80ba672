"""What the claims train, as tasks of ``equipoise study``: pictures and text, each with and without normalization layers.

A trial runs in a process of its own and knows its study only; the device is a property of the machine and comes from the
environment, as :data:`DEVICE` says. CIFAR-10 and CIFAR-100 are what ``equipoise data`` has read.

The digits are scikit-learn's 1,797 pictures of 8 x 8; a seed draws its own training set, initial weights and batches. The text
is the source of Python's standard library.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

from equipoise.study._data import Pictures as Read
from equipoise.study._data import load, require
from equipoise.study._tasks.digits import convolutional
from equipoise.study._tasks.transformer import Size, Transformer
from equipoise.study._worker import Trial
from reproductions import text
from reproductions.resnet import Normalization, resnet18
from reproductions.sizes import SIZES

DEVICE = "EQUIPOISE_REPRODUCTIONS_DEVICE"
"""Environment variable: where trials train; without it, on the CPU."""

STEPS_PER_EPOCH = 25
"""Steps that count as one epoch of the text, which has no epochs of its own."""

Pictures = tuple[Tensor, Tensor]
"""Pixels, float32 of shape (number, channels, height, width), and labels, int64 of shape (number,)."""


def digits(trial: Trial) -> None:
    """A small convolutional network without normalization layers."""
    _digits(trial, nn.Identity)


def digits_norm(trial: Trial) -> None:
    """The same with BatchNorm after each convolution."""
    _digits(trial, nn.BatchNorm2d)


def few_digits_norm(trial: Trial) -> None:
    """The same, trained on a sixth of the pictures: what is fitted and what generalizes come apart."""
    _digits(trial, nn.BatchNorm2d, number=200, batch=25)


def cifar10(trial: Trial) -> None:
    """ResNet-18 on CIFAR-10, without normalization layers."""
    _cifar(trial, "cifar-10", nn.Identity)


def cifar10_norm(trial: Trial) -> None:
    """ResNet-18 on CIFAR-10."""
    _cifar(trial, "cifar-10", nn.BatchNorm2d)


def cifar100_norm(trial: Trial) -> None:
    """ResNet-18 on CIFAR-100."""
    _cifar(trial, "cifar-100", nn.BatchNorm2d)


def small_stdlib(trial: Trial) -> None:
    """A very small character-level transformer without normalization layers."""
    _text(trial, SIZES["quick"], nn.Identity)


def small_stdlib_norm(trial: Trial) -> None:
    """The same with LayerNorm."""
    _text(trial, SIZES["quick"], nn.LayerNorm)


def stdlib(trial: Trial) -> None:
    """A small character-level transformer without normalization layers."""
    _text(trial, SIZES["default"], nn.Identity)


def stdlib_norm(trial: Trial) -> None:
    """The same with LayerNorm."""
    _text(trial, SIZES["default"], nn.LayerNorm)


def stdlib_30m(trial: Trial) -> None:
    """A transformer of 30 million parameters without normalization layers."""
    _text(trial, SIZES["full"], nn.Identity)


def stdlib_30m_norm(trial: Trial) -> None:
    """The same with LayerNorm."""
    _text(trial, SIZES["full"], nn.LayerNorm)


def _digits(trial: Trial, normalization: Normalization, number: int = 1200, batch: int = 64) -> None:
    data = load_digits()
    pixels = torch.tensor(data.images, dtype=torch.float32).unsqueeze(1) / 16  # in [0, 1]
    labels = torch.tensor(data.target)
    training, test = torch.randperm(len(labels)).split([number, len(labels) - number])
    network = convolutional(normalization)
    _classify(trial, network, (pixels[training], labels[training]), (pixels[test], labels[test]), batch)


def _cifar(trial: Trial, name: str, normalization: Normalization) -> None:
    found = load(trial.data(require(name)), Read)
    training, test = (
        ((torch.as_tensor(pixels) / 255 - 0.5) / 0.25, torch.as_tensor(labels).long())  # about mean 0, variance 1
        for pixels, labels in (
            (found.training_pixels, found.training_labels),
            (found.test_pixels, found.test_labels),
        )
    )
    _classify(trial, resnet18(found.classes, normalization), training, test, 128, shift_and_flip)


def _classify(
    trial: Trial,
    network: nn.Module,
    training: Pictures,
    test: Pictures,
    batch: int,
    augment: Callable[[Tensor], Tensor] = lambda pixels: pixels,
) -> None:
    """Train, and report the mean loss of every epoch, and loss and accuracy on the test pictures after it."""
    device = _device()
    network, pixels, labels = network.to(device), training[0].to(device), training[1].to(device)
    test_pixels, test_labels = test[0].to(device), test[1].to(device)
    optimizer = trial.optimizer(network.parameters())
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, trial.total_epochs * -(-len(labels) // batch))
    for _ in trial.epochs():
        network.train()
        total = torch.zeros((), device=device)
        for chosen in torch.randperm(len(labels)).to(device).split(batch):
            loss = functional.cross_entropy(network(augment(pixels[chosen])), labels[chosen])
            _step(loss, optimizer, schedule)
            total += loss.detach() * len(chosen)
        network.eval()
        with torch.no_grad():
            scores = torch.cat([network(part) for part in test_pixels.split(1000)])
        accuracy = (scores.argmax(1) == test_labels).double().mean()
        trial.report(loss=total / len(labels), test_loss=functional.cross_entropy(scores, test_labels), accuracy=accuracy)


def shift_and_flip(pixels: Tensor) -> Tensor:
    """Every picture moved by up to 4 pixels either way, zeros coming in, and mirrored half of the time."""
    number, _, height, width = pixels.shape
    padded = functional.pad(pixels, (4, 4, 4, 4))
    rows, columns = (torch.randint(9, (number, 1)) + torch.arange(size) for size in (height, width))
    mirrored = torch.rand(number, 1) < 0.5
    columns = torch.where(mirrored, columns.flip(1), columns)
    at = torch.arange(number)[:, None, None]
    return padded.movedim(1, 3)[at, rows[:, :, None], columns[:, None, :]].movedim(3, 1)


def _text(trial: Trial, size: Size, normalization: type[nn.Module]) -> None:
    """Train on random windows; report the mean loss of every epoch, and the loss on fixed windows of unseen files after it."""
    device = _device()
    found = text.load()
    generator = torch.Generator().manual_seed(trial.seed)
    inputs, following = text.windows(found.validation, 128, size.context, torch.Generator().manual_seed(0))
    network = Transformer(size, normalization).to(device)
    optimizer = trial.optimizer(network.parameters())
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, trial.total_epochs * STEPS_PER_EPOCH)
    for _ in trial.epochs():
        total = torch.zeros((), device=device)
        for _ in range(STEPS_PER_EPOCH):
            batch = text.windows(found.training, size.batch, size.context, generator)
            loss = network.loss(*(codes.to(device) for codes in batch))
            _step(loss, optimizer, schedule)
            total += loss.detach()
        with torch.no_grad():
            test_loss = network.loss(inputs.to(device), following.to(device))
        trial.report(loss=total / STEPS_PER_EPOCH, test_loss=test_loss)


def _step(loss: Tensor, optimizer: torch.optim.Optimizer, schedule: torch.optim.lr_scheduler.LRScheduler) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    schedule.step()


def _device() -> torch.device:
    return torch.device(os.environ.get(DEVICE, "cpu"))
