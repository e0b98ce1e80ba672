"""Files that a disk, another program or an attacker has damaged: what is good in them is shown, and what is not is said."""

import json
import os
import resource
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

from equipoise.monitor import JsonLines
from equipoise.monitor._recording.run_file import INDICATORS, LINE_BYTES, RunInfo, event_line, header_line, reading_line
from equipoise.watch import Run, _story
from equipoise.watch._file.index import INDEX
from equipoise.watch._file.lines import STEPS, parse_line
from equipoise.watch._overview import FEWEST_BUCKETS
from equipoise.watch._story import Story
from tests.monitor.samples import NAMES, RUN, Action, group, reading, verdict

HEADER = header_line(RUN)


def line(step, **values):
    return reading_line(reading(step, **values), NAMES)


def write(folder, *lines, end="\n"):
    path = folder / "readings.jsonl"
    path.write_bytes(b"\n".join(each if isinstance(each, bytes) else each.encode() for each in lines) + end.encode())
    return path


def taken_in(folder):
    run = Run(folder)
    while run.read():
        pass
    return run


# ---- one line


def changed(text, *place, to):
    """A line in which something else stands in a place."""
    value = json.loads(text)
    node = value
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = to
    return json.dumps(value).encode()


VERDICT = event_line(verdict(1, where=NAMES))
ACTION = event_line(Action("rollback", 1, (verdict(1),), "back"))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "not JSON: Expecting value at character 1"),
        (b"[1]", "it must be a JSON object, not a list"),
        (b"\xff", "byte 1 is not UTF-8"),
        (b"\x00{}", "not JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"step": ' + b"9" * 5_000 + b"}", r"not JSON: Exceeds the limit \(4300 digits\)"),
        (b'{"step": NaN}', "NaN is no number of JSON"),
        (b'{"kind": "\x1b[31m"}', "not JSON: Invalid control character"),
        (b'{"kind": "\\u001b[31m\\ud800"}', 'kind must be "run", "reading", "verdict" or "action", not "�.31m�"'),
        (b"{}", "it has no kind"),
        (b" " * (LINE_BYTES + 1), "it has more than 16,777,216 bytes"),
        (changed(HEADER, "format", to=9), "format 9, and only 1 is known"),
        (changed(HEADER, "tensors", to=["a", "a"]), "different names"),
        (changed(HEADER, "tensors", to=["a"]), "1 tensors with 2 shapes and 2 groups"),
        (changed(HEADER, "tensors", 0, to="x" * 1001), "a name must be text of up to 1,000 characters"),
        (changed(HEADER, "shapes", 0, to="x"), "shapes must be lists"),
        (changed(HEADER, "group_of", 0, to=-1), "group_of must be a whole number"),
        (changed(HEADER, "started", to="inf"), "started must be seconds"),
        (changed(line(1), "step", to="x"), 'step must be a whole number from 0 to 9,007,199,254,740,991, not "x"'),
        (changed(line(1), "step", to=True), "step .* not true"),
        (changed(line(1), "step", to=10**400), "step .* not 1000"),
        (changed(line(1), "step", to=STEPS + 1), "step"),
        (changed(line(1), "step", to=1.0), "step"),
        (changed(line(1), "time", to=None), 'time must be a number, "nan", "inf" or "-inf", not null'),
        (changed(line(1), "made", to=1), "made must be true or false"),
        (changed(line(1), "metrics", "loss", to="x"), "loss must be a number"),
        (changed(line(1), "metrics", to=[]), "metrics must be an object, not a list"),
        (changed(line(1), "metrics", "loss", to=10**400), "loss must be a number"),
        (changed(line(1), "groups", 0, to=None), "groups must be objects"),
        (changed(line(1), "groups", 0, "betas", to=[]), "1 exponents and 0 pairs of betas"),
        (changed(line(1), "groups", 0, "betas", 0, to=[0.9]), "betas must be pairs"),
        (changed(line(1), "groups", to=[]), "groups: it has 0"),
        (changed(line(1), "tensors", "bound", to=[1.0]), "bound must have a number for each of the 2 tensors, not 1"),
        (changed(line(1), "tensors", "bound", 0, to=[]), "the number of a tensor must be a number"),
        (changed(line(1), "tensors", "bound", 0, to=None), "all of its numbers or none"),
        (changed(line(1), "tensors", "bound", 0, to=-1), "must not be negative"),
        (changed(line(1), "tensors", "zero_fraction", 0, to=1.5), "shares at most 1"),
        (changed(VERDICT, "where", to="x"), "where must be a list"),
        (changed(VERDICT, "severity", to="?"), "severity must be"),
        (changed(VERDICT, "confidence", to="nan"), "confidence must be a number from 0 to 1"),
        (changed(VERDICT, "message", to=None), "message must be text, not null"),
        (changed(ACTION, "verdicts", to=[1]), "verdicts must be an object"),
        (changed(ACTION, "to_step", to="x"), "to_step must be a whole number"),
    ],
)
def test_a_line_that_is_not_of_a_run_is_refused_with_what_is_wrong_in_a_few_words(text, why):
    with pytest.raises(ValueError, match=why) as refused:
        parse_line(text, RUN)
    assert len(str(refused.value)) < 200


