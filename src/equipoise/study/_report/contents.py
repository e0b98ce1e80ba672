"""What a report says and shows, gathered from a store or from an analysis alone."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from equipoise.errors import StudyStoppedError
from equipoise.study._analysis import Analysis, Compared, Question, Tuned, analyse, tune
from equipoise.study._cells import Cell
from equipoise.study._names import Goal
from equipoise.study._records import recorded
from equipoise.study._report.figures.curves import Band
from equipoise.study._report.stored import Record, read_curves, read_record
from equipoise.study._spec import Study
from equipoise.study._statistics.paired import direction
from equipoise.study._store import Store

MOST_CHARTED = 12
"""So many of the reported numbers are drawn. A report of all of 20,000 would be of no use to a reader, nor to a browser."""

FAR = 10.0
"""A seed went astray if it ended worse than the arm's median by more than so many median absolute deviations."""

FEW = 5
"""With fewer seeds than this none can be said to have gone astray."""


@dataclass(frozen=True)
class Spent:
    """What the trials of one arm took."""

    arm: str
    trials: int
    seconds: float
    per_trial: float
    """The median of the seconds of its trials."""
    memory: int | None = None
    """The most bytes that one of its trials had in memory; None if that was not measured."""
    state: int | None = None
    """The bytes of its optimizer's state."""
    parameters: int | None = None


@dataclass(frozen=True)
class Contents:
    """Everything that a report shows."""

    question: Question
    analysis: Analysis | None
    """What there is so far; None as long as there is nothing to compare."""
    tuned: Sequence[Tuned] = ()
    record: Record | None = None
    """None where the results were made elsewhere."""
    curves: Mapping[str, Mapping[str, Band]] = field(default_factory=dict[str, dict[str, Band]])
    """Name of a reported number -> arm -> curve; what decides comes first."""
    uncharted: int = 0
    """How many names of reported numbers have no curve here."""
    trouble: str = ""
    """Why no arms can be compared, if trials enough are there."""

    @property
    def cells(self) -> Sequence[Cell]:
        """The planned trials."""
        return [] if self.record is None else self.record.table.cells

    @property
    def trials(self) -> Sequence[Cell]:
        """One cell for each planned trial, which arms may share."""
        return [] if self.record is None else [cells[0] for cells in self.record.cells.values()]

    @property
    def done(self) -> int:
        """How many planned trials have a result."""
        return sum(cell.result is not None for cell in self.trials)

    @property
    def settled(self) -> bool:
        """Whether no trial waits any more: each has a result or failed, and the comparison is planned, if it ever can be."""
        compared = any(cell.phase == "comparison" for cell in self.cells)
        chosen = self.question.baseline in [found.arm.name for found in self.tuned]
        hopeless = bool(self.trouble) or (any(cell.failure for cell in self.cells) and not chosen)
        return _settled(self.cells) and (self.record is None or compared or hopeless)

    @property
    def verdict(self) -> Analysis | None:
        """The analysis, as soon as it can be relied on. A look at a study that runs is none: it would be right by chance."""
        return self.analysis if self.settled else None


def of_store(store: Store, name: str | None = None, tasks: int = 1) -> Contents:
    """Gather what a store holds of a study, finished or not.

    Args:
        store: where it is.
        name: of the study; it need not be given if the store holds one alone.
        tasks: how many tasks are decided together, of which this is one.

    Raises:
        UnusableInputError: the store does not hold it.
    """
    record = read_record(store, name)
    table, study = record.table, record.study
    tuned, analysis, trouble = list[Tuned](), None, ""
    try:
        if _settled([cell for cell in table.cells if cell.phase == "tuning"]):
            tuned = [found for arm in study.arms if (found := tune(table, arm)) is not None]
        if tuned and any(cell.phase == "comparison" for cell in table.cells):
            analysis = analyse(table, tuned, tasks)
    except StudyStoppedError as error:
        trouble = str(error)
    names = _most_useful_first(record.names, (study.metric, study.selection.metric))
    curves = {name: read_curves(store, record, name) for name in names[:MOST_CHARTED]}
    return Contents(
        Question.of_study(study, tasks), analysis, tuned, record, curves, max(0, len(names) - MOST_CHARTED), trouble
    )


def kept_spread(store: Store, study: Study) -> float | None:
    """The largest spread between seeds that the kept trials of a study show, or of that whose store it shares.

    None if there are none, or no arms can be compared yet.
    """
    names = [name for name in (study.name, study.store) if name is not None]
    known = [name for name in names if store.do(lambda connection, name=name: recorded(connection, name)) is not None]
    contents = of_store(store, known[0]) if known else None
    if contents is None or contents.analysis is None or contents.question.metric != study.metric:
        return None
    return max(contrast.spread for contrast in contents.analysis.contrasts)


def of_analysis(analysis: Analysis) -> Contents:
    """What an analysis holds, of results that were made elsewhere."""
    found = {name for arm in analysis.arms for result in arm.results for name in result.curves}
    names = _most_useful_first(sorted(found), (analysis.question.metric,))
    curves = {
        name: {arm.name: Band.of([result.curves.get(name, {}) for result in arm.results]) for arm in analysis.arms}
        for name in names[:MOST_CHARTED]
    }
    tuned = [arm.tuned for arm in analysis.arms if arm.tuned is not None]
    return Contents(analysis.question, analysis, tuned, None, curves, max(0, len(names) - MOST_CHARTED))


def spent(cells: Sequence[Cell], arms: Sequence[str]) -> list[Spent]:
    """What the finished trials of each arm took. A trial that arms share counts for each of them."""
    found: list[Spent] = []
    for arm in arms:
        results = [cell.result for cell in cells if cell.arm == arm and cell.result is not None]
        if results:
            seconds = [result.seconds for result in results]
            costs = [result.cost for result in results if result.cost is not None]
            most = (max(cost.memory for cost in costs), costs[-1].state, costs[-1].parameters) if costs else (None, None, None)
            found.append(Spent(arm, len(results), math.fsum(seconds), statistics.median(seconds), *most))
    return found


def astray(arm: Compared, goal: Goal) -> list[float]:
    """What the seeds of an arm ended at that did not diverge, but ended far from its other seeds, on the worse side."""
    finished = [value for value, result in zip(arm.values, arm.results, strict=True) if not result.diverged]
    if len(finished) < FEW:
        return []
    middle = statistics.median(finished)
    spread = max(statistics.median(abs(value - middle) for value in finished), abs(middle) / 1000)
    sign = direction(goal)
    return [value for value in finished if sign * (middle - value) > FAR * spread]


def _settled(cells: Sequence[Cell]) -> bool:
    return all(cell.result is not None or cell.failure is not None for cell in cells)


def _most_useful_first(names: Sequence[str], first: tuple[str, ...]) -> list[str]:
    """What decides and what chooses, then numbers that are alike in name, then losses, then the others."""
    places = {name: place for place, name in enumerate(first)}
    return sorted(names, key=lambda name: (places.get(name, len(first)), first[0] not in name, "loss" not in name, name))
