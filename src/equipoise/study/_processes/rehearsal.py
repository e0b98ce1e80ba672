"""What can be known before any trial is run: whether the task can be loaded, and every arm's optimizer made."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from torch import nn
from torch.optim import Adam, AdamW

from equipoise.errors import StabilityWarning, UnusableInputError
from equipoise.hyperparameters import Hyperparameters
from equipoise.optim._optimizer import Equipoise
from equipoise.study._cells import Cell
from equipoise.study._processes.children import end, preload_for, start
from equipoise.study._processes.inside import enter_process, in_one_line, load_task
from equipoise.study._processes.logs import end_of
from equipoise.study._sources import Sources
from equipoise.study._worker import build_optimizer


@dataclass
class Rehearsed:
    """What was seen."""

    sources: dict[str, str] = field(default_factory=dict[str, str])
    """The text of every source that the task and the optimizers are made of, by the file's name."""
    hyperparameters: dict[str, Hyperparameters] = field(default_factory=dict[str, Hyperparameters])
    """The betas, exponents and stages of those arms whose optimizers have the update rule, by the arm's name."""
    warnings: list[str] = field(default_factory=list[str])
    refused: str = ""
    """Why the study cannot be run."""


def made_of(word: str, words: set[str]) -> bool:
    """Whether sources with these words can name it, whole, or put together as ``f"validation_{name}"`` does."""
    return word in words or any(word[:end] in words and word[end:] in words for end in range(1, len(word)))


def rehearse(cells: Sequence[Cell], task: str, log: Path, timeout: float) -> Rehearsed:
    """Load the task, and make every arm's optimizer and controller for a small model, in a process of its own.

    Args:
        cells: one for each arm.
        task: what the study file calls it.
        log: takes what is printed.
        timeout: in seconds.

    Raises:
        UnusableInputError: the task cannot be loaded, or an optimizer or a controller cannot be made.
    """
    log.unlink(missing_ok=True)
    preload_for(cells)
    child = start(_rehearse, list(cells), task, log, name="rehearsal")
    try:
        if not child.connection.poll(timeout):
            raise UnusableInputError(f"task = {task!r}: it was not loaded within {timeout:g} s (timeout)")
        found: Rehearsed = child.receive()
    except ChildProcessError as error:
        raise UnusableInputError(f"task = {task!r}: cannot be loaded: {error}\n{end_of(log)}".strip()) from None
    finally:
        end([child])
    if found.refused:
        raise UnusableInputError(found.refused)
    log.unlink(missing_ok=True)
    return found


def _rehearse(connection: Connection, cells: Sequence[Cell], task: str, log: Path) -> None:
    """The main function of that process."""
    found = Rehearsed()
    source = cells[0].assignment.task
    sources = enter_process(source, cells[0].assignment.threads, log)
    try:
        load_task(source, sources)
        for cell in cells:
            _make(cell, sources, found)
    except UnusableInputError as error:
        found.refused = str(error)
    except BaseException as error:  # whatever the user's code raises
        found.refused = f"task = {task!r}: cannot be loaded: {in_one_line(error)}"
    found.sources = sources.texts
    connection.send(found)
    connection.close()


def _make(cell: Cell, sources: Sources, found: Rehearsed) -> None:
    assignment = cell.assignment
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", StabilityWarning)
            optimizer, _ = build_optimizer(assignment, probe(), sources.load)
    except Exception as error:  # whatever a third party's constructor raises, the arm is at fault
        name, controller = assignment.optimizer, assignment.controller
        wanted = name if controller is None else f"{name} with {controller['name']}"
        raise UnusableInputError(f"arm {cell.arm!r}: {wanted} cannot be made: {error}{_extra(error)}") from None
    found.warnings += [f"arm {cell.arm!r}: {warning.message}" for warning in caught]
    group = optimizer.param_groups[0]
    if isinstance(optimizer, Equipoise):
        found.hyperparameters[cell.arm] = Hyperparameters.of_group(group)
    elif type(optimizer) in (Adam, AdamW):
        found.hyperparameters[cell.arm] = Hyperparameters.parse(group["betas"])


def _extra(error: Exception) -> str:
    """How to install what an arm lacks, if this package knows."""
    missing = isinstance(error, ModuleNotFoundError) and error.name == "pytorch_optimizer"
    return ": pip install 'equipoise[optimizers]'" if missing else ""


def probe() -> nn.Module:
    """A small model that has parameters of every role."""
    return nn.Sequential(nn.Embedding(4, 2), nn.Linear(2, 2), nn.LayerNorm(2), nn.Linear(2, 2), nn.Linear(2, 4))
