"""What a rollback changes before training goes on: the learning rates, or hyperparameters that are not stable."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch.optim.lr_scheduler import LRScheduler

from equipoise.errors import ArgumentError
from equipoise.hyperparameters import Hyperparameters
from equipoise.monitor._measuring.optimizers.theory import stages_of
from equipoise.monitor._measuring.optimizers.unwrapping import stepping_optimizer
from equipoise.theory._region import nearest_stable

Remedy: TypeAlias = Callable[[Mapping[str, Any], int], str]
"""A function that changes restored objects, and says in a sentence what it changed. It is called with the objects by name, and
with how many times to apply it: a snapshot from before the last rollback lacks the remedy of that rollback too."""


@dataclass(frozen=True, slots=True)
class LowerRate:
    """A remedy: lower the learning rates of all optimizers, and those that torch's schedulers start from.

    Group by group ``lr``, ``initial_lr``, ``max_lr`` and ``min_lr``, and the schedulers' ``base_lrs`` and ``max_lrs``, are
    multiplied by the factor. A floor of a schedule, as ``eta_min``, stays.

    Example:
        >>> optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.ones(1))], lr=0.1)
        >>> LowerRate(0.5)({"optimizer": optimizer}, 2)
        'The learning rates are 0.25 times those of the snapshot.'
        >>> optimizer.param_groups[0]["lr"]
        0.025
    """

    factor: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.factor < 1:
            raise ArgumentError("factor", self.factor, "in (0, 1)")

    def __call__(self, objects: Mapping[str, Any], times: int) -> str:
        """Multiply by the factor, `times` times."""
        scale = self.factor**times
        for each in objects.values():
            if isinstance(each, torch.optim.Optimizer):
                for group in each.param_groups:
                    for key in {"lr", "initial_lr", "max_lr", "min_lr"} & set(group):
                        group[key] = group[key] * scale
            for scheduler in _schedulers(each):
                for key in {"base_lrs", "max_lrs", "_last_lr"} & set(vars(scheduler)):
                    setattr(scheduler, key, [lr * scale for lr in getattr(scheduler, key)])
        return f"The learning rates are {scale:g} times those of the snapshot."


@dataclass(frozen=True, slots=True)
class MoveInside:
    """A remedy: move one hyperparameter to its nearest stable value, in every stage that is not stable by itself.

    A :class:`~equipoise.balance.Scheduler` or a controller that changes this hyperparameter moves it again.

    Example:
        >>> optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.ones(1))], betas=(0.95, 0.7))
        >>> MoveInside("beta1")({"optimizer": optimizer}, 1)
        'In group 0 beta1 goes from 0.95 to 0.8202.'
        >>> MoveInside("beta1")({"optimizer": optimizer}, 1)
        'All groups are stable already.'
    """

    value: Literal["beta1", "beta2", "exponent"] = "exponent"

    def __post_init__(self) -> None:
        if self.value not in ("beta1", "beta2", "exponent"):
            raise ArgumentError("value", self.value, "'beta1', 'beta2' or 'exponent'")

    def __call__(self, objects: Mapping[str, Any], _: int) -> str:
        """Move it in every group, and say from where to where."""
        said: list[str] = []
        for optimizer in objects.values():
            if isinstance(optimizer, torch.optim.Optimizer):
                inner = stepping_optimizer(optimizer)
                for number, group in enumerate(inner.param_groups):
                    said += [f"In group {number} {each}." for each in self._move(inner, group)]
        return " ".join(said) or "All groups are stable already."

    def _move(self, optimizer: torch.optim.Optimizer, group: dict[str, Any]) -> Iterator[str]:
        known, name = stages_of(optimizer, group), type(optimizer).__name__
        if known is None:
            yield f"{self.value} stays as it is, as nothing is known of the stability of {name}"
            return
        place = ("beta1", "beta2", "exponent").index(self.value)
        stages = [list(stage) for stage in known.stages]
        for stage in stages:
            before, after = stage[place], getattr(nearest_stable(*stage), self.value)
            if math.isnan(after):
                yield f"{self.value} stays {before:.4g}, as no value of it alone is stable"
            elif after != before and (self.value != "exponent" or "exponent" in group):
                stage[place] = after
                yield f"{self.value} goes from {before:.4g} to {after:.4g}"
            elif after != before:
                yield f"the exponent stays {before:.4g}, as {name} has no other"
        moved = Hyperparameters(tuple((beta1, beta2) for beta1, beta2, _ in stages), tuple(p for *_, p in stages))
        if moved != known:
            group.update({key: value for key, value in moved.group_values().items() if key in group})


def _schedulers(each: Any) -> Iterator[LRScheduler]:
    """A scheduler of torch, and the schedulers that it consists of."""
    if isinstance(each, LRScheduler):
        yield each
    for part in getattr(each, "_schedulers", ()):
        yield from _schedulers(part)
