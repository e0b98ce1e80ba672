"""One arm on the seeds that compare."""

from __future__ import annotations

from dataclasses import dataclass

from equipoise.study._analysis.tuning import Tuned
from equipoise.study._cells import Result
from equipoise.study._statistics.divergence import DivergenceRate
from equipoise.study._statistics.expected_best import ExpectedBest
from equipoise.study._statistics.paired import Seed
from equipoise.study._statistics.precision import mean


@dataclass(frozen=True)
class Compared:
    """One arm on the seeds that compare, at its own point."""

    name: str
    seeds: tuple[Seed, ...]
    """The seeds of which there is a result."""
    results: tuple[Result, ...]
    """One per seed."""
    values: tuple[float, ...]
    """The metric at the end, one per seed; a diverged run counts with the worst value seen."""
    tuned: Tuned | None = None
    """How its point was chosen; None where the results were made elsewhere."""
    search: ExpectedBest | None = None
    """The best value to expect after so many tuning trials; None where nothing was tuned."""
    trials_needed: int | None = None
    """The tuning trials after which that is within the margin of the best arm's; None if never, or without a margin."""

    @property
    def diverged(self) -> int:
        """How many seeds diverged."""
        return sum(result.diverged for result in self.results)

    @property
    def divergence(self) -> DivergenceRate:
        """The share of the seeds that diverged, with its exact interval."""
        return DivergenceRate(self.diverged, len(self.seeds))

    @property
    def mean(self) -> float:
        """The mean over seeds."""
        return mean(self.values)
