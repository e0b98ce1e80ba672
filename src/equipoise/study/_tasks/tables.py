"""Tabular data: scikit-learn's copy of the diabetes study of Efron et al. (2004), 442 patients with 10 numbers each."""

from __future__ import annotations

from typing import Any, cast

import torch
from numpy.typing import NDArray
from sklearn.datasets import load_diabetes  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]
from torch import Tensor, nn
from torch.nn import functional

from equipoise.study._tasks.training import Examples, split, train
from equipoise.study._worker import Trial


def diabetes(trial: Trial) -> None:
    """The progress of the disease after a year, from two hidden layers of 64 units; reports rmse in standard deviations."""
    numbers, progress = cast(tuple[NDArray[Any], NDArray[Any]], load_diabetes(return_X_y=True))
    inputs, targets = (torch.tensor(part, dtype=torch.float32) for part in (numbers, progress[:, None]))
    data = split(Examples(_standardized(inputs), _standardized(targets)), training=242, validation=60, batch=16)
    layers = nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1)
    train(trial, nn.Sequential(*layers), data, functional.mse_loss, _root_mean_square_error)


def _standardized(columns: Tensor) -> Tensor:
    return (columns - columns.mean(0)) / columns.std(0)


def _root_mean_square_error(predicted: Tensor, targets: Tensor) -> dict[str, Tensor]:
    return {"rmse": functional.mse_loss(predicted, targets).sqrt()}
