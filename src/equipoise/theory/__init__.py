"""What the two theories say about hyperparameters: functions of numbers, on numpy and scipy."""

from equipoise.theory._assessment import Assessment, Stability, assess
from equipoise.theory._bound import max_update, worst_case_gradients
from equipoise.theory._exponent import (
    ExponentRecommendation,
    noise_ratio,
    recommend_exponent,
    scale_degree,
    signal_loss,
    signal_to_noise,
    sparse_rate,
    update_spread,
)
from equipoise.theory._flow import Discrepancy, Flow, FlowStatus, discrepancy, flow
from equipoise.theory._growth import Growth
from equipoise.theory._invariance import (
    NormEquilibrium,
    NormMotion,
    autocorrelation,
    cross_term_factor,
    noise_update,
    norm_equilibrium,
    norm_motion,
)
from equipoise.theory._region import (
    NearestStable,
    continuous_margin,
    growth_rate,
    margin,
    nearest_stable,
)
from equipoise.theory._stages import stage_betas, stage_updates

__all__ = [
    "Assessment",
    "Discrepancy",
    "ExponentRecommendation",
    "Flow",
    "FlowStatus",
    "Growth",
    "NearestStable",
    "NormEquilibrium",
    "NormMotion",
    "Stability",
    "assess",
    "autocorrelation",
    "continuous_margin",
    "cross_term_factor",
    "discrepancy",
    "flow",
    "growth_rate",
    "margin",
    "max_update",
    "nearest_stable",
    "noise_ratio",
    "noise_update",
    "norm_equilibrium",
    "norm_motion",
    "recommend_exponent",
    "scale_degree",
    "signal_loss",
    "signal_to_noise",
    "sparse_rate",
    "stage_betas",
    "stage_updates",
    "update_spread",
    "worst_case_gradients",
]
