"""The trials of a study, counted before it is run."""

from __future__ import annotations

from dataclasses import dataclass

from equipoise.study._spec import Study


@dataclass(frozen=True)
class Phase:
    """Trials that may run at the same time."""

    trials: int
    epochs: int
    """That each of them trains."""


def tuning(study: Study) -> list[Phase]:
    """What chooses the points of the arms, without what `extend` may add."""
    each = study.tuning_seeds * len(study.arms)
    return [Phase(rung.points * each, rung.stop_after or study.epochs) for rung in study.rungs]


def extensions(study: Study) -> list[Phase]:
    """What `extend` adds to that, at most."""
    each = study.tuning_seeds * len(study.arms)
    return [Phase(study.points_of_an_extension * each, study.epochs)] * study.extend


def comparison(study: Study) -> Phase:
    """What compares the arms."""
    return Phase(study.seeds * len(study.arms), study.epochs)
