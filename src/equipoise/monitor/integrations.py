"""Monitors in loops that somebody else wrote: the Trainer of transformers, Lightning, and any loop that steps an optimizer.

This is the only module that knows frameworks, and it imports one when it is asked for it. What they have in common:

- A monitor needs the optimizer, which a framework builds when training begins. So each of these is given a function of an
  optimizer and a model that makes the :class:`~equipoise.monitor.Monitor`: ``partial(Monitor, every=10, sinks=[...])``.
- **Gradients are read as the optimizer used them: unscaled, and after clipping.** Both frameworks clip before the optimizer's
  step (transformers does unless told otherwise: ``max_grad_norm`` is 1), and clipped gradients never explode. So wherever the
  framework clips, a reading also has the metric ``gradient_norm_before_clipping``, of the whole model.
- **A guard that stops a run raises** :class:`~equipoise.errors.RunStoppedError` out of ``train()`` or ``fit()``, after the
  monitor was closed. The frameworks' own way, a flag that ends the training, would still evaluate and save at the end of the
  epoch: the newest checkpoint would be that of the broken model, and rotation could delete the last good one.
- **A guard that goes back** restores what its snapshots hold. The framework's own count of steps, and its data, go on.
- The monitor, and its guard, continue from the framework's own checkpoints.

In a loop of your own call :meth:`Monitor.step() <equipoise.monitor.Monitor.step>`; nothing here is needed.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from io import BytesIO
from numbers import Real
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from equipoise.balance.layers import Rule, layerwise
from equipoise.errors import MissingExtraError
from equipoise.monitor.recorder import Monitor
from equipoise.optim import Equipoise

if TYPE_CHECKING:
    import lightning.pytorch as lightning
    import transformers

MakeMonitor: TypeAlias = Callable[[Any, nn.Module], Monitor]
"""From an optimizer and a model; :class:`Monitor` itself is one, and so is ``partial(Monitor, every=100)``."""

BEFORE_CLIPPING = "gradient_norm_before_clipping"
"""The metric: the norm of all gradients together, unscaled."""


def follow_steps(monitor: Monitor, optimizer: torch.optim.Optimizer) -> RemovableHandle:
    """Count every ``optimizer.step()`` as a step of the monitor: for a loop that cannot be changed.

    Such a loop tells nothing of its loss. A step that a GradScaler skips does not happen, and is not counted.

    Returns:
        What ends it when its ``remove()`` is called.

    Example:
        >>> from equipoise import SMES
        >>> layer = nn.Linear(2, 1)
        >>> optimizer = SMES(layer.parameters())
        >>> monitor = Monitor(optimizer, layer, every=1)
        >>> handle = follow_steps(monitor, optimizer)
        >>> layer(torch.ones(2)).sum().backward()
        >>> optimizer.step()
        >>> monitor.last.step, sorted(monitor.last.tensors)
        (1, ['bias', 'weight'])
        >>> monitor.close()
    """

    def stepped(*_: Any) -> None:
        monitor.step()

    return optimizer.register_step_post_hook(stepped)


# ---- transformers


def trainer_optimizer(
    optimizer: type[Equipoise],
    arguments: transformers.TrainingArguments,
    *,
    rules: Sequence[Rule] = (),
    **settings: Any,
) -> tuple[Any, dict[str, Any]]:
    """What a transformers ``Trainer`` takes as ``optimizer_cls_and_kwargs``, to build this optimizer.

    The learning rate, betas and epsilon are those of the Trainer's own Adam (``learning_rate``, ``adam_beta1``, ``adam_beta2``
    and ``adam_epsilon`` of its arguments), and so are the parameter groups: ``weight_decay`` on all but norms and biases.

    Args:
        optimizer: ``SMES``, ``KAdam`` or ``Equipoise``.
        arguments: of the Trainer.
        rules: where there are any, the groups are those of :func:`equipoise.balance.layerwise` instead; what a rule leaves out,
            the weight decay too, is the Trainer's.
        settings: of the optimizer, such as ``exponent``; they come before those of the Trainer.

    Example:
        >>> from types import SimpleNamespace
        >>> from equipoise import KAdam
        >>> arguments = SimpleNamespace(learning_rate=1e-3, adam_beta1=0.9, adam_beta2=0.99, adam_epsilon=1e-8)
        >>> trainer_optimizer(KAdam, arguments, k=2)
        (<class 'equipoise.optim.KAdam'>, {'lr': 0.001, 'betas': (0.9, 0.99), 'eps': 1e-08, 'k': 2})
    """
    betas = (arguments.adam_beta1, arguments.adam_beta2)
    given = {"lr": arguments.learning_rate, "betas": betas, "eps": arguments.adam_epsilon, **settings}
    if not rules:
        return optimizer, given

    def build(model: nn.Module, **given: Any) -> Equipoise:
        return optimizer(layerwise(model, rules, lr=given["lr"]), **given)

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
        """With what a training that goes on has saved."""
        self.end()  # of one that was interrupted, which the Trainer does not tell its callbacks
        self.monitor = self.make(self.trainer.optimizer.optimizer, self.trainer.model)  # accelerate wraps the optimizer
        self._open.callback(self.monitor.close)
        if saved is not None:
            _load(self.monitor, torch.load(BytesIO(b64decode(saved)), weights_only=True))
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
        torch.save(_state(self.monitor), buffer)
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
    """Show what a method of one object returns, until the end."""
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


# ---- Lightning


def lightning_callback(monitor: MakeMonitor = Monitor, *, optimizer: int = 0, validation: str = "val_") -> lightning.Callback:
    """A callback for the Trainer of the package ``lightning``, in automatic and in manual optimization.

    A training step is a batch in which the optimizer stepped; the batches before it, of gradient accumulation or because the
    module steps when it likes, are its micro-batches, and the loss of the step is the mean of theirs. In manual optimization
    the loss is what ``training_step`` returns, so return it; and the module clips gradients itself, so that their norm before
    clipping is not known.

    The callback's ``monitor`` is the monitor of the latest training; None before the first.

    Args:
        monitor: makes the monitor.
        optimizer: the number of the one to monitor, for a module that has several.
        validation: how the names of validation metrics begin, as the module logs them; they come with the next reading,
            ``val_loss`` as ``validation_loss``.

    Raises:
        MissingExtraError: lightning is not installed.

    Example::

        trainer = Trainer(callbacks=[lightning_callback(partial(Monitor, every=10, sinks=[JsonLines("runs/first")]))])
    """
    try:
        from lightning.pytorch import Callback
    except ImportError:
        raise MissingExtraError("the Lightning callback", "lightning") from None
    kind: Any = type("EquipoiseMonitor", (_LightningHooks, Callback), {})
    return kind(monitor, optimizer, validation)


class _LightningHooks:
    """What Lightning calls."""

    def __init__(self, make: MakeMonitor, optimizer: int, validation: str) -> None:
        self.make, self.optimizer, self.validation = make, optimizer, validation
        self.monitor: Monitor | None = None
        self._saved: dict[str, Any] | None = None
        self._stepped = False
        self._norm: Tensor | None = None

    @property
    def state_key(self) -> str:
        return f"EquipoiseMonitor of optimizer {self.optimizer}"

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self.monitor = self.make(trainer.optimizers[self.optimizer], module)
        if self._saved is not None:
            _load(self.monitor, self._saved)

    def on_before_optimizer_step(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """After the backward pass and unscaling, before clipping."""
        if self.monitor is None or optimizer is not trainer.optimizers[self.optimizer]:
            return
        self._stepped = True
        if (self.monitor.steps + 1) % self.monitor.every == 0 and _clips(trainer, module):
            gradients = [each.grad for group in optimizer.param_groups for each in group["params"] if each.grad is not None]
            self._norm = torch.nn.utils.get_total_norm(gradients)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """After the optimizer and the schedulers."""
        assert self.monitor is not None
        if outputs and "loss" in outputs:
            # Which the automatic optimization has divided, as it does for the backward pass.
            parts = trainer.accumulate_grad_batches if module.automatic_optimization else 1
            self.monitor.micro_step(loss=outputs["loss"] * parts)
        if self._stepped:
            metrics = {} if self._norm is None else {BEFORE_CLIPPING: self._norm}
            self._stepped, self._norm = False, None
            self.monitor.step(**metrics)

    def on_validation_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        if self.monitor is not None and not trainer.sanity_checking:
            metrics = trainer.callback_metrics  # of training, too
            found = {name: value for name, value in metrics.items() if name.startswith(self.validation)}
            self.monitor.validation(**{name.removeprefix(self.validation): value for name, value in found.items()})

    def on_exception(self, trainer: lightning.Trainer, module: lightning.LightningModule, exception: BaseException) -> None:
        self._end()

    def teardown(self, trainer: lightning.Trainer, module: lightning.LightningModule, stage: str) -> None:
        self._end()

    def state_dict(self) -> dict[str, Any]:
        return {} if self.monitor is None else _state(self.monitor)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._saved = state_dict

    def _end(self) -> None:
        if self.monitor is not None:
            self.monitor.close()


def _state(monitor: Monitor) -> dict[str, Any]:
    return {"monitor": monitor.state_dict(), "guard": monitor.guard and monitor.guard.state_dict()}


def _load(monitor: Monitor, state: Mapping[str, Any]) -> None:
    monitor.load_state_dict(state["monitor"])
    if monitor.guard is not None and state["guard"] is not None:
        monitor.guard.load_state_dict(state["guard"])


def _clips(trainer: lightning.Trainer, module: lightning.LightningModule) -> bool:
    """Whether Lightning will clip the gradients."""
    from lightning.pytorch.utilities.model_helpers import is_overridden

    return module.automatic_optimization and (
        trainer.gradient_clip_val is not None or is_overridden("configure_gradient_clipping", module)
    )
