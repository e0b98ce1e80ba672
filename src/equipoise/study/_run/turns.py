"""One run at a time works on a study: it waits for its turn, heeds signals, and says how to go on."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from equipoise.errors import StudyStoppedError
from equipoise.hyperparameters import whole_number
from equipoise.study._engines import Engine, ThisMachine
from equipoise.study._processes.pool import Conditions
from equipoise.study._processes.stopping import Stop
from equipoise.study._report.progress import Progress
from equipoise.study._run.keeping import Keeping
from equipoise.study._spec import Study
from equipoise.study._store import Spool, Store, Turn, sqlite_file

Existing: TypeAlias = Literal["reuse", "fork", "fresh"]
"""What becomes of trials that are kept."""


@dataclass(frozen=True)
class Means:
    """What trials run on.

    Raises:
        ArgumentError: a number is not a whole number of at least 1.
    """

    workers: int | None = None
    """How many run at once; None for as many as there are GPUs to give, or else as many as the cores carry."""
    gpus: int | None = None
    """How many GPUs there are to give, one to each trial."""
    engine: Engine = field(default_factory=ThisMachine)

    def __post_init__(self) -> None:
        for name, count in {"workers": self.workers, "gpus": self.gpus}.items():
            if count is not None:
                whole_number(name, count)


HOW_TO_GO_ON: dict[Existing, str] = {
    "reuse": "run the same command again to continue",
    "fork": "run the same command again to continue",
    "fresh": 'run it again without "fresh" to continue',
}


@contextmanager
def heeding(stop: Stop, existing: Existing) -> Generator[None]:
    """Listen to signals. Where a second one ends the run, its error says how to go on."""
    with stop.listening():
        try:
            yield
        except KeyboardInterrupt:
            if not stop.reason:  # this one is not ours
                raise
            raise StudyStoppedError(f"{stop.reason}; what is finished is kept; {HOW_TO_GO_ON[existing]}") from None


@contextmanager
def in_turn(
    study: Study, folder: Path, store: str, means: Means, progress: Progress, stop: Stop, turns: list[Turn]
) -> Generator[tuple[Keeping, Conditions]]:
    """Wait until no other process runs the study, and be the one that does: what keeps its trials, and how they are run.

    Args:
        study: what is run.
        folder: the file of a task is relative to it.
        store: its URL.
        means: what trials run on.
        progress: is told what happens.
        stop: whether to start no further trial.
        turns: of the studies that are run together with this one; its own is added.
    """
    beside = sqlite_file(store) or folder / study.name
    stem = beside.with_name(beside.name.removesuffix(".db"))
    logs, checkpoints, spool = (Path(f"{stem}.{kind}") for kind in ("logs", "resume", "spool"))

    def stopped() -> bool:
        for other in turns:
            other.beat()
        return bool(stop.reason)

    with closing(Store(store, folder, progress.tell)) as database, Turn(database, study.name, progress.tell, stopped) as turn:
        turns.append(turn)
        keeping = Keeping(study.name, database, Spool(spool), turns, stop, progress)
        yield keeping, Conditions(means.workers, means.gpus, study.timeout, study.retries, logs, checkpoints)
