"""The trials of a study, so many at once: each is watched, and none can stop the others."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Protocol

from equipoise.study._cells import Cell, Failure, Result
from equipoise.study._processes.children import Child, end, how_it_ended, preload_for, start, usable_workers
from equipoise.study._processes.gpus import first_gpus
from equipoise.study._processes.inside import Job, work
from equipoise.study._processes.logs import bounded_size, end_of, log_of
from equipoise.study._processes.stopping import Stop
from equipoise.study._worker import Finished, Report

TICK = 0.5
"""Seconds between two looks at trials that say nothing."""

GRACE = 5.0
"""Seconds that a process has to end after its trial: a thread or a child that the task left may hold it for ever."""

LAST_WORDS = 2.0
"""Seconds that a process has to print where it hangs."""


@dataclass(frozen=True)
class Conditions:
    """How trials are run."""

    workers: int | None
    """How many run at once; None for as many as there are GPUs to give, or else as many as the cores carry."""
    gpus: int | None
    """How many GPUs there are to give, one to each trial; None where trials see all GPUs of the machine."""
    timeout: float
    """Seconds of silence after which a trial hangs."""
    retries: int
    logs: Path
    """A folder that is there."""
    checkpoints: Path


class Keeper(Protocol):
    """Who is told what came of trials."""

    def keep(self, cell: Cell, sources: dict[str, str]) -> None:
        """A trial finished or diverged; the cell has its result. Its process may still run."""
        ...

    def failed(self, cell: Cell, again: bool) -> None:
        """An attempt failed; the cell has the failure. Whether there is another attempt."""
        ...

    def tick(self) -> None:
        """Time has passed, half a second at the most."""
        ...


@dataclass
class _Running:
    """A trial in its process."""

    cell: Cell
    attempt: int
    gpu: str | None
    child: Child
    log: Path
    heard: float
    """When it last gave a sign of life."""
    printed: int = 0
    connected: bool = True
    """Whether messages may come. A task that closes what it does not know may have closed the pipe."""
    curves: dict[str, dict[int, float]] = field(default_factory=dict[str, dict[int, float]])

    def signs(self) -> list[Connection | int]:
        """What to wait for."""
        sentinel = self.child.process.sentinel
        return [self.child.connection, sentinel] if self.connected else [sentinel]

    def look(self, timeout: float) -> Finished | None:
        """Read what it has sent, and how it ended, if it did."""
        ended = self.child.process.exitcode  # before what it sent is read: it may send its last words and end at once
        with suppress(EOFError, OSError):
            while self.child.connection.poll():
                self.connected = False
                message = self.child.connection.recv()
                self.connected = True
                self.heard = time.monotonic()
                if isinstance(message, Finished):
                    return message
                assert isinstance(message, Report)
                for name, value in message.metrics.items():
                    self.curves.setdefault(name, {})[message.epoch] = value
        if ended is not None:
            return Finished("failed", 0.0, how_it_ended(ended))
        printed, self.printed = self.printed, bounded_size(self.log)
        if self.printed != printed:
            self.heard = time.monotonic()
        if time.monotonic() - self.heard > timeout:
            self._say_where_it_hangs()
            return Finished("failed", 0.0, f"it neither reported nor printed anything for {timeout:g} s (timeout)")
        return None

    def _say_where_it_hangs(self) -> None:
        """Make the process print the stacks of its threads, which ends it."""
        assert self.child.process.pid is not None  # it was started
        with suppress(ProcessLookupError):
            os.kill(self.child.process.pid, signal.SIGABRT)
        self.child.process.join(LAST_WORDS)


def execute(cells: Sequence[Cell], conditions: Conditions, keeper: Keeper, stop: Stop) -> None:
    """Run the trials of cells, each in a process of its own, and give the cells their results and failures.

    Args:
        cells: what to run, in this order.
        conditions: how.
        keeper: is told of every attempt, as soon as it ended.
        stop: when it is asked, no further trial is started.

    Raises:
        ArgumentError: there are not as many GPUs. No trial was run.
    """
    if not cells:
        return
    preload_for(cells)
    gpus = None if conditions.gpus is None else first_gpus(conditions.gpus)
    workers = conditions.workers or conditions.gpus or usable_workers(cells[0].assignment.threads)
    waiting = deque((cell, 1) for cell in cells)
    running: list[_Running] = []
    leaving: list[tuple[_Running, float]] = []
    try:
        while running or (waiting and not stop.reason):
            free = [None] * workers if gpus is None else _unused(gpus, [*running, *(trial for trial, _ in leaving)])
            while waiting and not stop.reason and len(running) < workers and free:
                running.append(_start(*waiting.popleft(), free.pop(0), conditions))
            ending = [trial.child.process.sentinel for trial, _ in leaving]
            wait([*(sign for trial in running for sign in trial.signs()), *ending], TICK)
            for trial in list(running):
                finished = trial.look(conditions.timeout)
                if finished is not None:
                    running.remove(trial)
                    leaving.append((trial, time.monotonic() + GRACE))
                    if _tell(trial, finished, conditions, keeper):
                        waiting.appendleft((trial.cell, trial.attempt + 1))
            leaving = _see_off(leaving)
            keeper.tick()
        while leaving:
            wait([trial.child.process.sentinel for trial, _ in leaving], TICK)
            leaving = _see_off(leaving)
    finally:
        end([trial.child for trial in [*running, *(trial for trial, _ in leaving)]])


def _unused(gpus: Sequence[str], trials: Sequence[_Running]) -> list[str | None]:
    """The GPUs that no process has, not even one whose trial is finished: it may hold memory of its GPU until it ends."""
    used = {trial.gpu for trial in trials}
    return [gpu for gpu in gpus if gpu not in used]


def _start(cell: Cell, attempt: int, gpu: str | None, conditions: Conditions) -> _Running:
    log = log_of(cell, conditions.logs)
    if attempt == 1:
        log.unlink(missing_ok=True)
    job = Job(cell.assignment, log, conditions.checkpoints / cell.assignment.key, gpu)
    return _Running(cell, attempt, gpu, start(work, job, name=cell.label), log, time.monotonic())


def _tell(trial: _Running, finished: Finished, conditions: Conditions, keeper: Keeper) -> bool:
    """Give the cell what came of its trial, tell the keeper, and say whether to try again."""
    cell = trial.cell
    if finished.status == "failed":
        cell.failure = Failure(finished.reason, str(trial.log), end_of(trial.log))
        again = trial.attempt <= conditions.retries
        keeper.failed(cell, again)
        return again
    cell.failure = None
    cell.result = Result(finished.status == "diverged", finished.seconds, trial.curves, finished.cost)
    keeper.keep(cell, finished.sources)
    shutil.rmtree(conditions.checkpoints / cell.assignment.key, ignore_errors=True)
    return False


def _see_off(leaving: list[tuple[_Running, float]]) -> list[tuple[_Running, float]]:
    """End the processes that have ended or whose time is up, with all that they left behind; the others stay."""
    now = time.monotonic()
    over = [trial for trial, until in leaving if trial.child.process.exitcode is not None or now > until]
    end([trial.child for trial in over])
    for trial in over:
        bounded_size(trial.log)  # it may have printed much since it was last looked at
    return [(trial, until) for trial, until in leaving if not any(trial is each for each in over)]
