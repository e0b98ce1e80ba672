"""A monitor for the Trainer of the package ``lightning``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from equipoise.errors import MissingExtraError
from equipoise.monitor._monitor import Monitor
from equipoise.monitor.integrations._common import BEFORE_CLIPPING, MakeMonitor, load_state, saved_state

if TYPE_CHECKING:
    import lightning.pytorch as lightning


def lightning_callback(monitor: MakeMonitor = Monitor, *, optimizer: int = 0, validation: str = "val_") -> lightning.Callback:
    """A callback for the Trainer of the package ``lightning``, in automatic and in manual optimization.

    A training step is a batch in which the optimizer stepped; the batches before it, of gradient accumulation or because the
    module steps when it likes, are its micro-batches, and the loss of the step is the mean of theirs. In manual optimization
    the loss is what ``training_step`` returns, so return it; and the module clips gradients itself, so that their norm before
    clipping is not known.

    The callback's ``monitor`` is the monitor of the latest training; None before the first.

    Args:
        monitor: a function that makes the monitor.
        optimizer: the number of the optimizer to monitor, for a module that has several.
        validation: the prefix with which the module logs validation metrics. They come with the next reading, ``val_loss`` as
            ``validation_loss``.

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
    """The hooks that Lightning calls."""

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
            load_state(self.monitor, self._saved)

    def on_before_optimizer_step(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Lightning calls this after the backward pass and unscaling, and before clipping."""
        if self.monitor is None or optimizer is not trainer.optimizers[self.optimizer]:
            return
        self._stepped = True
        if (self.monitor.steps + 1) % self.monitor.every == 0 and _clips(trainer, module):
            gradients = [each.grad for group in optimizer.param_groups for each in group["params"] if each.grad is not None]
            self._norm = torch.nn.utils.get_total_norm(gradients)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Lightning calls this after the optimizer and the schedulers."""
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
        return {} if self.monitor is None else saved_state(self.monitor)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._saved = state_dict

    def _end(self) -> None:
        if self.monitor is not None:
            self.monitor.close()


def _clips(trainer: lightning.Trainer, module: lightning.LightningModule) -> bool:
    """Whether Lightning will clip the gradients."""
    from lightning.pytorch.utilities.model_helpers import is_overridden

    return module.automatic_optimization and (
        trainer.gradient_clip_val is not None or is_overridden("configure_gradient_clipping", module)
    )
