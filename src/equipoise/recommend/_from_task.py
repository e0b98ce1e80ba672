"""Evidence from a task: some hundred steps of AdamW in a process of its own, with every gradient looked at."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from equipoise.errors import StudyStoppedError, UnusableInputError
from equipoise.hyperparameters import whole_number
from equipoise.optim._optimizer import Equipoise
from equipoise.recommend._evidence import Evidence, GroupSettings, NumberName, Snapshot
from equipoise.recommend._gradient_averages import EnoughStepsError, GradientAverages
from equipoise.rules import Reference
from equipoise.study._cells import Assignment
from equipoise.study._processes import end, start, usable_cores
from equipoise.study._processes.inside import enter_process, load_task, seed_all
from equipoise.study._task_source import BUILT_IN_TASKS, TaskSource, locate_task
from equipoise.study._worker import Trial

WEIGHT_DECAY = 0.01
"""The default of AdamW."""

UNSEEN: dict[NumberName, str] = {"noise": "no signal stood out from the noise in so few steps"}

FEW = 3
"""A share of steps that rests on no more gradients than this is a limit."""


def from_task(
    task: str, reference: Reference = "initial", *, steps: int = 300, epochs: int = 10, lr: float = 1e-3, seed: int = 0
) -> Evidence:
    """Train a task for some steps with AdamW, and collect evidence from every gradient.

    Args:
        task: as in a study file: a built-in name, ``package.module:function``, or ``file.py:function``.
        reference: the reference of the optimizer that is to be recommended.
        steps: how many steps to train. Training ends there.
        epochs: how many epochs the task is told to train for. It may end before `steps`.
        lr: the learning rate of AdamW.
        seed: the seed of the task.

    Raises:
        UnusableInputError: there is no such task, or it failed or made too few steps.
        ArgumentError: `steps` or `epochs` is no whole number of at least 1.
        StudyStoppedError: it was interrupted.
        MissingExtraError: the packages of ``equipoise[study]`` are not installed.
    """
    whole_number("steps", steps)
    whole_number("epochs", epochs)
    if ":" not in task and task not in BUILT_IN_TASKS:
        raise UnusableInputError(
            f"{task}: there is no such run, checkpoint or task; built-in tasks are {', '.join(BUILT_IN_TASKS)}"
        )
    observation = Observation(locate_task(task, Path()), steps, epochs, lr, seed, reference)
    groups, snapshots = _observed(observation, task)
    made = snapshots[-1].step
    rough: dict[NumberName, str] = {}
    if any(layer.density is not None and layer.density * made <= FEW for layer in snapshots[-1].layers):
        rough["density"] = f"gradients that are rarer than once in {made} steps count as that"
    ended = "" if made == steps else ", after which it ended"
    source = f"{task}: {made} steps{ended}, as AdamW at lr {lr:g}, seed {seed}"
    return Evidence(source, made, reference, tuple(groups), tuple(snapshots), UNSEEN, rough)


@dataclass(frozen=True)
class Observation:
    """What the process trains, and how."""

    task: TaskSource
    steps: int
    epochs: int
    lr: float
    seed: int
    reference: Reference


def _observed(observation: Observation, name: str) -> tuple[list[GroupSettings], list[Snapshot]]:
    """The parameter groups and the snapshots that a process sends home."""
    child = start(_observe, observation, usable_cores(), name=name)
    try:
        found: tuple[list[GroupSettings], list[Snapshot]] | str = child.receive()
    except ChildProcessError as error:
        raise UnusableInputError(f"{name}: {error}") from None
    except KeyboardInterrupt:
        raise StudyStoppedError("interrupted") from None
    finally:
        end([child])
    if isinstance(found, str):
        raise UnusableInputError(f"{name}: {found}")
    return found


def _observe(connection: Connection, observation: Observation, threads: int) -> None:
    """The main function of the process: send groups and snapshots home, or the reason why there are none."""
    sources = enter_process(observation.task, threads, Path(os.devnull))
    names: dict[Tensor, str] = {}

    def note(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        if parameter is not None:
            names[parameter] = f"{type(module).__name__}.{name}"

    nn.modules.module.register_module_parameter_registration_hook(note)  # pyright: ignore[reportUnknownMemberType]
    # The optimizer is not the study's but our own, hence no name and no arguments of one.
    assigned = Assignment(observation.task, "", observation.epochs, "", {}, observation.lr, observation.seed)
    trial = _ObservedTrial(assigned, observation, names)
    failure = ""
    try:
        task = load_task(observation.task, sources)
        seed_all(observation.seed)
        task(trial)
    except EnoughStepsError:
        pass
    except Exception:
        failure = traceback.format_exc().strip()
    averages = trial.averages
    if averages is not None:
        averages.end()
    if trial.diverged or (averages is not None and averages.diverged):
        failure = f"it diverged at lr {observation.lr:g}"
    elif not failure and not (averages is not None and averages.complete):
        failure = f"it ended after {averages.step if averages else 0} steps, too few to see anything: more epochs make more"
    connection.send((averages.groups, averages.snapshots) if averages is not None and not failure else failure)
    connection.close()


class _ObservedTrial(Trial):
    """A trial whose optimizer has its gradients averaged."""

    def __init__(self, assignment: Assignment, observation: Observation, names: dict[Tensor, str]) -> None:
        super().__init__(assignment, lambda _: None)
        self._observation, self._names = observation, names
        self.averages: GradientAverages | None = None

    def optimizer(self, params: nn.Module | Iterable[Any]) -> torch.optim.Optimizer:
        if isinstance(params, nn.Module):
            params = params.parameters()
        if self.averages is not None:
            raise UnusableInputError("the task makes a second optimizer: accepted is one")
        made = Equipoise(params, self.learning_rate, weight_decay=WEIGHT_DECAY, reference="initial")
        self.averages = GradientAverages(made, self._observation.steps, self._observation.reference, self._names)
        return made
