"""Means of metrics that may still be on the device."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from equipoise.errors import ArgumentError
from equipoise.monitor._measuring.gathering import fetched
from equipoise.monitor._measuring.readings import NAME_LENGTH


class MetricMeans:
    """The mean of everything that was added under a name; not finite where one number was not. Nothing waits for a device."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[Tensor, int]] = {}
        """For each name the sum, and how many numbers it has."""

    def add(self, metrics: Mapping[str, float | Tensor]) -> None:
        """Add one more number for each name.

        Raises:
            ArgumentError: it is neither a number nor a tensor of one element, or its name is too long.
        """
        for name, value in metrics.items():
            if len(name) > NAME_LENGTH:
                raise ArgumentError("a metric's name", name, f"text of up to {NAME_LENGTH:,} characters")
            if isinstance(value, Tensor) and value.numel() == 1 and not value.is_complex():
                number = value.detach().reshape(()).to(torch.float64, copy=True)  # its memory may be used again
            elif isinstance(value, Real):
                number = torch.tensor(float(value), dtype=torch.float64)
            else:
                raise ArgumentError(name, value, "a number, or a tensor of one element")
            total, count = self._sums.get(name, (0.0, 0))
            self._sums[name] = number + total, count + 1

    def take(self) -> dict[str, Tensor]:
        """The means, float64, each on the device of its numbers; the sums begin anew."""
        means = {name: total / count for name, (total, count) in self._sums.items()}
        self._sums = {}
        return means

    def state_dict(self) -> dict[str, Any]:
        """The sums in plain values. Waits for the device."""
        totals = fetched([total for total, _ in self._sums.values()])
        return {name: (float(total[0]), count) for (name, (_, count)), total in zip(self._sums.items(), totals, strict=True)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue where a state dict was made."""
        self._sums = {name: (torch.tensor(total, dtype=torch.float64), count) for name, (total, count) in state_dict.items()}
