r"""The differential equation of the continuous-time flow (see "Continuous-time flow" in docs/equations.md).

With time s = n lr, F = -u - wd theta and, for every stage with input x (the gradient, then the output of the stage before)::

    theta' = F,     u = (m / (1 - b1^(s/lr + 1))) / ((v / (1 - b2^(s/lr + 1)))^p + eps)   (of the last stage)
    m = c x + r,    r' = rate ((1 - c) x - r),    r(0) = (1 - b1 - c) x(0)                (v: the same with b2 and x^2)

    order 1:   rate = (1 - b) / (b lr),   c = 0
    order 2:   rate = -ln b / lr,         c = 1 + b ln b / (1 - b),   and theta' = F - (lr/2) dF/ds

At step n the flow holds theta_n, and the moments that update n + 1 reads there. The second order is derived in
docs/theory/flow.md: its memories have the exact weights of the discrete averages, start-up included, up to lr^2 x''; and
instead of dF/ds, which needs a Hessian, it follows the middle of a step, ``y = theta + (lr/2) F`` with ``y' = F``.

Source: Gould and Tanaka, arXiv 2411.05746, for the first order with p = 1/2. Where we deviate: the alignment of the bias
corrections (theirs are 1 - b^(s/lr), singular at 0), and the second order, of which theirs has the term (lr/2) theta'' alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from equipoise.errors import ArgumentError
from equipoise.rules import Step, normalize
from equipoise.theory._region import Floats

Gradient: TypeAlias = Callable[[Floats], ArrayLike]
"""From parameters, of shape (d,), to the gradient there."""


class NotFiniteError(Exception):
    """The right side of the equation is not finite here."""


class _Average(NamedTuple):
    """An exponential moving average in continuous time: ``c x + r`` with ``r' = rate ((1 - c) x - r)``."""

    rate: float
    """Per unit of s."""
    direct: float
    """c, the part of the input that counts at once."""
    start: float
    """r(0) / x(0)."""


def _average(beta: float, lr: float, order: int) -> _Average:
    if beta == 0:
        return _Average(rate=0.0, direct=1.0, start=0.0)  # no memory: r stays 0
    if order == 1:
        return _Average(rate=(1 - beta) / (beta * lr), direct=0.0, start=1 - beta)
    direct = 1 + beta * math.log(beta) / (1 - beta)
    return _Average(rate=-math.log(beta) / lr, direct=direct, start=1 - beta - direct)


class Equations:
    """The ordinary differential equation. Its state is, flat, (y - theta0, r of every m, r of every v), each of shape (d,).

    y is theta in first order, and the middle of the step that begins here in second order.
    """

    def __init__(self, grad: Gradient, theta0: Floats, step: Step, order: int) -> None:
        self.grad = grad
        self.theta0 = theta0
        self.step = step
        self.half_step = step.lr / 2 if order == 2 else 0.0
        self.averages = [
            (stage, _average(stage.beta1, step.lr, order), _average(stage.beta2, step.lr, order)) for stage in step.stages
        ]

    def initial(self) -> tuple[Floats, Floats]:
        """The state at s = 0, where every average has seen one input, and the absolute tolerance of each of its elements."""
        x = gradient_at(self.grad, self.theta0)
        if not np.isfinite(x).all():
            raise ArgumentError("grad", self.grad, f"finite at theta0, where it is {x}")
        firsts: list[Floats] = []
        seconds: list[Floats] = []
        sizes: list[float] = []
        with np.errstate(all="ignore"):  # what is not finite is found in `rates`
            for stage, first, second in self.averages:
                firsts.append(first.start * x)
                seconds.append(second.start * x * x)
                sizes.append(float(np.abs(x).max()) or 1.0)
                x = normalize(x, x * x, stage.exponent, self.step.eps)
            velocity = -x - self.step.weight_decay * self.theta0
            # A small part of a step; moments may become very much smaller than the first ones and still decide.
            least = 1e-7 * self.step.lr * (float(np.abs(velocity).max()) or 1.0)
            tolerance = [least, *(1e-12 * size for size in sizes), *(1e-24 * size**2 for size in sizes)]
        moved = self.half_step * velocity
        if self.half_step:  # once more, so that `_at` leads back to theta0 up to lr^3
            moved = self.half_step * self._evaluate(0.0, self.theta0 + moved, np.array([firsts, seconds]))[0]
        return np.concatenate([moved, *firsts, *seconds]), np.repeat(tolerance, len(self.theta0))

    def rates(self, s: float, state: Floats) -> Floats:
        """The derivative of the state with respect to s."""
        theta, r = self._at(s, state)
        velocity, _, slopes = self._evaluate(s, theta, r)
        derivative = np.concatenate([velocity, slopes.ravel()])
        if not np.isfinite(derivative).all():
            raise NotFiniteError
        return derivative

    def readings(self, s: float, state: Floats) -> tuple[Floats, Floats, Floats]:
        """The parameters and the moments m and v, each (stages, d), that the state stands for."""
        theta, r = self._at(s, state)
        _, (m, v), _ = self._evaluate(s, theta, r)
        return theta, m, v

    def _at(self, s: float, state: Floats) -> tuple[Floats, Floats]:
        """The parameters, (d,), and what the averages remember, (2, stages, d)."""
        d = len(self.theta0)
        y, r = self.theta0 + state[:d], state[d:].reshape(2, -1, d)
        if not self.half_step:
            return y, r
        # theta = y - (lr/2) F(theta), whose F is needed to first order only: one iteration.
        return y - self.half_step * self._evaluate(s, y, r)[0], r

    def _evaluate(self, s: float, theta: Floats, r: Floats) -> tuple[Floats, Floats, Floats]:
        """F, the moments (2, stages, d) and the derivatives of r, of the same shape."""
        x = gradient_at(self.grad, theta)
        number = s / self.step.lr + 1
        moments, slopes = np.empty_like(r), np.empty_like(r)
        with np.errstate(all="ignore"):
            for i, (stage, first, second) in enumerate(self.averages):
                square = x * x
                m = moments[0, i] = first.direct * x + r[0, i]
                # r of v is never negative, but the solver's trial steps are, by less than the tolerance.
                v = moments[1, i] = second.direct * square + np.maximum(r[1, i], 0.0)
                slopes[0, i] = first.rate * ((1 - first.direct) * x - r[0, i])
                slopes[1, i] = second.rate * ((1 - second.direct) * square - r[1, i])
                m_hat, v_hat = m / (1 - stage.beta1**number), v / (1 - stage.beta2**number)
                x = normalize(m_hat, v_hat, stage.exponent, self.step.eps)
            return -x - self.step.weight_decay * theta, moments, slopes


def gradient_at(grad: Gradient, theta: Floats) -> Floats:
    """The gradient at theta, (d,), as float64.

    Raises:
        ArgumentError: it has another shape.
    """
    value = np.asarray(grad(theta), dtype=np.float64)
    if value.shape != theta.shape:
        raise ArgumentError("grad", grad, f"a function whose value has the shape of theta0, {theta.shape}, not {value.shape}")
    return value
