"""What a reader must know to judge a verdict, in sentences. Each function says nothing where there is nothing to say."""

from __future__ import annotations

from collections.abc import Sequence

from equipoise._words import listed
from equipoise.study._analysis.arms import Compared
from equipoise.study._analysis.question import Question
from equipoise.study._cells import SCHEDULED
from equipoise.study._spec import Study
from equipoise.study._statistics.paired import Contrast
from equipoise.study._statistics.power import LEVEL, POWER, detectable_difference

FEW_SEEDS = 3.0
"""A study that shows only differences larger than so many standard deviations is said to have too few seeds."""


def missing_seeds(arms: Sequence[Compared]) -> list[str]:
    """A remark on seeds that have a result for some arms and none for others."""
    planned = dict.fromkeys(seed for arm in arms for seed in arm.seeds)
    absent = {arm.name: [str(seed) for seed in planned if seed not in arm.seeds] for arm in arms}
    return [
        f"{name}: no result with seed {listed(seeds, 5)}; its comparison rests on the other {len(planned) - len(seeds)}."
        for name, seeds in absent.items()
        if seeds
    ]


def too_few_seeds(seeds: int, comparisons: int) -> list[str]:
    """A remark on a number of seeds with which significance is out of reach."""
    least = detectable_difference(seeds, comparisons)
    if least <= FEW_SEEDS:
        return []
    return [
        f"{seeds} seeds are few for {comparisons} comparison(s): a difference must be {least:.1f} times its spread between"
        f" seeds to be shown with {100 * POWER:.0f} % probability."
    ]


def shown_to_be_worse(contrasts: Sequence[Contrast], baseline: str) -> list[str]:
    """A remark on arms that the baseline beats."""
    worse = [c.arm for c in contrasts if c.verdict == "worse"]
    return [f"Shown to be worse than {baseline}: {', '.join(worse)}."] if worse else []


def unconfirmed(contrasts: Sequence[Contrast]) -> list[str]:
    """A remark on verdicts that the exact sign-flip test does not confirm."""
    found = [
        f"{c.arm} (p = {c.adjusted_sign_flip_p_value:.2g})"
        for c in contrasts
        if c.verdict in ("better", "worse") and c.adjusted_sign_flip_p_value > LEVEL
    ]
    if not found:
        return []
    return [
        "These verdicts rest on normally distributed differences, because the exact sign-flip test, which does without, does"
        f" not confirm them: {', '.join(found)}. More seeds can."
    ]


def unequal_noise(contrasts: Sequence[Contrast], baseline: str) -> list[str]:
    """A remark on arms that are visibly more or less noisy than the baseline."""
    noisy = [c.arm for c in contrasts if c.unequal_noise]
    if not noisy:
        return []
    return [
        f"Not as noisy as {baseline}, by more than chance explains: {', '.join(noisy)}. The test assumes that differences"
        " between seeds are symmetric. Where one arm is noisier and its noise is skewed, because a run collapses now and then,"
        " it calls up to 18 % of comparisons without a difference instead of 5 %. Look at the single seeds."
    ]


def diverged(arms: Sequence[Compared], question: Question, value: float) -> list[str]:
    """A remark on each arm with seeds that diverged, and on the value that they count with."""
    source = "worst value seen" if question.diverged is None else "value set for it"
    return [
        f"{arm.name}: {arm.diverged} of {len(arm.seeds)} seeds diverged, each counted as {question.metric} = {value:.4g}, the"
        f" {source}."
        for arm in arms
        if arm.diverged
    ]


def at_edges(arms: Sequence[Compared]) -> list[str]:
    """A remark on arms whose chosen point lies at the edge of what was tried."""
    edges = [
        f"{arm.name} ({', '.join(f'{key} = {arm.tuned.point.values[key]:g}' for key in arm.tuned.edges)})"
        for arm in arms
        if arm.tuned is not None and arm.tuned.at_edge
    ]
    return [f"The best value lies at the edge of the range that was tried; widen it: {', '.join(edges)}."] if edges else []


def chosen_by_the_metric(study: Study) -> list[str]:
    """A remark on a study in which one number both chooses and decides."""
    if study.selection.metric != study.metric:
        return []
    return [
        f"{study.metric} chooses the point of each arm and also decides between the arms. If it is measured on test data, the"
        " verdict favours arms that were lucky when they were tuned. Let the task report a number of validation data too, and"
        ' name it in the study file, as select_by = "validation_accuracy".'
    ]


def ignored_schedules(arms: Sequence[Compared]) -> list[str]:
    """A remark on arms whose schedule or warm-up the task has not asked for."""
    found: list[str] = []
    for arm in arms:
        assert arm.tuned is not None  # they were trained by a study
        schedule, warmup = arm.tuned.arm.schedule_at(arm.tuned.point)
        if (schedule or warmup) and not any(SCHEDULED in result.curves for result in arm.results):
            named = [f"schedule = {schedule}"] * (schedule is not None) + [f"warmup = {warmup:g}"] * (warmup > 0)
            found.append(f"{arm.name} ({', '.join(named)})")
    if not found:
        return []
    return [f"The task does not use trial.scheduler, so these had no effect: {', '.join(found)}."]
