"""Where readings go: a file that loses nothing, and sinks that cannot stop training."""

import json
import logging
import math
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from equipoise.monitor import GroupReading, JsonLines, Reading, TensorReading
from equipoise.monitor._recording.run_file import INDICATORS, event_line, header_line, reading_line
from equipoise.monitor._recording.sinks import WAITING, SinkSet
from equipoise.watch import records
from equipoise.watch._file.lines import parse_line
from tests.monitor.samples import NAMES, RUN, Action, reading, verdict

ROOT = Path(__file__).parents[2]
numbers = st.floats(width=64)
measured = st.one_of(st.floats(0), st.just(math.nan)).map(lambda value: float(f"{value:.6g}"))
shares = st.one_of(st.floats(0, 1), st.just(math.nan)).map(lambda value: float(f"{value:.6g}"))
groups = st.builds(
    lambda stages, **values: GroupReading(
        exponent=tuple(one[0] for one in stages), betas=tuple((one[1], one[2]) for one in stages), **values
    ),
    stages=st.lists(st.tuples(numbers, numbers, numbers), min_size=1, max_size=3),
    **dict.fromkeys(("lr", "margin", "margin_ahead", "gradient_spread", "update_spread"), numbers),
)
tensors = st.dictionaries(
    st.sampled_from(NAMES),
    st.builds(TensorReading, **{name: shares if name.endswith("fraction") else measured for name in INDICATORS}),
)
readings = st.builds(
    Reading,
    step=st.integers(1, 10**9),
    time=st.floats(0, 1e10),
    made=st.booleans(),
    metrics=st.dictionaries(st.text(), numbers, max_size=3),
    groups=st.lists(groups, min_size=1, max_size=2).map(tuple),
    tensors=tensors,
)


def refused(constant):
    raise AssertionError(f"{constant} is no JSON")


def parsed(line):
    return json.loads(line, parse_constant=refused)


def same(one, other):
    """Equality in which NaN equals itself."""
    return repr(one) == repr(other)


@given(readings)
def test_what_is_written_is_read_back_exactly_and_is_standard_json(written):
    line = reading_line(written, NAMES)
    assert "\n" not in line
    parsed(line)
    found = parse_line(line.encode(), parse_line(header_line(RUN).encode(), None)).reading(RUN)
    tensors = {name: found.tensors[name] for name in written.tensors}
    assert same(Reading(found.step, found.time, found.made, found.metrics, found.groups, tensors), written)


def test_numbers_of_tensors_are_written_with_six_digits_and_none_where_there_was_no_gradient():
    written = reading(tensors={"layer.bias": TensorReading(*[1 / 3] * 9, math.inf)})
    columns = parsed(reading_line(written, NAMES))["tensors"]
    assert columns["gradient_rms"] == [None, 0.333333]
    assert columns["norm_ratio"] == [None, "inf"]


def test_the_kind_of_a_verdict_stands_under_the_name_verdict_at_every_depth():
    line = parsed(event_line(Action("rollback", 7, (verdict(7),), "back to step 5")))
    assert (line["kind"], line["action"], line["step"]) == ("action", "rollback", 7)
    assert line["verdicts"][0] == {
        "verdict": "nonfinite-loss",
        "severity": "trouble",
        "step": 7,
        "since": 1,
        "where": [],
        "confidence": 1.0,
        "message": "loss is nan.",
        "advice": "Look.",
    }


def write(folder, *steps):
    sink = JsonLines(folder)
    sink.open(RUN)
    for step in steps:
        sink.write(reading(step))
    sink.close()


def test_a_run_that_is_resumed_goes_on_in_the_same_file_with_another_header(tmp_path):
    write(tmp_path / "run", 1, 2)
    write(tmp_path / "run", 3)
    found = list(records(tmp_path / "run"))
    assert [one if one == RUN else one.step for one in found] == [RUN, 1, 2, RUN, 3]


def test_half_a_line_is_removed_at_open_and_the_log_says_so(tmp_path, caplog):
    write(tmp_path, 1, 2)
    path = tmp_path / "readings.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    write(tmp_path, 3)
    assert [one.step for one in records(tmp_path) if isinstance(one, Reading)] == [1, 3]
    last = whole.splitlines(keepends=True)[-1]
    assert f"ended in the middle of a line; its {len(last) - 40} bytes were removed" in caplog.text


def test_a_second_writer_is_refused_and_leaves_the_file_alone(tmp_path):
    first = JsonLines(tmp_path)
    first.open(RUN)
    before = (tmp_path / "readings.jsonl").read_bytes()
    with pytest.raises(BlockingIOError):
        JsonLines(tmp_path).open(RUN)
    assert (tmp_path / "readings.jsonl").read_bytes() == before
    first.close()


def python(code, **options):
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT, **options)


WRITER = """
from tests.monitor.samples import RUN, reading
from equipoise.monitor import JsonLines
from equipoise.monitor._recording.sinks import SinkSet
sinks = SinkSet([JsonLines(FOLDER)])
sinks.open(RUN)
"""


