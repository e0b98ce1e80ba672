"""Looking at every gradient of an optimizer while a task trains with it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equipoise.hyperparameters import parse_betas
from equipoise.optim._optimizer import Equipoise
from equipoise.optim._state import as_real
from equipoise.recommend._evidence import OUTER, Group, Layer, Moment, extent
from equipoise.rules import Reference
from equipoise.theory._exponent import noise_ratio

Array = NDArray[np.float64]


class EnoughError(BaseException):
    """Ends a task from within. Not an Exception: those a task may catch."""


STRETCH = 100
"""Steps over which gradients are averaged."""


class _Sums:
    """Of the gradients of one parameter over a stretch of steps, per coordinate."""

    def __init__(self, gradient: Tensor) -> None:
        self.seen, self.gradient, self.square = (torch.zeros_like(gradient, dtype=torch.float64) for _ in range(3))

    def add(self, gradient: Tensor) -> None:
        self.seen += gradient != 0
        self.gradient += gradient
        self.square += gradient.double() ** 2


class Watch:
    """Averages the gradients of an optimizer over stretches of steps, and at the end stops the task that trains with it.

    The first stretch is that of the reference (E3): too short for more than the scales of layers. Those that follow have 100
    steps, the last at least half of that.

    Args:
        optimizer: with the reference "initial", which at exponent 1/2 changes nothing.
        steps: after which it raises :class:`EnoughError`.
        reference: what the moments are measured against.
        names: of parameters.
    """

    def __init__(self, optimizer: Equipoise, steps: int, reference: Reference, names: Mapping[Tensor, str]) -> None:
        self._optimizer, self._steps, self._reference, self._names = optimizer, steps, reference, names
        self._first: int = optimizer.defaults["reference_steps"]
        self.step = 0
        self.moments: list[Moment] = []
        self.groups = [Group(parse_betas(group["betas"], 1)[0], float(group["lr"])) for group in optimizer.param_groups]
        self._begin = 0
        self._sums: dict[Tensor, _Sums] = {}
        self._seen: dict[Tensor, Tensor] = {}
        """In how many steps from the first on every coordinate had a gradient."""
        optimizer.register_step_post_hook(self._after)

    @property
    def diverged(self) -> bool:
        """Whether a gradient since the last whole stretch was not finite."""
        return not all(torch.isfinite(sums.square).all() for sums in self._sums.values())

    @property
    def complete(self) -> bool:
        """Whether it has seen more than the first stretch."""
        return self._begin > self._first

    def end(self) -> None:
        """Count what was seen after the last whole stretch, if it is enough."""
        if not self.diverged and self.step - self._begin >= STRETCH // 2:
            self._look()

    def _after(self, *_: Any) -> None:
        self.step += 1
        for group in self._optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    gradient = as_real(parameter.grad)
                    if parameter not in self._sums:
                        self._sums[parameter] = _Sums(gradient)
                    self._sums[parameter].add(gradient)
        whole = self.step == self._first or self.step - self._begin == STRETCH
        if self.step == self._steps or (whole and self.diverged):
            raise EnoughError
        if whole:
            self._look()

    def _look(self) -> None:
        """End a stretch."""
        steps, first = self.step - self._begin, self._begin == 0
        layers: list[Layer] = []
        parts: dict[str, tuple[Array, Array]] = {}
        numbered = [(i, each) for i, group in enumerate(self._optimizer.param_groups) for each in group["params"]]
        for index, (group, parameter) in enumerate(numbered):
            sums = self._sums.get(parameter)
            if sums is None or not sums.seen.any():
                continue
            self._seen[parameter] = self._seen.get(parameter, 0) + sums.seen
            seen, total, summed, squared = (
                each.numpy(force=True).ravel() for each in (self._seen[parameter], sums.seen, sums.gradient, sums.square)
            )
            against = 1.0 if self._reference == "none" else float(self._optimizer.state[parameter]["reference"]) ** 0.5
            name = f"{index} {self._names.get(parameter, '')}".rstrip()
            scale = math.sqrt(float(squared.mean()) / steps)
            if first:
                layers.append(Layer(name, group, tuple(parameter.shape), scale, against))
                continue
            had = total > 0
            low, high = extent(squared[had] / total[had])
            density = float(np.quantile(seen[had], OUTER)) / self.step
            layers.append(Layer(name, group, tuple(parameter.shape), scale, against, low, high, density))
            mean = summed[had] / steps
            # Where nothing varied, rounding may leave less than nothing.
            variance = np.maximum(squared[had] / steps - mean**2, 0.0) * steps / (steps - 1)
            parts[name] = mean / against, np.sqrt(variance) / against
        if not first or self._reference == "none":  # measured against itself, the first stretch says nothing
            moment = Moment(self.step, tuple(layers), ())
            members = [[parts[layer.name] for layer in moment.compared(i) if parts] for i in range(len(self.groups))]
            self.moments.append(Moment(self.step, moment.layers, tuple(_noise(some, steps) for some in members)))
        self._begin, self._sums = self.step, {}


def _noise(parts: list[tuple[Array, Array]], steps: int) -> float:
    """Of a group, from the means and deviations of its layers; NaN where there are none."""
    if not parts:
        return math.nan
    mean, deviation = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return noise_ratio(mean, deviation, steps) if deviation.any() else 1.0  # without noise there is none to equalise
