"""Runs read back, followed while they are written, and downsampled without losing a spike."""

import io
import math
from contextlib import ExitStack

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from equipoise.errors import UnusableInputError
from equipoise.monitor import JsonLines, Reading
from equipoise.monitor._recording.run_file import INDICATORS, RunInfo, event_line, reading_line
from equipoise.watch import Run, _overview, _run, records
from equipoise.watch._file import line_file
from equipoise.watch._file.index import INDEX
from equipoise.watch._overview import BUCKETS, Overview
from tests.monitor.samples import NAMES, RUN, Action, group, reading, verdict


@pytest.fixture
def sink(tmp_path):
    sink = JsonLines(tmp_path)
    sink.open(RUN)
    yield sink
    sink.close()


@pytest.fixture
def follow():
    """A run that is closed at the end."""
    with ExitStack() as opened:
        yield lambda folder: opened.enter_context(Run(folder))


@pytest.fixture
def taken_in(follow):
    """A run whose file was read to its end."""

    def taken_in(folder):
        run = follow(folder)
        while run.read():
            pass
        return run

    return taken_in


def saved(overview):
    """Everything that an overview is."""
    return overview.sizes(), b"".join(overview.pieces())


# ---- records


def test_verdicts_and_actions_come_as_they_stand_in_the_file_after_their_reading(sink, tmp_path):
    sink.write(reading(1))
    sink.write(verdict(1))
    sink.write(Action("stop", 1, (), "stopped"))
    found = list(records(tmp_path))
    assert (found[0], found[1].step) == (RUN, 1)
    assert [one["kind"] for one in found[2:]] == ["verdict", "action"]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('{"kind": "reading"}', "line 2: not a line of a run"),
        ("[1]", "line 2"),
        ("{", "line 2"),
        ('{"kind": "run", "format": 9}', "format 9, and only 1 is known"),
    ],
)
def test_a_line_that_is_none_of_ours_is_refused_with_its_number(sink, tmp_path, line, why):
    with (tmp_path / "readings.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(UnusableInputError, match=why):
        list(records(tmp_path))


@pytest.mark.parametrize("read", [lambda folder: list(records(folder)), Run])
def test_a_folder_without_a_run_is_refused(tmp_path, read):
    with pytest.raises(
        UnusableInputError, match=r"there is no run: .*readings\.jsonl cannot be read: No such file or directory"
    ):
        read(tmp_path)


# ---- overview

values = st.one_of(st.floats(-1e9, 1e9, width=32), st.sampled_from([math.nan, math.inf, -math.inf, None]))


def add(overview, steps, places, values):
    """Add readings of one series, None where it is missing."""
    numbers = [[math.nan if value is None else value] for value in values]
    overview.add(steps, places, ["a"], numbers, np.array([[value is None] for value in values]))


@given(st.lists(values, min_size=1, max_size=60), st.integers(1, 50), st.lists(st.integers(1, 700), min_size=1, max_size=8))
def test_however_readings_arrive_the_overview_is_the_same_and_loses_neither_extremes_nor_what_is_not_finite(some, times, sizes):
    everything = some * times
    whole, pieces = Overview(), Overview()
    add(whole, range(1, len(everything) + 1), range(len(everything)), everything)
    place = 0
    while place < len(everything):
        part = everything[place : place + sizes[place % len(sizes)]]
        add(pieces, range(place + 1, place + 1 + len(part)), range(place, place + len(part)), part)
        place += len(part)
    assert saved(whole) == saved(pieces)
    low, high, nonfinite = whole.curve("a")
    assert whole.used <= BUCKETS
    for bucket in range(whole.used):
        inside = [value for value in everything[bucket * whole.width :][: whole.width] if value is not None]
        finite = [value for value in inside if math.isfinite(value)]
        assert nonfinite[bucket] == (len(finite) < len(inside))
        assert (low[bucket], high[bucket]) == (min(finite), max(finite)) if finite else math.isnan(low[bucket])


def test_one_spike_and_one_nan_in_a_hundred_thousand_readings_are_seen():
    overview = Overview()
    for begin in range(0, 100_000, 1000):
        rows = [[1.0 + 0.1 * (step % 7)] for step in range(begin, begin + 1000)]
        if begin == 31_000:
            rows[337], rows[338] = [500.0], [math.nan]
        overview.add(range(begin, begin + 1000), range(begin, begin + 1000), ["loss"], rows)
    low, high, nonfinite = overview.curve("loss")
    assert (overview.count, overview.width, overview.used) == (100_000, 128, 782)
    spike = int(np.argmax(high))
    assert (high[spike], nonfinite.sum()) == (500.0, 1)
    assert overview.steps[0, spike] <= 31_337 <= overview.steps[1, spike]
    assert low.min() == 1.0
    assert len(saved(overview)[1]) < 40_000


@st.composite
def runs_with_steps_back(draw):
    """The steps of the readings of a run that is rolled back or resumed now and then."""
    steps = [1]
    for length, back in draw(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 60)), max_size=12)):
        steps += range(steps[-1] + 1, steps[-1] + length)
        steps.append(max(1, steps[-1] - back))
    return steps


