"""``equipoise watch`` in a terminal, for scripts, and from beginning to end."""

import io
import json
import math
import os
import pty
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from datetime import datetime

import numpy as np
import pytest
from rich.console import Console

from equipoise.monitor import JsonLines
from equipoise.watch import Run
from equipoise.watch._naming import COLUMNS
from equipoise.watch._overview import Overview
from equipoise.watch._terminal import sparkline, view
from tests.monitor.samples import RUN, Action, group, reading, tensor, verdict

NAMES = tuple(f"model.blocks.{number}.attention.projection.weight" for number in range(40))


@pytest.fixture
def folder(tmp_path):
    """A run in trouble."""
    sink = JsonLines(tmp_path / "run")
    sink.open(type(RUN)("mine", 0.0, {}, NAMES, ((2,),) * 40, (0,) * 40))
    for step in range(1, 60):
        tensors = {name: tensor() for name in NAMES} | {NAMES[30]: tensor(nonfinite_fraction=0.25, gradient_rms=math.nan)}
        loss = math.nan if step == 30 else 1 / step
        sink.write(reading(step, loss, groups=(group(), group(-0.2)), tensors=tensors))
        sink.write(
            verdict(step, "nonfinite-gradient", where=(NAMES[30],), message="25 % are not finite.", advice="Look there.")
        )
    sink.write(Action("rollback", 59, (), "Rolled back to step 50."))
    sink.close()
    return tmp_path / "run"


@pytest.fixture
def shown():
    """What a terminal of some size shows of runs, as lines of text."""
    with ExitStack() as opened:

        def shown(width, height, *folders):
            runs = [opened.enter_context(Run(folder)) for folder in folders]
            while sum(run.read() for run in runs):
                pass
            screen = io.StringIO()
            console = Console(width=width, height=height, force_terminal=True, color_system=None, record=True, file=screen)
            console.print(view(runs, width, height))
            return console.export_text().splitlines()

        yield shown


@pytest.mark.parametrize(("width", "columns"), [(60, 3), (80, 5), (140, 10), (200, 10)])
def test_at_every_width_names_and_as_many_indicators_as_fit_are_shown_and_no_line_is_too_long(folder, shown, width, columns):
    lines = shown(width, 30, folder)
    assert max(map(len, lines)) <= width
    assert len(lines) <= 30
    (row,) = (line for line in lines if line.startswith(("30.att", "30…", "3…", "30.")) and "nan" in line)
    assert len(row.split()) == 1 + columns
    assert "25.0%" in row or columns == 3


def test_what_is_wrong_comes_first_in_words_and_in_the_table(folder, shown):
    lines = shown(100, 30, folder)
    text = "\n".join(lines)
    assert lines[0].startswith(f"mine  run, started {datetime.fromtimestamp(0):%Y-%m-%d %H:%M}  step 59  ")
    assert f"nonfinite-gradient since step 1 in {NAMES[30]}" in text
    assert "rollback at step 59: Rolled back to step 50." in text
    assert "margin ahead" not in text  # it is the margin
    assert any(line.startswith("stability margin, group 1") and line.endswith("-0.2") for line in lines)
    table = next(index for index, line in enumerate(lines) if line.startswith("tensor of model.blocks"))
    assert lines[table + 1].startswith("30.attention")
    assert lines[-1].startswith("and ")


def test_several_runs_share_the_height(folder, shown):
    lines = shown(80, 40, folder, folder)
    assert len(lines) <= 40
    assert sum(line.startswith("mine  ") for line in lines) == 2


def test_runs_of_one_name_are_told_apart_by_folder_and_start(tmp_path, shown):
    for day, folder in enumerate(("wide/1", "deep/1", "deep/2")):
        sink = JsonLines(tmp_path / folder)
        sink.open(type(RUN)("mine", 86_400.0 * day, {}, ("w",), ((2,),), (0,)))
        sink.write(reading(1, names=("w",)))
        sink.close()
    lines = shown(80, 60, *(tmp_path / folder for folder in ("wide/1", "deep/1", "deep/2")))
    starts = [f"{datetime.fromtimestamp(86_400 * day):%Y-%m-%d %H:%M}" for day in range(3)]
    titles = [line for line in lines if line.startswith("mine")]
    for title, folder, start in zip(titles, ("wide/1", "deep/1", "2"), starts, strict=True):
        assert title.startswith(f"mine  {folder}, started {start}  step 1  ")


@pytest.mark.parametrize(("height", "times"), [(50, 1), (49, 0), (30, 0)])
def test_every_column_says_what_it_is_where_there_is_room(folder, shown, height, times):
    lines = shown(140, height, folder)
    assert len(lines) <= height
    for heading, meaning in COLUMNS.values():
        assert lines.count(f"{heading}: {meaning}") == times


def test_several_runs_that_are_printed_once_are_whole_and_the_columns_are_explained_once(run, folder):
    code, out, _ = run("watch", folder, folder)
    assert code == 0
    assert sum(line.lstrip().startswith(tuple(f"{number}." for number in range(40))) for line in out.splitlines()) == 80
    assert out.count("relative step: |lr * update| / |weight|, a ratio") == 1


def test_a_run_without_readings_says_so(tmp_path, shown):
    sink = JsonLines(tmp_path)
    sink.open(RUN)
    sink.close()
    assert shown(80, 24, tmp_path)[1] == "no readings yet"


