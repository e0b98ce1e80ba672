"""What a run does with everything that comes of its trials: it keeps it, tells it, and stops where going on would be wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from equipoise._words import did_you_mean
from equipoise.errors import StudyStoppedError, UnusableInputError
from equipoise.study._cells import Cell, Failure
from equipoise.study._processes.stopping import Stop
from equipoise.study._report.progress import Progress
from equipoise.study._store.spool import Spool
from equipoise.study._store.store import Store, record
from equipoise.study._store.turn import Turn


@dataclass
class Keeping:
    """Keeps the results of a study's trials."""

    study: str
    store: Store
    spool: Spool
    turns: list[Turn]
    """That of this study, and those of the studies that are run together with it."""
    stop: Stop
    progress: Progress
    sources: dict[str, str] = field(default_factory=dict[str, str])
    """The text of every source that this run's trials have loaded, by the file's name."""
    metric_seen: bool = False
    """Whether any trial has reported what the study needs."""
    _spooled: bool = False
    _told: bool = False

    def keep(self, cell: Cell, sources: Mapping[str, str]) -> None:
        """A trial finished or diverged; the cell has its result."""
        if reason := unreported(cell):
            self._refuse(cell, reason)
            return
        self.metric_seen = True
        made = record(self.study, cell, sources)
        if not self._spooled:
            try:
                self.store.add_record(made)
            except StudyStoppedError as error:
                self._spooled = True
                self.stop.ask(f"{error}; results are in {self.spool.folder} until the next run, which reads them in")
        if self._spooled:
            self._write_to_spool(made, cell)
        self.progress.finished(cell)
        self._compare(sources)

    def failed(self, cell: Cell, again: bool) -> None:
        """An attempt failed; the cell has the failure."""
        self.progress.failed(cell, again)
        self._try(lambda: self.store.add_failure(self.study, cell))

    def tick(self) -> None:
        """Give a sign of life, and say once that the run is about to stop."""
        for turn in self.turns:
            self._try(turn.beat)
        if self.stop.reason and not self._told:
            self._told = True
            self.progress.tell(f"{self.stop.reason}: running trials may finish, no other is started; Ctrl-C ends them at once")

    def _try(self, what: Callable[[], None]) -> None:
        if not self._spooled:
            try:
                what()
            except StudyStoppedError as error:
                self.stop.ask(str(error))

    def _write_to_spool(self, made: Mapping[str, Any], cell: Cell) -> None:
        try:
            self.spool.write(made)
        except UnusableInputError as error:
            self.progress.tell(f"the result of {cell.label} is lost: {error}")

    def _compare(self, sources: Mapping[str, str]) -> None:
        """Stop if a file is not what it was for an earlier trial of this run: they would not be trials of one study."""
        for name, text in sources.items():
            if self.sources.setdefault(name, text) != text:
                self.stop.ask(f"{name} was edited while the study ran; trials of both versions are kept apart")

    def _refuse(self, cell: Cell, reason: str) -> None:
        """A trial that did not report what the study needs has failed; where none ever did, the study is at fault."""
        assert cell.result is not None  # it finished
        misnamed = bool(cell.result.curves) and not self.metric_seen
        cell.result, cell.failure = None, Failure(reason, "", "")
        self.failed(cell, again=False)
        if misnamed:
            self.stop.ask(reason)


def unreported(cell: Cell) -> str:
    """What the trial of a cell did not report, though the study needs it; "" if it did, or has no result, or diverged."""
    if cell.result is None or cell.result.diverged:
        return ""
    reported = sorted(cell.result.curves)
    absent = sorted(cell.assignment.needed.difference(reported))
    if not absent:
        return ""
    names = " and ".join(map(repr, absent))
    return f"the task never reported {names}; it reported {reported or 'nothing'}{did_you_mean(absent[0], reported)}"
