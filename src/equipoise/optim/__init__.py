"""The optimizers, and what a step of them measures."""

from equipoise.optim._optimizer import SMES, Equipoise, KAdam
from equipoise.optim._telemetry import Measures, Telemetry

__all__ = ["SMES", "Equipoise", "KAdam", "Measures", "Telemetry"]
