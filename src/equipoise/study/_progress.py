"""What a running study tells whoever watches: a bar on a terminal, plain lines anywhere else."""

from __future__ import annotations

import math
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from equipoise.study._runner import Cell
from equipoise.study._store import Result


class ConsoleProgress:
    """Progress on a console (of stderr: results belong to stdout)."""

    def __init__(self, console: Console, metric: str) -> None:
        self._console = console
        self._metric = metric
        self._done = 0
        self._total = 0
        self._bar = Progress(
            TextColumn("{task.description:<10}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(elapsed_when_finished=False),
            TextColumn("{task.fields[last]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def phase(self, name: str, total: int, done: int) -> None:
        """A phase of `total` trials begins; `done` of them were finished by an earlier run."""
        self._done, self._total = done, total
        kept = f" ({done} finished by an earlier run)" if done else ""
        self._task = self._bar.add_task(name, total=total, completed=done, last="")
        self._plain(f"{name}: {total} trials{kept}")

    def finished(self, cell: Cell, result: Result) -> None:
        """A trial was finished and kept."""
        self._done += 1
        value = result.last(self._metric)
        outcome = "diverged" if result.diverged or math.isnan(value) else f"{self._metric} = {value:.4g}"
        assert self._task is not None  # a phase began before its trials
        self._bar.update(self._task, advance=1, last=escape(f"{cell.label}: {outcome}"))
        self._plain(f"{self._done}/{self._total} {cell.label}: {outcome} ({result.seconds:.1f} s)")

    def warn(self, message: str) -> None:
        """Something to know that stops nothing."""
        self._console.print(f"warning: {message}", style="yellow", markup=False, highlight=False)

    def _plain(self, line: str) -> None:
        if not self._console.is_terminal:
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)
