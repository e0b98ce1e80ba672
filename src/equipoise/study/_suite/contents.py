"""What the report of a suite shows, gathered from its stores or from analyses alone."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass

from equipoise.errors import UnusableInputError
from equipoise.study._report.contents import Contents, of_analysis, of_store
from equipoise.study._report.sentences import planned
from equipoise.study._store import Store, sqlite_file, sqlite_url
from equipoise.study._suite.analysis import SuiteAnalysis
from equipoise.study._suite.spec import Part, Suite


@dataclass(frozen=True)
class SuiteContents:
    """Everything that the report of a suite shows."""

    name: str
    parts: Mapping[str, Contents]
    """By the name of the task; there is at least one."""
    arms: tuple[str, ...]
    """The names of all arms, as the file has them."""

    @property
    def done(self) -> int:
        """How many planned trials have a result."""
        return sum(contents.done for contents in self.parts.values())

    @property
    def planned(self) -> int:
        """How many trials there are in all."""
        return sum(planned(contents) for contents in self.parts.values())

    @property
    def settled(self) -> bool:
        """Whether no trial of any task waits any more."""
        return all(contents.settled for contents in self.parts.values())

    @property
    def analysis(self) -> SuiteAnalysis:
        """The verdicts that there are so far."""
        found = {task: contents.verdict for task, contents in self.parts.items()}
        return SuiteAnalysis(
            self.name,
            {task: verdict for task, verdict in found.items() if verdict is not None},
            {task: _why_undecided(self.parts[task]) for task, verdict in found.items() if verdict is None},
            self.arms,
            next(iter(self.parts.values())).question.baseline,
        )


def of_stores(suite: Suite, url: str | None) -> SuiteContents:
    """Gather what the stores of a suite hold of it, finished or not.

    Args:
        suite: which studies.
        url: of the one store of all; None: each task's own.

    Raises:
        UnusableInputError: a store is not there, or does not hold the study.
        StudyStoppedError: a store cannot be used.
    """
    parts = dict[str, Contents]()
    for task, part in suite.parts.items():
        with closing(open_store(part, url)) as store:
            parts[task] = of_store(store, part.study.name, len(suite.parts))
    return SuiteContents(suite.name, parts, tuple(arm.name for arm in next(iter(suite.studies.values())).arms))


def of_analyses(analysis: SuiteAnalysis) -> SuiteContents:
    """What analyses hold, of results that were made elsewhere."""
    return SuiteContents(analysis.name, {task: of_analysis(found) for task, found in analysis.tasks.items()}, analysis.arms)


def store_url(part: Part, url: str | None) -> str:
    """The store of a task: the one of all, or its own."""
    return sqlite_url(part.folder / f"{part.store}.db") if url is None else url


def open_store(part: Part, url: str | None) -> Store:
    """The store of a task. One that is not there is not made.

    Raises:
        UnusableInputError: it is not there.
    """
    kept = sqlite_file(store_url(part, url))
    if kept is not None and not kept.exists():
        raise UnusableInputError(f"{kept} is not there: no trial of the study {part.study.name!r} was run yet")
    return Store(store_url(part, url), part.folder)


def _why_undecided(contents: Contents) -> str:
    if not contents.settled:
        return f"{contents.done:,} of {planned(contents):,} trials are finished"
    return contents.trouble or "too many trials failed or diverged"
