"""The statistics agree with their definitions, and a study without differences is rarely called different."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from equipoise.study._statistics import (
    LEVEL,
    compare,
    holm,
    paired_interval,
    seeds_within_reach,
    sign_flip_p_value,
    smallest_adjusted_p_value,
)

# Multiples of 1/64 add and average without rounding, so that ties are ties.
numbers = st.integers(-640, 640).map(lambda count: count / 64)
samples = st.lists(numbers, min_size=2, max_size=9).map(np.array)
p_values = st.lists(st.floats(0, 1), min_size=1, max_size=8)


@given(samples)
def test_the_sign_flip_test_counts_all_sign_patterns(differences):
    patterns = np.array(list(itertools.product([-1, 1], repeat=len(differences))))
    as_extreme = np.abs((patterns * differences).sum(axis=1)) >= abs(differences.sum())
    assert sign_flip_p_value(differences) == pytest.approx(as_extreme.mean())


@given(samples)
def test_neither_the_order_of_seeds_nor_the_direction_changes_the_p_value(differences):
    assert sign_flip_p_value(differences) == sign_flip_p_value(-differences) == sign_flip_p_value(differences[::-1])


def test_the_smallest_p_value_is_reached_when_every_seed_agrees():
    for seeds in range(2, 12):
        clear = np.linspace(1.0, 2.0, seeds)
        assert sign_flip_p_value(clear) == smallest_adjusted_p_value(seeds, comparisons=1) == 2 / 2**seeds


@given(st.integers(1, 12))
def test_one_seed_fewer_than_within_reach_is_out_of_reach(comparisons):
    seeds = seeds_within_reach(comparisons)
    assert smallest_adjusted_p_value(seeds, comparisons) <= LEVEL < smallest_adjusted_p_value(seeds - 1, comparisons)


def test_the_interval_is_that_of_the_paired_t_test():
    rng = np.random.default_rng(3)
    one, other = rng.normal(size=(2, 9))
    expected = stats.ttest_rel(one, other).confidence_interval(0.95)
    assert paired_interval(one - other) == pytest.approx((expected.low, expected.high), rel=1e-12)


@given(samples)
def test_the_interval_is_the_mean_and_students_quantile_of_standard_errors(differences):
    count = len(differences)
    half = stats.t.ppf(0.975, count - 1) * differences.std(ddof=1) / math.sqrt(count)
    assert paired_interval(differences) == pytest.approx((differences.mean() - half, differences.mean() + half), abs=1e-12)


def test_equal_differences_have_an_interval_of_no_width():
    assert paired_interval(np.full(5, 0.25)) == (0.25, 0.25)


@given(p_values)
def test_holm_is_the_closed_test_of_bonferroni(p):
    # Definition by closure: a hypothesis' adjusted p value is the largest Bonferroni p value over the sets that contain it.
    subsets = [s for size in range(1, len(p) + 1) for s in itertools.combinations(range(len(p)), size)]
    closed = [max(min(1.0, len(s) * min(p[i] for i in s)) for s in subsets if own in s) for own in range(len(p))]
    assert holm(p) == pytest.approx(closed)


def test_differences_are_positive_where_the_arm_is_better():
    values = {"base": [1.0, 2.0, 3.0], "higher": [1.5, 2.5, 3.25]}
    (maximized,) = compare(values, "base", "maximize")
    (minimized,) = compare(values, "base", "minimize")
    assert maximized.differences == (0.5, 0.5, 0.25)
    assert minimized.differences == (-0.5, -0.5, -0.25)
    assert maximized.p_value == minimized.p_value


@given(samples)
def test_what_a_seed_does_to_both_arms_cancels(differences):
    seed_effect = np.arange(len(differences)) * 8.0
    alone = compare({"a": list(0 * seed_effect), "b": list(differences)}, "a", "maximize")
    shifted = compare({"a": list(seed_effect), "b": list(differences + seed_effect)}, "a", "maximize")
    assert alone == shifted


def test_a_clear_difference_on_enough_seeds_is_called():
    base = np.arange(9.0)
    values = {"base": list(base), "up": list(base + 1), "down": list(base - 1), "same": list(base)}
    assert [c.verdict for c in compare(values, "base", "maximize")] == ["better", "worse", "not shown"]


def test_studies_without_differences_call_one_at_most_as_often_as_the_level():
    rng = np.random.default_rng(0)
    studies, seeds, arms = 1500, 9, 4
    called = 0
    for _ in range(studies):
        values = {f"arm {arm}": list(rng.standard_t(3, size=seeds)) for arm in range(arms)}
        called += any(c.verdict != "not shown" for c in compare(values, "arm 0", "maximize"))
    assert called / studies <= LEVEL + 3 * math.sqrt(LEVEL * (1 - LEVEL) / studies)
