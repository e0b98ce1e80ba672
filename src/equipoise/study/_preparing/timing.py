"""How long a study takes, from trials that are kept."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select

from equipoise.study._preparing.counting import Phase, comparison, extensions, tuning
from equipoise.study._spec import Study
from equipoise.study._store import Store
from equipoise.study._store.schema import READINGS, TRIALS

TIMED = 500
"""So many trials, the newest, tell how long the others take."""

UNSURE = 1.5
"""How many times longer or shorter than those that are timed other trials may take: the machine has other work as well."""


@dataclass(frozen=True)
class Timing:
    """How long trials took."""

    seconds: Mapping[str, Sequence[float]]
    """By the arm's name: the seconds per epoch of each of its trials."""

    @property
    def trials(self) -> int:
        """How many are timed."""
        return sum(map(len, self.seconds.values()))


@dataclass(frozen=True)
class Estimate:
    """How long a study takes."""

    timed: int
    """The number of trials that tell it."""
    shortest: float
    """Seconds that a whole trial of the fastest arm takes."""
    longest: float
    """The same of the slowest arm."""
    workers: int
    seconds: float
    """How many the whole study takes, if nothing fails and no range is extended."""
    least: float
    most: float
    """If the trials take longer, every range is extended as often as it may, and every trial fails as often as it may."""


def read_timing(store: Store, study: Study) -> Timing:
    """How long the kept trials of a study took, and of that whose store it shares.

    Raises:
        StudyStoppedError: the store cannot be used.
    """

    names = [name for name in (study.name, study.store) if name is not None]
    kept = select(TRIALS.c.key, TRIALS.c.arm, TRIALS.c.seconds).where(TRIALS.c.study.in_(names), TRIALS.c.former.is_(None))
    newest = kept.order_by(TRIALS.c.finished_at.desc()).limit(TIMED).subquery()
    timed = select(newest.c.arm, newest.c.seconds, func.max(READINGS.c.epoch).label("epochs"))
    timed = timed.join(READINGS, READINGS.c.trial == newest.c.key).group_by(newest.c.key, newest.c.arm, newest.c.seconds)
    found: dict[str, list[float]] = {arm.name: [] for arm in study.arms}
    for arm, seconds, epochs in store.do(lambda connection: connection.execute(timed).all()):
        if arm in found:
            found[arm].append(seconds / epochs)
    return Timing({arm: seconds for arm, seconds in found.items() if seconds})


def estimate(study: Study, timing: Timing, workers: int) -> Estimate:
    """How long a study takes, whole.

    A trial is taken to last as long as its epochs, and arms that were not timed as long as the others.

    Args:
        study: not yet run.
        timing: of one trial at least.
        workers: how many trials run at once.
    """
    timed = list(timing.seconds.values())
    usual, short, long = (statistics.fmean(map(of, timed)) for of in (statistics.median, min, max))
    phases = [*tuning(study), comparison(study)]
    whole_trials = [study.epochs * statistics.median(seconds) for seconds in timed]
    return Estimate(
        timing.trials,
        min(whole_trials),
        max(whole_trials),
        workers,
        _rounds(phases, workers) * usual,
        _rounds(phases, workers) * short / UNSURE,
        _rounds([*phases, *extensions(study)], workers) * long * UNSURE * (1 + study.retries),
    )


def _rounds(phases: Sequence[Phase], workers: int) -> int:
    """How many epochs follow each other, where every worker has a trial as long as there is one."""
    return sum(math.ceil(phase.trials / workers) * phase.epochs for phase in phases)