def drawn(values, width, name="metrics/loss"):
    overview = Overview()
    missing = np.array([[value is None] for value in values], bool).reshape(-1, 1)
    overview.add(
        range(len(values)), range(len(values)), [name], [[math.nan if each is None else each] for each in values], missing
    )
    return sparkline(overview, name, width).plain


def test_a_sparkline_shows_spikes_and_what_is_not_finite_and_one_spike_does_not_flatten_the_rest():
    rising = [float(step) for step in range(1000)]
    assert drawn(rising, 8) == "▁▂▃▄▅▆▇█ "
    assert drawn([*rising[:500], 1e9, *rising[500:]], 100).count("█") > 5
    assert drawn([math.nan if step == 777 else value for step, value in enumerate(rising)], 100).index("✗") == 77
    assert drawn([5.0, 5.0], 4) == "▅▅   "
    assert drawn([], 3) == "    "
    assert drawn([None, math.nan, None], 3) == "✗   "
    assert drawn([math.inf, 0.1, 0.2], 3, "group 0/margin") == "∞▁█ "


def test_a_sparkline_shows_a_run_that_went_back_as_one_line_without_what_was_abandoned():
    overview = Overview()
    steps = [*range(1, 7), *range(4, 9)]
    values = [1.0, 2.0, 3.0, math.nan, 90.0, 90.0, 4.0, 5.0, 6.0, 7.0, 8.0]
    overview.add(steps, range(len(steps)), ["metrics/loss"], [[value] for value in values])
    assert sparkline(overview, "metrics/loss", 8).plain == "▁▂▃▄▅▆▇█ "
    assert overview.newest("metrics/loss") == 8.0


def test_text_of_a_run_cannot_steer_the_terminal(tmp_path, shown):
    evil = "\x1b]0;title\x07[bold]\x9b31m"
    sink = JsonLines(tmp_path)
    sink.open(type(RUN)(evil, 0.0, {}, (evil, "b"), ((1,), (1,)), (0, 0)))
    sink.write(reading(1, names=(evil, "b"), metrics={evil: 0.5}))
    sink.write(verdict(1, evil, where=(evil,), message=evil, advice=evil))
    sink.write(Action(evil, 1, (), evil))
    sink.close()
    text = "\n".join(shown(140, 40, tmp_path))
    assert not {"\x1b", "\x07", "\x9b"} & set(text)
    assert text.count("�]0;title�[bold]�31m") >= 7


def test_where_stdout_is_no_terminal_everything_is_printed_once(run, folder):
    code, out, err = run("watch", folder)
    assert (code, err) == (0, "")
    assert "and " not in [line[:4] for line in out.splitlines()]
    assert sum(line.lstrip().startswith(tuple(f"{number}." for number in range(40))) for line in out.splitlines()) == 40


def test_json_has_the_last_reading_and_what_is_wrong_with_strings_where_json_has_no_number(run, folder):
    code, out, err = run("watch", folder, folder, "--json")
    first, second = json.loads(out, parse_constant=lambda name: pytest.fail(name))
    assert (code, err, first) == (0, "", second)
    assert (first["name"], first["readings"], first["unreadable_lines"], first["last"]["step"]) == ("mine", 59, 0, 59)
    assert first["last"]["tensors"][NAMES[30]]["gradient_rms"] == "nan"
    assert [one["verdict"] for one in first["verdicts"]] == ["nonfinite-gradient"]
    assert [one["action"] for one in first["actions"]] == ["rollback"]


def test_a_folder_without_a_run_is_unusable_input(run, tmp_path):
    code, out, err = run("watch", tmp_path)
    assert (code, out) == (2, "")
    assert err == f"error: there is no run: {tmp_path}/readings.jsonl cannot be read: No such file or directory\n"


@pytest.mark.parametrize(("module", "arguments"), [("rich.console", []), ("uvicorn", ["--web"])])
def test_a_missing_package_is_said_with_the_line_that_installs_it(run, folder, monkeypatch, module, arguments):
    monkeypatch.setitem(sys.modules, module, None)
    for name in ("_terminal", "_web"):
        monkeypatch.delitem(sys.modules, f"equipoise.watch.{name}", raising=False)
    code, _, err = run("watch", folder, *arguments)
    assert code == 2
    assert "pip install 'equipoise[watch]'" in err


def test_in_a_terminal_a_run_is_followed_until_ctrl_c_which_ends_it_cleanly(folder):
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "equipoise", "watch", str(folder)]
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100", "LINES": "30"}
    watching = subprocess.Popen(command, stdout=theirs, stdin=theirs, stderr=subprocess.PIPE, env=environment)
    os.close(theirs)

    def seen_until(text):
        content, deadline = b"", time.monotonic() + 120
        while text not in content:
            assert time.monotonic() < deadline, content[-2000:]
            content += os.read(ours, 65536)
        return content

    try:
        seen_until(b"step 59")
        sink = JsonLines(folder)
        sink.open(type(RUN)("mine", 0.0, {}, NAMES, ((2,),) * 40, (0,) * 40))
        sink.write(reading(60, names=NAMES))
        sink.close()
        seen_until(b"step 60")
        watching.send_signal(signal.SIGINT)
        seen_until(b"\x1b[?1049l")  # the screen as it was before
        assert watching.communicate(timeout=120)[1] == b""
        assert watching.returncode == 0
    finally:
        watching.kill()
        watching.communicate()
        os.close(ours)


def test_watching_imports_no_torch_and_no_scipy():
    code = "import sys, equipoise.watch._terminal, equipoise.watch._web; print({'torch', 'scipy', 'plotly'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
