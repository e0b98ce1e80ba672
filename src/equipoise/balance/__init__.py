"""The balance between adaptive and stable: by a schedule over steps, layer by layer, and in closed loop."""

from equipoise.balance._controller import Controller, Decision
from equipoise.balance._controllers import GeneralizationController, SpreadController
from equipoise.balance._hypergradient import HypergradientController
from equipoise.balance._layers import Match, layerwise, presets
from equipoise.balance._scheduler import Scheduler
from equipoise.balance._schedules import Constant, Cosine, Cyclic, Function, Linear, Piecewise, Schedule

__all__ = [
    "Constant",
    "Controller",
    "Cosine",
    "Cyclic",
    "Decision",
    "Function",
    "GeneralizationController",
    "HypergradientController",
    "Linear",
    "Match",
    "Piecewise",
    "Schedule",
    "Scheduler",
    "SpreadController",
    "layerwise",
    "presets",
]
