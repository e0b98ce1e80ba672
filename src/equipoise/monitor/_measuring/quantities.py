r"""From what the kernels measure to what a reading says: pure functions of numbers.

**The bound** on max |u| (E5) holds whatever the gradients were, for n elements of a tensor whose moments are of one age, as
long as betas did not change since the first gradient. K is :func:`equipoise.theory.max_update` at that age and v_hat the
second moment that was measured:

* The last stage has p = 1/2: K of its betas.
* One stage, p < 1/2: E5 bounds u by G^(1-2p), and G, the largest gradient ever seen, nobody measures. But E5 at 1/2 says
  |m_hat| <= K v_hat^(1/2) element by element, so that with the scale S of E3::

      |u| <= K v_hat^(1/2 - p) / S <= K (n mean(v_hat))^(1/2 - p) / S

  which is known, at every step, from the sums. It is wide by up to n^(1/2 - p): an element would have to have all of the
  tensor's second moment.
* Several stages, p < 1/2 in the last, 1/2 in one before it, no references: that of :func:`equipoise.theory.assess`.
* Anything else (p > 1/2; betas that changed; averages of different ages, as after a migration; a second moment that is not
  finite): infinite.

eps only makes updates smaller. Moments in bfloat16 are rounded, and so is the bound.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise import rules
from equipoise.balance._stability_ahead import margins
from equipoise.hyperparameters import Hyperparameters
from equipoise.monitor._measuring.readings import GroupReading, TensorReading
from equipoise.theory._assessment import assess_hyperparameters
from equipoise.theory._bound import max_update
from equipoise.theory._invariance import cross_term_factor, norm_motion
from equipoise.theory._region import Floats

UNDERFLOW = float(np.finfo(np.float32).tiny)
"""A square that is smaller, times 1 - beta2, may be missing in a second moment; so may as many of them as it remembers."""

assessed = lru_cache(maxsize=64)(assess_hyperparameters)
factor_at = lru_cache(maxsize=64)(cross_term_factor)


@dataclass(frozen=True, slots=True)
class GroupValues:
    """What a parameter group holds in one step."""

    lr: float
    weight_decay: float
    hyperparameters: Hyperparameters
    referenced: bool
    """Whether second moments are measured against a reference (E3)."""
    changed: bool
    """Whether betas, or what enters the last stage, have changed since the moments began, as far as anybody has seen."""


@dataclass(frozen=True, slots=True)
class Tensors:
    """Some tensors of a group after a step: columns, of shape (tensors,)."""

    elements: Floats
    """n."""
    ages: Floats
    """How many steps the second moment of the first stage has seen."""
    alike: NDArray[np.bool_]
    """Whether all averages of all stages are of that age."""
    references: Floats
    """R of E3 that the first stage's second moment was measured against in the step; 0 where there was none before it."""
    norm_ratios: Floats
    """See :class:`~equipoise.monitor._measuring.readings.TensorReading`."""


