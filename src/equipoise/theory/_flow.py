r"""Optimizers in continuous time (E6): the flow that a rule follows as its learning rate falls, to first and second order.

With time s = n lr, F = -u - wd theta and, for every stage with input x (the gradient, then the output of the stage before)::

    theta' = F,     u = (m / (1 - b1^(s/lr + 1))) / ((v / (1 - b2^(s/lr + 1)))^p + eps)   (of the last stage)
    m = c x + r,    r' = rate ((1 - c) x - r),    r(0) = (1 - b1 - c) x(0)                (v: the same with b2 and x^2)

    order 1 (E6):   rate = (1 - b) / (b lr),   c = 0
    order 2:        rate = -ln b / lr,         c = 1 + b ln b / (1 - b),   and theta' = F - (lr/2) dF/ds

At step n the flow holds theta_n, and the moments that update n + 1 reads there. The second order is derived in
docs/theory/flow.md: its memories have the exact weights of the discrete averages, start-up included, up to lr^2 x''; and
instead of dF/ds, which needs a Hessian, it follows the middle of a step, ``y = theta + (lr/2) F`` with ``y' = F``.

Only the reference "none" of E3 is covered: the others hold a mean over the tensor from one step before, or freeze it.

Source: Gould and Tanaka, arXiv 2411.05746, for the first order with p = 1/2. Where we deviate: the alignment of the bias
corrections (theirs are 1 - b^(s/lr), singular at 0), and the second order, of which theirs has the term (lr/2) theta'' alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from equipoise.errors import ArgumentError
from equipoise.hyperparameters import Betas, Exponent, Hyperparameters, whole_number
from equipoise.rules import Memory, Step, normalize, update

Floats: TypeAlias = NDArray[np.float64]
Gradient: TypeAlias = Callable[[Floats], ArrayLike]

ACCURACY = 1e-9
"""Relative accuracy of the integration: its error stays below that of the second order down to an lr of about 1e-4."""

PATIENCE = 20
"""Evaluations of the flow per step of the optimizer after which it is too fast to follow (usual: 1 to 5), Jacobians aside."""


class FlowStatus(Enum):
    """How a flow ended. The values are the messages that users read."""

    COMPLETED = "the flow reached the last step"
    STOPPED = "the flow ended where `stop` changed its sign"
    NOT_FINITE = "the flow ended before a gradient, or an update made of it, that is not finite"
    TOO_FAST = f"the flow changes too fast to be followed: it took more than {PATIENCE} evaluations per step"
    INACCURATE = "the flow cannot be followed accurately with steps of any size"


@dataclass(frozen=True)
class Flow:
    """A flow, read at the steps n = 0, 1, ... of the optimizer: all of them, or those before it ended early."""

    status: FlowStatus
    """COMPLETED, or why there are fewer rows than asked for."""
    stopped_at: float
    """In steps: the last row, or the moment between two rows where `stop` changed its sign."""
    times: Floats
    """s = n lr, shape (rows,): rows = steps + 1 if completed."""
    theta: Floats
    """Shape (rows, d)."""
    m: Floats
    """First moments, shape (rows, stages, d): row n as update n + 1 reads them, without the bias correction."""
    v: Floats
    """Second moments, likewise."""


@dataclass(frozen=True)
class Discrepancy:
    """A flow and the rule that it approximates, side by side."""

    flow: Flow
    theta: Floats
    """What the rule does, shape (rows, d), with as many rows as the flow."""
    distance: Floats
    """Largest |difference| of any parameter at every step, shape (rows,)."""
    signs_kept: int
    """Steps of the rule before any element of its gradient changed its sign: how far the orders in lr can be trusted."""


def flow(
    grad: Gradient,
    theta0: ArrayLike,
    *,
    lr: float,
    betas: Betas,
    steps: int,
    exponent: Exponent = 0.5,
    stages: int = 1,
    weight_decay: float = 0.0,
    eps: float = 1e-8,
    order: int = 1,
    stop: Callable[[Floats], float] | None = None,
) -> Flow:
    """The continuous-time limit of the rule with these hyperparameters (E6), solved by a stiff method.

    Its error against the rule, over a given time s and while no gradient changes its sign, falls as lr^order.

    Args:
        grad: from parameters to the gradient there, both of shape (d,) and float64.
        theta0: the parameters at the start, shape (d,).
        lr: learning rate: the time that one step takes.
        betas: (beta1, beta2), or one such pair per stage.
        steps: how many steps of the optimizer the flow covers.
        exponent: p, or one per stage.
        stages: k.
        weight_decay: decoupled, per unit of time.
        eps: in the unit of each stage's input.
        order: 1, E6; 2, with the corrections of order lr (twice the evaluations of the gradient).
        stop: a function of the parameters; the flow ends where its value changes sign.

    Raises:
        ArgumentError: an argument outside of what is accepted, or a gradient of another shape, or not finite at theta0.
            A flow that fails later is returned as far as it went, with a `status` that says why and where it `stopped_at`.

    Example:
        Adam on a parabola: after 100 steps of 0.01 it has moved by nearly 1:

        >>> adam = flow(lambda x: 2 * x, [3.0], lr=0.01, betas=(0.9, 0.999), steps=100)
        >>> adam.status, adam.theta.shape
        (<FlowStatus.COMPLETED: 'the flow reached the last step'>, (101, 1))
        >>> adam.theta[-1].round(3)
        array([2.059])
    """
    from scipy.integrate import BDF, solve_ivp  # a third of a second, which a check must not pay

    if isinstance(order, bool) or order not in (1, 2):
        raise ArgumentError("order", order, "1 or 2")
    start = _parameters(theta0)
    hyperparameters = _hyperparameters(lr, betas, steps, exponent, stages, weight_decay, eps)
    equations = _Equations(grad, start, hyperparameters, order)

    class Follower(BDF):
        """scipy's stiff solver, which keeps what it has when the flow cannot be continued."""

        def _step_impl(self) -> tuple[bool, str | None]:
            if self.nfev > PATIENCE * (steps + 100):
                return False, FlowStatus.TOO_FAST.value
            try:
                return BDF._step_impl(self)  # pyright: ignore
            except _NotFiniteError:
                return False, FlowStatus.NOT_FINITE.value

    def crossing(s: float, state: Floats) -> float:
        assert stop is not None
        return float(stop(equations.readings(s, state)[0]))

    crossing.terminal = True  # pyright: ignore
    state0, tolerance = equations.initial()
    times = lr * np.arange(steps + 1, dtype=np.float64)
    try:
        found = solve_ivp(
            equations.rates,
            (0.0, times[-1]),
            state0,
            method=Follower,
            t_eval=times[1:],
            events=None if stop is None else crossing,
            rtol=ACCURACY,
            atol=tolerance,
        )
    except _NotFiniteError:
        raise ArgumentError("grad", grad, "a function that is finite at theta0 and near it") from None

    states = [state0, *np.reshape(found.y, (len(state0), -1)).T]
    rows = [equations.readings(s, state) for s, state in zip(times, states, strict=False)]
    theta, m, v = (np.array(column) for column in zip(*rows, strict=True))
    theta[0] = start  # which the second order meets up to lr^3
    if found.status == 0:
        status, stopped_at = FlowStatus.COMPLETED, float(steps)
    elif found.t_events and found.t_events[0].size:
        status, stopped_at = FlowStatus.STOPPED, float(found.t_events[0][0] / lr)
    else:
        known = {member.value: member for member in FlowStatus}
        status, stopped_at = known.get(found.message, FlowStatus.INACCURATE), float(len(rows) - 1)
    return Flow(status, stopped_at, times[: len(rows)], theta, m, v)