def test_a_process_that_is_killed_loses_nothing_that_was_written(tmp_path):
    loop = "for step in range(1, 10**9):\n    sinks.write(reading(step))\n    print(step, flush=True)"
    with python(f"FOLDER = {str(tmp_path)!r}\n{WRITER}\n{loop}") as writer:
        for line in writer.stdout:
            if int(line) == 300:
                writer.kill()
                break
        said = [300, *(int(line) for line in writer.stdout if line.endswith("\n"))]
    found = [one.step for one in records(tmp_path) if isinstance(one, Reading)]
    assert found == list(range(1, len(found) + 1))
    assert len(found) >= max(said)


def test_a_full_disk_leaves_whole_lines_drops_the_sink_once_and_training_goes_on(tmp_path):
    code = f"""
import resource, signal
FOLDER = {str(tmp_path)!r}
{WRITER}
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
for step in range(1, 100):
    sinks.write(reading(step))
print(step, len(sinks.dropped))
"""
    full = python(code, stderr=subprocess.PIPE)
    out, err = full.communicate(timeout=60)
    assert (out, full.returncode) == ("99 1\n", 0)
    assert err.count("gets no more readings, training goes on: write failed: OSError") == 1
    content = (tmp_path / "readings.jsonl").read_bytes()
    assert content.endswith(b"}\n")
    found = [one.step for one in records(tmp_path) if isinstance(one, Reading)]
    assert found == list(range(1, len(found) + 1))
    assert len(found) > 2


class Kept:
    """A sink that remembers, after waiting or failing as it is told."""

    def __init__(self, *, fails_at=None, waits=None):
        self.calls, self._fails_at, self._waits = [], fails_at, waits

    def _call(self, name):
        if self._waits is not None:
            self._waits.wait()
        if name == self._fails_at:
            raise RuntimeError(f"cannot {name}")
        self.calls.append(name)

    def open(self, run):
        self._call("open")

    def write(self, record):
        self._call(record.step)

    def close(self):
        self._call("close")

    def __repr__(self):
        return "Kept()"


@pytest.mark.parametrize("fails_at", ["open", 2, "close"])
def test_a_sink_that_fails_is_reported_once_and_the_others_get_everything(fails_at, caplog):
    failing, fine = Kept(fails_at=fails_at), Kept()
    sinks = SinkSet([failing, fine])
    sinks.open(RUN)
    for step in (1, 2, 3):
        sinks.write(reading(step))
    sinks.close()
    assert fine.calls == ["open", 1, 2, 3, "close"]
    assert sinks.dropped == [failing]
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "Kept() gets no more readings, training goes on"
    ]
    assert f"RuntimeError: cannot {fails_at}" in caplog.text
    assert fails_at not in failing.calls


def test_a_sink_that_hangs_stops_neither_training_nor_its_end(caplog):
    never = threading.Event()
    hanging, fine = Kept(waits=never), Kept()
    sinks = SinkSet([hanging, fine], patience=0.3)
    sinks.open(RUN)
    for step in range(1, 11):
        sinks.write(reading(step))
    sinks.close()
    assert fine.calls == ["open", *range(1, 11), "close"]
    assert sinks.dropped == [hanging]
    assert caplog.text.count("was not finished in time, 11 calls still wait for it") == 1
    never.set()


def test_a_sink_that_lets_too_many_records_wait_is_dropped_and_they_with_it(caplog):
    never = threading.Event()
    sinks = SinkSet([hanging := Kept(waits=never)])
    sinks.open(RUN)
    for step in range(1, WAITING + 50):
        sinks.write(reading(step, names=()))
    assert sinks.dropped == [hanging]
    assert caplog.text.count(f"{WAITING} records wait for it") == 1
    never.set()
    sinks.close()
    assert hanging.calls in ([], ["open"])


def test_a_slow_sink_gets_everything_before_the_end():
    class Slow(Kept):
        def write(self, record):
            time.sleep(0.01)
            super().write(record)

    sinks = SinkSet([slow := Slow()])
    sinks.open(RUN)
    for step in range(1, 21):
        sinks.write(reading(step))
    sinks.close()
    sinks.close()
    assert slow.calls == ["open", *range(1, 21), "close"]


def test_sinks_that_nobody_closed_are_closed_at_the_interpreters_end_and_one_that_hangs_does_not_prevent_it():
    code = """
import time
from tests.monitor.samples import RUN, reading
from equipoise.monitor._recording.sinks import SinkSet

class Slow:
    def open(self, run): pass
    def write(self, record): time.sleep(0.3); print("written", record.step, flush=True)
    def close(self): print("closed", flush=True)

class Hanging(Slow):
    def write(self, record): time.sleep(10**6)

sinks = SinkSet([Slow(), Hanging()], patience=3.0)
sinks.open(RUN)
sinks.write(reading(1))
"""
    done = python(code, stderr=subprocess.PIPE)
    out, err = done.communicate(timeout=60)
    assert (out, done.returncode) == ("written 1\nclosed\n", 0)
    assert "was not finished in time" in err


def test_the_log_is_where_a_failure_is_reported(caplog):
    caplog.set_level(logging.WARNING, "equipoise")
    sinks = SinkSet([JsonLines("/proc/nowhere")])
    sinks.open(RUN)
    sinks.write(reading())
    sinks.close()
    assert len(caplog.records) == 1
    assert (
        caplog.records[0]
        .getMessage()
        .startswith("JsonLines('/proc/nowhere') gets no more readings, training goes on: open failed")
    )
