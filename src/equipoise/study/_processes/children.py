"""Trials in processes of their own, started by a fork server that has imported what every trial needs."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from equipoise.errors import StudyStoppedError
from equipoise.study._cells import Cell, Result
from equipoise.study._worker import Finished, Report, work

PRELOADED = ["equipoise.study._worker", "sklearn.datasets", "torch._dynamo"]
"""Imported once by the fork server. Making a torch optimizer imports torch._dynamo, 1.5 s that every trial would pay."""


@dataclass
class Child:
    """A process, and the end of the pipe through which it sends messages."""

    connection: Connection
    process: BaseProcess

    def receive(self) -> Any:
        """Wait for the next message.

        Raises:
            ChildProcessError: the process ended without another one.
        """
        try:
            return self.connection.recv()
        except (EOFError, ConnectionError):
            self.process.join()
            raise ChildProcessError(f"its process ended by itself with exit code {self.process.exitcode}") from None


def start(main: Callable[..., None], *arguments: Any, name: str) -> Child:
    """Start a process.

    Args:
        main: what it runs, called with the connection to send messages to, and the arguments.
        arguments: anything that can be pickled.
        name: for whoever lists processes.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=main, args=(theirs, *arguments), name=name)
    process.start()
    theirs.close()
    return Child(ours, process)


def end(children: Sequence[Child]) -> None:
    """Terminate the processes that still run, and wait for all of them."""
    for child in children:
        child.process.terminate()
    for child in children:
        child.process.join()
        child.connection.close()


def usable_cores() -> int:
    """The number of cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass
class _Running:
    cell: Cell
    child: Child
    curves: dict[str, dict[int, float]] = field(default_factory=dict[str, dict[int, float]])


def execute(cells: Sequence[Cell], workers: int, keep: Callable[[Cell], None]) -> None:
    """Run the trials of cells, at most `workers` at once, each in a process of its own, and fill in their results.

    Args:
        cells: what to run, in this order.
        workers: how many processes share the usable cores.
        keep: called with every cell whose trial finished or diverged, as soon as it did.

    Raises:
        StudyStoppedError: a trial failed. No further trial was started; those already running were finished and kept.
    """
    threads = max(1, usable_cores() // workers)
    waiting = list(reversed(cells))
    running: dict[Connection, _Running] = {}
    failures: list[str] = []
    try:
        while running or (waiting and not failures):
            while waiting and not failures and len(running) < workers:
                cell = waiting.pop()
                child = start(work, cell.assignment, threads, name=cell.label)
                running[child.connection] = _Running(cell, child)
            for ready in wait(list(running)):
                assert isinstance(ready, Connection)
                trial = running[ready]
                message = _next_message(trial.child)
                if isinstance(message, Report):
                    for name, value in message.metrics.items():
                        trial.curves.setdefault(name, {})[message.epoch] = value
                    continue
                del running[ready]
                ready.close()
                trial.child.process.join()
                if message.status == "failed":
                    failures.append(f"trial {trial.cell.label} failed: {message.reason.strip()}")
                else:
                    trial.cell.result = Result(message.status == "diverged", message.seconds, trial.curves, message.cost)
                    keep(trial.cell)
    finally:
        end([trial.child for trial in running.values()])
    if failures:
        raise StudyStoppedError("\n".join(failures))


def _next_message(child: Child) -> Report | Finished:
    try:
        return child.receive()
    except ChildProcessError as error:
        return Finished("failed", 0.0, str(error))
