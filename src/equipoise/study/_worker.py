"""One trial: the object that a task is given, and the messages that its process sends back to the study."""

from __future__ import annotations

import math
import pkgutil
import resource
import statistics
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol, cast, runtime_checkable

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from equipoise.balance import Controller, GeneralizationController
from equipoise.errors import ArgumentError, EquipoiseError
from equipoise.monitor._guarding.snapshots import Stateful
from equipoise.study._arms.arm import Arm
from equipoise.study._arms.schedule import ScheduleName, factor
from equipoise.study._arms.signature import check_arguments
from equipoise.study._cells import SCHEDULED, Assignment, Cost
from equipoise.study._checkpoint import Checkpoint
from equipoise.study._names import check_reported_names


@dataclass(frozen=True)
class Report:
    """Numbers that a task reported, sent to the study as they come."""

    epoch: int
    """Counted from 1."""
    metrics: dict[str, float]


@dataclass(frozen=True)
class Finished:
    """The last message of a trial."""

    status: Literal["finished", "diverged", "failed"]
    seconds: float
    reason: str = ""
    """Why it failed, in one line. The traceback is in its output."""
    cost: Cost | None = None
    """What the trial took, if it made an optimizer."""
    sources: dict[str, str] = field(default_factory=dict[str, str])
    """The text of every source that it loaded, by the file's name."""


@runtime_checkable
class TwoWeights(Protocol):
    """An optimizer that trains at other weights than those that it recommends, as Schedule-Free."""

    def train(self) -> None:
        """Have the weights to train."""
        ...

    def eval(self) -> None:
        """Have the weights to evaluate."""
        ...


class DivergedError(EquipoiseError, ArithmeticError):
    """A task reported a number that is not finite: the trial ends here and counts as diverged."""


