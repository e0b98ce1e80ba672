"""The largest update of a transformer, step by step: in training, and after its gradient has been cut to zero."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from equipoise import Equipoise, StabilityWarning, theory
from equipoise.optim._telemetry import Telemetry
from equipoise.study._tasks.transformer import Transformer
from reproductions import text
from reproductions.claim import Options
from reproductions.sizes import SIZES

LEARNING_RATE = 1e-3

Pair = tuple[float, float]


class Updates(NamedTuple):
    """One run: `steps` steps of training, then silence."""

    betas: Pair
    exponent: float
    steps: int
    largest: NDArray[np.float64]
    """max |u| over all parameters, shape (steps + silence,)."""
    gradient: NDArray[np.float64]
    """The largest |g| so far, shape (steps + silence,)."""

    def share_of_bound(self) -> NDArray[np.float64]:
        """|u_n| / (K_n G^(1-2p)) at every step of training. 1 at the first step, by definition."""
        bound = theory.max_update(*self.betas, self.exponent, steps=np.arange(1, self.steps + 1))
        scale = self.gradient[: self.steps] ** (1 - 2 * self.exponent)
        return self.largest[: self.steps] / (bound * scale)

    def rate_in_training(self) -> float:
        """Growth of max |u| in nats per step, after the first sixth of training."""
        return self._rate(self.steps // 6, self.steps)

    def rate_in_silence(self) -> float:
        """The same, after the gradient was cut to zero."""
        return self._rate(self.steps, len(self.largest))

    def _rate(self, first: int, last: int) -> float:
        """The slope of ln max |u|, without the change of the bias corrections, which ends with time."""
        number = np.arange(first, last) + 1
        beta1, beta2 = self.betas
        correction = self.exponent * np.log1p(-(beta2**number)) - np.log1p(-(beta1**number))
        return float(np.polyfit(number, np.log(self.largest[first:last]) - correction, 1)[0])


def record(source: text.Text, options: Options, seed: int, betas: Pair, exponent: float) -> Updates:
    """Train, then go on with gradients of zero. In float64 and with eps = 0, as the stability region assumes."""
    size = SIZES[options.scale.value]
    steps, silence = options.choose((40, 20), (120, 40), (300, 60))
    torch.manual_seed(seed)
    model = Transformer(size).to(options.device, torch.float64)
    windows = torch.Generator().manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StabilityWarning)  # half of the pairs are unstable on purpose
        optimizer = Equipoise(model.parameters(), lr=LEARNING_RATE, betas=betas, eps=0.0, exponent=exponent)
    telemetry = Telemetry(optimizer)
    largest, gradient, bound = [], [], 0.0
    for step in range(steps + silence):
        if step < steps:
            inputs, following = text.windows(source.training, size.batch, size.context, windows)
            loss = model.loss(inputs.to(options.device), following.to(options.device))
            optimizer.zero_grad()
            loss.backward()
            bound = max(bound, *(float(weight.grad.abs().max()) for weight in model.parameters()))
        else:
            for weight in model.parameters():
                weight.grad.zero_()
        optimizer.step()
        largest.append(max(measures.largest_update for measures in telemetry.read().values()))
        gradient.append(bound)
    return Updates(betas, exponent, steps, np.array(largest), np.array(gradient))
