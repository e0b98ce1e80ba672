"""What a study needs of whatever runs its trials, and the engine that every machine has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from equipoise.study._cells import Cell
from equipoise.study._processes.pool import Conditions, Keeper, execute
from equipoise.study._processes.stopping import Stop


class Engine(Protocol):
    """Where the trials of a study run."""

    def execute(self, cells: Sequence[Cell], conditions: Conditions, keeper: Keeper, stop: Stop) -> None:
        """Run the trials of cells, and give the cells their results and failures.

        Args:
            cells: what to run, in this order.
            conditions: how.
            keeper: is told of every attempt, as soon as it ended, in this thread.
            stop: when it is asked, no further trial is started. A KeyboardInterrupt ends those that run.
        """
        ...

    def close(self) -> None:
        """Let go of what :meth:`execute` has taken, if it was called. It may be called again afterwards."""
        ...


class ThisMachine:
    """Runs trials in processes of this machine."""

    def execute(self, cells: Sequence[Cell], conditions: Conditions, keeper: Keeper, stop: Stop) -> None:
        """Run the trials of cells."""
        execute(cells, conditions, keeper, stop)

    def close(self) -> None:
        """Nothing is left: trials have ended with their processes."""
