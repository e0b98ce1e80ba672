"""From finished runs to the result of a study."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from equipoise.errors import StudyStoppedError
from equipoise.hyperparameters import Hyperparameters
from equipoise.study._analysis.analysis import Analysis
from equipoise.study._analysis.arms import Compared
from equipoise.study._analysis.missing import remarks_on_missing
from equipoise.study._analysis.question import Question, value_of, worst_value
from equipoise.study._analysis.tuning import Tuned
from equipoise.study._cells import Result, Table
from equipoise.study._spec import Study
from equipoise.study._statistics.divergence import compare_divergence
from equipoise.study._statistics.expected_best import expected_best, trials_needed
from equipoise.study._statistics.paired import Seed, compare
from equipoise.study._statistics.target import TimeToTarget, first_reached, time_to_target

FEWEST_SEEDS, FEWEST_ARMS = 2, 2
"""What can be compared at all."""


def decide(
    question: Question,
    arms: Sequence[Compared],
    diverged_value: float,
    study: Study | None = None,
    hyperparameters: Mapping[str, Hyperparameters] | None = None,
) -> Analysis:
    """Compare the arms with the baseline: the metric at the end, how often they diverge, and the time to the target.

    Args:
        question: what decides.
        arms: at least two, with at least two seeds that every arm shares with the baseline.
        diverged_value: what a diverged run counts with.
        study: what was run, if the results come from a study.
        hyperparameters: of the arms whose optimizers have the update rule.
    """
    values = {arm.name: dict(zip(arm.seeds, arm.values, strict=True)) for arm in arms}
    results = {arm.name: dict(zip(arm.seeds, arm.results, strict=True)) for arm in arms}
    diverged = {arm: {seed: result.diverged for seed, result in own.items()} for arm, own in results.items()}
    return Analysis(
        question,
        tuple(arms),
        tuple(compare(values, question.baseline, question.goal, margin=question.margin, tasks=question.tasks)),
        tuple(compare_divergence(diverged, question.baseline, question.tasks)),
        tuple(_times_to_target(question, results)),
        diverged_value,
        study,
        hyperparameters or {},
    )


def analyse(table: Table, tuned: Sequence[Tuned], tasks: int = 1) -> Analysis:
    """Compare the arms of a study.

    Args:
        table: with the results of the trials.
        tuned: the point of every arm that could be tuned, in the order of the study.
        tasks: how many tasks are decided together, of which this is one.

    Raises:
        StudyStoppedError: too many trials failed for any comparison.
    """
    study = table.study
    question, selection = Question.of_study(study, tasks), Question.of_selection(study)
    stand_in = worst_value(question, table.all_results())
    best = max if selection.goal == "maximize" else min
    best_mean = best(best(found.means) for found in tuned)
    arms: list[Compared] = []
    for found in tuned:
        results = table.results("comparison", found.arm.name, found.point)
        values = tuple(value_of(result, study.metric, stand_in) for result in results.values())
        enough = None
        if selection.margin is not None and not found.stopped:
            within = best_mean - selection.margin if selection.goal == "maximize" else best_mean + selection.margin
            enough = trials_needed(found.means, selection.goal, within)
        search = None if found.stopped else expected_best(found.means, selection.goal)
        arms.append(Compared(found.arm.name, tuple(results), tuple(results.values()), values, found, search, enough))
    shared = {arm.name: _shared_seeds(arms, study.baseline.name, arm) for arm in arms}
    arms = [arm for arm in arms if shared[arm.name] >= FEWEST_SEEDS]
    if len(arms) < FEWEST_ARMS or study.baseline.name not in shared:
        first = table.missing()[0]
        raise StudyStoppedError(f"too many trials failed for any comparison; the first is {first.label}: {first.why_missing}")
    analysis = decide(question, arms, stand_in, study, table.hyperparameters)
    values = {arm.name: dict(zip(map(int, arm.seeds), arm.values, strict=True)) for arm in arms}
    return replace(
        analysis,
        missing=tuple(table.missing()),
        remarks_on_missing=tuple(remarks_on_missing(table, question, analysis.contrasts, values, stand_in)),
    )


def _shared_seeds(arms: Sequence[Compared], baseline: str, arm: Compared) -> int:
    return len({seed for other in arms if other.name == baseline for seed in other.seeds}.intersection(arm.seeds))


def _times_to_target(question: Question, results: Mapping[str, Mapping[Seed, Result]]) -> Iterator[TimeToTarget]:
    """In what the curves are counted in; and in seconds if every run says how long it took."""
    if question.target is None:
        return
    curves = {
        arm: {seed: result.curves.get(question.metric, {}) for seed, result in own.items()} for arm, own in results.items()
    }
    times = {
        arm: {
            seed: math.inf if result.diverged else first_reached(curves[arm][seed], question.target, question.goal)
            for seed, result in own.items()
        }
        for arm, own in results.items()
    }
    last = max(max(curve, default=0) for own in curves.values() for curve in own.values())
    yield time_to_target(times, question.baseline, float(last), question.unit, question.tasks)
    longest = max(result.seconds for own in results.values() for result in own.values())
    if all(math.isfinite(result.seconds) for own in results.values() for result in own.values()):
        seconds = {
            arm: {seed: _seconds_until(time, curves[arm][seed], results[arm][seed].seconds) for seed, time in own.items()}
            for arm, own in times.items()
        }
        yield time_to_target(seconds, question.baseline, longest, "second", question.tasks)


def _seconds_until(time: float, curve: Mapping[int, float], seconds: float) -> float:
    """The share of a run's seconds that its time is of all its epochs, which take about equally long; inf if it is inf."""
    return seconds * time / max(*curve, 1) if math.isfinite(time) else math.inf