class Trial:
    """One training run, as the function that a study trains is given it: seed, optimizer, epochs, and where to report.

    A study makes the trials. A task is a function of one trial, in a file or a module that the study names:

    Example:
        >>> def train(trial):
        ...     model = torch.nn.Linear(8, 1)
        ...     optimizer = trial.optimizer(model)
        ...     inputs = torch.randn(64, 8)
        ...     for epoch in trial.epochs():
        ...         loss = (model(inputs) - inputs.sum(1, keepdim=True)).square().mean()
        ...         optimizer.zero_grad()
        ...         loss.backward()
        ...         optimizer.step()
        ...         trial.report(loss=loss)

    Args:
        assignment: what the trial trains.
        send: is called with everything that the task reports.
        load: finds an optimizer's class by its name; by default in modules only.
        checkpoint: keeps what :meth:`resume` is given; by default nothing does.
        note_data: is called with every file that the task names by :meth:`data`; by default nothing is.
    """

    def __init__(
        self,
        assignment: Assignment,
        send: Callable[[Report], None],
        load: Callable[[str], Any] | None = None,
        checkpoint: Checkpoint | None = None,
        note_data: Callable[[Path], None] | None = None,
    ) -> None:
        self._assignment = assignment
        self._send = send
        self._load = load or pkgutil.resolve_name
        self._checkpoint = checkpoint
        self._note_data = note_data
        self._epoch = 0
        self._controller: Controller | None = None
        self._optimizer: torch.optim.Optimizer | None = None
        self._scheduled = False
        self._evaluated = False
        self.reported: set[str] = set()
        """The names of the numbers reported so far."""
        self.diverged = False
        """Whether a number that is not finite was reported."""

    @property
    def seed(self) -> int:
        """The seed of this trial. torch, numpy and random have it already; give it to whatever else draws random numbers."""
        return self._assignment.seed

    @property
    def total_epochs(self) -> int:
        """The number of epochs to train for; a learning rate schedule needs it before the first."""
        return self._assignment.epochs

    @property
    def learning_rate(self) -> float:
        """The learning rate of this trial."""
        return self._assignment.learning_rate

    def data(self, file: str | Path) -> Path:
        """Say that the trial depends on a file with data: ``table = read(trial.data("table.csv"))``.

        Its content becomes a part of the trial, as the source of the task is: when it changes, finished trials no longer count.

        Args:
            file: its path, relative to the folder of the study.

        Returns:
            Where it is, wherever the process runs.

        Raises:
            OSError: it cannot be read.
        """
        path = Path(self._assignment.task.folder, file)
        if self._note_data is not None:
            self._note_data(path)
        return path

    def optimizer(self, params: nn.Module | Iterable[Any]) -> torch.optim.Optimizer:
        """The arm's optimizer at this trial's learning rate. If the arm has a controller, it moves the optimizer's exponent.

        Args:
            params: the model, which every optimizer can be made for; or parameters or parameter groups, as for any optimizer of
                torch. Those that treat parameters by their roles need the model, and print which is treated how.
        """
        made, self._controller = build_optimizer(self._assignment, params, self._load)
        self._optimizer = made
        if takes_model(type(made)):
            print(made)
        return made

    def scheduler(self, optimizer: torch.optim.Optimizer, steps: int, default: ScheduleName = "constant") -> LRScheduler:
        """The arm's learning rate schedule, with its warm-up: call its ``step()`` after each step of the optimizer.

        A task that does not ask for it has a schedule of its own, or none, and the study says that the arm's had no effect.
        Where an arm has one, the learning rate that it has come to is kept with every report as `learning_rate`.

        Args:
            optimizer: of :meth:`optimizer`.
            steps: how often ``step()`` will be called in the whole trial.
            default: for arms that name none: "constant", "cosine" or "linear".
        """
        assigned = self._assignment
        self._scheduled = assigned.schedule is not None or assigned.warmup > 0
        schedule = assigned.schedule or default
        return LambdaLR(optimizer, partial(factor, steps=steps, schedule=schedule, warmup=assigned.warmup))

    @contextmanager
    def evaluation(self) -> Generator[None]:
        """Evaluate inside of this: ``with trial.evaluation(): ...``.

        Some optimizers, as Schedule-Free, train at other weights than those that they recommend. They have the latter here, and
        the former again afterwards. For all others nothing happens.
        """
        self._evaluated = True
        if not isinstance(self._optimizer, TwoWeights):
            yield
            return
        self._optimizer.eval()
        try:
            yield
        finally:
            self._optimizer.train()

    def cost(self) -> Cost | None:
        """What this trial has taken so far; None before it has an optimizer."""
        if self._optimizer is None:
            return None
        state = sum(value.nbytes for value in _tensors(self._optimizer.state))
        parameters = sum(parameter.numel() for group in self._optimizer.param_groups for parameter in group["params"])
        return Cost(_peak_memory(), state, parameters)

    def epochs(self) -> Iterator[int]:
        """The epochs, counted from 1: ``for epoch in trial.epochs()``. After :meth:`resume`, those that are not finished.

        A trial that tunes may be stopped before the last one (`halving`); its schedule is that of the whole.
        """
        last = self._assignment.stop_after or self.total_epochs
        for epoch in range(self._epoch + 1, last + 1):
            self._epoch = epoch
            yield epoch
            if self._checkpoint is not None:
                self._checkpoint.take(epoch)

    def resume(self, **objects: Stateful) -> int:
        """Go on after the last finished epoch, where an earlier attempt at this trial was cut short.

        Call it once, with everything that training changes, before :meth:`epochs`. From then on all of it is kept after every
        epoch, with the random numbers of Python, numpy and torch, so that a trial that is cut short and goes on ends as it
        would have. What was reported is reported again.

        Args:
            objects: what has a state_dict, by any names: ``trial.resume(model=model, optimizer=optimizer)``.

        Returns:
            The last finished epoch; 0 where the trial begins.
        """
        if self._checkpoint is None:
            return 0
        if self._controller is not None:
            objects["controller of the arm"] = self._controller
        self._epoch, reports = self._checkpoint.resume(objects)
        for epoch, metrics in reports:
            self._send(Report(epoch, metrics))
            self.reported |= metrics.keys()
        return self._epoch

    def report(self, **metrics: float | torch.Tensor) -> None:
        """Report numbers for the present epoch. The last value of the study's metric decides; all others become curves.

        A controller that works on losses takes `loss` and `validation_loss` from here. Where the arm has a controller, the mean
        of the exponents that it has come to is kept as `exponent`.

        Args:
            metrics: any named numbers, or tensors of one element.

        Raises:
            ArithmeticError: one of them is not finite. Let it pass: the trial ends as diverged.
            ArgumentError: a value that is no number, a name that cannot be stored, a metric that was measured outside of
                :meth:`evaluation` though the optimizer needs it, or the arm's controller needs a loss that was not reported.
        """
        check_reported_names(metrics)
        numbers = {name: _number(name, value) for name, value in metrics.items()}
        if self._controller is not None:
            numbers["exponent"] = _controlled(self._controller, numbers)
        if self._scheduled and self._optimizer is not None:
            numbers[SCHEDULED] = float(self._optimizer.param_groups[0]["lr"])
        measured = self._assignment.needed & numbers.keys()
        if measured and isinstance(self._optimizer, TwoWeights) and not self._evaluated:
            accepted = f"measured inside of `with trial.evaluation():`: {type(self._optimizer).__name__} trains other weights"
            raise ArgumentError("metrics", sorted(measured), accepted)
        self._send(Report(max(self._epoch, 1), numbers))
        if self._checkpoint is not None:
            self._checkpoint.note(max(self._epoch, 1), numbers)
        self.reported |= numbers.keys()
        broken = [name for name, value in numbers.items() if not math.isfinite(value)]
        if broken:
            self.diverged = True
            raise DivergedError(f"epoch {self._epoch}: {', '.join(f'{name} = {numbers[name]}' for name in broken)}")


