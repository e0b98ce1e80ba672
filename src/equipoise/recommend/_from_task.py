"""What a few hundred steps of a task tell of its gradients, trained as AdamW would in a process of its own."""

from __future__ import annotations

import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import Tensor, nn

from equipoise.errors import StudyStoppedError, UnusableInputError
from equipoise.optim._optimizer import Equipoise
from equipoise.recommend._evidence import Evidence, Group, Moment, Number
from equipoise.recommend._gradients import EnoughError, Watch
from equipoise.rules import Reference
from equipoise.study._cells import Assignment
from equipoise.study._processes import end, start, usable_cores
from equipoise.study._spec import TaskSource
from equipoise.study._worker import Trial, enter_process, load_task, seed_all

WEIGHT_DECAY = 0.01
"""AdamW's."""

UNSEEN: dict[Number, str] = {"noise": "no signal stood out from the noise of so few steps"}

FEW = 3
"""A rate of gradients that rests on no more of them than this is a limit."""


@dataclass(frozen=True)
class Observation:
    """What is to be looked at."""

    task: TaskSource
    steps: int
    epochs: int
    learning_rate: float
    seed: int
    reference: Reference


def from_task(observation: Observation, name: str) -> Evidence:
    """Train for some steps and look at every gradient (:class:`~equipoise.recommend._gradients.Watch`).

    Args:
        observation: what to run.
        name: of the task, for the report.

    Raises:
        UnusableInputError: the task failed, or made no step.
        StudyStoppedError: it was interrupted.
    """
    child = start(_observe, observation, usable_cores(), name=name)
    try:
        found: tuple[list[Group], list[Moment]] | str = child.receive()
    except ChildProcessError as error:
        raise UnusableInputError(f"{name}: {error}") from None
    except KeyboardInterrupt:
        raise StudyStoppedError("interrupted") from None
    finally:
        end([child])
    if isinstance(found, str):
        raise UnusableInputError(f"{name}: {found}")
    groups, moments = found
    steps = moments[-1].step
    weak: dict[Number, str] = {}
    compared = [layer for number in range(len(groups)) for layer in moments[-1].compared(number)]
    if any(layer.density * steps <= FEW for layer in compared):
        weak["density"] = f"what is rarer than once in {steps} steps counts as that"
    ended = "" if steps == observation.steps else ", after which it ended"
    source = f"{name}: {steps} steps{ended}, as AdamW at lr {observation.learning_rate:g}, seed {observation.seed}"
    return Evidence(source, steps, observation.reference, tuple(groups), tuple(moments), UNSEEN, weak)


def _observe(connection: Connection, observation: Observation, threads: int) -> None:
    """The main function of the process: send groups and moments home, or the reason why there are none."""
    enter_process(threads)
    names: dict[Tensor, str] = {}

    def note(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        if parameter is not None:
            names[parameter] = f"{type(module).__name__}.{name}"

    nn.modules.module.register_module_parameter_registration_hook(note)  # pyright: ignore[reportUnknownMemberType]
    assigned = Assignment(
        observation.task, "", observation.epochs, "", {}, observation.learning_rate, observation.seed
    )  # the optimizer is our own
    trial = _Watched(assigned, observation, names)
    failure = ""
    try:
        task = load_task(observation.task)
        seed_all(observation.seed)
        task(trial)
    except EnoughError:
        pass
    except Exception:
        failure = traceback.format_exc().strip()
    watch = trial.watch
    if watch is not None:
        watch.end()
    if trial.diverged or (watch is not None and watch.diverged):
        failure = f"it diverged at lr {observation.learning_rate:g}"
    elif not failure and not (watch is not None and watch.complete):
        failure = f"it ended after {watch.step if watch else 0} steps, too few to see anything: more epochs make more"
    connection.send((watch.groups, watch.moments) if watch is not None and not failure else failure)
    connection.close()


class _Watched(Trial):
    """A trial whose optimizer is watched."""

    def __init__(self, assignment: Assignment, observation: Observation, names: dict[Tensor, str]) -> None:
        super().__init__(assignment, lambda _: None)
        self._observation, self._names = observation, names
        self.watch: Watch | None = None

    def optimizer(self, params: Iterable[Any]) -> torch.optim.Optimizer:
        if self.watch is not None:
            raise UnusableInputError("the task makes a second optimizer: accepted is one")
        made = Equipoise(params, self.learning_rate, weight_decay=WEIGHT_DECAY, reference="initial")
        self.watch = Watch(made, self._observation.steps, self._observation.reference, self._names)
        return made
