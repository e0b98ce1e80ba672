"""Whether an optimizer has the arguments that an arm gives it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from equipoise._words import did_you_mean
from equipoise.errors import ArgumentError


def check_arguments(maker: Callable[..., Any], given: Mapping[str, Any], keys: Iterable[str]) -> None:
    """Refuse arguments that an optimizer does not have. One that takes any keyword refuses what is nearly one of its own.

    Args:
        maker: the optimizer's class.
        given: the arguments.
        keys: of an arm; one of them may have been meant.

    Raises:
        ArgumentError: for the first argument that there is not.

    Example:
        >>> import torch
        >>> check_arguments(torch.optim.Adagrad, {"lr_decya": 0.1}, [])
        Traceback (most recent call last):
        ...
        equipoise.errors.ArgumentError: lr_decya = 0.1 is not accepted: lr_decya must be one of lr_decay, weight_decay, \
initial_accumulator_value, eps, foreach, maximize, differentiable, fused: did you mean 'lr_decay'?
    """
    parameters = inspect.signature(maker).parameters.values()
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    own = [each.name for each in parameters if each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)]
    accepted = [name for name in own[1:] if name != "lr"]
    for name, value in given.items():
        meant = did_you_mean(name, [*accepted, *keys])
        if name not in accepted and (meant or not takes_any):
            raise ArgumentError(name, value, f"one of {', '.join(accepted)}{meant}")
