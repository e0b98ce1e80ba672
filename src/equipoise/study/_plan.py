"""What a study will take, and what it can show, before any trial is run."""

from __future__ import annotations

from dataclasses import dataclass

from equipoise.study._spec import Study
from equipoise.study._statistics.power import MOST_SEEDS, POWER, detectable_difference, seeds_to_show


@dataclass(frozen=True)
class Plan:
    """The trials of a study, and the differences that its seeds can show."""

    tuning_trials: int
    """Without those that `extend` may add."""
    comparison_trials: int
    epochs: int
    """The epochs of all these trials together."""
    comparisons: int
    detectable_in_spreads: float
    """The true difference that is shown with 80 % probability, in standard deviations of the differences between seeds."""
    spread: float | None = None
    """A guess of that standard deviation."""
    difference: float | None = None
    """A difference to be shown."""
    seeds_needed: int | None = None
    """The seeds that show it with 80 % probability; None if they are over 10,000, or without a difference to be shown."""

    @property
    def detectable(self) -> float | None:
        """The same in the unit of the metric; None without a guess of the spread."""
        return None if self.spread is None else self.detectable_in_spreads * self.spread

    @property
    def sentences(self) -> list[str]:
        """The plan in words."""
        said = [
            f"{self.tuning_trials + self.comparison_trials:,} trials, {self.epochs:,} epochs: {self.tuning_trials:,} trials to"
            f" tune the arms, {self.comparison_trials:,} to compare them.",
            f"A true difference of {self.detectable_in_spreads:.2g} times its spread between seeds is shown with"
            f" {100 * POWER:.0f} % probability.",
        ]
        if self.detectable is not None:
            said.append(f"With a spread of {self.spread:g} that is a difference of {self.detectable:.2g}.")
        if self.difference is not None:
            needed = f"more than {MOST_SEEDS:,}" if self.seeds_needed is None else f"{self.seeds_needed:,}"
            said.append(f"A difference of {self.difference:g} takes {needed} seeds.")
        return said


def plan(study: Study, spread: float | None = None, difference: float | None = None, tasks: int = 1) -> Plan:
    """What a study will take, and what it can show.

    Args:
        study: not yet run.
        spread: a guess of the standard deviation of the difference between two arms from seed to seed.
        difference: what is to be shown; it needs a spread.
        tasks: how many tasks are decided together, of which this is one.
    """
    arms = len(study.arms)
    comparisons = tasks * (arms - 1)
    rungs = [(rung.points * study.tuning_seeds * arms, rung.stop_after or study.epochs) for rung in study.rungs]
    compared = study.seeds * arms
    return Plan(
        tuning_trials=sum(trials for trials, _ in rungs),
        comparison_trials=compared,
        epochs=sum(trials * epochs for trials, epochs in rungs) + compared * study.epochs,
        comparisons=comparisons,
        detectable_in_spreads=detectable_difference(study.seeds, comparisons),
        spread=spread,
        difference=difference,
        seeds_needed=None if spread is None or difference is None else seeds_to_show(difference, spread, comparisons),
    )
