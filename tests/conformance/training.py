"""A training run that is the same whenever it is repeated: parameters, gradients that depend on them, and steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

SHAPES = ((4, 3), (7,), ())


def parameters(dtype: torch.dtype = torch.float32, shapes: Sequence[tuple[int, ...]] = SHAPES) -> list[Parameter]:
    """Fresh parameters, the same at every call."""
    generator = torch.Generator().manual_seed(0)
    wide = torch.complex128 if dtype.is_complex else torch.float64
    return [Parameter(torch.randn(shape, generator=generator, dtype=wide).to(dtype)) for shape in shapes]


def copies(params: Sequence[Tensor]) -> list[Parameter]:
    """Parameters of the same values that share no memory with `params`."""
    return [Parameter(parameter.detach().clone()) for parameter in params]


def gradients(params: Sequence[Tensor], number: int) -> list[Tensor]:
    """The gradients of step `number`: noise that only the number decides, and a pull that the parameter decides."""
    generator = torch.Generator().manual_seed(number)
    wide = [torch.complex128 if parameter.is_complex() else torch.float64 for parameter in params]
    noise = [
        torch.randn(parameter.shape, generator=generator, dtype=dtype) for parameter, dtype in zip(params, wide, strict=True)
    ]
    return [x.to(parameter.dtype) + parameter.detach() for x, parameter in zip(noise, params, strict=True)]


def train(optimizer: torch.optim.Optimizer, steps: int, start: int = 0, scheduler: Any = None) -> None:
    """Steps number `start` to `start + steps - 1` on every parameter of the optimizer."""
    params = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for number in range(start, start + steps):
        for parameter, gradient in zip(params, gradients(params, number), strict=True):
            parameter.grad = gradient
        optimizer.step()
        if scheduler is not None:
            scheduler.step()


def tensors(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """What is remembered of a parameter but for the ages of its averages, which are plain numbers."""
    return {key: value for key, value in state.items() if not key.startswith("born_")}


def same(left: Any, right: Any) -> bool:
    """Whether two nested structures are equal to the last bit: values, dtypes, keys and order."""
    if isinstance(left, Tensor) and isinstance(right, Tensor):
        alike = left.dtype == right.dtype and left.shape == right.shape
        return alike and torch.equal(left, right)
    if isinstance(left, dict) and isinstance(right, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        return len(left) == len(right) and all(same(a, b) for a, b in zip(left, right, strict=True))
    return type(left) is type(right) and left == right
