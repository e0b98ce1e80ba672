"""The loop that all built-in tasks share: mini-batches, one optimizer, a cosine schedule by default, evaluated every epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from equipoise.study._worker import Trial

EVALUATED = 1000
"""So many examples at once are evaluated: a network keeps more numbers for each than the example has."""


class Examples(NamedTuple):
    """Inputs and their targets; the first dimension of both counts the examples."""

    inputs: Tensor
    targets: Tensor

    def only(self, chosen: Tensor) -> Examples:
        """The examples with these numbers."""
        return Examples(self.inputs[chosen], self.targets[chosen])


class Batches(Protocol):
    """The batches of an epoch, drawn anew for every epoch."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Examples]: ...


class Shuffled:
    """All examples in a random order, in batches of equal size; the last may be smaller."""

    def __init__(self, examples: Examples, batch: int) -> None:
        self._examples, self._batch = examples, batch

    def __len__(self) -> int:
        return math.ceil(len(self._examples.targets) / self._batch)

    def __iter__(self) -> Iterator[Examples]:
        for chosen in torch.split(torch.randperm(len(self._examples.targets)), self._batch):
            yield self._examples.only(chosen)


@dataclass(frozen=True)
class Data:
    """The examples of a task, in three disjoint parts."""

    training: Batches
    validation: Examples
    test: Examples


def split(examples: Examples, training: int, validation: int, batch: int) -> Data:
    """Draw examples for training and for validation; all others are the test."""
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
        trial: gives the optimizer and the epochs, and takes the reports.
        network: maps inputs to outputs.
        data: what it trains on, is chosen by, and is tested on.
        objective: the mean loss, from outputs and targets.
        measure: further numbers by name, from outputs and targets; of the validation they are called validation_NAME.
    """
    optimizer = trial.optimizer(network)
    schedule = trial.scheduler(optimizer, trial.total_epochs * len(data.training), default="cosine")
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
        with torch.no_grad(), trial.evaluation():
            validation, test = (
                torch.cat([network(some) for some in torch.split(part.inputs, EVALUATED)])
                for part in (data.validation, data.test)
            )
        trial.report(
            loss=torch.stack(losses).mean(),
            validation_loss=objective(validation, data.validation.targets),
            **{f"validation_{name}": value for name, value in measure(validation, data.validation.targets).items()},
            test_loss=objective(test, data.test.targets),
            **measure(test, data.test.targets),
        )
