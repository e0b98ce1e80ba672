"""A run counts with the time at which it first reaches the target, or with the whole budget."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from equipoise.study._statistics.target import first_reached, time_to_target

curves = st.dictionaries(st.integers(1, 50), st.floats(allow_nan=True), max_size=20)


@given(curves, st.floats(allow_nan=False, allow_infinity=False))
def test_a_curve_reaches_a_target_where_no_earlier_reading_did(curve, target):
    for goal, there in (("maximize", lambda value: value >= target), ("minimize", lambda value: value <= target)):
        time = first_reached(curve, target, goal)
        if math.isfinite(time):
            assert there(curve[int(time)])
        assert not any(there(value) for epoch, value in curve.items() if epoch < time)


def test_runs_that_never_arrive_count_with_the_budget_and_are_counted():
    never = dict.fromkeys(range(6), math.inf)
    always = {seed: 4.0 + seed for seed in range(6)}
    found = time_to_target({"base": never, "arm": always}, "base", budget=20.0, unit="epoch")
    assert (found.reached("base"), found.reached("arm")) == (0, 6)
    assert found.means == {"base": 20.0, "arm": 6.5}
    assert found.contrasts[0].mean == 13.5
    assert found.contrasts[0].verdict == "better"


def test_an_arm_that_never_arrives_is_never_sooner():
    times = {"base": {0: 3.0, 1: math.inf, 2: 5.0}, "arm": dict.fromkeys(range(3), math.inf)}
    found = time_to_target(times, "base", budget=5.0, unit="epoch")
    assert all(difference <= 0 for difference in found.contrasts[0].differences)
    assert found.contrasts[0].verdict != "better"
