"""Watches the settings of a run from step to step, for jumps that no schedule makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

from equipoise.balance._scheduler import Scheduler
from equipoise.monitor._measuring.readings import Jump
from equipoise.optim._groups import on_device

BATCH = "batch_size"
"""The metric that says how large the batch of a step was."""
RATES = ("lr", "initial_lr", "max_lr")
"""Where a group says how high its learning rate may be: torch's schedulers leave their highest beside it."""


class Settings:
    """Remembers what the settings of a run were.

    A learning rate, a weight decay or a batch size jumps where it is more than `factor` times everything that it was before,
    and, for a learning rate, that its scheduler was built for: so warm-ups and restarts are no jumps. A beta jumps where its
    memory, 1/(1 - beta) steps, becomes `factor` times as long or as short in one step, unless a known schedule moves it. What
    was 0 until now cannot jump, and neither can a learning rate on a GPU, which nobody reads there.

    Args:
        schedules: the known schedules.
        factor: see above.

    Example:
        >>> settings = Settings((), 3.0)
        >>> settings.look([{"lr": 0.1}]), settings.look([{"lr": 0.2}])
        ([], [])
        >>> settings.look([{"lr": 2.0}])
        [Jump(name='lr of group 0', before=0.2, now=2.0)]
    """

    def __init__(self, schedules: Sequence[Scheduler], factor: float) -> None:
        self._scheduled = {name for scheduler in schedules for name in scheduler.schedules}
        self._factor = factor
        self._most: dict[str, float] = {}
        self._last: dict[str, float] = {}

    def look(self, groups: Sequence[Mapping[str, Any]]) -> list[Jump]:
        """The settings of the coming step, compared with those before."""
        found: list[Jump] = []
        for number, group in enumerate(groups):
            rates = [float(group[name]) for name in RATES if _is_known(group.get(name))]
            if _is_known(group.get("lr")):
                found += self._against_most(f"lr of group {number}", rates[0], max(rates))
            if _is_known(group.get("weight_decay")):
                decay = float(group["weight_decay"])
                found += self._against_most(f"weight_decay of group {number}", decay, decay)
            betas: Any = group.get("betas", ())
            for place, beta in enumerate(betas, 1):
                if _is_known(beta) and f"beta{place}" not in self._scheduled:
                    found += self._against_last(f"beta{place} of group {number}", float(beta))
        return found

    def look_at_batch(self, metrics: Mapping[str, Any]) -> list[Jump]:
        """The size of a batch, where it is among the metrics."""
        size: Any = metrics.get(BATCH)
        return self._against_most(BATCH, float(size), float(size)) if _is_known(size) else []

    def _against_most(self, name: str, now: float, allowed: float) -> list[Jump]:
        most = self._most.get(name, allowed)
        self._most[name] = max(most, now)
        return [Jump(name, most, now)] if 0 < self._factor * most < now else []

    def _against_last(self, name: str, beta: float) -> list[Jump]:
        last = self._last.get(name, beta)
        self._last[name] = beta
        ratio = (1 - last) / (1 - beta) if beta < 1 and last < 1 else 1.0
        return [] if 1 / self._factor <= ratio <= self._factor else [Jump(name, last, beta)]

    def state_dict(self) -> dict[str, Any]:
        """What the next comparison depends on, in plain values."""
        return {"most": dict(self._most), "last": dict(self._last)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue where a state dict was made."""
        self._most, self._last = dict(state_dict["most"]), dict(state_dict["last"])


def _is_known(value: Any) -> bool:
    """Whether a setting is a number that can be read without waiting for a device."""
    return not on_device(value) and (isinstance(value, Real) or getattr(value, "numel", lambda: 0)() == 1)
