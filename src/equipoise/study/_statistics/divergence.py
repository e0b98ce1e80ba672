"""How often arms diverge: the rate with its exact interval, and the paired comparison with the baseline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from scipy import stats

from equipoise.study._statistics.paired import Seed
from equipoise.study._statistics.power import LEVEL


@dataclass(frozen=True)
class DivergenceRate:
    """How many of the seeds of an arm diverged."""

    diverged: int
    seeds: int

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of Clopper and Pearson of the share of seeds that diverge, for this arm alone.

        Example:
            >>> low, high = DivergenceRate(diverged=1, seeds=9).interval
            >>> round(low, 4), round(high, 4)
            (0.0028, 0.4825)
        """
        found = stats.binomtest(self.diverged, self.seeds).proportion_ci(1 - LEVEL, method="exact")
        return float(found.low), float(found.high)


@dataclass(frozen=True)
class DivergenceContrast:
    """One arm against the baseline: the seeds on which just one of the two diverged decide (McNemar's exact test)."""

    arm: str
    only_arm: int
    """Seeds on which the arm diverged and the baseline did not."""
    only_baseline: int
    """Seeds on which the baseline diverged and the arm did not."""
    comparisons: int

    @property
    def p_value(self) -> float:
        """Two-sided, exact, for this comparison alone.

        Example:
            >>> DivergenceContrast("sgd", only_arm=6, only_baseline=0, comparisons=1).p_value
            0.03125
        """
        seeds = self.only_arm + self.only_baseline
        return float(stats.binomtest(self.only_arm, seeds).pvalue) if seeds else 1.0

    @property
    def adjusted_p_value(self) -> float:
        """The p value times the number of comparisons, at most 1."""
        return min(1.0, self.comparisons * self.p_value)

    @property
    def shown(self) -> bool:
        """Whether the arm is shown to diverge more often, or less often, than the baseline."""
        return self.adjusted_p_value <= LEVEL


def compare_divergence(diverged: Mapping[str, Mapping[Seed, bool]], baseline: str, tasks: int = 1) -> list[DivergenceContrast]:
    """Every other arm against the baseline, on the seeds that both have.

    Args:
        diverged: arm -> seed -> whether that run diverged.
        baseline: a key of `diverged`.
        tasks: how many tasks are decided together.

    Example:
        >>> found = compare_divergence({"a": {0: False, 1: False}, "b": {0: True, 1: False}}, "a")
        >>> found[0].only_arm, found[0].only_baseline, found[0].p_value
        (1, 0, 1.0)
    """
    base, found = diverged[baseline], list[DivergenceContrast]()
    for arm, own in diverged.items():
        if arm == baseline:
            continue
        both = [(own[seed], base[seed]) for seed in base if seed in own]
        found.append(
            DivergenceContrast(
                arm=arm,
                only_arm=both.count((True, False)),
                only_baseline=both.count((False, True)),
                comparisons=tasks * (len(diverged) - 1),
            )
        )
    return found
