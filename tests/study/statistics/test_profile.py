"""The laws of a performance profile."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from equipoise.study._statistics.profile import Placed, performance_profile, placed_by_time, placed_by_value

ARMS = ("a", "b", "c")

ACCURACIES = st.integers(0, 10_000).map(lambda count: count / 10_000)
RUNS = st.lists(ACCURACIES, min_size=3, max_size=3)
TASKS = st.dictionaries(st.sampled_from(["one", "two", "three"]), st.tuples(RUNS, RUNS, RUNS), min_size=1)
TIMES = st.lists(st.one_of(st.just(math.inf), st.integers(1, 50).map(float)), min_size=3, max_size=3)


def by_value(runs, scale=1.0, zero=0.0, goal="maximize") -> Placed:
    values = {arm: {seed: zero + scale * value for seed, value in enumerate(own)} for arm, own in zip(ARMS, runs, strict=True)}
    finished = {arm: dict.fromkeys(own, True) for arm, own in values.items()}
    return placed_by_value(values, finished, goal)


def by_time(runs) -> Placed:
    return placed_by_time({arm: dict(enumerate(own)) for arm, own in zip(ARMS, runs, strict=True)})


@settings(max_examples=20)
@given(tasks=TASKS)
def test_a_share_never_falls_and_reaches_one_where_every_arm_finished(tasks):
    found = performance_profile({task: by_value(runs) for task, runs in tasks.items()}, ARMS)
    for arm in ARMS:
        shares = [found.share(arm, tau) for tau in found.taus]
        assert shares == sorted(shares)
        assert shares[-1] == 1.0
        lows, highs = zip(*found.bands[arm], strict=True)
        assert list(lows) == sorted(lows)
        assert list(highs) == sorted(highs)
        assert lows[0] >= 0
        assert highs[-1] <= 1
    assert sum(found.share(arm, 0.0) for arm in ARMS) >= 1  # on each task some arm is the best


@settings(max_examples=20)
@given(tasks=TASKS)
def test_the_order_of_tasks_does_not_matter(tasks):
    placed = {task: by_value(runs) for task, runs in tasks.items()}
    forwards = performance_profile(placed, ARMS)
    backwards = performance_profile(dict(reversed(placed.items())), ARMS)
    assert forwards.distances == backwards.distances
    assert forwards.taus == backwards.taus


@given(runs=st.tuples(RUNS, RUNS, RUNS), scale=st.sampled_from([1e-3, 0.25, 7.0, 1e6]), zero=st.sampled_from([-3.0, 0.0, 12.0]))
def test_neither_the_unit_nor_the_zero_nor_the_direction_of_a_metric_changes_a_distance(runs, scale, zero):
    expected = by_value(runs).distances()
    for changed in (by_value(runs, scale, zero * scale), by_value(runs, -scale, zero * scale, "minimize")):
        for arm, distance in changed.distances().items():
            assert distance == pytest.approx(expected[arm], rel=1e-5, abs=1e-6)


@given(tasks=st.dictionaries(st.sampled_from(["one", "two"]), st.tuples(TIMES, TIMES, TIMES), min_size=1))
def test_a_ratio_of_times_is_at_least_one_and_infinite_for_an_arm_that_mostly_never_arrives(tasks):
    found = performance_profile({task: by_time(runs) for task, runs in tasks.items()}, ARMS)
    for task, runs in tasks.items():
        for arm, own in zip(ARMS, runs, strict=True):
            distance = found.distances[arm][task]
            assert distance >= 1
            assert math.isinf(distance) == (sum(map(math.isinf, own)) >= 2)


def test_one_seed_that_collapses_and_one_arm_that_fails_do_not_change_the_unit():
    rng = np.random.default_rng(0)
    runs = (0.9 + 0.01 * rng.normal(size=(3, 9))).tolist()
    plain = by_value(runs).distances()
    runs[0][4] = 0.1
    collapsed = by_value(runs).distances()
    assert collapsed["b"] == pytest.approx(plain["b"], abs=0.5)
    assert collapsed["a"] > 5


def test_an_arm_that_finished_nowhere_or_is_missing_is_infinitely_far():
    values = {arm: {0: 0.5, 1: 0.6} for arm in ARMS}
    finished = {arm: dict.fromkeys(own, arm != "c") for arm, own in values.items()}
    found = performance_profile({"task": placed_by_value(values, finished, "maximize")}, [*ARMS, "d"])
    assert [found.distances[arm]["task"] for arm in (*ARMS, "d")] == [0.0, 0.0, math.inf, math.inf]
    assert found.share("d", 1e9) == 0
    nobody = placed_by_value(values, {arm: dict.fromkeys(own, False) for arm, own in values.items()}, "maximize")
    assert performance_profile({"task": nobody}, ARMS).taus == (0.0,)


def test_arms_that_do_not_differ_are_within_one_spread_of_the_best():
    rng = np.random.default_rng(0)
    near = [distance <= 1 for _ in range(200) for distance in by_value(rng.normal(size=(3, 9)).tolist()).distances().values()]
    assert np.mean(near) > 0.95


def test_the_band_holds_the_share_that_more_seeds_would_show():
    """Of two arms that differ by 0.3 spreads the better one is the best on each task: a share of 1 at 0."""
    rng = np.random.default_rng(0)
    held = []
    for _ in range(40):
        placed = {
            str(task): by_value([rng.normal(size=9) + 0.3, rng.normal(size=9), rng.normal(size=9) - 5]) for task in range(4)
        }
        low, high = performance_profile(placed, ARMS).bands["a"][0]
        held.append(low <= 1 <= high)
    assert np.mean(held) >= 0.8
