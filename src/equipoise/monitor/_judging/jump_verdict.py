"""The verdict on settings that jumped: learning rates, betas, weight decay, the size of the batch."""

from __future__ import annotations

from collections.abc import Sequence

from equipoise.monitor._judging.thresholds import Thresholds
from equipoise.monitor._judging.verdict import Verdict
from equipoise.monitor._measuring.readings import Reading
from equipoise.monitor._measuring.settings import BATCH


def jump(history: Sequence[Reading], thresholds: Thresholds) -> Verdict | None:
    """Settings far beyond everything that they were before. It is certain that they jumped, not that it does harm."""
    jumps = history[-1].jumps
    if not jumps:
        return None
    changed = "; ".join(f"{each.name} goes from {each.before:.4g} to {each.now:.4g}" for each in jumps)
    return Verdict(
        kind="jump",
        severity="warning" if all(each.name == BATCH for each in jumps) else "trouble",
        step=history[-1].step,
        since=history[-1].step,
        where=tuple(dict.fromkeys(each.name.rpartition(" of ")[2] for each in jumps if each.name != BATCH)),
        confidence=1.0,
        message=f"In one step {changed}, which no schedule did before.",
        advice="If a script or a scheduler does it by mistake, correct it. If it is meant, raise Thresholds.jump above"
        f" {thresholds.jump:g}.",
    )
