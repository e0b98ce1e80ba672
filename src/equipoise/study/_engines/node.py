"""What happens to a trial on a node of a cluster: there it runs as it would have run at home, and all of it comes home."""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

from equipoise.study._cells import Cell, Failure, Result
from equipoise.study._processes.logs import log_of
from equipoise.study._processes.pool import Conditions, execute
from equipoise.study._processes.stopping import Stop
from equipoise.study._task_source import TaskSource


@dataclass(frozen=True)
class Order:
    """A trial that a node is to run."""

    cell: Cell
    timeout: float
    """Seconds of silence after which it hangs."""
    gpus: int | None
    """1 if it has a GPU of its own, else None."""
    mark: Path
    """A file in the folder where the study keeps what trials resume from. A node that sees it shares that folder."""


@dataclass
class Outcome:
    """What came of a trial, with everything that the study keeps of it."""

    result: Result | None = None
    failure: Failure | None = None
    """Its log is the node's."""
    sources: dict[str, str] = field(default_factory=dict[str, str])
    """The text of every source that the trial loaded, by the file's name."""
    log: bytes = b""
    """What it printed."""

    def keep(self, cell: Cell, sources: dict[str, str]) -> None:
        """The trial finished or diverged."""
        self.result, self.sources = cell.result, sources

    def failed(self, cell: Cell, again: bool) -> None:  # noqa: ARG002  (the study decides whether to try again)
        """The trial failed."""
        self.failure = cell.failure

    def tick(self) -> None:
        """Ray watches over this process: nothing needs a sign of life."""


def carry_out(order: Order) -> Outcome:
    """Run a trial in a process of its own, watched as at home."""
    # Every process that multiprocessing starts would run Ray's own script first, for a second.
    sys.modules["__main__"].__file__ = None
    cell = replace(order.cell, assignment=replace(order.cell.assignment, task=_here(order.cell.assignment.task)))
    outcome = Outcome()
    with tempfile.TemporaryDirectory(prefix="equipoise-") as name:
        folder = Path(name)
        shared = order.mark.exists() and os.access(order.mark.parent, os.W_OK)
        checkpoints = order.mark.parent if shared else folder
        conditions = Conditions(1, order.gpus, order.timeout, 0, logs=folder, checkpoints=checkpoints)
        execute([cell], conditions, outcome, Stop())
        log = log_of(cell, folder)
        outcome.log = log.read_bytes() if log.exists() else b""
    return outcome


def _here(task: TaskSource) -> TaskSource:
    """The same task in the copy of the study's folder, in which Ray starts its processes. Its sources have the same names."""
    folder = Path.cwd()
    module = str(folder / task.place) if task.module.endswith(".py") else task.module
    return replace(task, module=module, folder=str(folder))
