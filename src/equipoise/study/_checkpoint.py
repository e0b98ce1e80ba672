"""Where a trial was when it was cut short: the snapshots of the monitor, one after each epoch, with what was reported."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from equipoise.errors import UnusableInputError
from equipoise.monitor._guarding.snapshots import Snapshots, Stateful

OWN = "trial"
"""The name of our own object among those of the task."""


class Checkpoint:
    """Keeps the state of a trial after each epoch, atomically, and brings it back in another process.

    Args:
        folder: of this trial's files, made when they are first needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._reports = _Reports()
        self._snapshots: Snapshots | None = None

    def resume(self, objects: Mapping[str, Stateful]) -> tuple[int, list[tuple[int, dict[str, float]]]]:
        """Restore the objects, if there is anything to restore.

        Returns:
            The last finished epoch, or 0, and what was reported until its end.
        """
        self._snapshots = Snapshots({**objects, OWN: self._reports}, folder=self._folder)
        try:
            epoch = self._snapshots.restore().step
        except UnusableInputError:  # there is none, or it is of other objects: the trial begins anew
            return 0, []
        return epoch, self._reports.made

    def note(self, epoch: int, metrics: dict[str, float]) -> None:
        """Remember what was reported."""
        self._reports.made.append((epoch, metrics))

    def take(self, epoch: int) -> None:
        """Keep the state after an epoch, if :meth:`resume` has said of what."""
        if self._snapshots is not None:
            self._snapshots.take(epoch)


class _Reports:
    """What a trial has reported, as a state beside those of its objects."""

    def __init__(self) -> None:
        self.made: list[tuple[int, dict[str, float]]] = []

    def state_dict(self) -> dict[str, Any]:
        return {"made": [[epoch, dict(metrics)] for epoch, metrics in self.made]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.made = [(epoch, dict(metrics)) for epoch, metrics in state["made"]]
