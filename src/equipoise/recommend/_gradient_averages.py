"""Averages of every gradient of an optimizer, taken while a task trains with it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equipoise import rules
from equipoise.hyperparameters import parse_betas
from equipoise.optim._optimizer import Equipoise
from equipoise.optim._state import as_real
from equipoise.recommend._evidence import TAIL, GroupSettings, LayerGradients, Snapshot, compared, coordinate_range
from equipoise.theory._exponent import noise_ratio

Array = NDArray[np.float64]

STRETCH = 100
"""Steps over which gradients are averaged."""


class EnoughStepsError(BaseException):
    """Ends a task from within, after enough steps. It is not an Exception: those a task may catch."""


class GradientAverages:
    """Averages the gradients of an optimizer over stretches of steps, and at the end stops the task that trains with it.

    The first stretch has the steps that the reference scale is taken from: too few for more than the scales of layers.
    Each later one has 100 steps, the last one at least half of that.

    Args:
        optimizer: with the reference "initial", which at exponent 1/2 changes nothing.
        steps: after so many it raises :class:`EnoughStepsError`.
        reference: what the layers are measured against.
        names: of parameters.
    """

    def __init__(self, optimizer: Equipoise, steps: int, reference: rules.Reference, names: Mapping[Tensor, str]) -> None:
        self._optimizer, self._steps, self._reference, self._names = optimizer, steps, reference, names
        self.step = 0
        self.snapshots: list[Snapshot] = []
        self.groups = [GroupSettings(parse_betas(group["betas"], 1)[0], float(group["lr"])) for group in optimizer.param_groups]
        self._stretch_began = 0
        self._sums: dict[Tensor, _GradientSums] = {}
        self._steps_with_gradient: dict[Tensor, Tensor] = {}
        """In how many steps from the first on every coordinate had a gradient."""
        optimizer.register_step_post_hook(self._after_step)

    @property
    def diverged(self) -> bool:
        """Whether a gradient since the last whole stretch was not finite."""
        return not all(torch.isfinite(sums.squares).all() for sums in self._sums.values())

    @property
    def complete(self) -> bool:
        """Whether more than the first stretch was seen."""
        return self._stretch_began > rules.REFERENCE_STEPS

    def end(self) -> None:
        """Count what was seen after the last whole stretch, if it is enough."""
        if not self.diverged and self.step - self._stretch_began >= STRETCH // 2:
            self._end_stretch()

    def _after_step(self, *_: Any) -> None:
        self.step += 1
        for group in self._optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    gradient = as_real(parameter.grad)
                    if parameter not in self._sums:
                        self._sums[parameter] = _GradientSums(gradient)
                    self._sums[parameter].add(gradient)
        whole = self.step == rules.REFERENCE_STEPS or self.step - self._stretch_began == STRETCH
        if self.step == self._steps or (whole and self.diverged):
            raise EnoughStepsError
        if whole:
            self._end_stretch()

    def _end_stretch(self) -> None:
        """Keep a snapshot of the stretch, and begin the next one."""
        steps, first = self.step - self._stretch_began, self._stretch_began == 0
        layers: list[LayerGradients] = []
        means: dict[str, tuple[Array, Array]] = {}
        numbered = [(i, each) for i, group in enumerate(self._optimizer.param_groups) for each in group["params"]]
        for index, (group, parameter) in enumerate(numbered):
            sums = self._sums.get(parameter)
            if sums is None or not sums.count.any():
                continue
            self._steps_with_gradient[parameter] = self._steps_with_gradient.get(parameter, 0) + sums.count
            name = f"{index} {self._names.get(parameter, '')}".rstrip()
            shape = tuple(parameter.shape)
            reference = (
                1.0
                if self._reference == "none"
                else float(rules.reference(self._optimizer.state[parameter]["reference"])) ** 0.5
            )
            count, total, squares = (each.numpy(force=True).ravel() for each in (sums.count, sums.gradients, sums.squares))
            scale = math.sqrt(float(squares.mean()) / steps)
            if first:
                layers.append(LayerGradients(name, group, shape, scale, reference))
                continue
            had = count > 0
            low, high = coordinate_range(squares[had] / count[had])
            seen = self._steps_with_gradient[parameter].numpy(force=True).ravel()
            density = float(np.quantile(seen[had], TAIL)) / self.step
            layers.append(LayerGradients(name, group, shape, scale, reference, low, high, density))
            mean = total[had] / steps
            # Where nothing varied, rounding may leave less than nothing.
            variance = np.maximum(squares[had] / steps - mean**2, 0.0) * steps / (steps - 1)
            means[name] = mean / reference, np.sqrt(variance) / reference
        if not first or self._reference == "none":  # measured against itself, the first stretch says nothing
            kept = compared(layers)
            means_of_groups = [
                [means[layer.name] for layer in kept if layer.group == number and means] for number in range(len(self.groups))
            ]
            self.snapshots.append(Snapshot(self.step, kept, tuple(_noise(each, steps) for each in means_of_groups)))
        self._stretch_began, self._sums = self.step, {}


class _GradientSums:
    """Sums over the gradients of one parameter in a stretch of steps, per coordinate."""

    def __init__(self, gradient: Tensor) -> None:
        self.count, self.gradients, self.squares = (torch.zeros_like(gradient, dtype=torch.float64) for _ in range(3))

    def add(self, gradient: Tensor) -> None:
        self.count += gradient != 0
        self.gradients += gradient
        self.squares += gradient.double() ** 2


def _noise(means: Sequence[tuple[Array, Array]], steps: int) -> float | None:
    """The noise ratio of a group, from the means and deviations of its layers; None where no signal stands out."""
    if not means:
        return None
    mean, deviation = (np.concatenate(arrays) for arrays in zip(*means, strict=True))
    if not deviation.any():
        return 1.0  # without noise there is none to equalise
    ratio = noise_ratio(mean, deviation, steps)
    return None if math.isnan(ratio) else ratio
