"""The monitor of a training run: it measures, judges, lets the guard act, and records, in this order."""

from __future__ import annotations

import platform
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from equipoise._version import __version__
from equipoise.balance._scheduler import Scheduler
from equipoise.errors import RunStoppedError, StateDictError
from equipoise.hyperparameters import whole_number
from equipoise.monitor._guarding.guard import Guard
from equipoise.monitor._judging.judge import judge
from equipoise.monitor._judging.thresholds import Thresholds
from equipoise.monitor._judging.verdict import Verdict
from equipoise.monitor._measuring.metric_means import MetricMeans
from equipoise.monitor._measuring.optimizers.theory import notes_on
from equipoise.monitor._measuring.optimizers.unwrapping import stepping_optimizer
from equipoise.monitor._measuring.parameter_names import unwrapped
from equipoise.monitor._measuring.readings import Jump, Reading
from equipoise.monitor._measuring.scale_invariance import ScaleInvariance
from equipoise.monitor._measuring.settings import Settings
from equipoise.monitor._measuring.step_measurer import StateBeforeStep, StepMeasurer
from equipoise.monitor._recording.run_file import RunInfo
from equipoise.monitor._recording.sinks import Sink, SinkSet
from equipoise.optim import _sharding as sharding

HISTORY = 200
"""So many readings are kept for verdicts; for a model with 148 tensors they take 10 MB."""


