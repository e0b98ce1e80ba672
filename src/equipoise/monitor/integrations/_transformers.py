"""An optimizer and a monitor for the Trainer of transformers."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from io import BytesIO
from numbers import Real
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from equipoise.balance._layers import Match, layerwise
from equipoise.monitor._monitor import Monitor
from equipoise.monitor.integrations._common import BEFORE_CLIPPING, MakeMonitor, load_state, saved_state
from equipoise.optim._optimizer import Equipoise

if TYPE_CHECKING:
    import transformers


def trainer_optimizer(
    optimizer: type[Equipoise],
    arguments: transformers.TrainingArguments,
    *,
    matches: Sequence[Match] = (),
    **hyperparameters: Any,
) -> tuple[Any, dict[str, Any]]:
    """The ``optimizer_cls_and_kwargs`` with which a transformers ``Trainer`` builds this optimizer.

    The learning rate, betas and epsilon are those of the Trainer's own Adam (``learning_rate``, ``adam_beta1``, ``adam_beta2``
    and ``adam_epsilon`` of its arguments), and so are the parameter groups: ``weight_decay`` on all but norms and biases.

    Args:
        optimizer: ``SMES``, ``KAdam`` or ``Equipoise``.
        arguments: the arguments of the Trainer.
        matches: where there are any, :func:`equipoise.balance.layerwise` makes the groups from them instead. What a match
            leaves out, the weight decay too, is the Trainer's.
        hyperparameters: arguments of the optimizer, such as ``exponent``; they win over those of the Trainer.

    Example:
        >>> from types import SimpleNamespace
        >>> from equipoise import KAdam
        >>> arguments = SimpleNamespace(learning_rate=1e-3, adam_beta1=0.9, adam_beta2=0.99, adam_epsilon=1e-8)
        >>> trainer_optimizer(KAdam, arguments, k=2)
        (<class 'equipoise.KAdam'>, {'lr': 0.001, 'betas': (0.9, 0.99), 'eps': 1e-08, 'k': 2})
    """
    betas = (arguments.adam_beta1, arguments.adam_beta2)
    given = {"lr": arguments.learning_rate, "betas": betas, "eps": arguments.adam_epsilon, **hyperparameters}
    if not matches:
        return optimizer, given

    def build(model: nn.Module, **given: Any) -> Equipoise:
        return optimizer(layerwise(model, matches, lr=given["lr"]), **given)

    # What is no optimizer class is called for a function of the model.
    return lambda: build, {"weight_decay": arguments.weight_decay, **given}


def follow_trainer(trainer: transformers.Trainer, monitor: MakeMonitor = Monitor) -> transformers.TrainerCallback:
    """Monitor every ``train()`` of a transformers ``Trainer``: adds a callback to it, and returns that.

    A Trainer hands its callbacks no loss, and what it logs is an average from which ``logging_nan_inf_filter``, by default,
    removes every loss that is NaN or infinite. So this looks at what ``trainer.training_step`` returns: a reading has the loss
    of its step itself, whatever it is, summed over the micro-batches of gradient accumulation as the Trainer scales them. The
    numbers of an evaluation come with the next reading: ``eval_loss`` as ``validation_loss``, and so on.

    The callback's ``monitor`` is the monitor of the latest training; None before the first.

    Example::

        trainer = Trainer(model, arguments, optimizer_cls_and_kwargs=trainer_optimizer(SMES, arguments), ...)
        follow_trainer(trainer, partial(Monitor, every=10, sinks=[JsonLines("runs/first")]))
        trainer.train()
    """
    from transformers.trainer_callback import ExportableState, TrainerCallback

    run = _TrainerRun(trainer, monitor)

    class EquipoiseMonitor(TrainerCallback, ExportableState):
        """Holds nothing itself: a Trainer that is told to restore its callbacks replaces each by a new one."""

        @property
        def monitor(self) -> Monitor | None:
            return run.monitor

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            # A training that begins anew finds here what this callback was when the one before ended.
            saved = state.stateful_callbacks.get(type(self).__name__) if state.global_step else None
            run.begin(saved and saved["attributes"].get("saved"))

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            run.step()

        def on_evaluate(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            run.evaluated(rest["metrics"])

        def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            run.end()

        def state(self) -> dict[str, Any]:
            return {"args": {}, "attributes": {"saved": run.saved()} if run.monitor else {}}

    callback = EquipoiseMonitor()
    trainer.add_callback(callback)
    return callback


class _TrainerRun:
    """One training of a Trainer at a time."""

    def __init__(self, trainer: Any, make: MakeMonitor) -> None:
        self.trainer, self.make = trainer, make
        self.monitor: Monitor | None = None
        self._loss: Tensor | None = None
        self._norm: Tensor | None = None
        self._open = ExitStack()

    def begin(self, saved: str | None) -> None:
        """Begin a training. One that goes on brings what it has saved."""
        self.end()  # of one that was interrupted, which the Trainer does not tell its callbacks
        self.monitor = self.make(self.trainer.optimizer, self.trainer.model)
        self._open.callback(self.monitor.close)
        if saved is not None:
            load_state(self.monitor, torch.load(BytesIO(b64decode(saved)), weights_only=True))
        self._open.enter_context(_tapped(self.trainer, "training_step", self._add_loss))
        self._open.enter_context(_tapped(self.trainer.accelerator, "clip_grad_norm_", self._keep_norm))

    def step(self) -> None:
        """The Trainer has stepped the optimizer and the scheduler."""
        assert self.monitor is not None
        metrics = {"loss": self._loss, BEFORE_CLIPPING: self._norm}
        self._loss = self._norm = None
        try:
            self.monitor.step(**{name: value for name, value in metrics.items() if value is not None})
        except BaseException:
            self.end()
            raise

    def evaluated(self, metrics: Mapping[str, Any]) -> None:
        """The Trainer has evaluated the model, which it may do without training it."""
        if self.monitor is not None:
            numbers = {name: float(value) for name, value in metrics.items() if isinstance(value, Real)}
            self.monitor.validation(**{name.removeprefix("eval_"): value for name, value in numbers.items()})

    def saved(self) -> str:
        """The state for the Trainer's JSON, which has no tuples, and no numbers as keys."""
        assert self.monitor is not None
        buffer = BytesIO()
        torch.save(saved_state(self.monitor), buffer)
        return b64encode(buffer.getvalue()).decode()

    def end(self) -> None:
        """Close the monitor, and leave the Trainer as it was."""
        self._loss = self._norm = None
        self._open.close()

    def _add_loss(self, loss: Tensor) -> None:
        self._loss = loss if self._loss is None else self._loss + loss

    def _keep_norm(self, norm: Tensor | None) -> None:
        self._norm = norm


@contextmanager
def _tapped(owner: Any, name: str, see: Callable[[Any], None]) -> Generator[None]:
    """Show what a method of one object returns, as long as the context is open."""
    method = getattr(owner, name)

    def tapped(*args: Any, **kwargs: Any) -> Any:
        returned = method(*args, **kwargs)
        see(returned)
        return returned

    setattr(owner, name, tapped)
    try:
        yield
    finally:
        setattr(owner, name, method)