@given(runs_with_steps_back(), st.lists(st.integers(1, 50), min_size=1, max_size=8), st.sampled_from([8, 16, BUCKETS]))
def test_a_run_that_went_back_is_one_line_of_steps_that_only_grow_and_what_was_abandoned(steps, sizes, most):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_overview, "BUCKETS", most)
        overview, whole = Overview(), Overview()
        values = [[float(place)] for place in range(len(steps))]
        whole.add(steps, range(len(steps)), ["a"], values)
        place = 0
        while place < len(steps):
            part = slice(place, place + sizes[place % len(sizes)])
            overview.add(steps[part], range(len(steps))[part], ["a"], values[part])
            place = part.stop
    assert saved(whole) == saved(overview)
    assert overview.used <= most
    assert overview.count == len(steps)
    begins, ends = overview.steps[:, : overview.used]
    assert (begins <= ends).all()
    line = ~overview.abandoned_buckets
    assert (ends[line][:-1] < begins[line][1:]).all()
    assert line[-1]
    assert ends[-1] == steps[-1]
    if overview.width == 1:
        again = [step >= min(steps[place + 1 :], default=math.inf) for place, step in enumerate(steps)]
        assert overview.abandoned_buckets.tolist() == again
        assert overview.abandoned(np.array(steps), np.arange(len(steps))).tolist() == again


def test_a_series_that_comes_late_is_missing_before():
    overview = Overview()
    overview.add([1, 2], [0, 1], ["a"], [[1.0], [2.0]])
    overview.add([3], [2], ["b", "a"], [[9.0, 3.0]])
    np.testing.assert_array_equal(overview.curve("b")[0], [math.nan, math.nan, 9.0])
    np.testing.assert_array_equal(overview.curve("a")[1], [1.0, 2.0, 3.0])
    assert overview.newest("a") == 3.0


def test_an_overview_that_was_saved_goes_on_as_if_nothing_had_been():
    once, twice = Overview(), Overview()
    once.add(range(3000), range(3000), ["a"], [[float(step)] for step in range(3000)])
    twice.add(range(1337), range(1337), ["a"], [[float(step)] for step in range(1337)])
    sizes, content = saved(twice)
    twice = Overview.load(sizes, io.BytesIO(content))
    twice.add(range(1337, 3000), range(1337, 3000), ["a"], [[float(step)] for step in range(1337, 3000)])
    assert saved(once) == saved(twice)


# ---- a run that is followed


def test_a_run_is_followed_line_by_line_while_half_lines_wait(sink, tmp_path, taken_in):
    run = taken_in(tmp_path)
    assert (run.name, run.last, run.overview.count) == ("mine", None, 0)
    sink.write(reading(1, 0.5))
    assert run.read()
    assert run.last.metrics == {"loss": 0.5}
    line = reading_line(reading(2, 0.25), NAMES) + "\n"
    with (tmp_path / "readings.jsonl").open("a") as file:
        file.write(line[:50])
        file.flush()
        assert not run.read()
        file.write(line[50:])
    assert run.read()
    assert (run.last.step, run.last.metrics, run.unreadable) == (2, {"loss": 0.25}, 0)


