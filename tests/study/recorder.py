"""Runs a study and keeps what it tells."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from equipoise.study import Analysis
from equipoise.study import run as run_study
from equipoise.study._cells import Cell, Failure
from equipoise.study._store import sqlite_url


@dataclass
class Recorder:
    """Keeps what a run tells."""

    phases: list[tuple[str, int, int]] = field(default_factory=list)
    cells: list[Cell] = field(default_factory=list)
    failures: list[tuple[str, Failure | None, bool]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def phase(self, name: str, total: int, done: int, later: int) -> None:
        self.phases.append((name, total, done))

    def finished(self, cell: Cell) -> None:
        self.cells.append(cell)

    def failed(self, cell: Cell, again: bool) -> None:
        self.failures.append((cell.label, cell.failure, again))

    def tell(self, message: str) -> None:
        self.told.append(message)

    def warn(self, message: str) -> None:
        self.warnings.append(message)


def run(path: Path, recorder: Recorder | None = None, **arguments) -> tuple[Analysis, Recorder]:
    """Run the study in a file, with its store beside it."""
    recorder = Recorder() if recorder is None else recorder
    return run_study(path, store=sqlite_url(path.with_name("store.db")), progress=recorder, **arguments), recorder
