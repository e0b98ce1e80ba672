"""A run counts with the time at which it first reaches the target, or with the whole budget."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from equipoise.study._statistics.target import first_reached, time_to_target

epochs = st.integers(1, 50)
# Beside 1e300 what is less than 1e-7 is 0.
reals = st.floats(-1e300, 1e300).map(lambda value: value if abs(value) > 1e-7 else 0.0)
improving = st.dictionaries(epochs, reals, max_size=20).map(
    lambda curve: dict(zip(sorted(curve), sorted(curve.values()), strict=True))
)


@given(improving, reals)
def test_readings_that_only_improve_arrive_at_the_first_that_is_there(curve, target):
    arrived = [epoch for epoch, value in curve.items() if value >= target - 1e-12 * abs(target)]
    assert first_reached(curve, target, "maximize") == min(arrived, default=math.inf)
    falling = {epoch: -value for epoch, value in curve.items()}
    assert first_reached(falling, -target, "minimize") == min(arrived, default=math.inf)


@given(st.dictionaries(epochs, st.floats(), max_size=20), st.floats(-1e6, 1e6), st.floats(0, 1e6))
def test_a_harder_target_is_never_reached_sooner(curve, target, harder):
    assert first_reached(curve, target + harder, "maximize") >= first_reached(curve, target, "maximize")


def test_one_lucky_reading_is_no_arrival_and_one_unlucky_reading_is_no_delay():
    rising = {epoch: epoch / 20 for epoch in range(1, 21)}
    assert first_reached(rising, 0.5, "maximize") == 10
    assert 8 <= first_reached(rising | {3: 0.6}, 0.5, "maximize") <= 10
    assert 10 <= first_reached(rising | {17: 0.4}, 0.5, "maximize") <= 12


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
