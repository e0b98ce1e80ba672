"""Snapshots: the last good states of a run, to go back to, in memory and on disk, where they outlive the process.

A snapshot is the state dict of every object that was given, and the state of all random number generators: those of Python,
NumPy (the global one) and torch, on the CPU and on every CUDA device. Tensors are copied to the memory of the host, which costs
the device none. What is restored is a copy again, so that training never writes into a snapshot.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from equipoise._words import memory
from equipoise.errors import ArgumentError, UnusableInputError
from equipoise.hyperparameters import whole_number
from equipoise.monitor._guarding.archive import Archive, Snapshot, spaced
from equipoise.monitor._guarding.random_state import random_state, set_random_state

MOST_STEPS = 100
"""So many steps may be lost to a rollback, unless the user says otherwise."""

_log = logging.getLogger("equipoise")


class Stateful(Protocol):
    """A model, an optimizer, a scheduler, a GradScaler, a controller, a data loader that knows where it is."""

    def state_dict(self) -> Any:
        """Its whole state, in tensors and plain values."""
        ...

    def load_state_dict(self, state_dict: Any, /) -> Any:
        """Take over that state."""
        ...


class Snapshots:
    """Keeps the last good states of a run.

    Give them to a :class:`~equipoise.monitor.Guard`, which takes a snapshot at readings without trouble, and restores one after
    trouble. Without a guard, call :meth:`take` and :meth:`restore`.

    **Starting again** with the same folder, without restoring anything, begins a new run: the snapshots that are there already
    are moved into a folder ``earlier-1`` (then ``earlier-2``, ...) beside the new ones, and the log says so. Nothing is
    deleted.

    In memory a snapshot takes as many bytes as the state dicts, and so does each on disk, per process; the log says how
    many when the first one is taken, and again if they become more, as optimizers make their state in the first step. Training
    waits while one is taken: for a copy, and with a folder for a hash and for the disk. Choose `every` for that to be small.

    Args:
        objects: what to keep, by name: model, optimizer, schedulers, scaler, controllers, in the order in which they are to be
            restored, the optimizer before its controllers. A monitor with a guard adds itself, as "monitor".
        folder: where they are kept on disk, made if it is missing; None keeps them in memory only.
        every: the least number of steps from one snapshot to the next. None is a quarter of the steps so far, so that there is
            something to go back to early in a run, but at most 100.
        keep: how many are kept, at least 2: trouble may have begun before it was seen, so that the newest is not good enough.
            Their ages are about 0, 1, 2, 4, ... times the distance of the newest two.

    Raises:
        ArgumentError: an argument outside of what is accepted.
        UnusableInputError: the folder cannot be made.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(2, 1)
        >>> snapshots = Snapshots({"model": model})
        >>> snapshots.take(0)
        >>> before = model.weight.clone()
        >>> _ = torch.nn.init.zeros_(model.weight)
        >>> snapshots.restore().step, torch.equal(model.weight, before)
        (0, True)
    """

    def __init__(
        self, objects: Mapping[str, Stateful], *, folder: str | Path | None = None, every: int | None = None, keep: int = 3
    ) -> None:
        for name, each in objects.items():
            if not (hasattr(each, "state_dict") and hasattr(each, "load_state_dict")):
                raise ArgumentError(f"objects[{name!r}]", each, "something with state_dict and load_state_dict")
        if not objects:
            raise ArgumentError("objects", objects, "at least one object to keep, by name")
        whole_number("keep", keep, 2)
        if every is not None:
            whole_number("every", every)
        self.objects = dict(objects)
        self.every = every
        self.keep = keep
        self.remedies = 0
        """How many rollbacks have left their remedies in the present state; a guard counts them."""
        self._held: list[Snapshot] = []
        self._said = 0
        """The size of a snapshot that the log has."""
        self._archive = None if folder is None else Archive(Path(folder), keep)

    @property
    def steps(self) -> list[int]:
        """The steps of the snapshots in memory, oldest first."""
        return [snapshot.step for snapshot in self._held]

    @property
    def newest(self) -> str:
        """Where the newest snapshot is, in a sentence."""
        if not self._held:
            return "There is none."
        place = "in memory" if self._archive is None else f"in {self._archive.folder.resolve()}"
        return f"The newest is of step {self._held[-1].step}, {place}."

    def due(self, step: int) -> bool:
        """Whether so many steps have passed since the newest snapshot that another one is to be taken."""
        if not self._held:
            return True
        newest = self._held[-1].step
        return step >= newest + (self.every or min(MOST_STEPS, max(1, newest // 4)))

    def take(self, step: int) -> None:
        """Keep the present state as that after `step`. Where the disk fails, it is kept in memory, and the log says so.

        Raises:
            ArgumentError: a step that is not after the newest snapshot of this run; a state that cannot be read back from disk.
        """
        if self.steps and step <= self.steps[-1]:
            raise ArgumentError(
                "step", step, f"after {self.steps[-1]}, the step of the newest snapshot, which restore() goes back to"
            )
        if not self.steps and self._archive is not None:
            self._archive.set_earlier_run_aside(step)
        states = {name: copied(each.state_dict()) for name, each in self.objects.items()}
        snapshot = Snapshot(step, self.remedies, states, random_state())
        held = {each.step: each for each in [*self._held, snapshot]}
        self._held = [held[kept] for kept in spaced(list(held), self.keep)]
        self._say_size(snapshot)
        if self._archive is not None:
            self._archive.write(snapshot)

    def restore(self, *, before: int | None = None) -> Snapshot:
        """Put every object, and all random number generators, back to the newest snapshot.

        It comes from memory, or, in a new process, from disk. A snapshot that is damaged on any process is passed over on all.

        Args:
            before: go back to the newest snapshot from before this step, or else to the oldest. Newer ones are removed, also on
                disk.

        Raises:
            UnusableInputError: there is none, or it has other objects or another number of processes. Nothing was
                restored.
        """
        held = self._held or ([] if self._archive is None else self._archive.read_newest())
        if before is not None:
            held = [snapshot for snapshot in held if snapshot.step < before] or held[:1]
        if not held:
            raise UnusableInputError("there is no snapshot to go back to")
        snapshot = held[-1]
        if set(snapshot.objects) != set(self.objects):
            raise UnusableInputError(
                f"the snapshot of step {snapshot.step} is of {', '.join(snapshot.objects)}, and the objects to restore are"
                f" {', '.join(self.objects)}: they must be the same"
            )
        self._held = held
        if self._archive is not None:
            self._archive.forget_after(snapshot.step)
        for name, each in self.objects.items():
            each.load_state_dict(copied(snapshot.objects[name]))  # torch's own optimizers keep what they are given
        set_random_state(snapshot.random)
        self.remedies = snapshot.remedies
        return snapshot

    def _say_size(self, snapshot: Snapshot) -> None:
        size = bytes_of(snapshot.objects)
        if size > 1.1 * self._said:
            self._said = size
            disk = "" if self._archive is None else f", and as much in {self._archive.folder}, where one more has to fit"
            all_of_them = memory(self.keep * size)
            _log.warning(
                "equipoise: a snapshot takes %s; the %d that are kept, %s%s", memory(size), self.keep, all_of_them, disk
            )


def bytes_of(value: Any) -> int:
    """How much memory the tensors in a state take."""
    if isinstance(value, Tensor):
        return value.nbytes
    if isinstance(value, dict):
        return sum(map(bytes_of, value.values()))  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]
    return sum(map(bytes_of, value)) if isinstance(value, (list, tuple)) else 0  # pyright: ignore[reportUnknownArgumentType]


def copied(value: Any) -> Any:
    """A state that shares no memory with the one given.

    Tensors come to the host, but those of one element stay where they are: a learning rate on a device belongs there.
    """
    if isinstance(value, Tensor):
        value = value.detach()
        return value.clone() if value.numel() == 1 else value.to("cpu", copy=True)
    if isinstance(value, dict):
        twin: dict[Any, Any] = copy.copy(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
        for key in twin:
            twin[key] = copied(twin[key])
        return twin  # with the attributes of the first: torch keeps versions of modules there
    if type(value) in (list, tuple):
        return type(value)(map(copied, value))
    return copy.deepcopy(value)
