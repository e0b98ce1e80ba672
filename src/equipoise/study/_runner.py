"""Run a study: its trials in processes of their own, what was finished never again, and then the analysis."""

from __future__ import annotations

import multiprocessing
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Protocol

import torch

from equipoise.errors import StabilityWarning, StudyStoppedError, UnusableInputError
from equipoise.study._analysis import Analysis, Tuned, analyse, tune
from equipoise.study._spec import Arm, Assignment, Study, TaskSource, assignment, locate_task
from equipoise.study._store import Result, Store
from equipoise.study._worker import Finished, Report, build_controller, build_optimizer, work

PRELOADED = ["equipoise.study._worker", "sklearn.datasets", "torch._dynamo"]
"""Imported once by the fork server. Making a torch optimizer imports torch._dynamo, 1.5 s that every trial would pay."""


@dataclass(frozen=True)
class Cell:
    """One trial of the study's table."""

    arm: str
    assignment: Assignment

    @property
    def label(self) -> str:
        """For progress and messages."""
        return f"{self.arm} lr={self.assignment.learning_rate:g} seed={self.assignment.seed}"


class Progress(Protocol):
    """What a run tells whoever watches."""

    def phase(self, name: str, total: int, done: int) -> None:
        """A phase of `total` trials begins; `done` of them were finished by an earlier run."""
        ...

    def finished(self, cell: Cell, result: Result) -> None:
        """A trial was finished and kept."""
        ...

    def warn(self, message: str) -> None:
        """Something to know that stops nothing."""
        ...


def run_study(study: Study, folder: Path, store: Store, progress: Progress, workers: int | None = None) -> Analysis:
    """Run what is missing of a study, then analyse it.

    Args:
        study: what to run.
        folder: of the study file; a task's file is relative to it.
        store: finished trials are read from it and written to it.
        progress: is told what happens.
        workers: how many trials run at once; by default one per usable core.

    Raises:
        UnusableInputError: the task or an arm's optimizer cannot be used; nothing was run.
        StudyStoppedError: a trial failed; those that had finished are kept, and another run continues there.
    """
    task = locate_task(study.task, folder)
    for arm in study.arms:
        make_optimizer(arm, study, progress.warn)

    def run(phase: str, cells: Sequence[Cell]) -> dict[str, Result]:
        keys = {cell.assignment.key for cell in cells}
        done = store.results(keys)
        missing = {cell.assignment.key: cell for cell in cells if cell.assignment.key not in done}
        progress.phase(phase, len(keys), len(done))

        def keep(cell: Cell, result: Result) -> None:
            store.add(study.name, cell.arm, cell.assignment, result)
            progress.finished(cell, result)

        execute(list(missing.values()), workers or usable_cores(), keep)
        return store.results(keys)

    # Seed by seed, so that an interrupted study has something of every arm.
    cells = [
        Cell(arm.name, assignment(study, task, arm, rate, seed))
        for seed in study.seeds_for_tuning
        for arm in study.arms
        for rate in study.rates_of(arm)
    ]
    tuning = run("tuning", cells)
    tuned = [tune(study, arm, task, tuning) for arm in study.arms]
    comparison = run("comparison", comparison_cells(study, task, tuned))
    return analyse(study, tuned, task, tuning, comparison)


def comparison_cells(study: Study, task: TaskSource, tuned: Sequence[Tuned]) -> list[Cell]:
    """The trials on fresh seeds, every arm at its own learning rate."""
    return [
        Cell(found.arm.name, assignment(study, task, found.arm, found.chosen, seed))
        for seed in study.seeds_for_comparison
        for found in tuned
    ]


def make_optimizer(arm: Arm, study: Study, warn: Callable[[str], None] = lambda _: None) -> torch.optim.Optimizer:
    """An arm's optimizer, with its controller, on small parameters, to see before any training that it can be made.

    Raises:
        UnusableInputError: it cannot.
    """
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", StabilityWarning)
            weights = [torch.nn.Parameter(torch.zeros(2, 2)) for _ in range(2)]
            made = build_optimizer(arm.optimizer, weights, study.rates_of(arm)[0], arm.arguments)
            if arm.controller is not None:
                build_controller(made, **arm.controller.model_dump())
    except Exception as error:  # whatever a third party's constructor raises, the arm is at fault
        wanted = arm.optimizer if arm.controller is None else f"{arm.optimizer} with {arm.controller.name}"
        raise UnusableInputError(f"arm {arm.name!r}: {wanted} cannot be made: {error}") from error
    for warning in caught:
        warn(f"arm {arm.name!r}: {warning.message}")
    return made


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass
class _Running:
    cell: Cell
    process: BaseProcess
    curves: dict[str, dict[int, float]] = field(default_factory=dict[str, dict[int, float]])


def execute(cells: Sequence[Cell], workers: int, keep: Callable[[Cell, Result], None]) -> None:
    """Run trials, at most `workers` at once, each in a process of its own.

    Args:
        keep: called with every trial that finished or diverged, as soon as it did.

    Raises:
        StudyStoppedError: a trial failed. No further trial was started; those already running were finished and kept.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    threads = max(1, usable_cores() // workers)
    waiting = list(reversed(cells))
    running: dict[Connection, _Running] = {}
    failures: list[str] = []
    try:
        while running or (waiting and not failures):
            while waiting and not failures and len(running) < workers:
                cell = waiting.pop()
                ours, theirs = context.Pipe(duplex=False)
                process = context.Process(target=work, args=(theirs, cell.assignment, threads), name=cell.label)
                process.start()
                theirs.close()
                running[ours] = _Running(cell, process)
            for ready in wait(list(running)):
                assert isinstance(ready, Connection)
                trial = running[ready]
                message = _receive(ready, trial.process)
                if isinstance(message, Report):
                    for name, value in message.metrics.items():
                        trial.curves.setdefault(name, {})[message.epoch] = value
                    continue
                del running[ready]
                ready.close()
                trial.process.join()
                if message.status == "failed":
                    failures.append(f"trial {trial.cell.label} failed: {message.reason.strip()}")
                else:
                    keep(trial.cell, Result(message.status == "diverged", message.seconds, trial.curves))
    finally:
        for trial in running.values():
            trial.process.terminate()
        for trial in running.values():
            trial.process.join()
    if failures:
        raise StudyStoppedError("\n".join(failures))


def _receive(connection: Connection, process: BaseProcess) -> Report | Finished:
    try:
        return connection.recv()
    except (EOFError, ConnectionError):
        process.join()
        return Finished("failed", 0.0, f"its process ended by itself with exit code {process.exitcode}")
