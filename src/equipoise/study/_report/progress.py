"""What a running study tells: a bar on a terminal, a few lines elsewhere, one line in a notebook, nothing to programs."""

from __future__ import annotations

import importlib
import logging
import math
import time
import warnings
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from equipoise._words import about, counted, printable, printable_lines
from equipoise.errors import StabilityWarning
from equipoise.study._cells import Cell

LINES = 10
"""So many lines a phase has where they cannot be overwritten."""

WIDE = 110
"""A terminal of so many columns also has room for what finished last."""


class Progress(Protocol):
    """What a run tells whoever watches."""

    def phase(self, name: str, total: int, done: int, later: int) -> None:
        """A phase of `total` trials begins; `done` of them were finished by an earlier run, and `later` ones follow it."""
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
    """A bar if stderr is a terminal, a line in a notebook; else warnings as Python has them, and nothing more."""
    console = Console(stderr=True)
    if console.is_jupyter:
        return NotebookProgress()
    return ConsoleProgress(console) if console.is_terminal else nullcontext(SilentProgress())


class SilentProgress:
    """Passes warnings on."""

    def phase(self, name: str, total: int, done: int, later: int) -> None:
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


@dataclass
class Count:
    """The trials of a phase that are over, and how long the study still takes if they go on as they did in this run."""

    name: str = ""
    total: int = 0
    over: int = 0
    later: int = 0
    """The trials of the phases that follow."""
    _in_this_run: int = 0
    _begun: float = 0.0
    """When the first phase did."""

    def begin(self, name: str, total: int, done: int, later: int) -> None:
        """A phase begins."""
        self._begun = self._begun if self.name else time.monotonic()
        self.name, self.total, self.over, self.later = name, total, done, later

    def add(self) -> None:
        """One more trial is over."""
        self.over += 1
        self._in_this_run += 1

    @property
    def left(self) -> str:
        """The time until the end of the study, in words; "" where nothing tells it."""
        waiting = self.total - self.over + self.later
        if not self._in_this_run or not waiting:
            return ""
        return f"about {about((time.monotonic() - self._begun) / self._in_this_run * waiting)} left"

    @property
    def sentence(self) -> str:
        """How far the phase is."""
        left = self.left
        return f"{self.name}: {self.over:,} of {counted(self.total, 'trial')}{left and f', {left}'}"


class QuietProgress:
    """Tells of warnings, of failures, and of what a reader must know. Progress is not shown.

    Args:
        console: one of stderr, because results belong to stdout.
    """

    def __init__(self, console: Console) -> None:
        self._console = console

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def phase(self, name: str, total: int, done: int, later: int) -> None:
        """Nothing is shown."""

    def finished(self, cell: Cell) -> None:
        """Nothing is shown."""

    def failed(self, cell: Cell, again: bool) -> None:
        """An attempt at a trial failed: its reason, the end of what it printed, and where the rest is."""
        self._print(failure_of(cell, again), style="red")

    def tell(self, message: str) -> None:
        """Something that a reader may want to know."""
        self._print(message)

    def warn(self, message: str) -> None:
        """Something to know that stops nothing."""
        self._print(f"warning: {message}", style="yellow")

    def _print(self, lines: str, style: str | None = None) -> None:
        self._console.print(printable_lines(lines), style=style, markup=False, highlight=False, soft_wrap=True)


class ConsoleProgress(QuietProgress):
    """The same, and how far the study is: a bar for each phase on a terminal, else a line for each tenth of a phase."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._count = Count()
        self._bar = Bar(
            TextColumn("{task.description:<10}"),
            BarColumn(bar_width=20),
            TextColumn("{task.completed:,} of {task.total:,} trials"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            *([TextColumn("{task.fields[last]}", style="dim")] if console.width >= WIDE else []),
            console=console,
            disable=not console.is_terminal,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def phase(self, name: str, total: int, done: int, later: int) -> None:
        """A bar or a line begins it."""
        self._count.begin(name, total, done, later)
        if self._task is not None:
            self._bar.update(self._task, left="", last="")
        self._task = self._bar.add_task(name, total=total, completed=done, left="", last="")
        if not self._console.is_terminal:
            self._print(f"{name}: {counted(total, 'trial')}")

    def finished(self, cell: Cell) -> None:
        """The bar grows, or a line is printed for a tenth."""
        self._one_more(outcome_of(cell))

    def failed(self, cell: Cell, again: bool) -> None:
        """The failure is shown as well."""
        super().failed(cell, again)
        if not again:
            self._one_more("")

    def _one_more(self, last: str) -> None:
        count = self._count
        count.add()
        assert self._task is not None  # a phase began before its trials
        self._bar.update(self._task, advance=1, left=count.left, last=escape(last))
        if not self._console.is_terminal and count.over * LINES // count.total > (count.over - 1) * LINES // count.total:
            self._print(count.sentence)


class NotebookProgress:
    """A few lines below a notebook's cell, of which the last one says how far the study is."""

    def __init__(self) -> None:
        self._count = Count()
        self._said: list[str] = []
        self._shown: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def phase(self, name: str, total: int, done: int, later: int) -> None:
        """The line is another."""
        self._count.begin(name, total, done, later)
        self._show()

    def finished(self, cell: Cell) -> None:
        """The line counts it."""
        self._count.add()
        self._show(outcome_of(cell))

    def failed(self, cell: Cell, again: bool) -> None:
        """The failure stays above the line."""
        if not again:
            self._count.add()
        self.tell(failure_of(cell, again))

    def tell(self, message: str) -> None:
        """It stays above the line."""
        self._said.append(printable_lines(message))
        self._show()

    def warn(self, message: str) -> None:
        """It stays above the line."""
        self.tell(f"warning: {message}")

    def _show(self, last: str = "") -> None:
        lines = [*self._said, *([f"{self._count.sentence}{last and f' ({last})'}"] if self._count.name else [])]
        content = {"text/plain": "\n".join(lines)}
        if self._shown is None:
            display: Any = importlib.import_module("IPython.display").display
            self._shown = display(content, raw=True, display_id=True)
        else:
            self._shown.update(content, raw=True)


def outcome_of(cell: Cell) -> str:
    """A finished trial, and the number that its phase is about."""
    assigned, result = cell.assignment, cell.result
    assert result is not None  # it was finished
    metric = assigned.select_by or assigned.metric if cell.phase == "tuning" else assigned.metric
    value = result.last(metric)
    diverged = result.diverged or math.isnan(value)
    return printable(f"{cell.label}: {'diverged' if diverged else f'{metric} = {value:.4g}'}")


def failure_of(cell: Cell, again: bool) -> str:
    """Why an attempt failed, the end of what it printed, and where the rest is."""
    failure = cell.failure
    assert failure is not None  # it failed
    lines = [f"trial {cell.label} failed{'; it is tried again' if again else ''}: {failure.reason}"]
    lines += [f"  | {line}" for line in failure.output.splitlines()]
    lines += [f"  its whole output is {failure.log}"] if failure.output else []
    return "\n".join(lines)
