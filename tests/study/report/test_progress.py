"""What a running study prints: names and the output of tasks are text, and steer no terminal."""

import io
import re

import pytest
from rich.console import Console

from equipoise.study._cells import Assignment, Cell, Failure, Result
from equipoise.study._report.progress import ConsoleProgress, QuietProgress
from equipoise.study._task_source import TaskSource

EVIL = "\x1b[2J\x1b]0;title\x07[red]\rarm\u202e"


def test_no_name_message_or_output_steers_the_terminal():
    stream = io.StringIO()
    assignment = Assignment(TaskSource("task.py", "train", "."), EVIL, 3, "torch.optim.SGD", {}, 0.1, 0)
    cell = Cell(EVIL, "tuning", assignment, Result(False, 1.0, {EVIL: {1: 0.5}}), Failure(EVIL, EVIL, f"line 1\n{EVIL}\n"))
    with ConsoleProgress(Console(file=stream, width=200)) as progress:
        progress.phase("tuning", 2, 0, 6)
        progress.finished(cell)
        progress.failed(cell, again=True)
        progress.tell(EVIL)
        progress.warn(EVIL)
    shown = stream.getvalue()
    assert not {"\x1b", "\r", "\x07", "\u202e"} & set(shown)
    assert shown.count("[red]") >= 5  # it is text, not markup
    assert "  | line 1\n" in shown


def finished_cell():
    assignment = Assignment(TaskSource("task.py", "train", "."), "loss", 3, "torch.optim.SGD", {}, 0.1, 0)
    return Cell("sgd", "tuning", assignment, Result(False, 1.0, {"loss": {1: 0.5}}))


def told(console, trials=200, progress=ConsoleProgress):
    with progress(console) as watched:
        for name, later in (("tuning", trials), ("comparison", 0)):
            watched.phase(name, trials, 0, later)
            for _ in range(trials):
                watched.finished(finished_cell())
    return console.file.getvalue()


def test_a_log_has_a_line_for_each_tenth_with_the_time_left_of_the_whole_study():
    lines = told(Console(file=io.StringIO(), width=80)).splitlines()
    assert len(lines) == 2 * (1 + 10)
    assert lines[0] == "tuning: 200 trials"
    assert re.fullmatch(r"tuning: 20 of 200 trials, about [\d.e-]+ s left", lines[1])
    assert re.fullmatch(r"tuning: 200 of 200 trials, about [\d.e-]+ s left", lines[10])  # the comparison is to come
    assert lines[-1] == "comparison: 200 of 200 trials"


@pytest.mark.parametrize("width", [80, 120])
def test_a_bar_fits_its_terminal(width):
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", told(console, trials=3))
    lines = [line.rstrip() for line in re.split(r"[\r\n]+", shown) if line.strip()]
    assert max(map(len, lines)) < width
    assert any("3 of 3 trials" in line for line in lines)
    assert ("sgd" in shown) == (width > 100)


def test_a_quiet_run_shows_failures_alone():
    console = Console(file=io.StringIO(), width=80)
    assert told(console, progress=QuietProgress) == ""
    cell = finished_cell()
    cell.failure = Failure("out of luck", "sgd.log", "last words\n")
    QuietProgress(console).failed(cell, again=False)
    assert "failed: out of luck\n  | last words\n" in console.file.getvalue()
