"""The optimizers that an arm can name without saying where they are, each with the space that it is tuned over by default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from equipoise.study._arms.schedule import ScheduleName
from equipoise.study._arms.space import Range, Space


@dataclass(frozen=True)
class ReadyMade:
    """An optimizer with what suits it."""

    optimizer: str
    """The dotted name of its class."""
    space: Space = field(default_factory=Space)
    """What an arm is tuned over that says nothing else."""
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Defaults for the keys of an arm."""
    schedule: ScheduleName | None = None
    """How the learning rate falls, where it is not as the task says."""
    warmup: float = 0.0


def _space(low: float, high: float, weight_decay: Sequence[float] = (0.0, 0.01, 0.1)) -> Space:
    """Three decades of learning rates around what authors and users report, from small models to large ones, and decays."""
    return {"lr": Range(low=low, high=high), "weight_decay": list(weight_decay)}


PAIR = {"betas": [0.9, 0.999]}

READY_MADE: Mapping[str, ReadyMade] = MappingProxyType(
    {
        "adamw": ReadyMade("torch.optim.AdamW", _space(1e-4, 1e-1), PAIR),
        # Its decay is coupled: it passes through the momentum.
        "sgd": ReadyMade("torch.optim.SGD", _space(1e-3, 1.0, (0.0, 1e-4, 1e-3)), {"momentum": 0.9}),
        # The learning rate is that of AdamW for both of its parts.
        "muon": ReadyMade("equipoise.study._arms.muon.Muon", _space(1e-4, 1e-1), {"momentum": 0.95, **PAIR}),
        # Chen et al. 2302.06675: a learning rate 3 to 10 times smaller than AdamW's, and a decay as many times larger.
        "lion": ReadyMade(
            "pytorch_optimizer.Lion", _space(1e-5, 1e-2, (0.0, 0.1, 1.0)), {"betas": [0.9, 0.99], "weight_decouple": True}
        ),
        # Defazio et al. 2405.15682: no schedule, but a warm-up.
        "schedule-free": ReadyMade(
            "pytorch_optimizer.ScheduleFreeAdamW", _space(3e-4, 3e-1), PAIR, schedule="constant", warmup=0.05
        ),
        "soap": ReadyMade("pytorch_optimizer.SOAP", _space(1e-4, 1e-1), {"betas": [0.95, 0.95]}),
        "ademamix": ReadyMade(
            "pytorch_optimizer.AdEMAMix",
            _space(1e-4, 1e-1),
            {"betas": [0.9, 0.999, 0.9999], "weight_decouple": True},
        ),
        "adopt": ReadyMade("pytorch_optimizer.ADOPT", _space(1e-4, 1e-1), {"betas": [0.9, 0.9999], "weight_decouple": True}),
        # It finds its own step: the learning rate multiplies what it finds.
        "prodigy": ReadyMade("pytorch_optimizer.Prodigy", _space(0.1, 10.0), PAIR),
        # The learning rate is in units of the size of the weights.
        "adafactor": ReadyMade("torch.optim.Adafactor", _space(1e-3, 1.0)),
    }
)
"""By the name in a study file."""
