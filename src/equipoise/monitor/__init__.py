"""What can be seen of a model while it trains, and what is done about it.

Names are imported on first use, so that to read and watch a run never imports torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from equipoise._lazy import imported_on_first_use

if TYPE_CHECKING:
    from equipoise.monitor._guarding.guard import Action, Guard
    from equipoise.monitor._guarding.policies import Rollback, Skip, Stop, Warn
    from equipoise.monitor._guarding.remedies import LowerRate, MoveInside
    from equipoise.monitor._guarding.snapshots import Snapshots
    from equipoise.monitor._judging.judge import judge
    from equipoise.monitor._judging.thresholds import Thresholds
    from equipoise.monitor._judging.verdict import Verdict
    from equipoise.monitor._measuring.readings import GroupReading, Jump, Reading, TensorReading
    from equipoise.monitor._measuring.scale_invariance import ScaleInvariance, ScaleVerdict, probe_scale_invariance
    from equipoise.monitor._monitor import Monitor
    from equipoise.monitor._recording.json_lines import JsonLines
    from equipoise.monitor._recording.loggers import MLflow, TensorBoard, WandB

__all__ = [
    "Action",
    "GroupReading",
    "Guard",
    "JsonLines",
    "Jump",
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
]

__getattr__, __dir__ = imported_on_first_use(
    __name__,
    {
        "Action": "_guarding.guard",
        "GroupReading": "_measuring.readings",
        "Guard": "_guarding.guard",
        "JsonLines": "_recording.json_lines",
        "Jump": "_measuring.readings",
        "LowerRate": "_guarding.remedies",
        "MLflow": "_recording.loggers",
        "Monitor": "_monitor",
        "MoveInside": "_guarding.remedies",
        "Reading": "_measuring.readings",
        "Rollback": "_guarding.policies",
        "ScaleInvariance": "_measuring.scale_invariance",
        "ScaleVerdict": "_measuring.scale_invariance",
        "Skip": "_guarding.policies",
        "Snapshots": "_guarding.snapshots",
        "Stop": "_guarding.policies",
        "TensorBoard": "_recording.loggers",
        "TensorReading": "_measuring.readings",
        "Thresholds": "_judging.thresholds",
        "Verdict": "_judging.verdict",
        "WandB": "_recording.loggers",
        "Warn": "_guarding.policies",
        "judge": "_judging.judge",
        "probe_scale_invariance": "_measuring.scale_invariance",
    },
)
