r"""The update rule with its reference scale, stated once for every kind of number.

Everything here uses only ``+ - * / **``, comparison, and what numpy and torch call by the same name, and branches on no number,
so the same functions run on Python floats, numpy arrays, torch tensors and under ``torch.compile``, hyperparameters and step
count included. Nothing is changed in place: new values are returned.

Update rule, per element, at step t = 1, 2, ..., with x the gradient (negated to maximize), for every stage with betas (b1, b2)
and exponent p::

    m     <- b1 m + (1 - b1) x
    v     <- b2 v + (1 - b2) x^2
    x     <- m_hat / (S v_hat^p + eps),     m_hat = m / (1 - b1^t),  v_hat = v / (1 - b2^t)
    theta <- theta (1 - lr wd) - lr x       with the x that left the last stage

Reference scale, S: 1 without a reference, else R^(1/2 - p). R is a mean over the first 20 steps with a gradient, this one
included and the largest quarter left out: of the mean of x^2 over the elements whose square is finite. From then on R stays
what it is.

Sources: Kingma and Ba, arXiv 1412.6980 (Adam); Zhang and Liu, arXiv 2405.18498 (the exponent); Gould and Tanaka,
arXiv 2411.05746 (stages). Where we deviate: the second moment is bias-corrected inside of the power, (1 - b2^t)^p,
where implementations of partially adaptive rules use a square root for every p.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any, Literal, NamedTuple, TypeAlias

__all__ = [
    "REFERENCE_STEPS",
    "Memory",
    "Number",
    "Reference",
    "Stage",
    "Step",
    "apply_stage",
    "correction",
    "direction",
    "finite_squares",
    "mean_square",
    "moments",
    "move",
    "normalize",
    "reference",
    "remembered",
    "select",
    "update",
]

Number: TypeAlias = Any
"""A float, a numpy array or a torch tensor: whatever has + - * / **."""

Reference: TypeAlias = Literal["none", "initial"]
"""Whether second moments are measured against a reference scale."""

REFERENCE_STEPS = 20
"""How many steps with a gradient the reference scale is taken from."""


class Stage(NamedTuple):
    """The hyperparameters of one "moments, then normalize" block."""

    beta1: Number
    beta2: Number
    exponent: Number


class Memory(NamedTuple):
    """What one stage remembers between steps."""

    m: Number
    """First moment, the shape of the parameter."""
    v: Number
    """Second moment, the shape of the parameter."""
    squares: Number = None
    """What the reference scale is taken from: the mean squares of the stage's input in the first steps with a gradient,
    (REFERENCE_STEPS,), ascending, 0 for each of these steps that is still to come; None without a reference scale."""
    m_born: Number = 0
    """Steps of the parameter before m began; the t of its bias correction is its age, the number of the step less this."""
    v_born: Number = 0
    """The same for v."""


class Step(NamedTuple):
    """Everything about one step that is the same for every element."""

    number: Number
    """t, counted from 1."""
    lr: Number
    """Learning rate of this step."""
    stages: Sequence[Stage]
    """First to last."""
    eps: Number = 1e-8
    """Added to every denominator, in the unit of the stage's input (of the gradient, for the first stage)."""
    weight_decay: Number = 0.0
    """Decoupled: the parameter shrinks by lr * weight_decay per step."""
    maximize: bool = False
    """Ascend instead of descend."""


def moments(x: Number, m: Number, v: Number, beta1: Number, beta2: Number) -> tuple[Number, Number]:
    """The exponential moving averages of x and of x^2.

    ``1 - beta`` is a double before it meets an array, so float32 state loses nothing to it.
    """
    return beta1 * m + (1 - beta1) * x, beta2 * v + (1 - beta2) * (x * x)


def correction(beta: Number, age: Number) -> Number:
    """``1 - beta**age``: the weight that an average of so many steps, begun at 0, has given out, by which it is divided."""
    return 1 - beta**age


def normalize(m_hat: Number, v_hat: Number, exponent: Number, eps: Number, scale: Number = 1.0) -> Number:
    """``m_hat / (scale * v_hat**exponent + eps)`` with 0^0 = 1, 0^negative = inf, m/inf = 0 and 0/0 = 0.

    An element that never saw a gradient (m_hat = v_hat = 0) is therefore 0 for every exponent and for eps = 0. The power and
    its product with the scale must fit into the precision of the numbers: where float32 is too narrow, kernels take double.
    """
    # v_hat^p = up / down, of which one is 1. Where p is negative a second moment of 0 never divides, and nothing branches.
    up, down = v_hat ** (exponent * (exponent > 0)), v_hat ** (-exponent * (exponent < 0))
    denominator = scale * up / (down + (down == 0)) + eps
    return m_hat * (down != 0) / (denominator + (denominator == 0))


