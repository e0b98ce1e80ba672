"""What a study will take, and what it can show."""

from __future__ import annotations

from dataclasses import dataclass

from equipoise._words import about, counted
from equipoise.study._preparing.counting import comparison, extensions, tuning
from equipoise.study._preparing.timing import Estimate, Timing, estimate
from equipoise.study._spec import Study
from equipoise.study._statistics.power import MOST_SEEDS, POWER, detectable_difference, seeds_to_show


@dataclass(frozen=True)
class Plan:
    """The trials of a study, how long they take, and the differences that its seeds can show."""

    tuning_trials: int
    """Without those that `extend` may add."""
    further_trials: int
    """Those that it may add, at most."""
    comparison_trials: int
    retries: int
    """How often a trial that fails is tried again."""
    epochs: int
    """The epochs of all trials together, without those that `extend` may add."""
    comparisons: int
    detectable_in_spreads: float
    """The true difference that is shown with 80 % probability, in standard deviations of the differences between seeds."""
    spread: float | None = None
    """That standard deviation: a guess, or what kept trials have shown."""
    spread_is_seen: bool = False
    """Whether kept trials have shown it."""
    difference: float | None = None
    """A difference to be shown."""
    seeds_needed: int | None = None
    """The seeds that show it with 80 % probability; None if they are over 10,000, or without a difference to be shown."""
    time: Estimate | None = None
    """None where no trial was timed."""

    @property
    def trials(self) -> int:
        """How many there are, if no range is extended."""
        return self.tuning_trials + self.comparison_trials

    @property
    def detectable(self) -> float | None:
        """The difference that is shown, in the unit of the metric; None without a spread."""
        return None if self.spread is None else self.detectable_in_spreads * self.spread

    @property
    def sentences(self) -> list[str]:
        """The plan in words."""
        said = [
            f"{self.trials:,} trials, {self.epochs:,} epochs: {self.tuning_trials:,} trials to tune the arms,"
            f" {self.comparison_trials:,} to compare them."
        ]
        if self.further_trials:
            said.append(f"Up to {self.further_trials:,} trials more while a best value lies at an edge of what was tried.")
        if self.retries:
            said.append(f"A trial that fails is tried again up to {counted(self.retries, 'time')}.")
        return [*said, *self._on_time(), *self._on_power()]

    def _on_time(self) -> list[str]:
        time = self.time
        if time is None:
            return []
        took = about(time.shortest)
        if about(time.longest) != took:
            took += f" to {about(time.longest)}, depending on the arm"
        most = " The most is if ranges are extended and trials fail as often as they may." * bool(
            self.further_trials or self.retries
        )
        return [
            f"One trial takes {took} ({counted(time.timed, 'kept trial')} timed). {self.trials:,} trials on"
            f" {counted(time.workers, 'worker')} take about {about(time.seconds)} (between {about(time.least)} and"
            f" {about(time.most)}).{most}"
        ]

    def _on_power(self) -> list[str]:
        said = [
            f"A true difference of {self.detectable_in_spreads:.2g} times its spread between seeds is shown with"
            f" {100 * POWER:.0f} % probability."
        ]
        if self.detectable is not None:
            seen = ", which the kept trials show," if self.spread_is_seen else ""
            said.append(f"With a spread of {self.spread:.3g}{seen} that is a difference of {self.detectable:.2g}.")
        if self.difference is not None:
            needed = f"more than {MOST_SEEDS:,}" if self.seeds_needed is None else f"{self.seeds_needed:,}"
            said.append(f"A difference of {self.difference:g} takes {needed} seeds.")
        return said


def plan(
    study: Study,
    spread: float | None = None,
    difference: float | None = None,
    *,
    spread_is_seen: bool = False,
    timing: Timing | None = None,
    workers: int = 1,
    tasks: int = 1,
) -> Plan:
    """What a study will take, and what it can show.

    Args:
        study: to be run.
        spread: the standard deviation of the difference between two arms from seed to seed.
        difference: what is to be shown; it needs a spread.
        spread_is_seen: whether the spread is not a guess.
        timing: of trials that are kept.
        workers: how many trials run at once.
        tasks: how many tasks are decided together, of which this is one.
    """
    comparisons = tasks * (len(study.arms) - 1)
    tuned, compared = tuning(study), comparison(study)
    return Plan(
        tuning_trials=sum(phase.trials for phase in tuned),
        further_trials=sum(phase.trials for phase in extensions(study)),
        comparison_trials=compared.trials,
        retries=study.retries,
        epochs=sum(phase.trials * phase.epochs for phase in [*tuned, compared]),
        comparisons=comparisons,
        detectable_in_spreads=detectable_difference(study.seeds, comparisons),
        spread=spread,
        spread_is_seen=spread_is_seen,
        difference=difference,
        seeds_needed=None if spread is None or difference is None else seeds_to_show(difference, spread, comparisons),
        time=estimate(study, timing, workers) if timing is not None and timing.trials else None,
    )