def discrepancy(
    grad: Gradient,
    theta0: ArrayLike,
    *,
    lr: float,
    betas: Betas,
    steps: int,
    exponent: Exponent = 0.5,
    stages: int = 1,
    weight_decay: float = 0.0,
    eps: float = 1e-8,
    order: int = 1,
) -> Discrepancy:
    """The rule itself, run in float64 beside :func:`flow`, whose arguments and errors these are.

    Example:
        >>> found = discrepancy(lambda x: 2 * x, [3.0], lr=0.01, betas=(0.9, 0.999), steps=100)
        >>> better = discrepancy(lambda x: 2 * x, [3.0], lr=0.01, betas=(0.9, 0.999), steps=100, order=2)
        >>> bool(better.distance.max() < found.distance.max() / 100), found.signs_kept
        (True, 100)
    """
    followed = flow(
        grad,
        theta0,
        lr=lr,
        betas=betas,
        steps=steps,
        exponent=exponent,
        stages=stages,
        weight_decay=weight_decay,
        eps=eps,
        order=order,
    )
    step = _hyperparameters(lr, betas, steps, exponent, stages, weight_decay, eps)
    theta = _parameters(theta0)
    memories = [Memory(0 * theta, 0 * theta) for _ in step.stages]
    path, signs = [theta], list[Floats]()
    for number in range(1, len(followed.times)):
        gradient = _gradient(grad, theta)
        signs.append(np.sign(gradient))
        theta, memories = update(theta, gradient, memories, step._replace(number=number))
        path.append(theta)
    changed = [n for n, sign in enumerate(signs) if np.any(sign != signs[0])]
    distance = np.abs(np.array(path) - followed.theta).max(axis=1)
    return Discrepancy(followed, np.array(path), distance, changed[0] if changed else len(signs))


class _NotFiniteError(Exception):
    """The flow has no direction here."""


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


class _Equations:
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
        x = _gradient(self.grad, self.theta0)
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
            raise _NotFiniteError
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
        x = _gradient(self.grad, theta)
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


def _gradient(grad: Gradient, theta: Floats) -> Floats:
    value = np.asarray(grad(theta), dtype=np.float64)
    if value.shape != theta.shape:
        raise ArgumentError("grad", grad, f"a function whose value has the shape of theta0, {theta.shape}, not {value.shape}")
    return value


def _parameters(theta0: ArrayLike) -> Floats:
    theta = np.array(theta0, dtype=np.float64)
    if theta.ndim != 1 or not theta.size or not np.isfinite(theta).all():
        raise ArgumentError("theta0", theta0, "a non-empty vector of finite numbers")
    return theta


def _hyperparameters(
    lr: float,
    betas: Betas,
    steps: int,
    exponent: Exponent,
    stages: int,
    weight_decay: float,
    eps: float,
) -> Step:
    if not 0 < lr < math.inf:
        raise ArgumentError("lr", lr, "a positive finite number")
    whole_number("steps", steps)
    for name, value in (("weight_decay", weight_decay), ("eps", eps)):
        if not 0 <= value < math.inf:
            raise ArgumentError(name, value, "a finite number of at least 0")
    return Step(1, lr, Hyperparameters.parse(betas, exponent, stages).stages, eps, weight_decay)
