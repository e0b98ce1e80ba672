"""The loop that all built-in tasks share: mini-batches, one optimizer, a cosine schedule to zero, an evaluation per epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from equipoise.study._worker import Trial


class Examples(NamedTuple):
    """Examples and what is to be learned of them, both counted in the first dimension."""

    inputs: Tensor
    targets: Tensor

    def only(self, chosen: Tensor) -> Examples:
        """Those of them, by number."""
        return Examples(self.inputs[chosen], self.targets[chosen])


class Batches(Protocol):
    """What an epoch trains on, drawn anew for every one."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Examples]: ...


class Shuffled:
    """All examples in a random order, so many at a time."""

    def __init__(self, examples: Examples, batch: int) -> None:
        self._examples, self._batch = examples, batch

    def __len__(self) -> int:
        return math.ceil(len(self._examples.targets) / self._batch)

    def __iter__(self) -> Iterator[Examples]:
        for chosen in torch.split(torch.randperm(len(self._examples.targets)), self._batch):
            yield self._examples.only(chosen)


@dataclass(frozen=True)
class Data:
    """Disjoint examples."""

    training: Batches
    validation: Examples
    test: Examples


def split(examples: Examples, training: int, validation: int, batch: int) -> Data:
    """Draw so many for training and for validation; all others are the test."""
    order = torch.randperm(len(examples.targets))
    parts = [examples.only(part) for part in order.tensor_split([training, training + validation])]
    return Data(Shuffled(parts[0], batch), parts[1], parts[2])


def cross_entropy(scores: Tensor, labels: Tensor) -> Tensor:
    """Mean in nats; the last dimension of `scores` counts the classes."""
    return functional.cross_entropy(scores.flatten(0, -2), labels.flatten())


def accuracy(scores: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """The share of examples whose class has the highest score."""
    return {"accuracy": (scores.argmax(-1) == labels).double().mean()}


def train(
    trial: Trial,
    network: nn.Module,
    data: Data,
    objective: Callable[[Tensor, Tensor], Tensor],
    measure: Callable[[Tensor, Tensor], dict[str, Tensor]],
) -> None:
    """Train, and report after every epoch.

    Args:
        trial: of the study.
        network: from inputs to outputs.
        data: to train on, and to be judged by.
        objective: the mean loss of outputs against targets.
        measure: what else is reported of the outputs for the test, by name.
    """
    optimizer = trial.optimizer(network.parameters())
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, trial.total_epochs * len(data.training))
    for _ in trial.epochs():
        network.train()
        losses: list[Tensor] = []
        for inputs, targets in data.training:
            loss = objective(network(inputs), targets)
            optimizer.zero_grad()
            loss.backward()  # pyright: ignore[reportUnknownMemberType]
            optimizer.step()
            schedule.step()
            losses.append(loss.detach())
        network.eval()
        with torch.no_grad():
            validation, test = (network(part.inputs) for part in (data.validation, data.test))
        trial.report(
            loss=torch.stack(losses).mean(),
            validation_loss=objective(validation, data.validation.targets),
            test_loss=objective(test, data.test.targets),
            **measure(test, data.test.targets),
        )
