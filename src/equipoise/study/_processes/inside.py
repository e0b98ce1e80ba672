"""What runs inside of a trial's process."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import random
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from equipoise._words import printable
from equipoise.errors import StabilityWarning
from equipoise.study._cells import Assignment
from equipoise.study._checkpoint import Checkpoint
from equipoise.study._processes.gpus import VISIBLE
from equipoise.study._sources import Sources, code_digest, digest
from equipoise.study._task_source import TaskSource
from equipoise.study._worker import Finished, Trial

ENDED_BY = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Signals that may reach every process of a study at once. The study decides what becomes of its trials."""


@dataclass(frozen=True)
class Job:
    """What a process is to train, and where it writes."""

    assignment: Assignment
    log: Path
    """Takes what the trial prints."""
    checkpoints: Path
    """A folder for what :meth:`Trial.resume` keeps."""
    gpu: str | None = None
    """The one GPU that it may use, as CUDA_VISIBLE_DEVICES names it; None for all that the study may use."""


def work(connection: Connection, job: Job) -> None:
    """The main function of a trial's process: run the task, send every report, then one :class:`Finished`."""
    assignment = job.assignment
    if job.gpu is not None:  # in time: torch is imported, but it looks for GPUs when the first one is used
        os.environ[VISIBLE] = job.gpu
    sources = enter_process(assignment.task, assignment.threads, job.log)
    started = time.monotonic()
    status: Literal["finished", "diverged", "failed"] = "finished"
    trial, reason = None, ""
    try:
        task = load_task(assignment.task, sources)
        # A changed source is another trial: it does not go on where the former one was.
        loaded = code_digest({name: digest(text) for name, text in sources.texts.items()})
        trial = Trial(assignment, connection.send, sources.load, Checkpoint(job.checkpoints / loaded), sources.note_data)
        seed_all(assignment.seed)
        task(trial)
    except BaseException as error:  # also of sys.exit: a task has no say in how the process ends
        status, reason = "failed", in_one_line(error)
        traceback.print_exc()
    if trial is not None and trial.diverged:
        # A task may catch DivergedError and raise something else on its way out; a diverged trial is an outcome all the same.
        status, reason = "diverged", ""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    cost = None if trial is None else trial.cost()
    connection.send(Finished(status, time.monotonic() - started, reason, cost, sources.texts))
    connection.close()


def load_task(source: TaskSource, sources: Sources) -> Callable[[Trial], None]:
    """Import the module or run the file that defines a task.

    Raises:
        AttributeError: it defines no such function.
    """
    return sources.load(f"{source.module}:{source.function}")


def enter_process(task: TaskSource, threads: int, log: Path) -> Sources:
    """Make this process one of a study's.

    It prints to the log, leads a process group of its own, leaves signals to the study, and ends when the study's process ends.
    Processes that it starts start as they do in a script.

    Returns:
        What notes the sources that it loads.
    """
    os.setpgid(0, 0)
    _print_to(log)
    faulthandler.enable(all_threads=False)  # where it crashed, or hangs: the other threads are mostly ours
    for number in ENDED_BY:
        signal.signal(number, _leave_to_the_study)
    os.register_at_fork(after_in_child=_signals_as_in_a_script)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDED_BY)
    _end_with_the_study()
    multiprocessing.set_start_method(None, force=True)
    torch.set_num_threads(threads)
    warnings.simplefilter("ignore", StabilityWarning)  # the study has said it, once for each arm
    return Sources(Path(task.folder)).install()


def seed_all(seed: int) -> None:
    """Seed the random numbers of Python, numpy and torch."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  (tasks may use numpy's global state)
    torch.manual_seed(seed)  # pyright: ignore[reportUnknownMemberType]


def _print_to(log: Path) -> None:
    """Let this process and its children print to a file, which whoever waits for a sign of life sees grow line by line."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for number in (1, 2):
        os.dup2(file, number)
    os.close(file)
    sys.stdout = open(1, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115


def _leave_to_the_study(number: int, frame: object) -> None:
    """Do nothing."""


def _signals_as_in_a_script() -> None:
    """A process that a task has forked can be terminated, as the workers of a pool are."""
    for number in ENDED_BY:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def _end_with_the_study() -> None:
    """End this process, and those it has started, when the study's process ends, however that happens."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


def in_one_line(error: BaseException) -> str:
    """What an error says, and where it was raised."""
    said = printable(" ".join("".join(traceback.format_exception_only(error)).split()), 300)
    frames = traceback.extract_tb(error.__traceback__)
    return f"{said} ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else said
