r"""The update rule with its reference scale, stated once for every kind of number.

Everything here uses only ``+ - * / **`` and comparison, and branches on no number, so the same functions run on Python
floats, numpy arrays, torch tensors and under ``torch.compile``, hyperparameters and step count included. Nothing is changed in
place: new values are returned.

Update rule, per element, at step t = 1, 2, ..., with x the gradient (negated to maximize), for every stage with betas (b1, b2)
and exponent p::

    m     <- b1 m + (1 - b1) x
    v     <- b2 v + (1 - b2) x^2
    x     <- m_hat / (S v_hat^p + eps),     m_hat = m / (1 - b1^t),  v_hat = v / (1 - b2^t)
    theta <- theta (1 - lr wd) - lr x       with the x that left the last stage

Reference scale, S: 1 without a reference, else R^(1/2 - p), where R is the mean of v_hat over the tensor.

Sources: Kingma and Ba, arXiv 1412.6980 (Adam); Zhang and Liu, arXiv 2405.18498 (the exponent); Gould and Tanaka,
arXiv 2411.05746 (stages). Where we deviate: the second moment is bias-corrected inside of the power, (1 - b2^t)^p,
where implementations of partially adaptive rules use a square root for every p.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

__all__ = [
    "Memory",
    "Number",
    "Reference",
    "Stage",
    "Step",
    "apply_stage",
    "correction",
    "direction",
    "frozen",
    "moments",
    "move",
    "normalize",
    "select",
    "update",
]

Number: TypeAlias = Any
"""A float, a numpy array or a torch tensor: whatever has + - * / **."""

Reference: TypeAlias = Literal["none", "initial", "running"]


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
    reference: Number = 0.0
    """R of the reference scale for the next step: one number per tensor, 0 while no gradient was seen."""
    m_born: Number = 0
    """Steps of the parameter before m began; the t of its bias correction is its age, the number of the step less this."""
    v_born: Number = 0
    """The same for v, and for the reference, which follows it."""


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
    reference: Reference = "none"
    """Which R, if any, the second moments are measured against."""
    reference_steps: Number = 20
    """The step at which the reference "initial" stops following v_hat."""


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

    An element that never saw a gradient (m_hat = v_hat = 0) is therefore 0 for every exponent and for eps = 0. The power and the
    scale must fit into the precision of the numbers: what executes this in float32 computes some of them in double.
    """
    # v_hat^p = up / down, of which one is 1. Where p is negative a second moment of 0 never divides, and nothing branches.
    up, down = v_hat ** (exponent * (exponent > 0)), v_hat ** (-exponent * (exponent < 0))
    denominator = scale * up / (down + (down == 0)) + eps
    return m_hat * (down != 0) / (denominator + (denominator == 0))


def select(condition: Number, yes: Number, no: Number) -> Number:
    """``yes if condition else no`` for non-negative numbers of any kind: x^0 is 1 even for an infinite x."""
    one = 1.0 * condition
    return yes**one * no ** (1.0 - one)


def frozen(memory: Memory, step: Step) -> Number:
    """Whether the reference stays as it is after this step (only "initial" ever does)."""
    return step.reference == "initial" and step.number - memory.v_born >= step.reference_steps


def apply_stage(x: Number, memory: Memory, stage: Stage, step: Step) -> tuple[Number, Memory]:
    """One stage: from its input x to its output, and the memory to keep for the next step."""
    beta1, beta2, exponent = stage
    m, v = moments(x, memory.m, memory.v, beta1, beta2)
    kept = memory._replace(m=m, v=v)
    m_hat = m / correction(beta1, step.number - memory.m_born)
    v_hat = v / correction(beta2, step.number - memory.v_born)
    if step.reference == "none":
        return normalize(m_hat, v_hat, exponent, step.eps), kept

    mean = v_hat if isinstance(v_hat, float) else v_hat.mean()
    current = select(memory.reference == 0, mean, memory.reference)
    # Where even the mean is 0 no gradient was seen, every m is 0, and any positive scale gives the update 0.
    scale = (current + (current == 0)) ** (0.5 - exponent)
    kept = kept._replace(reference=select(frozen(memory, step), current, mean))
    return normalize(m_hat, v_hat, exponent, step.eps, scale), kept


def direction(gradient: Number, memories: Sequence[Memory], step: Step) -> tuple[Number, list[Memory]]:
    """The update u, which the learning rate multiplies, and the new memory of every stage."""
    x = -gradient if step.maximize else gradient
    kept: list[Memory] = []
    for stage, memory in zip(step.stages, memories, strict=True):
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
        memories: one per stage; ``Memory(0 * theta, 0 * theta)`` at the start.
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
