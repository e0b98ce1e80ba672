"""The four policies of a guard: what it does about trouble."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from equipoise.hyperparameters import whole_number
from equipoise.monitor._guarding.remedies import Remedy


@dataclass(frozen=True, slots=True)
class Warn:
    """Say what is wrong, in the log and to the sinks, and go on."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Write a report, and raise :class:`~equipoise.errors.RunStoppedError` from ``Monitor.step()``."""

    report: str | Path = "run-stopped.md"
    """The file for the report: what happened, where, what was tried, and the last good snapshot. The first process writes
    it."""


@dataclass(frozen=True, slots=True)
class Skip:
    """Make no step with gradients that hold NaN or infinity on any process: parameters, moments and step counts stay as they
    are.

    Gradients are looked at before every step: one pass over them, and one wait for the device. They are dropped (``.grad`` is
    None), not written to. Other trouble is only said.
    """

    limit: int = 10
    """The most steps that may be dropped in the whole run; one more stops it."""
    otherwise: Stop = Stop()

    def __post_init__(self) -> None:
        whole_number("limit", self.limit)


@dataclass(frozen=True, slots=True)
class Rollback:
    """Go back to a snapshot from before the trouble, and go on from there with remedies."""

    remedies: tuple[Remedy, ...] = ()
    """The remedies, applied in this order. Without any, the run is repeated as it was, or goes on with other data."""
    rewind: Callable[[int], None] | None = None
    """A function that brings the data back to where they were after the step that it is called with. None leaves them where
    they are: the batches since the snapshot, bad ones included, are skipped. (A loader with a state dict can be in the
    snapshots.)"""
    limit: int = 3
    """The most rollbacks in the whole run; one more stops it."""
    otherwise: Stop = Stop()

    def __post_init__(self) -> None:
        whole_number("limit", self.limit)


Policy: TypeAlias = Warn | Skip | Rollback | Stop
