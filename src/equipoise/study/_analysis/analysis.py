"""The result of a study: the verdict, and what it rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from equipoise._html import render
from equipoise._words import printable
from equipoise.hyperparameters import Hyperparameters
from equipoise.study._analysis import remarks
from equipoise.study._analysis.arms import Compared
from equipoise.study._analysis.question import Question
from equipoise.study._analysis.verdict_table import LONGEST_SENTENCE, VerdictTable, verdict_table
from equipoise.study._cells import Cell
from equipoise.study._spec import Study
from equipoise.study._statistics.divergence import DivergenceContrast
from equipoise.study._statistics.paired import Contrast
from equipoise.study._statistics.target import TimeToTarget
from equipoise.study._statistics.words import about_arrivals, about_divergence, about_time, about_tuning, number_format


@dataclass(frozen=True, repr=False)
class Analysis:
    """The result of a finished study.

    ``analysis.headline`` is the verdict in one sentence, ``analysis.remarks`` what a reader must know to judge it,
    ``analysis.arms`` every arm's values on the fresh seeds, and ``analysis.contrasts`` its comparison with the baseline. A
    notebook shows all of this, with a figure, for a cell that ends with an analysis.
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
        if self.better:
            best, *more = self.better
            others = f"; so do {', '.join(c.arm for c in more)}" if more else ""
            return f"{best.arm} beats {question.baseline}: {question.metric} better by {self.difference(best)}{others}."
        alike = [
            f"; {verdict} within {question.margin:g}: {', '.join(arms)}"
            for verdict in ("as good", "no worse")
            if (arms := [c.arm for c in self.contrasts if c.verdict == verdict])
        ]
        return f"No arm is shown to beat {question.baseline}{''.join(alike)}."

    @property
    def better(self) -> list[Contrast]:
        """The arms that beat the baseline, the best first."""
        return sorted((c for c in self.contrasts if c.verdict == "better"), key=lambda c: -c.mean)

    @property
    def remarks(self) -> list[str]:
        """What a reader must know to judge the verdict: the doubts, then the further findings."""
        return [*self.doubts, *self.findings]

    @property
    def doubts(self) -> list[str]:
        """What speaks against relying on the verdict, most important first."""
        found = [
            *(self.remarks_on_missing or remarks.missing_seeds(self.arms)),
            *remarks.too_few_seeds(min(len(c.seeds) for c in self.contrasts), self.contrasts[0].comparisons),
            *remarks.unconfirmed(self.contrasts),
            *remarks.unequal_noise(self.contrasts, self.question.baseline),
            *remarks.diverged(self.arms, self.question, self.diverged_value),
            *about_divergence(self.divergence, self.question.baseline),
            *remarks.at_edges(self.arms),
        ]
        if self.study is not None:
            found += remarks.ignored_schedules(self.arms) + remarks.chosen_by_the_metric(self.study)
        return found

    @property
    def findings(self) -> list[str]:
        """What was found besides the verdict: losers, the time to the target, the cost of tuning."""
        return [
            *remarks.shown_to_be_worse(self.contrasts, self.question.baseline),
            *(said for times in self.time_to_target for said in about_time(times, self._target, self.question.baseline)),
            *(said for times in self.time_to_target[:1] for said in about_arrivals(times, self._target)),
            *self._cost_of_tuning(),
        ]

    @property
    def table(self) -> VerdictTable:
        """The verdict for each arm, in words."""
        return verdict_table(self.question, self.arms, self.contrasts, self.study)

    @property
    def _target(self) -> str:
        return f"{self.question.metric} = {self.question.target:g}"

    def _cost_of_tuning(self) -> list[str]:
        margin, needed = self.question.margin, {arm.name: arm.trials_needed for arm in self.arms}
        if margin is None or not any(needed.values()):
            return []
        return about_tuning(needed, max(len(arm.tuned.points) for arm in self.arms if arm.tuned is not None), margin)

    def difference(self, contrast: Contrast) -> str:
        """A contrast in words: mean, interval, adjusted p value."""
        low, high = contrast.interval
        spec = number_format(high - low)
        return f"{contrast.mean:+{spec}} (95 % interval {low:+{spec}} to {high:+{spec}}, p = {contrast.adjusted_p_value:.2g})"

    def __repr__(self) -> str:
        return f"<Analysis of {printable(self.question.name)}: {printable(self.headline, LONGEST_SENTENCE)}>"

    def _repr_html_(self) -> str:
        """What a notebook shows: the parts of the report that need no script."""
        return render(
            "equipoise.study._analysis",
            "notebook.html",
            headline=printable(self.headline, LONGEST_SENTENCE),
            remarks=[printable(remark, LONGEST_SENTENCE) for remark in self.remarks],
            table=self.table,
        )
