"""The optimizers that an arm can name without saying where they are, each with the space that it is tuned over by default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from equipoise.study._arms.space import Range, Space


@dataclass(frozen=True)
class ReadyMade:
    """An optimizer with what suits it."""

    optimizer: str
    """The dotted name of its class, or of a function that makes it."""
    lr: Range
    """Three decades around what its authors and users report, for models from a laptop's to a cluster's."""
    weight_decay: tuple[float, ...] = (0.0, 0.01, 0.1)
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Defaults for the keys of an arm."""
    schedule: str | None = None
    """Where it is not the task's."""
    warmup: float = 0.0

    @property
    def space(self) -> Space:
        """What an arm without a search of its own is tuned over."""
        return {"lr": self.lr, "weight_decay": list(self.weight_decay)}


PAIR = {"betas": [0.9, 0.999]}

READY_MADE: Mapping[str, ReadyMade] = MappingProxyType(
    {
        "adamw": ReadyMade("torch.optim.AdamW", Range(low=1e-4, high=1e-1), arguments=PAIR),
        # Its decay is coupled: it passes through the momentum.
        "sgd": ReadyMade("torch.optim.SGD", Range(low=1e-3, high=1.0), (0.0, 1e-4, 1e-3), {"momentum": 0.9}),
        # The learning rate is that of AdamW for both of its parts.
        "muon": ReadyMade("equipoise.study._arms.muon.Muon", Range(low=1e-4, high=1e-1), arguments={"momentum": 0.95, **PAIR}),
        # Chen et al. 2302.06675: a learning rate 3 to 10 times smaller than AdamW's, and a decay as many times larger.
        "lion": ReadyMade(
            "pytorch_optimizer.Lion", Range(low=1e-5, high=1e-2), (0.0, 0.1, 1.0), {"betas": [0.9, 0.99], "weight_decouple": True}
        ),
        # Defazio et al. 2405.15682: no schedule, but a warm-up.
        "schedule-free": ReadyMade(
            "pytorch_optimizer.ScheduleFreeAdamW", Range(low=3e-4, high=3e-1), arguments=PAIR, schedule="constant", warmup=0.05
        ),
        "soap": ReadyMade("pytorch_optimizer.SOAP", Range(low=1e-4, high=1e-1), arguments={"betas": [0.95, 0.95]}),
        "ademamix": ReadyMade(
            "pytorch_optimizer.AdEMAMix",
            Range(low=1e-4, high=1e-1),
            arguments={"betas": [0.9, 0.999, 0.9999], "weight_decouple": True},
        ),
        "adopt": ReadyMade(
            "pytorch_optimizer.ADOPT", Range(low=1e-4, high=1e-1), arguments={"betas": [0.9, 0.9999], "weight_decouple": True}
        ),
        # It finds its own step: the learning rate multiplies what it finds.
        "prodigy": ReadyMade("pytorch_optimizer.Prodigy", Range(low=0.1, high=10.0), arguments=PAIR),
        # The learning rate is in units of the size of the weights.
        "adafactor": ReadyMade("torch.optim.Adafactor", Range(low=1e-3, high=1.0)),
    }
)
"""By the name in a study file."""

EXTRA = "optimizers"
"""What installs pytorch_optimizer."""
