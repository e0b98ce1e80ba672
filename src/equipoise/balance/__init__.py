"""The balance between adaptive and stable: by a schedule over steps, layer by layer, and in closed loop."""

from equipoise.balance.controller import Controller, Decision
from equipoise.balance.controllers import GeneralizationController, SpreadController
from equipoise.balance.hypergradient import HypergradientController
from equipoise.balance.layers import Rule, layerwise, presets
from equipoise.balance.scheduler import Scheduler
from equipoise.balance.schedules import Constant, Cosine, Cyclic, Function, Linear, Piecewise, Schedule

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
    "Piecewise",
    "Rule",
    "Schedule",
    "Scheduler",
    "SpreadController",
    "layerwise",
    "presets",
]
