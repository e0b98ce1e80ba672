"""A monitor for any loop that steps an optimizer."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.hooks import RemovableHandle

from equipoise.monitor._measuring.optimizers.unwrapping import stepping_optimizer
from equipoise.monitor._monitor import Monitor


def follow_steps(monitor: Monitor, optimizer: torch.optim.Optimizer) -> RemovableHandle:
    """Count every ``optimizer.step()`` as a step of the monitor: for a loop that cannot be changed.

    The monitor then knows nothing of the loss. A step that a GradScaler skips does not happen, and is not counted.

    Returns:
        A handle, whose ``remove()`` ends the counting.

    Example:
        >>> from equipoise import SMES
        >>> layer = torch.nn.Linear(2, 1)
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

    return stepping_optimizer(optimizer).register_step_post_hook(stepped)
