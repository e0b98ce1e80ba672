"""Processes that a fork server starts, which has imported what every trial needs, and how they are ended."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from equipoise.study._cells import Cell
from equipoise.study._processes.inside import ENDED_BY

PRELOADED = ["equipoise.study._processes.inside", "sklearn.datasets", "torch._dynamo"]
"""Imported once by the fork server. Making a torch optimizer imports torch._dynamo, 1.5 s that every trial would pay."""


def preload(module: str) -> None:
    """Have the fork server import a module, if it does not run yet. One that is not installed is left out."""
    if module not in PRELOADED:
        PRELOADED.append(module)


SLOW_TO_IMPORT = "pytorch_optimizer"
"""It takes a second or two, which every trial would pay that uses it."""


def preload_for(cells: Iterable[Cell]) -> None:
    """Have the fork server import what is slow to import, if one of the cells needs it."""
    if any(cell.assignment.optimizer.startswith(f"{SLOW_TO_IMPORT}.") for cell in cells):
        preload(SLOW_TO_IMPORT)


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
        except (EOFError, OSError):
            self.process.join()
            raise ChildProcessError(how_it_ended(self.process.exitcode)) from None


def how_it_ended(exit_code: int | None) -> str:
    """The end of a process that has not said how it ends, in words."""
    if exit_code is None or exit_code >= 0:
        return f"its process ended by itself with exit code {exit_code}"
    name = signal.Signals(-exit_code).name if -exit_code in signal.valid_signals() else f"signal {-exit_code}"
    causes = {"SIGKILL": ", as the system does where memory runs out", "SIGSEGV": ", a fault in compiled code"}
    return f"its process was ended by {name}{causes.get(name, '')}"


def start(main: Callable[..., None], *arguments: Any, name: str) -> Child:
    """Start a process.

    Args:
        main: what it runs, called with the connection to send messages to, and the arguments.
        arguments: anything that can be pickled.
        name: for whoever lists processes.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    # What a terminal or a batch system sends to all processes alike may not end these two: a trial would lose its server.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDED_BY)
    try:
        resource_tracker.ensure_running()  # which unblocks what it ignores
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDED_BY)
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=main, args=(theirs, *arguments), name=name)
    process.start()
    theirs.close()
    return Child(ours, process)


def end(children: Sequence[Child]) -> None:
    """Kill the processes that still run, with all that they have started, and wait for them."""
    for child in children:
        assert child.process.pid is not None  # it was started
        with suppress(ProcessLookupError):
            os.killpg(child.process.pid, signal.SIGKILL)
        child.process.kill()  # which may have no group of its own yet
    for child in children:
        child.process.join()
        child.connection.close()


def usable_cores() -> int:
    """The number of cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def usable_workers(threads: int) -> int:
    """How many trials of so many threads run at once if nobody says it: as many as there are usable cores for."""
    return max(1, usable_cores() // threads)
