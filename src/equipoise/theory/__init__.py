"""What the two theories say about hyperparameters: functions of numbers, on numpy alone."""

from equipoise.theory.assessment import Assessment, Verdict, assess
from equipoise.theory.region import (
    NearestStable,
    continuous_margin,
    growth_rate,
    margin,
    max_update,
    nearest_stable,
    worst_case_gradients,
)

__all__ = [
    "Assessment",
    "NearestStable",
    "Verdict",
    "assess",
    "continuous_margin",
    "growth_rate",
    "margin",
    "max_update",
    "nearest_stable",
    "worst_case_gradients",
]
