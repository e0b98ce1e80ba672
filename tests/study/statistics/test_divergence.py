"""Rates of divergence have exact intervals, and are compared on the seeds on which just one of two arms diverged."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from equipoise.study._statistics.divergence import DivergenceContrast, DivergenceRate, compare_divergence

counts = st.integers(1, 40).flatmap(lambda seeds: st.tuples(st.integers(0, seeds), st.just(seeds)))


@given(counts)
def test_the_interval_holds_the_rates_that_a_binomial_test_of_either_side_does_not_reject(found):
    diverged, seeds = found
    low, high = DivergenceRate(diverged, seeds).interval
    assert low <= diverged / seeds <= high
    assert low == (0 if diverged == 0 else pytest.approx(stats.beta.ppf(0.025, diverged, seeds - diverged + 1)))
    assert high == (1 if diverged == seeds else pytest.approx(stats.beta.ppf(0.975, diverged + 1, seeds - diverged)))
    if diverged:
        assert stats.binom.sf(diverged - 1, seeds, low) == pytest.approx(0.025)


@given(st.integers(0, 20), st.integers(0, 20))
def test_the_comparison_tosses_a_coin_for_each_seed_on_which_one_of_two_diverged(only_arm, only_baseline):
    seeds = only_arm + only_baseline
    fewer = min(only_arm, only_baseline)
    expected = min(1.0, 2 * sum(math.comb(seeds, count) for count in range(fewer + 1)) / 2**seeds)
    assert DivergenceContrast("arm", only_arm, only_baseline, 1).p_value == pytest.approx(expected)


def test_seeds_on_which_both_diverged_or_neither_say_nothing():
    base = {seed: seed < 3 for seed in range(12)}
    arm = {seed: seed < 10 for seed in range(1, 13)}
    (found,) = compare_divergence({"base": base, "arm": arm}, "base")
    assert (found.only_arm, found.only_baseline) == (7, 0)
    assert found.shown
    assert found.p_value == 2 / 2**7


def test_the_p_value_is_adjusted_for_the_number_of_arms():
    diverged = {name: dict.fromkeys(range(6), name == "bad") for name in ("base", "bad", "good")}
    bad, good = compare_divergence(diverged, "base")
    assert (bad.p_value, bad.adjusted_p_value, bad.shown) == (2 / 64, 4 / 64, False)
    assert (good.adjusted_p_value, good.shown) == (1.0, False)
