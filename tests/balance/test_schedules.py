"""Schedules as values: their ends, bounds, pieces and plain form, and where they leave the stable region."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from equipoise.balance import Constant, Cosine, Cyclic, Function, Linear, Piecewise
from equipoise.balance import _stability_ahead as foresight
from equipoise.errors import ArgumentError
from equipoise.hyperparameters import Hyperparameters
from equipoise.theory import assess, margin

values = st.floats(-2, 2)
lengths = st.integers(1, 15)
with_an_end = st.one_of(
    st.builds(Constant, values, steps=lengths),
    st.builds(Linear, values, values, steps=lengths),
    st.builds(Cosine, values, values, steps=lengths),
    st.builds(Function, st.sampled_from([f"{__name__}:wave", "math:atan"]), steps=lengths),
)
pieces = st.lists(with_an_end, min_size=1, max_size=4)
endless = st.one_of(st.builds(Constant, values), pieces.map(lambda given: Cyclic(*given)))
anything = st.one_of(with_an_end, endless, st.tuples(pieces, endless).map(lambda given: Piecewise(*given[0], given[1])))


def wave(step):
    return math.sin(step)


def answer(step):
    return None if step == 3 else 0.5


@settings(deadline=None)
@given(shape=st.sampled_from([Linear, Cosine]), start=values, end=values, steps=lengths)
def test_a_ramp_begins_and_ends_exactly_where_it_says_and_is_monotone_between(shape, start, end, steps):
    found = shape(start, end, steps=steps)(np.arange(steps + 1))
    assert (found[0], found[-1]) == (start, end)
    assert (np.diff(found if end >= start else -found) >= 0).all()
    assert shape(start, end, steps=steps)(10 * steps) == end


@settings(deadline=None)
@given(start=values, end=values, steps=lengths)
def test_a_ramp_back_is_the_ramp_reversed(start, end, steps):
    for shape in (Linear, Cosine):
        there, back = shape(start, end, steps=steps), shape(end, start, steps=steps)
        n = np.arange(steps + 1)
        np.testing.assert_allclose(there(n), back(steps - n), rtol=0, atol=1e-15 * (abs(start) + abs(end)))


def test_a_cosine_is_the_one_of_the_formula():
    n = np.arange(101)
    np.testing.assert_allclose(Cosine(0.5, -0.5, steps=100)(n), 0.5 * np.cos(np.pi * n / 100), atol=1e-15)


@settings(deadline=None)
@given(parts=pieces, last=endless)
def test_a_chain_is_its_pieces_one_after_the_other(parts, last):
    chain = Piecewise(*parts, last)
    expected = [piece(step) for piece in parts for step in range(int(piece.steps))] + [last(step) for step in range(20)]
    assert [chain(step) for step in range(len(expected))] == expected
    assert chain.steps == math.inf


@settings(deadline=None)
@given(parts=pieces)
def test_a_cycle_is_its_pieces_over_and_over(parts):
    period = sum(int(piece.steps) for piece in parts)
    once = [Piecewise(*parts, Constant(0.0))(step) for step in range(period)]
    assert [Cyclic(*parts)(step) for step in range(3 * period)] == once * 3


@settings(deadline=None)
@given(schedule=anything)
def test_an_array_of_steps_gives_the_values_of_its_steps(schedule):
    steps = np.arange(80).reshape(2, 40)
    found = schedule(steps)
    assert found.shape == steps.shape
    assert type(schedule(7)) is float
    np.testing.assert_allclose(found, [[schedule(step) for step in row] for row in steps], rtol=0, atol=4e-16)


@settings(deadline=None)
@given(schedule=anything)
def test_the_values_repeat_as_announced(schedule):
    first, period = schedule.repetition
    n = np.arange(first, first + 2 * period)
    np.testing.assert_array_equal(schedule(n), schedule(n + period))


@settings(deadline=None)
@given(schedule=anything, other=anything)
def test_the_plain_form_survives_json_and_tells_schedules_apart(schedule, other):
    plain = schedule.plain()
    assert json.loads(json.dumps(plain)) == plain
    assert (plain == other.plain()) == (schedule == other)


def test_numbers_of_numpy_are_plain_numbers_in_the_plain_form():
    plain = Linear(np.float64(0.5), np.float32(0.25), steps=np.int64(4)).plain()
    assert [type(value) for value in plain.values()] == [str, int, float, float]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Linear(0.5, 0.0, steps=0), "steps = 0 .* a whole number of at least 1"),
        (lambda: Cosine(0.5, 0.0, steps=2.5), r"steps = 2\.5 .* a whole number of at least 1"),
        (lambda: Cosine(0.5, 0.0, steps=math.inf), "steps = inf .* a whole number of at least 1"),
        (lambda: Cosine(0.5, 0.0, steps="10"), "steps = '10' .* a whole number of at least 1"),
        (lambda: Linear(0.5, math.nan, steps=5), "end = nan .* a finite number"),
        (lambda: Linear("0.5", 0.0, steps=5), "start = '0.5' .* a finite number"),
        (lambda: Constant(None), "value = None .* a finite number"),
        (lambda: Piecewise(), r"pieces = \(\) .* schedules, at least one"),
        (lambda: Piecewise(Linear(0, 1, steps=2), 0.5), "pieces = .* schedules, at least one"),
        (lambda: Piecewise(Constant(0.5), Constant(0.0)), "only the last one has no end"),
        (lambda: Cyclic(Constant(0.5, steps=2), Constant(0.0)), "schedules that have an end"),
        (lambda: Function("math.sin", steps=5), "name = 'math.sin' .* 'package.module:function'"),
        (lambda: Function("no_such_module:f", steps=5), "No module named 'no_such_module'"),
        (lambda: Function("math:no_such_function", steps=5), "no attribute 'no_such_function'"),
        (lambda: Function("math:pi", steps=5), "not of 3.14"),
        (lambda: Function(f"{__name__}:answer", steps=5)(3), r"answer\(3\) = None .* a finite number"),
    ],
)
def test_bad_input_is_refused_with_its_value_and_what_is_accepted(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()


exponents = st.sampled_from([-0.5, 0.0, 0.1, 0.25, 0.4, 0.5, 0.6])
in_region = st.one_of(
    st.builds(Linear, exponents, exponents, steps=st.integers(1, 12)),
    st.builds(Constant, exponents),
    st.builds(lambda a, b, n: Cyclic(Linear(a, b, steps=n), Linear(b, a, steps=2)), exponents, exponents, st.integers(1, 2)),
)


@settings(max_examples=50, deadline=None)
@given(
    pairs=st.lists(st.tuples(st.sampled_from([0.0, 0.9, 0.95]), st.sampled_from([0.7, 0.95, 0.999])), min_size=1, max_size=3),
    schedules=st.lists(in_region, min_size=3, max_size=3),
    beta2=st.builds(Linear, st.sampled_from([0.7, 0.999]), st.sampled_from([0.7, 0.999]), steps=st.integers(1, 9)),
    alike=st.booleans(),
)
def test_the_first_and_the_deepest_step_outside_are_those_that_an_assessment_of_every_step_finds(
    pairs, schedules, beta2, alike
):
    given = [schedules[0]] if alike else schedules[: len(pairs)]
    found = foresight.outside(Hyperparameters.parse(pairs, stages=len(pairs)), {"exponent": given, "beta2": [beta2]})
    each = given * len(pairs) if alike else given
    unstable = []
    for step in range(24):  # ramps of up to 12 steps, then cycles of 3 and 4
        assessed = assess([(b1, beta2(step)) for b1, _ in pairs], [schedule(step) for schedule in each], len(pairs))
        if not assessed.stable:
            unstable.append((step, assessed))
    assert (found is not None) == bool(unstable)
    if found is not None:
        first, lowest = found
        step, assessed = unstable[0]
        assert (first.step, repr(first.assessment)) == (step, repr(assessed))  # in words: NaN is not equal to itself
        assert not lowest.assessment.stable
        assert lowest.margin <= min(assessed.margin for _, assessed in unstable)


def test_a_run_is_foreseen_across_the_borders_of_what_is_looked_at_at_a_time(monkeypatch):
    ramp = Linear(0.0, 0.5, steps=1000)
    whole = foresight.outside(Hyperparameters.parse((0.95, 0.7)), {"exponent": [ramp]})
    monkeypatch.setattr(foresight, "CHUNK", 7)
    assert foresight.outside(Hyperparameters.parse((0.95, 0.7)), {"exponent": [ramp]}) == whole
    first, lowest = whole
    assert margin(0.95, 0.7, ramp(first.step - 1)) > 0 >= margin(0.95, 0.7, ramp(first.step)) == first.margin
    assert (lowest.step, lowest.margin) == (1000, margin(0.95, 0.7))


def test_cycles_that_only_together_leave_the_region_are_foreseen_where_they_meet():
    exponent = Cyclic(Constant(0.0, steps=6), Constant(0.5, steps=1))
    beta2 = Cyclic(Constant(0.999, steps=10), Constant(0.7, steps=1))
    first, _ = foresight.outside(Hyperparameters.parse((0.95, 0.9)), {"exponent": [exponent], "beta2": [beta2]})
    assert first.step == 76
    assert (first.step % 7, first.step % 11) == (6, 10)


def test_what_is_looked_at_has_a_limit(monkeypatch):
    late = Piecewise(Constant(0.0, steps=50), Constant(0.5))
    monkeypatch.setattr(foresight, "FORESEEN", 50)
    assert foresight.outside(Hyperparameters.parse((0.95, 0.7)), {"exponent": [late]}) is None
    monkeypatch.setattr(foresight, "FORESEEN", 51)
    assert foresight.outside(Hyperparameters.parse((0.95, 0.7)), {"exponent": [late]})[0].step == 50


def test_the_boundary_itself_is_outside():
    first, lowest = foresight.outside(Hyperparameters.parse((0.9, 0.81)), {"exponent": [Linear(0.0, 0.5, steps=10)]})
    assert (first.step, lowest.step, lowest.margin) == (10, 10, 0.0)


def test_the_margin_is_that_of_the_stages_that_decide():
    first, lowest = foresight.outside(Hyperparameters.parse([(0.95, 0.3), (0.95, 0.7)], stages=2), {"eps": [Constant(1e-8)]})
    assert first == lowest
    assert first.margin == first.assessment.margin == margin(0.95, 0.7) > margin(0.95, 0.3)
