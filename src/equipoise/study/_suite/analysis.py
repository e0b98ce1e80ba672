"""One decision over several tasks: what is shown on each, how the arms stand over all, and how little few tasks say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

from scipy import stats

from equipoise._words import counted, listed
from equipoise.study._analysis import Analysis
from equipoise.study._cells import Cell
from equipoise.study._statistics.paired import Contrast, Verdict
from equipoise.study._statistics.power import LEVEL
from equipoise.study._statistics.profile import Profile, performance_profile, placed_by_time, placed_by_value

Found: TypeAlias = Verdict | Literal["missing"]
"""The verdict on an arm on one task; ``"missing"`` if too few of its trials have a result."""

SAID = 6
"""A sentence names so many arms or tasks."""


@dataclass(frozen=True)
class Standing:
    """One arm against the baseline over all tasks."""

    arm: str
    contrasts: Mapping[str, Contrast | None]
    """By task; None where the arm could not be compared."""

    def found(self, task: str) -> Found:
        """The verdict on one task."""
        contrast = self.contrasts[task]
        return "missing" if contrast is None else contrast.verdict

    def on(self, *verdicts: Found) -> list[str]:
        """The tasks with one of these verdicts."""
        return [task for task in self.contrasts if self.found(task) in verdicts]

    @property
    def won(self) -> int:
        """The tasks on which its mean is above the baseline's, whether that is shown or not."""
        return sum(contrast is not None and contrast.mean > 0 for contrast in self.contrasts.values())

    @property
    def lost(self) -> int:
        """The tasks on which its mean is below the baseline's."""
        return sum(contrast is not None and contrast.mean < 0 for contrast in self.contrasts.values())

    @property
    def p_value(self) -> float:
        """Two-sided p value of the sign test over tasks, for this arm alone: does it win on most tasks like these?"""
        return float(stats.binomtest(self.won, self.won + self.lost).pvalue) if self.won + self.lost else 1.0