def test_series_have_the_names_that_loggers_use_and_a_metric_that_comes_at_times_is_missing_between(sink, tmp_path, taken_in):
    for step in range(1, 5):
        more = {"validation_loss": 9.0} if step == 2 else {}
        sink.write(reading(step, names=NAMES[:1], metrics={"loss": float(step)} | more))
    run = taken_in(tmp_path)
    overview, tensors = run.overview, run.tensors
    assert {"metrics/loss", "group 0/margin", "group 0/beta2 of stage 1"} <= overview.place_of.keys()
    np.testing.assert_array_equal(overview.curve("metrics/validation_loss")[0], [math.nan, 9.0, math.nan, math.nan])
    low, _, nonfinite = tensors.curve("layer.bias", INDICATORS.index("gradient_rms"))
    assert np.isnan(low).all()
    assert nonfinite.sum() == 0
    assert tensors.curve("layer.weight", INDICATORS.index("norm_ratio"))[2].sum() == 4


def test_a_step_that_was_not_made_has_no_tensors(sink, tmp_path, taken_in):
    sink.write(reading(1))
    sink.write(reading(2, made=False, tensors={}))
    run = taken_in(tmp_path)
    assert (run.last.made, run.last.tensors, run.overview.count) == (False, {}, 2)
    np.testing.assert_array_equal(run.tensors.curve("layer.weight", INDICATORS.index("gradient_rms"))[0], [0.5])


def test_a_run_that_is_resumed_with_other_tensors_and_groups_goes_on(tmp_path, taken_in):
    for names, groups in ((("a", "b"), (group(),)), (("b", "c"), (group(), group(0.2)))):
        sink = JsonLines(tmp_path)
        sink.open(RunInfo("mine", 0.0, {}, names, ((1,), (1,)), (0, 0)))
        sink.write(reading(len(groups), names=names, groups=groups))
        sink.close()
    run = taken_in(tmp_path)
    assert run.last.tensors.keys() == {"b", "c"}
    np.testing.assert_array_equal(run.tensors.curve("b", INDICATORS.index("gradient_rms"))[0], [0.5, 0.5])
    np.testing.assert_array_equal(run.tensors.curve("a", INDICATORS.index("gradient_rms"))[0], [0.5, math.nan])
    np.testing.assert_array_equal(run.overview.curve("group 1/margin")[0], np.array([math.nan, 0.2], np.float32))


def test_a_verdict_that_goes_on_is_remembered_once_as_it_was_said_last(sink, tmp_path, taken_in):
    for step in (1, 2, 3):
        sink.write(reading(step))
        sink.write(verdict(step, message=f"at {step}"))
    sink.write(Action("rollback", 3, (), "back"))
    run = taken_in(tmp_path)
    assert [event["message"] for event in run.events] == ["at 3", "back"]
    assert [event["message"] for event in run.verdicts] == ["at 3"]
    sink.write(reading(4))
    run.read()
    assert run.verdicts == []
    assert len(run.events) == 2


def test_another_file_in_the_same_place_is_read_from_its_beginning(sink, tmp_path, taken_in):
    sink.write(reading(1))
    run = taken_in(tmp_path)
    other = tmp_path / "other"
    second = JsonLines(other)
    second.open(RunInfo("second", 0.0, {}, NAMES, ((2, 3), (2,)), (0, 0)))
    second.close()
    (other / "readings.jsonl").replace(tmp_path / "readings.jsonl")
    while run.read():
        pass
    assert (run.name, run.last, run.overview.count) == ("second", None, 0)


def test_lines_that_are_none_of_ours_are_counted_and_the_others_shown(sink, tmp_path, taken_in):
    with (tmp_path / "readings.jsonl").open("a") as file:
        file.write('nonsense\n[]\n{"kind": "reading", "step": 1}\n')
    sink.write(reading(2))
    run = taken_in(tmp_path)
    assert (run.unreadable, run.last.step) == (3, 2)


