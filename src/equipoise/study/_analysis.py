"""From the finished runs to a verdict: the point of each arm, its values on fresh seeds, the comparisons."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from equipoise._words import listed
from equipoise.errors import StudyStoppedError
from equipoise.hyperparameters import Hyperparameters
from equipoise.study._arms.arm import Arm
from equipoise.study._arms.space import Point, Range, axis_of
from equipoise.study._cells import SCHEDULED, Cell, Result, Table
from equipoise.study._missing import remarks_on_missing
from equipoise.study._spec import Selection, Study
from equipoise.study._statistics.divergence import DivergenceContrast, DivergenceRate, compare_divergence
from equipoise.study._statistics.expected_best import ExpectedBest, expected_best, trials_needed
from equipoise.study._statistics.paired import Contrast, Goal, Seed, compare
from equipoise.study._statistics.power import LEVEL, POWER, detectable_difference
from equipoise.study._statistics.target import TimeToTarget, first_reached, time_to_target

FEW_SEEDS = 3.0
"""A study that shows only differences larger than so many standard deviations is said to have too few seeds."""


FEWEST_SEEDS, FEWEST_ARMS = 2, 2
"""What can be compared at all."""


@dataclass(frozen=True)
class Question:
    """What an analysis answers: the number that decides, and what it is measured by."""

    name: str
    """The name of the study."""
    metric: str
    goal: Goal
    baseline: str
    """The name of the arm that the others are compared with."""
    margin: float | None = None
    """Differences up to this do not matter."""
    target: float | None = None
    """The time until the metric reaches this is compared too."""
    diverged: float | None = None
    """What a diverged run counts with; None: the worst value that any run reported."""
    unit: str = "epoch"
    """What the curves are counted in."""

    @classmethod
    def of_study(cls, study: Study) -> Question:
        """What a study asks."""
        return cls(study.name, study.metric, study.goal, study.baseline.name, study.margin, study.target, study.diverged)

    @classmethod
    def of_selection(cls, study: Study) -> Question:
        """What chooses among the points of an arm. A margin in the metric's unit is one here if `select_by` shares its goal."""
        chosen = study.selection
        margin = None if isinstance(study.select_by, Selection) else study.margin
        diverged = study.diverged if chosen.metric == study.metric else None
        return cls(study.name, chosen.metric, chosen.goal, study.baseline.name, margin, diverged=diverged)


@dataclass(frozen=True)
class Tuned:
    """The points of one arm, how it did at each on the tuning seeds, and which was chosen."""

    arm: Arm
    points: tuple[Point, ...]
    """What was tried, in ascending order of the learning rate."""
    scores: tuple[tuple[float, ...], ...]
    """What chooses, per point and tuning seed; a diverged trial counts with the worst value seen."""
    diverged: tuple[int, ...]
    """How many of the tuning seeds diverged, per point."""
    point: Point
    """The one with the best mean; among equally good ones that with the smallest learning rate."""
    stopped: tuple[Point, ...] = ()
    """What was tried as well, but not to the end, because others were better early (`halving`)."""

    @property
    def tried(self) -> tuple[Point, ...]:
        """Every point that was tried."""
        return self.points + self.stopped

    @property
    def chosen(self) -> float:
        """The learning rate of the chosen point."""
        return self.point.lr

    @property
    def rates(self) -> tuple[float, ...]:
        """The learning rate of each point."""
        return tuple(point.lr for point in self.points)

    @property
    def means(self) -> list[float]:
        """The mean over tuning seeds, per point."""
        return [_mean(row) for row in self.scores]

    @property
    def edges(self) -> tuple[str, ...]:
        """The searched keys whose chosen value is the smallest or the largest that was tried: a better one may lie beyond.

        Learning rates, and ranges on a logarithmic scale, have edges. Other lists hold all that there is.
        """
        found: list[str] = []
        for key, value in self.point.values.items():
            tried = [point.values[key] for point in self.tried]
            entry = self.arm.space.get(key)
            endless = key == "lr" or (isinstance(entry, Range) and axis_of(key, entry).scale != "linear")
            if endless and min(tried) < max(tried) and value in (min(tried), max(tried)):
                found.append(key)
        return tuple(found)

    @property
    def at_edge(self) -> bool:
        """Whether the best point may lie outside of the space that was tried."""
        return bool(self.edges)


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
        return _mean(self.values)


