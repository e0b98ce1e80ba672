"""What can be seen of a model while it trains."""

from equipoise.monitor.invariance import ScaleInvariance, ScaleVerdict, probe_scale_invariance

__all__ = ["ScaleInvariance", "ScaleVerdict", "probe_scale_invariance"]