class Monitor:
    r"""Reads a training run every so many steps: tensors, groups, metrics.

    The kernels of this package's optimizers measure gradients, updates and parameters in the same pass that updates them
    (:class:`~equipoise.Telemetry`, which the monitor opens for the steps that are read). Of any other optimizer, tensors are
    looked at before and after the steps that are read; the run's file says what is known in another way, or not at all. In
    other steps nothing is measured, and nothing waits for the device. A reading waits for it once.

    Call :meth:`step` once per training step, after the optimizer and the schedulers::

        monitor = Monitor(optimizer, model, sinks=[JsonLines("runs/first")])
        for inputs, targets in batches:
            loss = ...
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            monitor.step(loss=loss)

    **Metrics** may be tensors on the device, which nobody waits for before a reading is due. A reading has the mean of all
    values that were given since the last reading, from micro-batches (:meth:`micro_step`) and from steps. One value that is not
    finite makes the mean not finite: nothing between two readings is lost.

    **Gradients** are read as the optimizer used them: accumulated, clipped, unscaled. A step that a ``GradScaler`` skips is a
    reading with ``made=False`` and without tensors.

    **Several processes**: every process needs a monitor and calls it alike; sinks are called on the first one alone. Sharded
    tensors are measured as a whole, metrics are means over the processes (of those that have them), in one collective per
    reading. So readings are the same on every process, but for the time and the rounding of tensors that are not sharded.

    Args:
        optimizer: any ``torch.optim.Optimizer``, or what a framework wraps around one.
        model: the model, which gives the parameters their names. It may be compiled, in DDP, or sharded by ``fully_shard``. A
            parameter that only the optimizer has is called by its group and place, as ``group 1, parameter 0``.
        every: the number of steps from one reading to the next.
        sinks: where readings and verdicts go.
        guard: what acts on trouble; None does nothing.
        schedules: every :class:`~equipoise.balance.Scheduler` along which the margin is to be foreseen.
        invariance: what :func:`~equipoise.monitor.probe_scale_invariance` found of the model. The norms of scale-invariant
            parameters are compared with those that their updates predict.
        name: the name of the run; None takes the name of the model's class.

    Raises:
        ArgumentError: an argument outside of what is accepted.

    Example:
        >>> from equipoise import SMES
        >>> model = nn.Linear(3, 1)
        >>> optimizer = SMES(model.parameters())
        >>> with Monitor(optimizer, model, every=2) as monitor:
        ...     for _ in range(4):
        ...         loss = model(torch.ones(1, 3)).square().sum()
        ...         loss.backward()
        ...         optimizer.step()
        ...         optimizer.zero_grad()
        ...         reading = monitor.step(loss=loss)
        >>> reading.step, sorted(reading.tensors), list(reading.metrics)
        (4, ['bias', 'weight'], ['loss'])
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        model: nn.Module,
        *,
        every: int = 10,
        sinks: Sequence[Sink] = (),
        guard: Guard | None = None,
        schedules: Sequence[Scheduler] = (),
        invariance: Mapping[str, ScaleInvariance] | None = None,
        name: str | None = None,
    ) -> None:
        whole_number("every", every)
        self.every = every
        self.optimizer = stepping_optimizer(optimizer)
        """The optimizer that makes the steps, without what a framework wraps around it."""
        self.guard = guard
        self.steps = 0
        """The steps that it was told of, without those that a rollback undid."""
        self.loop_steps = 0
        """The steps of the training loop: those too."""
        self.history: deque[Reading] = deque(maxlen=HISTORY)
        """The last readings."""
        self.verdicts: list[Verdict] = []
        """What is wrong at the last reading."""
        user_model = unwrapped(model)
        self.name = name or type(user_model).__name__
        self._measurer = StepMeasurer(self.optimizer, user_model, schedules, invariance or {})
        self._metrics = MetricMeans()
        self._settings = Settings(schedules, (guard.thresholds if guard else Thresholds()).jump)
        self._jumps: tuple[Jump, ...] = ()
        """The settings that jumped before the coming step."""
        self._before: StateBeforeStep | None = None
        self._made = False
        self._unmade: list[dict[str, Any]] = []
        """The values of groups before a step that the guard does not let happen."""
        self._given_sinks = tuple(sinks) if not sharding.is_distributed() or dist.get_rank() == 0 else ()
        self._sinks = self._opened_sinks()
        self._handles = [
            self.optimizer.register_step_pre_hook(self._before_step),
            self.optimizer.register_step_post_hook(self._after_step),
        ]
        if guard is not None:
            guard.attach(self, self.name)

    @property
    def last(self) -> Reading | None:
        """The last reading."""
        return self.history[-1] if self.history else None

    def step(self, **metrics: float | Tensor) -> Reading | None:
        """Tell the monitor that a training step has ended, whether the optimizer made its own or not.

        Args:
            metrics: numbers, or tensors of one element, by name: ``loss=loss``.

        Returns:
            A reading if one was due, else None.

        Raises:
            ArgumentError: a metric that is not a number.
            RunStoppedError: the guard stops the run. The sinks already have the reading and the reason.
        """
        self._metrics.add(metrics)
        self.steps += 1
        self.loop_steps += 1
        self._jumps = (*self._jumps, *self._settings.look_at_batch(metrics))
        made, before = self._made, self._before
        self._measurer.sums.close()
        self._made, self._before = False, None
        if not self._is_due(self.steps):
            return None
        jumps, self._jumps = self._jumps, ()
        if len(self._measurer.places) != sum(len(group["params"]) for group in self.optimizer.param_groups):
            self._measurer.find_parameters()
            self._sinks.close()
            self._sinks = self._opened_sinks()
        groups_before = before or StateBeforeStep(self.optimizer)
        means, groups, tensors = self._measurer.measure(made and before is not None, groups_before, self._metrics.take())
        reading = Reading(self.steps, time.time(), made, means, groups, tensors, jumps, self.loop_steps)
        self.history.append(reading)
        self._sinks.write(reading)
        action, loop_steps = None, self.loop_steps
        if self.guard is None:
            self.verdicts = judge(list(self.history))
        else:
            self.verdicts, action = self.guard.consider(list(self.history))
        self.loop_steps = loop_steps  # a rollback takes back all but these
        for record in (*self.verdicts, *([action] if action else [])):
            self._sinks.write(record)
        if action is not None and action.to_step is not None:  # what came after it never happened
            self.history = deque((each for each in self.history if each.step <= action.to_step), maxlen=HISTORY)
        if action is not None and action.kind == "stop":
            raise RunStoppedError(action.message)
        return reading

    def micro_step(self, **metrics: float | Tensor) -> None:
        """Give the metrics of one micro-batch of gradient accumulation: they belong to the coming step.

        Raises:
            ArgumentError: a metric that is not a number.
        """
        self._metrics.add(metrics)

    def validation(self, **metrics: float | Tensor) -> None:
        """Give metrics of validation data: ``loss`` becomes ``validation_loss`` in the next reading.

        Raises:
            ArgumentError: a metric that is not a number.
        """
        self._metrics.add({f"validation_{name.removeprefix('validation_')}": value for name, value in metrics.items()})

    def close(self) -> None:
        """Leave the optimizer alone, and close the sinks. Doing it again changes nothing."""
        self._measurer.sums.close()
        for handle in self._handles:
            handle.remove()
        self._sinks.close()

    def __enter__(self) -> Monitor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def state_dict(self) -> dict[str, Any]:
        """What the next readings depend on, in plain values. A guard has a state dict of its own. Waits for the device."""
        return {
            "steps": self.steps,
            "metrics": self._metrics.state_dict(),
            "reader": self._measurer.state_dict(),
            "settings": self._settings.state_dict(),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue where a state dict was made.

        Raises:
            StateDictError: it is no state dict of this class; nothing was changed.
        """
        if set(state_dict) - {"settings"} != {"steps", "metrics", "reader"}:  # earlier versions had no settings
            raise StateDictError(f"a state dict with the keys {', '.join(state_dict) or '(none)'} is not one of a Monitor")
        self.steps = self.loop_steps = state_dict["steps"]
        if "settings" in state_dict:
            self._settings.load_state_dict(state_dict["settings"])
        self._metrics.load_state_dict(state_dict["metrics"])
        self._measurer.load_state_dict(state_dict["reader"])

    def _is_due(self, step: int) -> bool:
        """Whether a step is read: one of `every`, or, of a single process, one before which a setting jumped. Several processes
        must read the same steps, and a setting may jump on one of them alone: they tell of it in the next reading."""
        return step % self.every == 0 or (bool(self._jumps) and not sharding.is_distributed())

    def _opened_sinks(self) -> SinkSet:
        parameters, places = zip(*self._measurer.places.items(), strict=True)
        names, numbers = zip(*places, strict=True)
        versions = {"equipoise": __version__, "torch": torch.__version__, "python": platform.python_version()}
        sinks = SinkSet(self._given_sinks)
        shapes = tuple(tuple(parameter.shape) for parameter in parameters)
        kind, notes = type(self.optimizer).__name__, notes_on(self.optimizer)
        sinks.open(RunInfo(self.name, time.time(), versions, names, shapes, numbers, kind, notes))
        return sinks

    def _before_step(
        self, optimizer: torch.optim.Optimizer, given: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[Any, Any] | None:
        self._measurer.note_changes()
        self._measurer.sums.close()  # of a step that failed
        self._jumps = (*self._jumps, *self._settings.look(optimizer.param_groups))
        if self._is_due(self.steps + 1):
            self._before = StateBeforeStep(optimizer)
            self._measurer.sums.open()
        closure: Callable[[], Any] | None = named.get("closure", given[1] if len(given) > 1 else None)
        if closure is None:
            self._see_gradients()
            return None

        def seen() -> Any:
            loss = closure()
            self._see_gradients()
            return loss

        return given[:1], {**named, "closure": seen}

    def _see_gradients(self) -> None:
        """The gradients of the step are there: before it, or where a closure makes them, in it."""
        if self.guard is not None and self.guard.before_step(self.optimizer):
            self._unmade = [dict(group) for group in self.optimizer.param_groups]
        if self._before is not None:
            self._measurer.sums.see_gradients()

    def _after_step(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        for group, values in zip(optimizer.param_groups, self._unmade, strict=False):
            group.update(values)  # some optimizers count steps there, of parameters without gradients too
        self._unmade = []
        # A GradScaler leaves it to optimizers that can to skip a step by themselves.
        skipped = getattr(optimizer, "found_inf", None)
        has_gradient = any(parameter.grad is not None for group in optimizer.param_groups for parameter in group["params"])
        self._made |= has_gradient and not (self._before is not None and skipped is not None and bool(skipped))
        if self._before is not None:
            self._measurer.sums.see_step()