@dataclass(frozen=True)
class Analysis:
    """The result of a finished study.

    ``analysis.headline`` is the verdict in one sentence, ``analysis.remarks`` what a reader must know to judge it,
    ``analysis.arms`` every arm's values on the fresh seeds, and ``analysis.contrasts`` its comparison with the baseline.
    """

    question: Question
    arms: tuple[Compared, ...]
    """In the order of the file."""
    contrasts: tuple[Contrast, ...]
    """The comparison of every arm but the baseline with it, in the order of the file."""
    divergence: tuple[DivergenceContrast, ...]
    """The same for the share of the seeds that diverged."""
    time_to_target: tuple[TimeToTarget, ...]
    """The time to the target, in epochs or steps and, where known, in seconds; empty without a target."""
    diverged_value: float
    """What a diverged run counted with, if there was one."""
    study: Study | None = None
    """What was run; None where the results were made elsewhere."""
    hyperparameters: Mapping[str, Hyperparameters] = field(default_factory=dict[str, Hyperparameters])
    """The betas, exponents and stages of the arms whose optimizers have the update rule, by the arm's name."""
    missing: tuple[Cell, ...] = ()
    """The trials that failed, each with the reason."""
    remarks_on_missing: tuple[str, ...] = ()
    """What that does to the verdict."""

    @property
    def headline(self) -> str:
        """The verdict in one sentence."""
        question = self.question
        better = sorted((c for c in self.contrasts if c.verdict == "better"), key=lambda c: -c.mean)
        if better:
            best = better[0]
            others = f"; so do {', '.join(c.arm for c in better[1:])}" if better[1:] else ""
            return f"{best.arm} beats {question.baseline}: {question.metric} better by {self.difference(best)}{others}."
        alike = [
            f"; {meaning} within {question.margin:g}: {', '.join(arms)}"
            for verdict, meaning in (("as good", "as good"), ("no worse", "no worse"))
            if (arms := [c.arm for c in self.contrasts if c.verdict == verdict])
        ]
        return f"No arm is shown to beat {question.baseline}{''.join(alike)}."

    @property
    def remarks(self) -> list[str]:
        """What a reader must know to judge the verdict, most important first."""
        question, found = self.question, list[str]()
        found += self.remarks_on_missing or self._missing()
        found += too_few_seeds(min(len(c.seeds) for c in self.contrasts), len(self.contrasts))
        worse = [c.arm for c in self.contrasts if c.verdict == "worse"]
        if worse:
            found.append(f"Shown to be worse than {question.baseline}: {', '.join(worse)}.")
        unconfirmed = [
            f"{c.arm} (p = {c.adjusted_sign_flip_p_value:.2g})"
            for c in self.contrasts
            if c.verdict in ("better", "worse") and c.adjusted_sign_flip_p_value > LEVEL
        ]
        if unconfirmed:
            found.append(
                "These verdicts rest on normally distributed differences, because the exact sign-flip test, which does without,"
                f" does not confirm them: {', '.join(unconfirmed)}. More seeds can."
            )
        noisy = [c.arm for c in self.contrasts if c.unequal_noise]
        if noisy:
            found.append(
                f"Not as noisy as {question.baseline}, by more than chance explains: {', '.join(noisy)}. The test assumes that"
                " differences between seeds are symmetric. Where one arm is noisier and its noise is skewed, because a run"
                " collapses now and then, it calls up to 18 % of comparisons without a difference instead of 5 %. Look at the"
                " single seeds."
            )
        found += [
            f"{arm.name}: {arm.diverged} of {len(arm.seeds)} seeds diverged, each counted as {question.metric} ="
            f" {self.diverged_value:.4g}, the {'worst value seen' if question.diverged is None else 'value set for it'}."
            for arm in self.arms
            if arm.diverged
        ]
        edges = [
            f"{arm.name} ({', '.join(f'{key} = {arm.tuned.point.values[key]:g}' for key in arm.tuned.edges)})"
            for arm in self.arms
            if arm.tuned is not None and arm.tuned.at_edge
        ]
        if edges:
            found.append(f"The best value lies at the edge of the range that was tried; widen it: {', '.join(edges)}.")
        if self.study is not None:
            found += ignored_schedules(self.arms) + chosen_by_the_metric(self.study)
        return found

    def difference(self, contrast: Contrast) -> str:
        """A contrast in words: mean, interval, adjusted p value."""
        low, high = contrast.interval
        spec = number_format(high - low)
        return f"{contrast.mean:+{spec}} (95 % interval {low:+{spec}} to {high:+{spec}}, p = {contrast.adjusted_p_value:.2g})"

    def _missing(self) -> list[str]:
        """Which seeds have a result for some arms and none for others."""
        planned = dict.fromkeys(seed for arm in self.arms for seed in arm.seeds)
        absent = {arm.name: [str(seed) for seed in planned if seed not in arm.seeds] for arm in self.arms}
        return [
            f"{name}: no result with seed {listed(seeds, 5)}; its comparison rests on the other {len(planned) - len(seeds)}."
            for name, seeds in absent.items()
            if seeds
        ]


