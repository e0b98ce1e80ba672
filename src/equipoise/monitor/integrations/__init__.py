"""Monitors for loops that somebody else wrote: the Trainer of transformers, Lightning, and any loop that steps an optimizer.

Only the modules here know frameworks, and each imports its framework when it is used. What they have in common:

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

from equipoise.monitor.integrations._common import BEFORE_CLIPPING, MakeMonitor
from equipoise.monitor.integrations._hooks import follow_steps
from equipoise.monitor.integrations._lightning import lightning_callback
from equipoise.monitor.integrations._transformers import follow_trainer, trainer_optimizer

__all__ = [
    "BEFORE_CLIPPING",
    "MakeMonitor",
    "follow_steps",
    "follow_trainer",
    "lightning_callback",
    "trainer_optimizer",
]
