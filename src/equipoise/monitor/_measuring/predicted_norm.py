"""The norm of a scale-invariant tensor, as its updates predict it (see "Norm dynamics" in docs/equations.md)."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from equipoise.monitor._measuring.quantities import GroupValues
from equipoise.theory._invariance import cross_term_factor, norm_motion

cross_term_factor_of = lru_cache(maxsize=64)(cross_term_factor)


class PredictedNorm:
    """Integrates the norm dynamics of one tensor from reading to reading, from its norm at the first reading on.

    This is :func:`equipoise.theory.norm_motion` with the cross term of momentum and with the measured updates. For the steps
    between two readings, |u|^2 and lr are taken from the straight line between both.
    """

    def __init__(self) -> None:
        self.step = 0
        """How many steps the tensor had seen at the last reading; 0 before the first reading."""
        self.norm = self.squared_update = self.lr = 0.0

    def ratio(self, squared_norm: float, squared_update: float, given: GroupValues, step: float) -> float:
        """|theta| / the predicted norm; NaN, and a new beginning, where one of them is not a positive finite number.

        Args:
            squared_norm: |theta|^2 after the step.
            squared_update: |u|^2.
            given: the values of the parameter group in the step.
            step: how many steps the tensor has seen, this one included.
        """
        if given.hyperparameters is None or math.isnan(given.weight_decay) or math.isnan(step):
            return math.nan  # no law is known of this norm
        steps, before = round(step) - self.step, (self.squared_update, self.lr)
        begun, norm = self.step > 0, math.sqrt(squared_norm)
        self.step, self.squared_update, self.lr = round(step), squared_update, max(0.0, given.lr)
        if not (0 < norm < math.inf and self.squared_update < math.inf):
            self.step = 0
            return math.nan
        if not begun or steps < 1:
            self.norm = norm
            return 1.0
        share = np.arange(1, steps + 1) / steps
        squared, rates = (old + (new - old) * share for old, new in zip(before, (self.squared_update, self.lr), strict=True))
        decay = max(0.0, given.weight_decay)
        betas = given.hyperparameters.betas
        motion = norm_motion(
            self.norm,
            np.sqrt(squared),
            steps,
            lr=rates,
            weight_decay=decay,
            factor=cross_term_factor_of(betas, len(betas), decay=self.lr * decay),
        )
        self.norm = math.sqrt(motion.squared_norm[-1])
        return norm / self.norm

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next ratio depends on, in plain values."""
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where a state dict was made."""
        vars(self).update(state)