def select(condition: Number, yes: Number, no: Number) -> Number:
    """``yes if condition else no`` for non-negative numbers of any kind: x^0 is 1 even for an infinite x."""
    one = 1.0 * condition
    return yes**one * no ** (1.0 - one)


def finite_squares(x: Number) -> tuple[Number, Number]:
    """The sum of x^2 over the elements whose square is finite, and how many they are."""
    square = x * x
    counted = square < inf
    finite = select(counted, square, 0.0)
    return (finite, 1 * counted) if isinstance(x, float) else (finite.sum(), counted.sum())


def mean_square(total: Number, count: Number) -> Number:
    """The mean of so many squares; 0 where there are none, or where their sum is not finite."""
    mean = total / (count + (count == 0))
    return select(mean < inf, mean, 0.0)


def remembered(squares: Number, square: Number) -> Number:
    """The squares with that of one more step, which takes the place of a 0; all as they are where there is no 0 any more.

    A step without a gradient has the mean square 0 and leaves no trace.
    """
    placed = squares + square * ((_places(squares) == 1) * (squares == 0))
    return placed.take(placed.argsort())


def reference(squares: Number) -> Number:
    """R of the reference scale: the mean of the squares that are not 0, without the largest quarter, which is at least one of
    two or three; 0 while no gradient was seen."""
    seen = (squares > 0).sum()
    left_out = seen // 4 + (seen > 1) * (seen < 4)
    kept = squares * (_places(squares) <= REFERENCE_STEPS - left_out)
    return (kept / (seen - left_out + (seen == 0))).sum()


def _places(squares: Number) -> Number:
    """1, 2, and so on, one for each."""
    return (squares >= 0).cumsum(0)


def apply_stage(x: Number, memory: Memory, stage: Stage, step: Step) -> tuple[Number, Memory]:
    """One stage: from its input x to its output, and the memory to keep for the next step.

    The squares of the memory are those up to this step, and are kept as they are.
    """
    beta1, beta2, exponent = stage
    m, v = moments(x, memory.m, memory.v, beta1, beta2)
    m_hat = m / correction(beta1, step.number - memory.m_born)
    v_hat = v / correction(beta2, step.number - memory.v_born)
    scale = 1.0
    if memory.squares is not None:
        R = reference(memory.squares)
        # Where R is 0 no gradient was seen, every m is 0, and any positive scale gives the update 0.
        scale = (R + (R == 0)) ** (0.5 - exponent)
    return normalize(m_hat, v_hat, exponent, step.eps, scale), memory._replace(m=m, v=v)


def direction(gradient: Number, memories: Sequence[Memory], step: Step) -> tuple[Number, list[Memory]]:
    """The update u, which the learning rate multiplies, and the new memory of every stage."""
    x = -gradient if step.maximize else gradient
    kept: list[Memory] = []
    for stage, memory in zip(step.stages, memories, strict=True):
        if memory.squares is not None:
            memory = memory._replace(squares=remembered(memory.squares, mean_square(*finite_squares(x))))
        x, memory = apply_stage(x, memory, stage, step)
        kept.append(memory)
    return x, kept


def move(theta: Number, u: Number, step: Step) -> Number:
    """The parameter after the update u, with decoupled weight decay."""
    return theta * (1 - step.lr * step.weight_decay) - step.lr * u


def update(theta: Number, gradient: Number, memories: Sequence[Memory], step: Step) -> tuple[Number, list[Memory]]:
    """One step of the update rule, with its reference: the new parameter and the new memory of every stage.

    Args:
        theta: the parameter, any shape.
        gradient: of the shape of theta.
        memories: one per stage; ``Memory(0 * theta, 0 * theta)`` at the start, with a reference scale
            ``Memory(0 * theta, 0 * theta, zeros(REFERENCE_STEPS))``, an array or a tensor.
        step: the hyperparameters and the number of this step.

    Example:
        The first step of Adam moves by lr, whatever the size of the gradient:

        >>> adam = Stage(beta1=0.9, beta2=0.999, exponent=0.5)
        >>> theta, memories = update(1.0, 250.0, [Memory(0.0, 0.0)], Step(1, lr=0.01, stages=[adam]))
        >>> round(theta, 9)
        0.99
    """
    u, kept = direction(gradient, memories, step)
    return move(theta, u, step), kept
