"""What a guard does about trouble: four policies, and the remedies that a rollback may apply before training goes on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from torch.optim.lr_scheduler import LRScheduler

from equipoise.errors import ArgumentError
from equipoise.hyperparameters import Hyperparameters, whole_number
from equipoise.optim._optimizer import Equipoise
from equipoise.theory._region import nearest_stable

Remedy: TypeAlias = Callable[[Mapping[str, Any], int], str]
"""Changes something about objects that were just restored, and says what, in a sentence. Called with the objects by name, and
how many times what was restored needs it: a snapshot from before the last rollback lacks the remedy of that one too."""


@dataclass(frozen=True, slots=True)
class Warn:
    """Say it, in the log and to the sinks, and go on."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Write a report, and raise :class:`~equipoise.errors.RunStoppedError` from ``Monitor.step()``."""

    report: str | Path = "run-stopped.md"
    """What happened, where, what was tried, and the last good snapshot. The first process writes it."""


@dataclass(frozen=True, slots=True)
class Skip:
    """Make no step with gradients that hold NaN or infinity on any process: parameters, moments, step counts stay as they are.

    Gradients are looked at before every step: one pass over them, and one wait for the device. They are dropped (``.grad`` is
    None), not written to. Other trouble is only said.
    """

    limit: int = 10
    """So many steps may be dropped in the whole run; at one more it is stopped."""
    otherwise: Stop = Stop()

    def __post_init__(self) -> None:
        whole_number("limit", self.limit)


@dataclass(frozen=True, slots=True)
class Rollback:
    """Go back to a snapshot from before the trouble, and go on from there with remedies."""

    remedies: tuple[Remedy, ...] = ()
    """Applied in this order. Without any, the run is repeated as it was, or goes on with other data."""
    rewind: Callable[[int], None] | None = None
    """Brings the data back to where they were after the step that it is called with. None leaves them where they are: the
    batches since the snapshot, the offending ones among them, are skipped. (A loader with a state dict can be in snapshots.)"""
    limit: int = 3
    """So many rollbacks may there be in the whole run; at one more it is stopped."""
    otherwise: Stop = Stop()

    def __post_init__(self) -> None:
        whole_number("limit", self.limit)


Policy: TypeAlias = Warn | Skip | Rollback | Stop


@dataclass(frozen=True, slots=True)
class LowerRate:
    """A remedy: lower the learning rates of all optimizers, and those that torch's schedulers start from.

    Group by group ``lr``, ``initial_lr``, ``max_lr`` and ``min_lr``, and the schedulers' ``base_lrs`` and ``max_lrs``, are
    multiplied by the factor. A floor of a schedule, as ``eta_min``, stays.

    Example:
        >>> optimizer = Equipoise([torch.nn.Parameter(torch.ones(1))], lr=0.1)
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
        """Multiply by the factor as many times."""
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
    """A remedy: move one hyperparameter to its nearest stable value (E4), in every stage that is not stable by itself.

    A :class:`~equipoise.balance.Scheduler` or a controller that has this hyperparameter moves it again.

    Example:
        >>> import warnings
        >>> with warnings.catch_warnings(action="ignore"):
        ...     optimizer = Equipoise([torch.nn.Parameter(torch.ones(1))], betas=(0.95, 0.7))
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
        """Move it, and say from where to where."""
        said: list[str] = []
        for optimizer in objects.values():
            if isinstance(optimizer, Equipoise):
                for number, group in enumerate(optimizer.param_groups):
                    said += [f"In group {number} {each}." for each in self._move(group)]
        return " ".join(said) or "All groups are stable already."

    def _move(self, group: dict[str, Any]) -> Iterator[str]:
        place = ("beta1", "beta2", "exponent").index(self.value)
        stages = [list(stage) for stage in Hyperparameters.of_group(group).stages]
        for stage in stages:
            before, after = stage[place], getattr(nearest_stable(*stage), self.value)
            if math.isnan(after):
                yield f"{self.value} stays {before:.4g}, as no value of it alone is stable"
            elif after != before:
                stage[place] = after
                yield f"{self.value} goes from {before:.4g} to {after:.4g}"
        moved = Hyperparameters(tuple((beta1, beta2) for beta1, beta2, _ in stages), tuple(p for *_, p in stages))
        group.update(moved.group_values())


def _schedulers(each: Any) -> Iterator[LRScheduler]:
    """A scheduler of torch, and those that it consists of."""
    if isinstance(each, LRScheduler):
        yield each
    for part in getattr(each, "_schedulers", ()):
        yield from _schedulers(part)
