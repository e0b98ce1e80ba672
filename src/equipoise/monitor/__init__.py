"""What can be seen of a model while it trains, and what is done about it.

Names are imported on first use, so that to read and watch a run never imports torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from equipoise.monitor.findings import Thresholds, Verdict
    from equipoise.monitor.guard import Action, Guard
    from equipoise.monitor.invariance import ScaleInvariance, ScaleVerdict, probe_scale_invariance
    from equipoise.monitor.loggers import MLflow, TensorBoard, WandB
    from equipoise.monitor.policies import LowerRate, MoveInside, Rollback, Skip, Stop, Warn
    from equipoise.monitor.readings import GroupReading, Reading, TensorReading
    from equipoise.monitor.recorder import Monitor
    from equipoise.monitor.runs import records
    from equipoise.monitor.sinks import JsonLines
    from equipoise.monitor.snapshots import Snapshots
    from equipoise.monitor.verdicts import judge

__all__ = [
    "Action",
    "GroupReading",
    "Guard",
    "JsonLines",
    "LowerRate",
    "MLflow",
    "Monitor",
    "MoveInside",
    "Reading",
    "Rollback",
    "ScaleInvariance",
    "ScaleVerdict",
    "Skip",
    "Snapshots",
    "Stop",
    "TensorBoard",
    "TensorReading",
    "Thresholds",
    "Verdict",
    "WandB",
    "Warn",
    "judge",
    "probe_scale_invariance",
    "records",
]

_HOMES = {
    "Action": "guard",
    "GroupReading": "readings",
    "Guard": "guard",
    "JsonLines": "sinks",
    "LowerRate": "policies",
    "MLflow": "loggers",
    "Monitor": "recorder",
    "MoveInside": "policies",
    "Reading": "readings",
    "Rollback": "policies",
    "ScaleInvariance": "invariance",
    "ScaleVerdict": "invariance",
    "Skip": "policies",
    "Snapshots": "snapshots",
    "Stop": "policies",
    "TensorBoard": "loggers",
    "TensorReading": "readings",
    "Thresholds": "findings",
    "Verdict": "findings",
    "WandB": "loggers",
    "Warn": "policies",
    "judge": "verdicts",
    "probe_scale_invariance": "invariance",
    "records": "runs",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"equipoise.monitor.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'equipoise.monitor' has no attribute {name!r}; public names are {', '.join(__all__)}")
