"""Optimizers in continuous time: the flow that the update rule follows as its learning rate falls, to first and second order.

The equation is stated in ``_flow_equations.py``. Here it is solved, and compared with the update rule itself. Only the
reference "none" is covered: "initial" holds a number of the whole tensor, which moves in the first steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import ArrayLike

from equipoise.errors import ArgumentError
from equipoise.hyperparameters import Betas, Exponent, Hyperparameters, whole_number
from equipoise.rules import Memory, Step, update
from equipoise.theory._flow_equations import Equations, Gradient, NotFiniteError, gradient_at
from equipoise.theory._region import Floats

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
    """The continuous-time flow of the update rule with these hyperparameters, solved by a stiff method.

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
        order: 1, or 2 with the corrections of order lr (twice the evaluations of the gradient).
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
    equations = Equations(grad, start, hyperparameters, order)

    class Follower(BDF):
        """scipy's stiff solver, which keeps what it has when the flow cannot be continued."""

        def _step_impl(self) -> tuple[bool, str | None]:
            if self.nfev > PATIENCE * (steps + 100):
                return False, FlowStatus.TOO_FAST.value
            try:
                return BDF._step_impl(self)  # pyright: ignore
            except NotFiniteError:
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
    except NotFiniteError:
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
        gradient = gradient_at(grad, theta)
        signs.append(np.sign(gradient))
        theta, memories = update(theta, gradient, memories, step._replace(number=number))
        path.append(theta)
    changed = [n for n, sign in enumerate(signs) if np.any(sign != signs[0])]
    distance = np.abs(np.array(path) - followed.theta).max(axis=1)
    return Discrepancy(followed, np.array(path), distance, changed[0] if changed else len(signs))


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