def too_few_seeds(seeds: int, comparisons: int) -> list[str]:
    """A remark on a number of seeds with which significance is out of reach; none if it is not."""
    least = detectable_difference(seeds, comparisons)
    if least <= FEW_SEEDS:
        return []
    return [
        f"{seeds} seeds are few for {comparisons} comparison(s): a difference must be {least:.1f} times its spread between"
        f" seeds to be shown with {100 * POWER:.0f} % probability."
    ]


def chosen_by_the_metric(study: Study) -> list[str]:
    """A remark on a study in which one number both chooses and decides; none on others."""
    if study.selection.metric != study.metric:
        return []
    return [
        f"{study.metric} chooses the point of each arm and also decides between the arms. If it is measured on test data, the"
        " verdict favours arms that were lucky when they were tuned. Let the task report a number of validation data too, and"
        ' name it in the study file, as select_by = "validation_accuracy".'
    ]


def ignored_schedules(arms: Sequence[Compared]) -> list[str]:
    """A remark on arms whose schedule or warm-up the task has not asked for; none if there are none."""
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
        tuple(compare(values, question.baseline, question.goal, margin=question.margin)),
        tuple(compare_divergence(diverged, question.baseline)),
        tuple(_times_to_target(question, results)),
        diverged_value,
        study,
        hyperparameters or {},
    )


def tune(table: Table, arm: Arm, stop_after: int | None = None) -> Tuned | None:
    """Choose among the points of an arm, by what the study selects by; None if every point lacks a result.

    Args:
        table: with the results of the tuning trials. A point that lacks one of them is not chosen.
        arm: one of the study.
        stop_after: choose among the trials that end after this epoch; None: among those that are trained to the end.
    """
    study, tried = table.study, table.tuned_points(arm.name)
    points: list[Point] = []
    rows: list[list[Result]] = []
    for point in sorted(tried.get(stop_after, []), key=lambda point: point.lr):
        results = table.results("tuning", arm.name, point, stop_after)
        if len(results) == study.tuning_seeds:
            points.append(point)
            rows.append(list(results.values()))
    if not points:
        return None
    question = Question.of_selection(study)
    stand_in = worst_value(question, table.all_results())
    scores = tuple(tuple(_value(question.metric, result, stand_in) for result in row) for row in rows)
    diverged = tuple(sum(result.diverged for result in row) for row in rows)
    begun = [point for some in tried.values() for point in some if point not in tried.get(stop_after, [])]
    stopped = tuple(point for index, point in enumerate(begun) if point not in begun[:index])
    found = Tuned(arm, tuple(points), scores, diverged, points[0], stopped)
    return replace(found, point=best_points(found, question.goal, 1)[0])


def best_points(found: Tuned, goal: Goal, count: int) -> list[Point]:
    """The points of an arm with the best means, best first; among equally good ones those with the smallest learning rates."""
    sign = 1.0 if goal == "maximize" else -1.0
    order = sorted(range(len(found.points)), key=lambda index: (-sign * found.means[index], index))
    return [found.points[index] for index in order[:count]]


