"""What a running study tells: a bar on a terminal, plain lines where a command has none, nothing where a program runs it."""

from __future__ import annotations

import logging
import math
import warnings
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from equipoise._words import printable, printable_lines
from equipoise.errors import StabilityWarning
from equipoise.study._cells import Cell


class Progress(Protocol):
    """What a run tells whoever watches."""

    def phase(self, name: str, total: int, done: int) -> None:
        """A phase of `total` trials begins; `done` of them were finished by an earlier run."""
        ...

    def finished(self, cell: Cell) -> None:
        """A trial was finished and kept."""
        ...

    def failed(self, cell: Cell, again: bool) -> None:
        """An attempt at a trial failed, and whether there is another one."""
        ...

    def tell(self, message: str) -> None:
        """Something that a reader may want to know."""
        ...

    def warn(self, message: str) -> None:
        """Something to know that stops nothing."""
        ...


def default_progress() -> AbstractContextManager[Progress]:
    """A bar if stderr is a terminal; else warnings as Python has them, and nothing more."""
    console = Console(stderr=True)
    return ConsoleProgress(console) if console.is_terminal else nullcontext(SilentProgress())


class SilentProgress:
    """Passes warnings on."""

    def phase(self, name: str, total: int, done: int) -> None:
        """Nothing is shown."""

    def finished(self, cell: Cell) -> None:
        """Nothing is shown."""

    def failed(self, cell: Cell, again: bool) -> None:
        """Nothing is shown: the analysis says what is missing."""

    def tell(self, message: str) -> None:
        """Nothing is shown; the package's logger has it."""
        logging.getLogger("equipoise").info(message)

    def warn(self, message: str) -> None:
        """Warn as Python does."""
        warnings.warn(message, StabilityWarning, stacklevel=2)


class ConsoleProgress:
    """Progress on a console: a bar if it is a terminal, else a line for each trial.

    Args:
        console: one of stderr, because results belong to stdout.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._done = 0
        self._total = 0
        self._bar = Bar(
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

    def finished(self, cell: Cell) -> None:
        """A trial was finished and kept."""
        result = cell.result
        assert result is not None  # it was finished
        self._done += 1
        assigned = cell.assignment
        metric = assigned.select_by or assigned.metric if cell.phase == "tuning" else assigned.metric
        value = result.last(metric)
        outcome = "diverged" if result.diverged or math.isnan(value) else f"{metric} = {value:.4g}"
        assert self._task is not None  # a phase began before its trials
        self._bar.update(self._task, advance=1, last=escape(printable(f"{cell.label}: {outcome}")))
        self._plain(f"{self._done}/{self._total} {cell.label}: {outcome} ({result.seconds:.1f} s)")

    def failed(self, cell: Cell, again: bool) -> None:
        """An attempt at a trial failed: its reason, the end of what it printed, and where the rest is."""
        failure = cell.failure
        assert failure is not None  # it failed
        lines = [f"trial {cell.label} failed{'; it is tried again' if again else ''}: {failure.reason}"]
        lines += [f"  | {line}" for line in failure.output.splitlines()]
        lines += [f"  its whole output is {failure.log}"] if failure.output else []
        self._print("\n".join(lines), style="red")

    def tell(self, message: str) -> None:
        """Something that a reader may want to know."""
        self._print(message)

    def warn(self, message: str) -> None:
        """Something to know that stops nothing."""
        self._print(f"warning: {message}", style="yellow")

    def _plain(self, line: str) -> None:
        if not self._console.is_terminal:
            self._print(line)

    def _print(self, lines: str, style: str | None = None) -> None:
        self._console.print(printable_lines(lines), style=style, markup=False, highlight=False, soft_wrap=True)
