"""Muon for the matrices of a model and AdamW for all of its other parameters, as one optimizer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from equipoise.errors import ArgumentError
from equipoise.study._arms.roles import Parameter, roles


class Muon(torch.optim.Optimizer):
    """torch's Muon for matrices and for kernels of convolutions, torch's AdamW for embeddings, the head, and vectors.

    Both have one learning rate and one decay, which mean what they mean to AdamW: Muon's updates are scaled to the size of
    AdamW's (``adjust_lr_fn="match_rms_adamw"``). A kernel is taken as the matrix of its output channels by all else. ``str``
    lists the parameters of both.

    Args:
        model: the whole model, because the name and the use of a module say what its parameters are for.
        lr: of both.
        weight_decay: of both; decoupled.
        momentum: of Muon.
        betas: of AdamW.

    Raises:
        ArgumentError: `model` is no module, or has no matrix between other layers.

    Source: Liu et al., Muon is Scalable for LLM Training, arXiv 2502.16982. It needs torch 2.9 or newer.

    Example:
        >>> model = nn.Sequential(nn.Embedding(100, 8), nn.Linear(8, 8), nn.LayerNorm(8), nn.Linear(8, 100))
        >>> print(Muon(model, lr=0.01))
        Muon: 1.weight (matrix)
        AdamW: 0.weight (embedding), 1.bias (vector), 2.weight (vector), 2.bias (vector), 3.weight (head), 3.bias (vector)
    """

    takes_model = True

    def __init__(
        self,
        model: nn.Module,
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        *,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999),
    ) -> None:
        if not isinstance(model, nn.Module):
            accepted = "the model itself, as in trial.optimizer(model), whose modules say what a parameter is for"
            raise ArgumentError("params", type(model).__name__, accepted)
        found = roles(model)
        matrices = [each for each in found if each.role in ("matrix", "kernel")]
        rest = [each for each in found if each not in matrices]
        if not matrices:
            accepted = f"a model with a matrix between its first and its last layer; this one has {_listed(rest)}"
            raise ArgumentError("model", type(model).__name__, accepted)
        self.split = f"Muon: {_listed(matrices)}\nAdamW: {_listed(rest)}"
        self._muon: torch.optim.Optimizer = torch.optim.Muon(
            [_as_matrix(each.value) for each in matrices], lr, weight_decay, momentum, adjust_lr_fn="match_rms_adamw"
        )
        self._adamw: torch.optim.Optimizer = torch.optim.AdamW(
            [each.value for each in rest], lr, betas, weight_decay=weight_decay
        )
        groups = [{**self._muon.param_groups[0], "params": [each.value for each in matrices]}, *self._adamw.param_groups]
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay})

    def __str__(self) -> str:
        return self.split

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step of both, on the groups and the state of this optimizer."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        group, rest = self.param_groups
        matrices = {_as_matrix(value): self.state[value] for value in group["params"] if value.grad is not None}
        self._muon.param_groups, self._muon.state = [{**group, "params": list(matrices)}], defaultdict(dict, matrices)
        self._muon.step()
        self._adamw.param_groups, self._adamw.state = [rest], self.state
        self._adamw.step()
        return loss


def _as_matrix(value: nn.Parameter) -> Tensor:
    """The same memory, values and gradient, as a matrix of outputs by all else."""
    matrix = value.detach().view(len(value), -1)
    matrix.grad = None if value.grad is None else value.grad.view(len(value), -1)
    return matrix


def _listed(parameters: Sequence[Parameter]) -> str:
    return ", ".join(f"{each.name} ({each.role})" for each in parameters) or "no parameters"
