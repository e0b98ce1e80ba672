"""The optimizer whose step is the step, beneath the wrappers that frameworks put around it."""

from __future__ import annotations

from typing import Any

import torch

from equipoise.errors import ArgumentError


def stepping_optimizer(given: Any) -> torch.optim.Optimizer:
    """The optimizer that makes the steps: the one that was given, or, where it only wraps another, that one.

    A wrapper has the other as its attribute ``optimizer``, and no hooks of its own: so it is with those of Accelerate and
    DeepSpeed. One that steps by itself around another, as Lookahead does, has hooks, and is watched itself.

    Raises:
        ArgumentError: it is neither.

    Example:
        >>> from types import SimpleNamespace
        >>> adam = torch.optim.AdamW([torch.nn.Parameter(torch.ones(1))])
        >>> stepping_optimizer(SimpleNamespace(optimizer=adam)) is adam
        True
    """
    inner = given
    while not (isinstance(inner, torch.optim.Optimizer) and hasattr(inner, "_optimizer_step_pre_hooks")):
        inner = getattr(inner, "optimizer", None)
        if inner is None:
            accepted = "a torch.optim.Optimizer, or a wrapper that has one as its attribute `optimizer`"
            raise ArgumentError("optimizer", type(given).__name__, accepted)
    return inner