def test_what_was_understood_of_a_long_file_is_kept_and_used_again(sink, tmp_path, monkeypatch, taken_in, follow):
    monkeypatch.setattr(_run, "INDEX_BYTES", 1000)
    for step in range(1, 50):
        sink.write(reading(step, loss=math.nan if step == 7 else 0.5))
    sink.write(verdict(49))
    first = taken_in(tmp_path)
    again = follow(tmp_path)
    assert again.position == first.position == (tmp_path / "readings.jsonl").stat().st_size
    assert (again.name, again.last.step, again.verdicts) == ("mine", 49, first.verdicts)
    sink.write(reading(50))
    while again.read():
        pass
    assert again.overview.count == 50
    assert again.overview.curve("metrics/loss")[2].sum() == 1


@pytest.mark.parametrize("damage", ["other file", "half an index", "an index of nothing"])
def test_an_index_that_does_not_fit_is_not_used(sink, tmp_path, monkeypatch, damage, taken_in, follow):
    monkeypatch.setattr(_run, "INDEX_BYTES", 1000)
    for step in range(1, 50):
        sink.write(reading(step))
    taken_in(tmp_path)
    path, index = tmp_path / "readings.jsonl", tmp_path / INDEX
    if damage == "other file":
        path.write_bytes(path.read_bytes().replace(b'"mine"', b'"hers"'))
    elif damage == "half an index":
        index.write_bytes(index.read_bytes()[:5000])
    else:
        index.write_bytes(b"")
    run = follow(tmp_path)
    assert run.position == 0
    while run.read():
        pass
    assert (run.last.step, run.overview.count) == (49, 49)


def test_a_run_that_cannot_be_written_to_is_read_all_the_same(sink, tmp_path, monkeypatch, taken_in):
    monkeypatch.setattr(_run, "INDEX_BYTES", 1000)
    (tmp_path / INDEX).mkdir()
    for step in range(1, 50):
        sink.write(reading(step))
    assert taken_in(tmp_path).last.step == 49


# ---- long files


@pytest.fixture(scope="module")
def long_run(tmp_path_factory):
    """5,000 readings, 4 MB, of which each tells its step by its loss."""
    folder = tmp_path_factory.mktemp("long")
    sink = JsonLines(folder)
    sink.open(RUN)
    sink.close()
    line = reading_line(reading(111, loss=222.5, names=NAMES[:1]), NAMES) + "\n"
    with (folder / "readings.jsonl").open("a") as file:
        for step in range(10, 50_010, 10):
            file.write(line.replace("111", str(step), 1).replace("222.5", str(step + 0.5), 1))
            if step % 1000 == 0:
                file.write(event_line(verdict(step, since=step)) + "\n")
    return folder


def test_a_sample_of_a_long_file_shows_its_whole_length_and_its_end_and_takes_nothing_in(long_run, monkeypatch, follow):
    monkeypatch.setattr(_run, "INDEX_BYTES", 1 << 20)
    run = follow(long_run)
    seen = run.to_show()
    assert seen is not run
    assert (seen.last.step, seen.last.metrics) == (50_000, {"loss": 50_000.5})
    steps = seen.overview.steps[0, : seen.overview.used]
    assert steps[0] < 200
    assert np.diff(steps).max() < 4 * 50_000 / _run.SAMPLE_PLACES
    assert not seen.overview.abandoned_buckets.any()
    assert (run.position, run.overview.count, seen.verdicts[0]["step"]) == (0, 0, 50_000)
    while run.read():
        pass
    assert run.to_show() is run
    assert (run.overview.count, run.unreadable) == (5_000, 0)