def analyse(table: Table, tuned: Sequence[Tuned]) -> Analysis:
    """Compare the arms of a study.

    Args:
        table: with the results of the trials.
        tuned: the point of every arm that could be tuned, in the order of the study.

    Raises:
        StudyStoppedError: too many trials failed for any comparison.
    """
    study = table.study
    question, selection = Question.of_study(study), Question.of_selection(study)
    stand_in = worst_value(question, table.all_results())
    best = max if selection.goal == "maximize" else min
    best_mean = best(best(found.means) for found in tuned)
    arms: list[Compared] = []
    for found in tuned:
        results = table.results("comparison", found.arm.name, found.point)
        values = tuple(_value(study.metric, result, stand_in) for result in results.values())
        enough = None
        if selection.margin is not None and not found.stopped:
            within = best_mean - selection.margin if selection.goal == "maximize" else best_mean + selection.margin
            enough = trials_needed(found.means, selection.goal, within)
        search = None if found.stopped else expected_best(found.means, selection.goal)
        arms.append(Compared(found.arm.name, tuple(results), tuple(results.values()), values, found, search, enough))
    shared = {arm.name: _shared_seeds(arms, study.baseline.name, arm) for arm in arms}
    arms = [arm for arm in arms if shared[arm.name] >= FEWEST_SEEDS]
    if len(arms) < FEWEST_ARMS or study.baseline.name not in shared:
        raise StudyStoppedError(f"too many trials failed for any comparison; {_first_failure(table)}")
    analysis = decide(question, arms, stand_in, study, table.hyperparameters)
    values = {arm.name: dict(zip(map(int, arm.seeds), arm.values, strict=True)) for arm in arms}
    return replace(
        analysis,
        missing=tuple(table.missing()),
        remarks_on_missing=tuple(remarks_on_missing(table, analysis.contrasts, values, stand_in)),
    )


def _shared_seeds(arms: Sequence[Compared], baseline: str, arm: Compared) -> int:
    return len({seed for other in arms if other.name == baseline for seed in other.seeds}.intersection(arm.seeds))


def _first_failure(table: Table) -> str:
    first = table.missing()[0]
    return f"the first is {first.label}: {first.failure.reason if first.failure else 'not run'}"


def worst_value(question: Question, results: Iterable[Result]) -> float:
    """What a diverged run counts with: the value set for it, else the worst that any run reported at any time.

    Raises:
        StudyStoppedError: nothing finite was ever reported.
    """
    if question.diverged is not None:
        return question.diverged
    curves = (result.curves.get(question.metric, {}) for result in results)
    seen = [value for curve in curves for value in curve.values() if math.isfinite(value)]
    if not seen:
        raise StudyStoppedError(f"no trial reported a finite {question.metric!r}: every one diverged; try lower learning rates")
    return min(seen) if question.goal == "maximize" else max(seen)


def number_format(spread: float) -> str:
    """The format that shows two significant digits of a spread, or four digits of numbers of unusual size.

    Example:
        >>> f"{0.12345:{number_format(0.034)}}", f"{1.25e155:{number_format(1e154)}}"
        ('0.123', '1.25e+155')
    """
    if not 1e-9 < spread < 1e9:
        return ".4g"
    return f".{max(0, 1 - math.floor(math.log10(spread)))}f"


def _times_to_target(question: Question, results: Mapping[str, Mapping[Seed, Result]]) -> Iterator[TimeToTarget]:
    """In what the curves are counted in; and in seconds if every run says how long it took."""
    if question.target is None:
        return
    curves = {
        arm: {seed: result.curves.get(question.metric, {}) for seed, result in own.items()} for arm, own in results.items()
    }
    times = {
        arm: {seed: first_reached(curve, question.target, question.goal) for seed, curve in own.items()}
        for arm, own in curves.items()
    }
    last = max(max(curve, default=0) for own in curves.values() for curve in own.values())
    yield time_to_target(times, question.baseline, float(last), question.unit)
    longest = max(result.seconds for own in results.values() for result in own.values())
    if all(math.isfinite(result.seconds) for own in results.values() for result in own.values()):
        # A trial's epochs take about the same time.
        seconds = {
            arm: {seed: time / max(curves[arm][seed], default=1) * results[arm][seed].seconds for seed, time in own.items()}
            for arm, own in times.items()
        }
        yield time_to_target(seconds, question.baseline, longest, "second")


def _value(metric: str, result: Result, stand_in: float) -> float:
    return stand_in if result.diverged else result.last(metric)


def _mean(values: Sequence[float]) -> float:
    """The mean, which no finite values make overflow."""
    scale = max(map(abs, values)) or 1.0
    return math.fsum(value / scale for value in values) / len(values) * scale
