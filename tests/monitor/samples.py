"""Readings to write, read and show."""

import math
from dataclasses import dataclass

from equipoise.monitor import GroupReading, Reading, TensorReading, Verdict
from equipoise.monitor._recording.run_file import RunInfo

NAMES = ("layer.weight", "layer.bias")
RUN = RunInfo("mine", 1e9, {"torch": "2.13.0"}, NAMES, ((2, 3), (2,)), (0, 0))


@dataclass(frozen=True, slots=True)
class Action:
    """What a guard's action has in common with any other."""

    kind: str
    step: int
    verdicts: tuple[Verdict, ...]
    message: str


def group(margin=0.1, **values):
    return GroupReading(
        **{
            "lr": 1e-3,
            "exponent": (0.5,),
            "betas": ((0.9, 0.999),),
            "margin": margin,
            "margin_ahead": margin,
            "gradient_spread": 1.5,
            "update_spread": 0.5,
        }
        | values
    )


def tensor(value=0.5, **values):
    fields = dict.fromkeys(TensorReading.__dataclass_fields__, value) | {"bound": math.inf, "norm_ratio": math.nan}
    return TensorReading(**fields | values)


def reading(step=1, loss=0.5, *, names=NAMES, **values):
    fields = {"time": 1e9 + step, "made": True, "metrics": {"loss": loss}, "groups": (group(),)}
    return Reading(**fields | {"step": step, "tensors": {name: tensor() for name in names}} | values)


def verdict(step=1, kind="nonfinite-loss", severity="trouble", since=1, where=(), message="loss is nan.", advice="Look."):
    return Verdict(kind, severity, step, since, where, 1.0, message, advice)
