"""What the integrations of frameworks share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from torch import nn

from equipoise.monitor._monitor import Monitor

MakeMonitor: TypeAlias = Callable[[Any, nn.Module], Monitor]
"""A function of an optimizer and a model that makes a monitor: :class:`Monitor` itself, or ``partial(Monitor, every=100)``."""

BEFORE_CLIPPING = "gradient_norm_before_clipping"
"""The name of a metric: the norm of all gradients together, unscaled, before the framework clips them."""


def saved_state(monitor: Monitor) -> dict[str, Any]:
    """The state of a monitor and of its guard, for the checkpoint of a framework."""
    return {"monitor": monitor.state_dict(), "guard": monitor.guard and monitor.guard.state_dict()}


def load_state(monitor: Monitor, state: Mapping[str, Any]) -> None:
    """Continue where that state was saved."""
    monitor.load_state_dict(state["monitor"])
    if monitor.guard is not None and state["guard"] is not None:
        monitor.guard.load_state_dict(state["guard"])
