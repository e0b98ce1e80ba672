"""Several stages in a row: which betas they get, and what each of them makes of a sequence of gradients.

Source: Gould and Tanaka, arXiv 2411.05746 (k-Adam, and both strategies for its betas). What happens as k grows is worked out
in docs/theory/stages.md.
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from equipoise.errors import ArgumentError
from equipoise.hyperparameters import Betas, Exponent, Hyperparameters, Pair, whole_number
from equipoise.rules import Memory, Step, apply_stage

Strategy: TypeAlias = Literal["uniform", "inverse-exp"]


def stage_betas(beta1: float, beta2: float, k: int, strategy: Strategy = "inverse-exp") -> tuple[Pair, ...]:
    """The betas of each of k stages, made of one pair.

    "uniform" repeats the pair. "inverse-exp" gives every stage ``1 - (1 - beta)^(1/k)``, so that the product of all
    (1 - beta), the weight of the newest gradient, is that of the pair: k short memories instead of one long one. A pair
    that is stable alone is stable in k stages too (proven for an exponent of 1/2, tested for others).

    Args:
        beta1, beta2: in [0, 1).
        k: the number of stages.
        strategy: "uniform" or "inverse-exp".

    Raises:
        ArgumentError: an argument outside of what is accepted.

    Example:
        >>> [(round(beta1, 3), round(beta2, 3)) for beta1, beta2 in stage_betas(0.9, 0.999, 2)]
        [(0.684, 0.968), (0.684, 0.968)]
    """
    for name, beta in (("beta1", beta1), ("beta2", beta2)):
        if not 0 <= beta < 1:
            raise ArgumentError(name, beta, "in [0, 1)")
    whole_number("k", k)
    if strategy == "uniform":
        pair = (float(beta1), float(beta2))
    elif strategy == "inverse-exp":
        pair = (-math.expm1(math.log1p(-beta1) / k), -math.expm1(math.log1p(-beta2) / k))
    else:
        raise ArgumentError("strategy", strategy, '"uniform" or "inverse-exp"')
    return (pair,) * int(k)


def stage_updates(gradients: ArrayLike, betas: Betas, exponent: Exponent = 0.5, stages: int = 1) -> NDArray[np.float64]:
    """What every stage makes of a sequence of gradients: the update rule with eps = 0, without a reference.

    Args:
        gradients: oldest first, shape (steps, ...); what follows the first axis are elements, each on its own.
        betas: (beta1, beta2), or one such pair per stage.
        exponent: p, or one per stage.
        stages: k.

    Returns:
        Shape (stages, steps, ...). The last stage's output is the update.

    Raises:
        ArgumentError: betas, an exponent or stages outside of what is accepted.

    Example:
        The gradient changes its sign; the second stage hears of it through the first:

        >>> stage_updates([1, 1, -1, -1, -1], (0.5, 0.75), stages=2).round(2)
        array([[ 1.  ,  1.  , -0.14, -0.6 , -0.81],
               [ 1.  ,  1.  ,  0.46, -0.22, -0.67]])
    """
    shape = Hyperparameters.parse(betas, exponent, stages).stages
    signals = np.asarray(gradients, dtype=np.float64)
    found = np.empty((stages, *signals.shape))
    for row, stage in enumerate(shape):
        memory = Memory(0.0, 0.0)
        for number, x in enumerate(signals, 1):
            found[row, number - 1], memory = apply_stage(x, memory, stage, Step(number, lr=1.0, stages=(), eps=0.0))
        signals = found[row]
    return found
