"""What the further questions of a study came to, in sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from equipoise.study._statistics.divergence import DivergenceContrast
from equipoise.study._statistics.paired import Contrast
from equipoise.study._statistics.target import TimeToTarget


def number_format(spread: float) -> str:
    """The format that shows two significant digits of a spread, or four digits of numbers of unusual size.

    Example:
        >>> f"{0.12345:{number_format(0.034)}}", f"{1.25e155:{number_format(1e154)}}"
        ('0.123', '1.25e+155')
    """
    if not 1e-9 < spread < 1e9:
        return ".4g"
    return f".{max(0, 1 - math.floor(math.log10(spread)))}f"


def about_time(found: TimeToTarget, reached: str, baseline: str) -> list[str]:
    """Which arms reach the target sooner or later than the baseline.

    Args:
        found: the times in one unit.
        reached: what is reached, as ``"accuracy = 0.9"``.
        baseline: its name.
    """
    said: list[str] = []
    for verdict, how in (("better", "sooner"), ("worse", "later")):
        arms = [f"{c.arm} by {_size(c)}" for c in found.contrasts if c.verdict == verdict]
        if arms:
            said.append(f"{reached} is reached {how} than with {baseline}, in {found.unit}s: {', '.join(arms)}.")
    if not said:
        said.append(f"No arm is shown to reach {reached} sooner or later than {baseline}, in {found.unit}s.")
    return said


def about_arrivals(found: TimeToTarget, reached: str) -> list[str]:
    """How many runs arrive, if not all do; the arguments are those of :func:`about_time`."""
    late = [f"{arm} {found.reached(arm)} of {len(own)}" for arm, own in found.times.items() if found.reached(arm) < len(own)]
    if not late:
        return []
    return [
        f"Not every run reaches {reached}: {', '.join(late)}. A run that does not counts with {found.budget:g} {found.unit}s,"
        " the length of the longest."
    ]


def about_divergence(contrasts: Sequence[DivergenceContrast], baseline: str) -> list[str]:
    """Which arms diverge more or less often than the baseline."""
    said: list[str] = []
    for how, more in (("more", True), ("less", False)):
        arms = [
            f"{c.arm} (only it on {c.only_arm} seeds, only {baseline} on {c.only_baseline}; p = {c.adjusted_p_value:.2g})"
            for c in contrasts
            if c.shown and (c.only_arm > c.only_baseline) == more
        ]
        if arms:
            said.append(f"Shown to diverge {how} often than {baseline}: {', '.join(arms)}.")
    return said


def about_tuning(trials: Mapping[str, int | None], tried: int, margin: float) -> list[str]:
    """How many tuning trials each arm needs to be as good as the best is with all of its own.

    Args:
        trials: by the arm's name; None if all that were tried do not suffice.
        tried: points per arm.
        margin: what counts as good as the best.
    """
    needed = [f"{arm} {f'more than {tried}' if count is None else count}" for arm, count in trials.items()]
    return [f"Points to try until the best of them is expected within {margin:g} of the best of all arms: {', '.join(needed)}."]


def _size(contrast: Contrast) -> str:
    low, high = sorted(map(abs, contrast.interval))
    spec = number_format(high - low)
    return f"{abs(contrast.mean):{spec}} (95 % interval {low:{spec}} to {high:{spec}})"
