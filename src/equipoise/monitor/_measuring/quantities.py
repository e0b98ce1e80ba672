r"""Turns what the kernels measured into what a reading says: pure functions of numbers.

**The bound** on max |u| (see "Update bound" in docs/equations.md) holds whatever the gradients were, for n elements of a tensor
whose moments have the same age, as long as betas did not change since the first gradient. K is
:func:`equipoise.theory.max_update` at that age, and v_hat is the second moment that was measured:

* The last stage has p = 1/2: K of its betas.
* One stage, p < 1/2: u is at most K(p) G^(1-2p), but nobody measures G, the largest gradient ever seen. At p = 1/2, however,
  the bound says that |m_hat| <= K v_hat^(1/2) for every element. So, with the scale S that the reference gives::

      |u| <= K v_hat^(1/2 - p) / S <= K (n mean(v_hat))^(1/2 - p) / S

  The sums give this at every step. It is too wide by at most n^(1/2 - p): it is reached only where one element has all of the
  tensor's second moment.
* Several stages, p < 1/2 in the last, 1/2 in an earlier one, no references: the bound of :func:`equipoise.theory.assess`.
* Anything else (p > 1/2; betas that changed; averages of different ages, as after a migration; a second moment that is not
  finite): infinite.

eps only makes updates smaller. Moments in bfloat16 are rounded, and so is the bound.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from equipoise import rules
from equipoise.balance._stability_ahead import margins
from equipoise.hyperparameters import Hyperparameters
from equipoise.monitor._measuring.readings import GroupReading, TensorReading
from equipoise.theory._assessment import assess_hyperparameters
from equipoise.theory._bound import max_update
from equipoise.theory._region import Floats

UNDERFLOW = float(np.finfo(np.float32).tiny)
"""A square that is smaller, times 1 - beta2, may be missing in a second moment; so may as many of them as it remembers."""

assessed = lru_cache(maxsize=64)(assess_hyperparameters)


@dataclass(frozen=True, slots=True)
class GroupValues:
    """What a parameter group holds in one step."""

    lr: float
    """NaN where the optimizer has none; then its updates are the steps themselves."""
    weight_decay: float
    """Decoupled; NaN where it goes through the moments."""
    hyperparameters: Hyperparameters | None
    """The stages that updates come from; None for an optimizer that the theory does not know."""
    referenced: bool
    """Whether second moments are measured against a reference scale."""
    changed: bool
    """Whether betas, or what enters the last stage, have changed since the moments began, as far as anybody has seen."""


@dataclass(frozen=True, slots=True)
class TensorColumns:
    """The tensors of one group after a step: one array of shape (tensors,) for each of their properties."""

    elements: Floats
    """The number of elements, n."""
    ages: Floats
    """How many steps the second moment of the first stage has seen; infinite where it needs no bias correction."""
    alike: NDArray[np.bool_]
    """Whether all averages of all stages have that age, and the update is known to rounding."""
    references: Floats
    """The reference scale R of the first stage in the step; 0 where there is none yet."""
    norm_ratios: Floats
    """See :class:`~equipoise.monitor._measuring.readings.TensorReading`."""


def tensor_readings(measured: Floats, tensors: TensorColumns, given: GroupValues) -> list[TensorReading]:
    """What a reading says of the tensors of one group.

    Args:
        measured: what the kernels measured in the step, shape (tensors, measures), in the order of
            :data:`equipoise.optim._kernels.MEASURES`.
        tensors: the same tensors after the step.
        given: the values of their group in the step.
    """
    gradient, update, parameter, v, largest, zeros, nonfinite = measured.T
    count = np.maximum(tensors.elements, 1)
    with np.errstate(all="ignore"):  # what is not finite is to be seen
        beta2 = given.hyperparameters.betas[0][1] if given.hyperparameters else 0.0
        second_moment = v / count / rules.correction(beta2, tensors.ages)
        step = (1.0 if math.isnan(given.lr) else abs(given.lr)) * np.sqrt(update)
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


def update_bounds(tensors: TensorColumns, second_moment: Floats, given: GroupValues) -> Floats:
    """The largest max |u| that any gradients can cause, shape (tensors,), as explained above.

    Args:
        tensors: the tensors of one group after the step.
        second_moment: the means of the first stage's v_hat after the step, shape (tensors,).
        given: the values of their group in the step.

    Example:
        >>> given = GroupValues(1e-3, 0.0, Hyperparameters.parse((0.9, 0.999), 0.25), referenced=False, changed=False)
        >>> one = np.ones(1)
        >>> tensors = TensorColumns(100 * one, 10 * one, one > 0, 0 * one, one)
        >>> update_bounds(tensors, 1e-4 * one, given).round(3).tolist()
        [0.33]
    """
    if given.hyperparameters is None:
        return np.full(second_moment.shape, math.inf)
    *others, exponent = given.hyperparameters.exponents
    if exponent == 0.5:
        bounds = max_update(*given.hyperparameters.betas[-1], 0.5, tensors.ages)
    elif not others and exponent < 0.5:
        scale = np.where(tensors.references > 0, tensors.references, 1.0) ** (0.5 - exponent) if given.referenced else 1.0
        largest = tensors.elements * (second_moment + UNDERFLOW / (1 - given.hyperparameters.betas[0][1]) ** 2)
        bounds = max_update(*given.hyperparameters.betas[0], 0.5, tensors.ages) * largest ** (0.5 - exponent) / scale
    elif 0.5 in others and not given.referenced:
        bounds = assessed(given.hyperparameters).max_update
    else:
        bounds = math.inf
    known = tensors.alike & (not given.changed) & ~np.isnan(bounds)
    return np.where(known, bounds, math.inf)


def group_reading(given: GroupValues, ahead: float, tensors: Iterable[TensorReading]) -> GroupReading:
    """What a reading says of one group.

    Args:
        given: the values of the group in the step.
        ahead: the least margin of the schedules from the next step on; infinite where there is none.
        tensors: the readings of the tensors in the group.
    """
    known = given.hyperparameters
    present = margin_of(known) if known else math.nan
    members = list(tensors)
    return GroupReading(
        lr=given.lr,
        exponent=known.exponents if known else (),
        betas=known.betas if known else (),
        margin=present,
        margin_ahead=min(present, ahead) if known else math.nan,
        gradient_spread=decades(_gradient_scale(each) for each in members),
        update_spread=decades(each.update_rms for each in members),
    )


def _gradient_scale(tensor: TensorReading) -> float:
    """The scale of a tensor's gradients: over many steps where there is a second moment, else in this one."""
    return tensor.gradient_rms if math.isnan(tensor.second_moment) else math.sqrt(tensor.second_moment)


@lru_cache(maxsize=64)
def margin_of(present: Hyperparameters) -> float:
    """The stability margin in nats per step: the least one of the stages that decide.

    Example:
        >>> round(margin_of(Hyperparameters.parse((0.9, 0.999))), 4)
        0.1049
    """
    lowest, _, _ = margins(present, {}, np.zeros(1))
    return float(lowest[0])


def decades(scales: Iterable[float]) -> float:
    """The decades between the smallest and the largest scale that is not 0; NaN where one is not finite.

    Example:
        >>> round(decades([0.0, 2e-3, 0.2, 2.0]), 6), decades([1.0]), decades([1.0, math.inf])
        (3.0, 0.0, nan)
    """
    found = [scale for scale in scales if scale != 0]
    if not all(map(math.isfinite, found)):
        return math.nan
    return math.log10(max(found)) - math.log10(min(found)) if found else 0.0
