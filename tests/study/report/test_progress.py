"""What a running study prints: names and the output of tasks are text, and steer no terminal."""

import io

from rich.console import Console

from equipoise.study._cells import Assignment, Cell, Failure, Result
from equipoise.study._report.progress import ConsoleProgress
from equipoise.study._spec import TaskSource

EVIL = "\x1b[2J\x1b]0;title\x07[red]\rarm\u202e"


def test_no_name_message_or_output_steers_the_terminal():
    stream = io.StringIO()
    assignment = Assignment(TaskSource("task.py", "train", "."), EVIL, 3, "torch.optim.SGD", {}, 0.1, 0)
    cell = Cell(EVIL, "tuning", assignment, Result(False, 1.0, {EVIL: {1: 0.5}}), Failure(EVIL, EVIL, f"line 1\n{EVIL}\n"))
    with ConsoleProgress(Console(file=stream, width=200)) as progress:
        progress.phase("tuning", 2, 0)
        progress.finished(cell)
        progress.failed(cell, again=True)
        progress.tell(EVIL)
        progress.warn(EVIL)
    shown = stream.getvalue()
    assert not {"\x1b", "\r", "\x07", "\u202e"} & set(shown)
    assert shown.count("[red]") >= 7  # it is text, not markup
    assert "  | line 1\n" in shown