# ---- a file


def test_bad_lines_are_counted_and_said_and_their_neighbours_are_shown(tmp_path, run):
    bad = [changed(line(1), "metrics", "loss", to="\x1b[2J"), b"nonsense", b'{"kind": "reading", "st']
    write(tmp_path, HEADER, line(1), bad[0], line(2), *bad[1:], line(3))
    found = taken_in(tmp_path)
    assert found.overview.steps[0, : found.overview.used].tolist() == [1, 2, 3]
    assert (found.unreadable, [number for number, _ in found.refusals]) == (3, [3, 5, 6])
    code, out, err = run("watch", tmp_path, "--once")
    assert (code, err) == (0, "")
    shown = " ".join(out.split())
    assert (
        '3 lines of readings.jsonl cannot be read: line 3: loss must be a number, "nan", "inf" or "-inf", not "�[2J";' in shown
    )
    assert "line 5: not JSON" in shown
    _, out, _ = run("watch", tmp_path, "--json")
    [plain] = json.loads(out)
    assert (plain["unreadable_lines"], plain["refusals"][1]["line"], plain["last"]["step"]) == (3, 5, 3)


def test_a_line_that_is_too_long_is_passed_over_without_being_kept(tmp_path):
    write(tmp_path, HEADER, line(1), b"x" * (5 * LINE_BYTES // 2), line(2))
    tracemalloc.start()
    found = taken_in(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (found.last.step, found.unreadable, found.refusals[0][0]) == (2, 1, 3)
    assert peak < 8 * LINE_BYTES


def test_half_a_line_is_waited_for_and_a_file_that_was_shortened_or_rewritten_is_read_anew(tmp_path):
    path = write(tmp_path, HEADER, line(1), line(2), line(3)[:80], end="")
    run = taken_in(tmp_path)
    assert (run.last.step, run.unreadable) == (2, 0)
    with path.open("a") as file:
        file.write(line(3)[80:] + "\n")
    assert run.read()
    assert (run.last.step, run.unreadable) == (3, 0)
    write(tmp_path, HEADER, line(1))
    while run.read():
        pass
    assert (run.last.step, run.overview.count) == (1, 1)
    write(tmp_path, HEADER.replace("mine", "ours"), line(7))  # as long as before
    while run.read():
        pass
    assert (run.name, run.last.step, run.overview.count) == ("ours", 7, 1)


def test_a_file_that_is_gone_for_a_while_is_said_and_read_on_when_it_is_back(tmp_path):
    path = write(tmp_path, HEADER, line(1))
    run = taken_in(tmp_path)
    path.rename(tmp_path / "elsewhere")
    assert run.read()
    assert not run.read()
    assert run.unavailable == f"there is no run: {path} cannot be read: No such file or directory"
    (tmp_path / "elsewhere").rename(path)
    with path.open("a") as file:
        file.write(line(2) + "\n")
    assert run.read()
    assert (run.unavailable, run.last.step, run.overview.count) == ("", 2, 2)


def test_two_writers_at_once_cost_the_lines_that_they_tore_and_no_others(tmp_path):
    torn = line(2)
    write(tmp_path, HEADER, line(1), torn[:100] + line(3) + "\n" + torn[100:], line(4))
    run = taken_in(tmp_path)
    assert (run.overview.count, run.unreadable, run.last.step) == (2, 2, 4)


def a_pipe(path):
    os.mkfifo(path)


def a_loop(path):
    path.symlink_to(path)


@pytest.mark.parametrize("make", [a_pipe, a_loop, os.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_regular_file_is_refused_at_once_and_never_written_to(tmp_path, make, run):
    make(tmp_path / "readings.jsonl")
    for command in ("watch", "recommend"):
        code, out, err = run(command, tmp_path)
        assert (code, out) == (2, "")
        assert err.startswith(f"error: there is no run: {tmp_path}/readings.jsonl ")
        assert err.count("\n") == 1
    with pytest.raises(OSError, match="readings"):
        JsonLines(tmp_path).open(RUN)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "holds no run yet: it has no whole line"),
        (HEADER.encode(), "holds no run yet: it has no whole line"),
        (line(1).encode() + b"\n", "holds no run: line 1: a reading, but no header before it says which tensors there are"),
        (b"\x89PNG\r\n\x1a\n" * 100, "holds no run: line 1: byte 1 is not UTF-8"),
        (b"x\n" * 10**5, "holds no run: line 1: not JSON"),
    ],
)
def test_where_nothing_can_be_shown_one_line_says_why(tmp_path, run, content, why):
    (tmp_path / "readings.jsonl").write_bytes(content)
    for how in ("--once", "--json"):
        code, out, err = run("watch", tmp_path, how)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert why in err
        assert len(err) < 400


def test_a_file_of_a_terabyte_without_a_line_is_refused_within_a_gigabyte(tmp_path):
    with (tmp_path / "readings.jsonl").open("wb") as file:
        file.truncate(10**12)
    limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))  # noqa: E731
    for how in ("--once", "--json"):
        command = [sys.executable, "-m", "equipoise", "watch", how, str(tmp_path)]
        environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit, env=environment, timeout=120)
        assert (done.returncode, done.stdout) == (2, "")
        assert "line 1: it has more than 16,777,216 bytes" in done.stderr


