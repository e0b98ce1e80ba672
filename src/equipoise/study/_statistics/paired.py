"""Paired comparison of arms with a baseline: one interval for each arm, and verdicts that are read off the intervals.

The interval is Student's t interval of the paired differences, at confidence 1 - 0.05/m for m comparisons, so that all m
intervals of a study hold at once with at least 95 % probability. Several tasks that are decided together are one family: m is
the number of arms times the number of tasks. A verdict is a statement about an interval, never a second
test: the two cannot contradict each other. Why so, and how well it is calibrated: docs/decisions/0015.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from equipoise.study._names import Goal
from equipoise.study._statistics.power import LEVEL, detectable_difference, seeds_to_show
from equipoise.study._statistics.precision import resolution, unit_roundoff
from equipoise.study._statistics.sign_flips import sign_flip_p_value

Floats: TypeAlias = NDArray[np.float64]
Seed: TypeAlias = Any
"""What pairs runs: a number or a text. (Hashable would be the type, but keys of mappings have to be of one type exactly.)"""

Verdict: TypeAlias = Literal["better", "worse", "as good", "no worse", "not shown"]

UNEQUAL_NOISE_LEVEL = 0.01
"""Chance, at most, that equally noisy arms are said to be unequally noisy (for normal noise)."""


def direction(goal: Goal) -> float:
    """1 where larger values are better, -1 where smaller ones are."""
    return 1.0 if goal == "maximize" else -1.0


@dataclass(frozen=True)
class Contrast:
    """One arm against the baseline, on the seeds that both have. Differences are positive where the arm is better."""

    arm: str
    seeds: tuple[Seed, ...]
    """The seeds that both arms have."""
    differences: tuple[float, ...]
    """One per seed."""
    comparisons: int
    """The number of arms that are compared with the baseline, times that of the tasks that are decided together; the interval
    and the p value are adjusted for it."""
    mean: float
    spread: float
    """The standard deviation of the differences: at least what the resolution of the numbers makes of it."""
    interval: tuple[float, float]
    """Paired t interval of the mean difference; with those of the other arms it holds at once with 95 % probability."""
    p_value: float
    """The two-sided p value of the paired t test, for this comparison alone."""
    sign_flip_p_value: float
    """Two-sided p value of the exact sign-flip test, for this comparison alone: it assumes no normal distribution."""
    unequal_noise: bool
    """Whether the arm and the baseline visibly differ in their noise; if so, a skewed noise can mislead every paired test."""
    margin: float | None = None
    """Differences up to this do not matter; None where the study does not say."""

    @property
    def adjusted_p_value(self) -> float:
        """The p value times the number of comparisons, at most 1: below 0.05 just where the interval excludes 0."""
        return min(1.0, self.comparisons * self.p_value)

    @property
    def adjusted_sign_flip_p_value(self) -> float:
        """The exact sign-flip test's p value times the number of comparisons, at most 1."""
        return min(1.0, self.comparisons * self.sign_flip_p_value)

    @property
    def confidence(self) -> float:
        """The confidence of the interval alone: 1 - 0.05/m for m comparisons."""
        return 1 - LEVEL / self.comparisons

    @property
    def verdict(self) -> Verdict:
        """What the interval says.

        ``"better"``: it lies above 0. Else ``"as good"``: it lies within the margin, on both sides (two one-sided tests, TOST).
        Else ``"worse"``: it lies below 0. Else ``"no worse"``: it excludes losses of the margin and more. Else ``"not shown"``.
        """
        low, high = self.interval
        margin = 0.0 if self.margin is None else self.margin
        if low > 0:
            return "better"
        if -margin < low and high < margin:
            return "as good"
        if high < 0:
            return "worse"
        return "no worse" if -margin < low else "not shown"

    @property
    def detectable(self) -> float:
        """The true difference that so many seeds of this spread show with 80 % probability."""
        return self.spread * detectable_difference(len(self.seeds), self.comparisons)

    @property
    def seeds_to_show(self) -> int | None:
        """The seeds that show, with 80 % probability, a true difference as large as the mean of these; None: over 10,000."""
        return seeds_to_show(abs(self.mean), self.spread, self.comparisons)