@dataclass(frozen=True)
class SuiteAnalysis:
    """The result of a suite: ``headline`` is the decision in one sentence, ``tasks`` the :class:`Analysis` of each task.

    The intervals of all arms on all tasks hold at once with 95 % confidence.
    """

    name: str
    tasks: Mapping[str, Analysis]
    """By the name of the task, of those that have a verdict."""
    undecided: Mapping[str, str]
    """The tasks without a verdict, and why."""
    arms: tuple[str, ...]
    """The names of all arms, as the file has them."""
    baseline: str

    @property
    def standings(self) -> tuple[Standing, ...]:
        """Every arm but the baseline over all tasks that have a verdict, in the order of the file."""
        by_task = {task: {found.arm: found for found in analysis.contrasts} for task, analysis in self.tasks.items()}
        return tuple(
            Standing(arm, {task: found.get(arm) for task, found in by_task.items()})
            for arm in self.arms
            if arm != self.baseline
        )

    @property
    def better(self) -> list[Standing]:
        """The arms that are better than the baseline on some task and worse on none, those better on most tasks first."""
        found = [standing for standing in self.standings if standing.on("better") and not standing.on("worse", "missing")]
        return sorted(found, key=lambda standing: -len(standing.on("better")))

    @property
    def headline(self) -> str:
        """The decision in one sentence."""
        if not self.tasks:
            return f"No decision: none of {counted(len(self.undecided), 'task')} has a verdict."
        if self.better:
            most = len(self.better[0].on("better"))
            advice = "Use" if most == len(self.tasks) else "Consider"
            arms, where = self._alternatives(most), self._on(self.better[0])
            return f"{advice} {arms} in place of {self.baseline}: {where}{self._lacking}."
        if any(analysis.better for analysis in self.tasks.values()):
            best: dict[str, list[str]] = {}
            for task, analysis in self.tasks.items():
                best.setdefault(analysis.better[0].arm if analysis.better else self.baseline, []).append(task)
            chosen = [f"{arm} on {listed(tasks, SAID)}" for arm, tasks in best.items()]
            return f"Choose by task: {'; '.join(chosen[:SAID])}{self._lacking}."
        where = "the task" if len(self.tasks) == 1 else f"any of {len(self.tasks)} tasks"
        both: tuple[tuple[list[Found], str], ...] = ((["as good"], "as good"), (["as good", "no worse"], "no worse"))
        for verdicts, words in both:
            alike = [standing.arm for standing in self.standings if len(standing.on(*verdicts)) == len(self.tasks)]
            if alike:
                arms, everywhere = listed(alike, SAID), self._everywhere
                return f"Keep {self.baseline}, or take {arms}: {words} within the margin {everywhere}{self._lacking}."
        return f"Keep {self.baseline}: no other arm is shown to beat it on {where}{self._lacking}."

    def _alternatives(self, most: int) -> str:
        return " or ".join(standing.arm for standing in self.better if len(standing.on("better")) == most)

    def _on(self, standing: Standing) -> str:
        better, other = standing.on("better"), len(self.tasks) - len(standing.on("better"))
        if not other:
            return f"better {self._everywhere}"
        rest = "the other" if other == 1 else f"the other {other}"
        return f"better on {len(better)} of {len(self.tasks)} tasks, and not shown to be worse on {rest}"

    @property
    def _everywhere(self) -> str:
        return "on the task" if len(self.tasks) == 1 else f"on all {len(self.tasks)} tasks"

    @property
    def _lacking(self) -> str:
        return f"; {counted(len(self.undecided), 'task')} without a verdict" if self.undecided else ""

    @property
    def remarks(self) -> list[str]:
        """What a reader must know to judge the decision: what is missing, how few tasks there are, the doubts on each."""
        return [
            *self.remarks_on_tasks,
            *(f"{task}: {doubt}" for task, analysis in self.tasks.items() for doubt in analysis.doubts),
        ]

    @property
    def remarks_on_tasks(self) -> list[str]:
        """What is missing, and how few tasks there are."""
        lacking = [
            f"{standing.arm} could not be compared on {listed(standing.on('missing'), SAID)}: too few of its trials have a"
            " result."
            for standing in self.standings
            if standing.on("missing")
        ]
        undecided = [f"{task} has no verdict: {why}." for task, why in self.undecided.items()]
        return [*undecided, *lacking, self.about_tasks]

    @property
    def about_tasks(self) -> str:
        """How much so many tasks say about others: the sign test needs a number of them."""
        count, arms = len(self.tasks), len(self.arms) - 1
        fewest, together = fewest_tasks(1), fewest_tasks(arms)
        if count < fewest:
            corrected = f" ({together}, corrected for {arms} arms)" if together > fewest else ""
            return (
                f"{counted(count, 'task')} {'says' if count == 1 else 'say'} little about another one. Only an arm that wins on"
                f" each of {fewest} tasks{corrected} is shown, by a sign test at 5 %, to win on most tasks like these."
            )
        shown = [
            f"{standing.arm} ({standing.won} won, {standing.lost} lost, p = {self.sign_test(standing):.2g})"
            for standing in self.standings
            if self.sign_test(standing) <= LEVEL
        ]
        said = f"shown by a sign test for {', '.join(shown)}" if shown else "not shown by a sign test for any arm"
        return f"Whether an arm wins or loses on most tasks like these {count} is {said}, if they are a fair sample of yours."

    def sign_test(self, standing: Standing) -> float:
        """The p value of the sign test over tasks, corrected for the number of arms."""
        return min(1.0, len(self.standings) * standing.p_value)

    @property
    def missing(self) -> tuple[Cell, ...]:
        """The trials that failed, of all tasks that have a verdict."""
        return tuple(cell for analysis in self.tasks.values() for cell in analysis.missing)

    @property
    def complete(self) -> bool:
        """Whether every task has a verdict, and no trial is missing."""
        return not self.missing and not self.undecided

    @cached_property
    def profiles(self) -> tuple[Profile, ...]:
        """How close each arm comes to the best one: by the metric, and by the time to the target if every task has one."""
        if not self.tasks:
            return ()
        values = {
            task: placed_by_value(
                {arm.name: dict(zip(arm.seeds, arm.values, strict=True)) for arm in analysis.arms},
                {
                    arm.name: {seed: not result.diverged for seed, result in zip(arm.seeds, arm.results, strict=True)}
                    for arm in analysis.arms
                },
                analysis.question.goal,
            )
            for task, analysis in self.tasks.items()
        }
        found = [performance_profile(values, self.arms)]
        if all(analysis.time_to_target for analysis in self.tasks.values()):
            times = {task: placed_by_time(analysis.time_to_target[0].times) for task, analysis in self.tasks.items()}
            found.append(performance_profile(times, self.arms))
        return tuple(found)


def fewest_tasks(arms: int) -> int:
    """The tasks that an arm must win, all of them, for a sign test at 5 %, corrected for the number of arms.

    Example:
        >>> fewest_tasks(1), fewest_tasks(5)
        (6, 8)
    """
    count = 1
    while arms * 2.0 ** (1 - count) > LEVEL:
        count += 1
    return count