# ---- many


def test_a_tensor_takes_at_most_20_kilobytes():
    count = 2_000
    names = tuple(f"model.layers.{number}.attention.projection.weight" for number in range(count))
    header = RunInfo("giant", 0.0, {}, names, ((2,),) * count, (0,) * count)
    column = ", ".join(["0.125"] * count)
    tensors = ", ".join(f'"{name}": [{column}]' for name in INDICATORS)
    empty = reading_line(reading(111, tensors={}), names)
    tracemalloc.start()
    story = Story(None)
    story.take([(0, header_line(header).encode())])
    for step in range(1, FEWEST_BUCKETS + 3):
        text = empty.replace("111", str(step), 1).replace('"tensors": {}', f'"tensors": {{{tensors}}}')
        story.take([(step, text.encode())])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (story.unreadable, story.tensors.count, story.tensors.buckets) == (0, FEWEST_BUCKETS + 2, FEWEST_BUCKETS)
    assert peak < 20_000 * count


def test_a_run_that_grows_without_end_is_refused_what_goes_beyond_its_limits(tmp_path, monkeypatch):
    monkeypatch.setattr(_story, "CURVES", 50)
    monkeypatch.setattr(_story, "TENSORS", 3)
    more = RunInfo("mine", 0.0, {}, ("a", "b"), ((1,), (1,)), (0, 0))
    write(
        tmp_path,
        *[HEADER, line(1)],
        line(2, metrics={f"metric {number}": 1.0 for number in range(50)}),
        *[header_line(more), line(3)],
        *(event_line(verdict(3, f"kind {number}")) for number in range(2 * _story.EVENTS_KEPT)),
    )
    run = taken_in(tmp_path)
    assert [number for number, _ in run.refusals] == [3, 4]
    assert "more than 50 metrics" in run.refusals[0][1]
    assert "more than 3 tensors" in run.refusals[1][1]
    assert len(run.events) == _story.EVENTS_KEPT


def test_more_runs_than_a_process_may_open_files_are_read(tmp_path, run):
    for number in range(40):
        (tmp_path / str(number)).mkdir()
        write(tmp_path / str(number), HEADER, line(1))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (30, hard))
    try:
        code, out, _ = run("watch", *(tmp_path / str(number) for number in range(40)), "--json")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (code, len(json.loads(out))) == (0, 40)


# ---- the index


@pytest.mark.parametrize("damage", [a_pipe, a_loop, lambda path: path.symlink_to("/dev/zero")])
def test_an_index_that_is_no_regular_file_is_not_read(tmp_path, damage):
    write(tmp_path, HEADER, line(1))
    damage(tmp_path / INDEX)
    assert taken_in(tmp_path).last.step == 1


def test_an_index_with_any_byte_changed_is_not_used_and_one_that_fits_brings_everything_back(tmp_path):
    write(tmp_path, HEADER, line(1), "nonsense", line(2), event_line(verdict(2, where=NAMES)), ACTION, HEADER)
    first = taken_in(tmp_path)
    first._write_index()
    again = Run(tmp_path)
    assert again.position == first.position
    assert repr((again.last, again.events, again.header)) == repr((first.last, first.events, first.header))
    assert again.verdicts == first.verdicts != []
    assert (again.unreadable, again.refusals, again.lines) == (first.unreadable, first.refusals, first.lines)
    assert not again.read()
    content = (tmp_path / INDEX).read_bytes()
    for place in np.linspace(0, len(content) - 1, 40).astype(int).tolist():
        (tmp_path / INDEX).write_bytes(content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :])
        assert Run(tmp_path).position == 0


def test_what_is_never_read_again_is_never_written(tmp_path):
    sink = JsonLines(tmp_path)
    with pytest.raises(ValueError, match="a name of 1,001 characters"):
        sink.open(RunInfo("x" * 1001, 0.0, {}, (), (), ()))
    sink.open(RUN)
    sink.write(reading(1, groups=(group(),)))
    with pytest.raises(ValueError, match="only shorter ones than 16,777,216 are read again"):
        sink.write(reading(2, metrics={f"{number:0900}": 1.0 for number in range(20_000)}))
    assert taken_in(tmp_path).last.step == 1