def compare(
    values: Mapping[str, Mapping[Seed, float]], baseline: str, goal: Goal, *, margin: float | None = None, tasks: int = 1
) -> list[Contrast]:
    """Every other arm against the baseline.

    Args:
        values: arm -> seed -> the number that decides, finite. Arms are compared on the seeds that both have, at least two.
        baseline: a key of `values`.
        goal: whether larger or smaller values are better.
        margin: differences up to this do not matter.
        tasks: how many tasks are decided together; the intervals of all of them hold at once.

    Example:
        >>> base, other = dict(enumerate([1.0, 2.0, 3.0, 4.0])), dict(enumerate([1.5, 2.4, 3.6, 4.5]))
        >>> (found,) = compare({"a": base, "b": other}, "a", "maximize")
        >>> found.arm, round(found.mean, 3), found.verdict, found.sign_flip_p_value
        ('b', 0.5, 'better', 0.125)
    """
    # In units of a power of two near the largest value, squares can neither overflow nor vanish, and nothing is rounded.
    every = np.array([value for own in values.values() for value in own.values()])
    exponent = math.frexp(float(np.abs(every).max()))[1]
    every = np.ldexp(every, -exponent)
    step, roundoff = resolution(every), unit_roundoff(every)
    others = [arm for arm in values if arm != baseline]
    comparisons = tasks * len(others)
    sign = direction(goal)
    found: list[Contrast] = []
    for arm in others:
        seeds = tuple(seed for seed in values[baseline] if seed in values[arm])
        own = np.ldexp(np.array([values[arm][seed] for seed in seeds]), -exponent)
        base = np.ldexp(np.array([values[baseline][seed] for seed in seeds]), -exponent)
        differences = sign * (own - base)
        mean, spread = mean_and_spread(differences, step)
        low, high = simultaneous_interval(mean, spread, len(seeds), comparisons)
        with np.errstate(over="ignore"):  # a difference of two of the largest floats is inf
            in_units = np.ldexp(np.array([mean, spread, low, high, *differences]), exponent).tolist()
        found.append(
            Contrast(
                arm=arm,
                seeds=seeds,
                differences=tuple(in_units[4:]),
                comparisons=comparisons,
                mean=in_units[0],
                spread=in_units[1],
                interval=(in_units[2], in_units[3]),
                p_value=float(student_p_value(mean, spread, len(seeds))),
                sign_flip_p_value=sign_flip_p_value(differences, rounding=roundoff * float(np.abs([own, base]).sum())),
                unequal_noise=len(seeds) > 2 and bool(noise_p_value(own, base) <= UNEQUAL_NOISE_LEVEL),
                margin=margin,
            )
        )
    return found


def mean_and_spread(differences: Floats, step: Floats | float) -> tuple[Floats, Floats]:
    r"""The mean of paired differences, and their standard deviation, which is at least step / sqrt(6).

    Numbers in steps of u, as accuracies on 360 images are, say no more about a value than that it lies within u/2: each of the
    two values has a standard deviation of u / sqrt(12) from that alone. Without this, seeds that agree by chance would be taken
    for certainty.

    Args:
        differences: shape (..., n).
        step: of the values that were subtracted, at least 0; shape (...).

    Returns:
        Two arrays of shape (...).
    """
    return differences.mean(-1), np.maximum(differences.std(-1, ddof=1), step / math.sqrt(6))


def simultaneous_interval(mean: Floats, spread: Floats, seeds: int, comparisons: int) -> tuple[Floats, Floats]:
    """Student's interval at confidence 1 - 0.05/m: mean -+ t(n - 1; 1 - 0.05/2m) spread / sqrt(n).

    It excludes 0 just where m times the p value of :func:`student_p_value` is below 0.05.
    """
    half = spread * (stats.t.isf(LEVEL / (2 * comparisons), seeds - 1) / math.sqrt(seeds))
    return mean - half, mean + half


def student_p_value(mean: Floats, spread: Floats, seeds: int) -> Floats:
    """The two-sided p value of Student's one-sample test; 1 where all differences are 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        statistic = np.where(mean == 0, 0.0, np.abs(mean) / spread * math.sqrt(seeds))
    return 2 * stats.t.sf(statistic, seeds - 1)


def noise_p_value(one: Floats, other: Floats) -> Floats:
    """The p value of Pitman and Morgan's test of equal variances of paired samples; 1 where it cannot be taken.

    The sum and the difference of two arms are uncorrelated where the arms are equally noisy.

    Args:
        one, other: shape (..., n), n at least 3.

    Source: Pitman, A note on normal correlation, Biometrika 31, 1939.
    """
    total, difference = one + other, one - other
    total, difference = total - total.mean(-1, keepdims=True), difference - difference.mean(-1, keepdims=True)
    freedom = one.shape[-1] - 2
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = (total * difference).sum(-1) / np.sqrt((total**2).sum(-1) * (difference**2).sum(-1))
        statistic = np.abs(correlation) * np.sqrt(freedom / np.maximum(1 - correlation**2, 0))
    return 2 * np.asarray(stats.t.sf(np.where(np.isnan(statistic), 0.0, statistic), freedom))