def tensor_readings(measured: Floats, tensors: Tensors, given: GroupValues) -> list[TensorReading]:
    """What is to be said of tensors.

    Args:
        measured: in the step, shape (tensors, measures), in the order of :data:`equipoise.optim._kernels.MEASURES`.
        tensors: after the step.
        given: to the step.
    """
    gradient, update, parameter, v, largest, zeros, nonfinite = measured.T
    count = np.maximum(tensors.elements, 1)
    with np.errstate(all="ignore"):  # what is not finite is to be seen
        second_moment = v / count / rules.correction(given.hyperparameters.betas[0][1], tensors.ages)
        step = abs(given.lr) * np.sqrt(update)
        columns = [
            np.sqrt(gradient / count),
            np.sqrt(update / count),
            np.sqrt(parameter / count),
            np.where(step == 0, 0.0, step / np.sqrt(parameter)),
            largest,
            update_bounds(tensors, second_moment, given),
            zeros / count,
            nonfinite / count,
            second_moment,
            tensors.norm_ratios,
        ]
    return [TensorReading(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]


def update_bounds(tensors: Tensors, second_moment: Floats, given: GroupValues) -> Floats:
    """What max |u| of tensors cannot exceed (E5), as explained above.

    Args:
        tensors: after the step.
        second_moment: the means of the first stage's v_hat after the step, shape (tensors,).
        given: to the step.

    Example:
        >>> given = GroupValues(1e-3, 0.0, Hyperparameters.parse((0.9, 0.999), 0.25), referenced=False, changed=False)
        >>> one = np.ones(1)
        >>> tensors = Tensors(100 * one, 10 * one, one > 0, 0 * one, one)
        >>> update_bounds(tensors, 1e-4 * one, given).round(3).tolist()
        [0.33]
    """
    *others, exponent = given.hyperparameters.exponents
    if exponent == 0.5:
        bounds = max_update(*given.hyperparameters.betas[-1], 0.5, tensors.ages)
    elif not others and exponent < 0.5:
        # Where nothing was measured before, the mean of this step is the reference, or there was no gradient.
        reference = np.where(tensors.references > 0, tensors.references, np.where(second_moment > 0, second_moment, 1.0))
        scale = reference ** (0.5 - exponent) if given.referenced else 1.0
        largest = tensors.elements * (second_moment + UNDERFLOW / (1 - given.hyperparameters.betas[0][1]) ** 2)
        bounds = max_update(*given.hyperparameters.betas[0], 0.5, tensors.ages) * largest ** (0.5 - exponent) / scale
    elif 0.5 in others and not given.referenced:
        bounds = assessed(given.hyperparameters).max_update
    else:
        bounds = math.inf
    known = tensors.alike & (not given.changed) & ~np.isnan(bounds)
    return np.where(known, bounds, math.inf)


def group_reading(given: GroupValues, ahead: float, tensors: Iterable[TensorReading]) -> GroupReading:
    """What is to be said of a group.

    Args:
        given: to the step.
        ahead: the least margin of the schedules from the next step on; infinite where there is none.
        tensors: of the group.
    """
    present = margin_of(given.hyperparameters)
    members = list(tensors)
    return GroupReading(
        lr=given.lr,
        exponent=given.hyperparameters.exponents,
        betas=given.hyperparameters.betas,
        margin=present,
        margin_ahead=min(present, ahead),
        gradient_spread=decades(math.sqrt(each.second_moment) for each in members),
        update_spread=decades(each.update_rms for each in members),
    )


@lru_cache(maxsize=64)
def margin_of(present: Hyperparameters) -> float:
    """Of E4, in nats per step: the least of the stages that decide.

    Example:
        >>> round(margin_of(Hyperparameters.parse((0.9, 0.999))), 4)
        0.1049
    """
    lowest, _, _ = margins(present, {}, np.zeros(1))
    return float(lowest[0])


def decades(scales: Iterable[float]) -> float:
    """Between the smallest and the largest of some scales; those that are 0 have none. NaN where one is not finite.

    Example:
        >>> round(decades([0.0, 2e-3, 0.2, 2.0]), 6), decades([1.0]), decades([1.0, math.inf])
        (3.0, 0.0, nan)
    """
    found = [scale for scale in scales if scale != 0]
    if not all(map(math.isfinite, found)):
        return math.nan
    return math.log10(max(found)) - math.log10(min(found)) if found else 0.0


class PredictedNorm:
    """The norm of a scale-invariant tensor as E8 has it: integrated from the readings, from the norm at the first one on.

    :func:`equipoise.theory.norm_motion` with the cross term of momentum and the updates that were measured, those of steps
    without a reading between the two around them (|u|^2 and lr in a straight line).
    """

    def __init__(self) -> None:
        self.step = 0
        """Of the tensor: its age at the last reading; 0 before the first."""
        self.norm = self.squared_update = self.lr = 0.0

    def ratio(self, squared_norm: float, squared_update: float, given: GroupValues, step: float) -> float:
        """|theta| / the norm that is predicted; NaN, and a new beginning, where one of them is not a positive finite number.

        Args:
            squared_norm: |theta|^2 after the step.
            squared_update: |u|^2.
            given: to the step.
            step: of the tensor, counted from 1.
        """
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
        motion = norm_motion(
            self.norm,
            np.sqrt(squared),
            steps,
            lr=rates,
            weight_decay=decay,
            factor=factor_at(given.hyperparameters.betas, len(given.hyperparameters.betas), decay=self.lr * decay),
        )
        self.norm = math.sqrt(motion.squared_norm[-1])
        return norm / self.norm

    def state_dict(self) -> dict[str, Any]:
        """In plain values."""
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue."""
        vars(self).update(state)