@pytest.mark.parametrize(
    ("first", "last"), [(0, 50), (9_995, 10_105), (20_000, 20_000), (49_900, 10**9), (5, 9), (10**7, 10**8)]
)
@pytest.mark.parametrize("indexed", [True, False])
def test_a_closer_look_has_every_reading_between_two_steps_and_few_around(long_run, first, last, indexed, monkeypatch, follow):
    monkeypatch.setattr(_run, "INDEX_BYTES", 1 << 20)
    (long_run / INDEX).unlink(missing_ok=True)
    run = follow(long_run)
    while indexed and run.read():
        pass
    assert (run.to_show() is run) == indexed
    found = run.window(first, last).overview
    steps = found.steps[0, : found.used].tolist()
    inside = [step for step in steps if first <= step <= last]
    assert inside == [step for step in range(10, 50_010, 10) if first <= step <= last]
    assert len(steps) - len(inside) <= 250
    if steps:
        np.testing.assert_array_equal(found.curve("metrics/loss")[0], [step + 0.5 for step in steps])


def test_a_closer_look_at_steps_that_were_repeated_has_each_attempt_at_them(tmp_path, taken_in):
    for steps in (range(1, 31), range(21, 41), range(11, 51)):
        sink = JsonLines(tmp_path)
        sink.open(RUN)
        for step in steps:
            sink.write(reading(step, loss=float(steps[0])))
        sink.close()
    run = taken_in(tmp_path)
    found = run.window(25, 26).overview
    attempts = [
        (loss, step) for loss, step in zip(found.curve("metrics/loss")[0], found.steps[0], strict=False) if step in (25, 26)
    ]
    assert attempts == [(1, 25), (1, 26), (21, 25), (21, 26), (11, 25), (11, 26)]
    given_up = run.overview.abandoned(found.steps[1, : found.used], found.places[: found.used])
    assert {loss for loss, up in zip(found.curve("metrics/loss")[0], given_up, strict=True) if not up} == {11}


def test_a_closer_look_at_too_much_is_none(long_run, monkeypatch, follow):
    monkeypatch.setattr(_run, "WINDOW_BYTES", 10_000)
    run = follow(long_run)
    while run.read():
        pass
    assert run.window(0, 10**9) is None


def test_lines_longer_than_what_is_read_at_a_time_are_read_whole(sink, tmp_path, monkeypatch, taken_in):
    monkeypatch.setattr(_run, "PART_BYTES", 64)
    monkeypatch.setattr(line_file, "ENOUGH_FOR_A_LINE", 64)
    for step in (1, 2, 3):
        sink.write(reading(step))
    run = taken_in(tmp_path)
    assert (run.overview.count, run.unreadable) == (3, 0)
    assert 2 in run.window(2, 2).overview.steps[0]


def test_of_a_run_that_was_started_again_in_the_same_folder_the_newest_start_is_shown(tmp_path, taken_in):
    for loss in (0.5, 0.25):
        sink = JsonLines(tmp_path)
        sink.open(RUN)
        for step in (10, 20, 30):
            sink.write(reading(step, loss=loss))
            sink.write(verdict(step, f"at {loss}"))
        sink.close()
    run = taken_in(tmp_path)
    low, high, _ = run.overview.curve("metrics/loss")
    assert (low.tolist(), high.tolist()) == ([0.25] * 3, [0.25] * 3)
    assert {event["verdict"] for event in run.events} == {"at 0.25"}
    assert sum(isinstance(record, Reading) for record in records(tmp_path)) == 6


def test_verdicts_are_of_the_newest_reading_and_not_of_an_earlier_attempt_at_its_step(sink, tmp_path, taken_in):
    for step in (10, 20):
        sink.write(reading(step))
    sink.write(verdict(20))
    sink.write(Action("rollback", 20, (), "Back from step 20 to step 10."))
    run = taken_in(tmp_path)
    assert [one["step"] for one in run.verdicts] == [20]
    sink.write(reading(20))
    run.read()
    assert run.verdicts == []
    assert [one["kind"] for one in run.events] == ["verdict", "action"]


def test_of_a_run_that_was_resumed_everything_is_shown(tmp_path, taken_in):
    for steps in ((10, 20, 30), (20, 30, 40)):
        sink = JsonLines(tmp_path)
        sink.open(RUN)
        for step in steps:
            sink.write(reading(step))
        sink.close()
    assert taken_in(tmp_path).overview.count == 6