def _number(name: str, value: Any) -> float:
    try:
        return float(value.item() if isinstance(value, torch.Tensor) else value)
    except (TypeError, ValueError, RuntimeError):
        raise ArgumentError(name, value, "a number, or a tensor of one element") from None


def build_optimizer(
    assignment: Assignment, params: nn.Module | Iterable[Any], load: Callable[[str], Any]
) -> tuple[torch.optim.Optimizer, Controller | None]:
    """The optimizer of an assignment, and its controller if there is one.

    The class that `load` finds by the name `assignment.optimizer` is called with the parameters, the learning rate as `lr`, and
    the arguments; then the controller's class with the optimizer and its own arguments.

    Raises:
        ImportError, AttributeError: there is no such class.
        TypeError, ValueError: the class does not accept the arguments.
    """
    maker = load(assignment.optimizer)
    if isinstance(params, nn.Module) and not takes_model(maker):
        params = params.parameters()
    check_arguments(maker, assignment.arguments, Arm.model_fields)
    made = maker(params, lr=assignment.learning_rate, **assignment.arguments)
    if assignment.controller is None:
        return made, None
    arguments = dict(assignment.controller)
    return made, load(arguments.pop("name"))(made, **arguments)


def takes_model(maker: object) -> bool:
    """Whether an optimizer is made for a whole model: its class has ``takes_model = True``."""
    return getattr(maker, "takes_model", False)


def _controlled(controller: Controller, numbers: Mapping[str, float]) -> float:
    """The mean exponent of a controller's groups, after it was told the losses if it asks for them."""
    if isinstance(controller, GeneralizationController):
        if missing := {"loss", "validation_loss"} - set(numbers):
            accepted = f"to include {' and '.join(sorted(missing))}, which {type(controller).__name__} works on"
            raise ArgumentError("metrics", sorted(numbers), accepted)
        controller.report(numbers["loss"], numbers["validation_loss"])
    return statistics.fmean(map(controller.exponent, controller.groups))


def _tensors(state: Any) -> Iterator[torch.Tensor]:
    """All tensors in an optimizer's state, however deep."""
    if isinstance(state, torch.Tensor):
        yield state
    elif isinstance(state, Mapping):
        for value in cast("Mapping[Any, Any]", state).values():
            yield from _tensors(value)
    elif isinstance(state, tuple | list):
        for value in cast("Iterable[Any]", state):
            yield from _tensors(value)


def _peak_memory() -> int:
    """The most bytes that this process has had on the GPU, or in memory where it used none."""
    if torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated()
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most
