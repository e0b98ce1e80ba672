"""Intervals, p values and verdicts of paired comparisons agree with their definitions and with each other."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from equipoise.study._statistics.paired import Contrast, compare, noise_p_value
from equipoise.study._statistics.power import LEVEL
from equipoise.study._statistics.precision import resolution

values = st.floats(-1e6, 1e6)
studies = st.integers(2, 9).flatmap(
    lambda seeds: st.lists(st.lists(values, min_size=seeds, max_size=seeds), min_size=2, max_size=5)
)
accuracies = st.integers(0, 360).map(lambda right: right / 360)
coarse = st.integers(2, 7).flatmap(
    lambda seeds: st.lists(st.lists(accuracies, min_size=seeds, max_size=seeds), min_size=2, max_size=3)
)


def contrasts(arms: list[list[float]], goal="maximize", margin: float | None = None) -> list[Contrast]:
    """The first arm is the baseline."""
    return compare({f"arm {i}": dict(enumerate(own)) for i, own in enumerate(arms)}, "arm 0", goal, margin=margin)


def contrast(interval: tuple[float, float], margin: float | None) -> Contrast:
    return Contrast("arm", (), (), 1, 0.0, 0.0, interval, 1.0, 1.0, False, margin)


@given(studies | coarse)
def test_an_interval_excludes_zero_just_where_the_adjusted_p_value_is_below_the_level(arms):
    for found in contrasts(arms):
        low, high = found.interval
        assert low <= found.mean <= high
        if abs(found.adjusted_p_value - LEVEL) > 1e-9:
            assert (low > 0 or high < 0) == (found.adjusted_p_value < LEVEL)
            assert (found.verdict in ("better", "worse")) == (found.adjusted_p_value < LEVEL)


@pytest.mark.parametrize("comparisons", [1, 2, 4])
@pytest.mark.parametrize("seeds", [2, 5, 12])
def test_the_interval_is_students_at_the_confidence_that_all_of_them_need(seeds, comparisons):
    rng = np.random.default_rng(seeds)
    arms = rng.normal(size=(comparisons + 1, seeds))
    for own, found in zip(arms[1:], contrasts(arms.tolist()), strict=True):
        expected = stats.ttest_rel(own, arms[0])
        interval = expected.confidence_interval(1 - LEVEL / comparisons)
        assert found.confidence == 1 - LEVEL / comparisons
        assert found.interval == pytest.approx((interval.low, interval.high), rel=1e-9)
        assert found.p_value == pytest.approx(expected.pvalue, rel=1e-9)
        assert found.adjusted_p_value == pytest.approx(min(1, comparisons * expected.pvalue), rel=1e-9)


@given(studies, st.integers(-1000, 960))
def test_the_unit_of_the_metric_changes_no_verdict_and_no_p_value(arms, exponent):
    arms = [[value + 0.0 if abs(value) > 1e-30 else 0.0 for value in own] for own in arms]
    scaled = [[math.ldexp(value, exponent) for value in own] for own in arms]
    for one, other in zip(contrasts(arms), contrasts(scaled), strict=True):
        assert one.p_value == other.p_value
        assert one.sign_flip_p_value == other.sign_flip_p_value
        assert one.unequal_noise == other.unequal_noise
        assert other.mean == math.ldexp(one.mean, exponent)


def test_numbers_near_the_largest_float_are_compared_like_others():
    base = [1.0e155, 1.1e155, 0.9e155, 1.05e155, 1.0e155, 0.95e155]
    (found,) = contrasts([base, [3 * value for value in base]])
    assert found.verdict == "better"
    assert all(map(math.isfinite, (found.mean, found.spread, *found.interval)))
    (huge,) = contrasts([[-1.7e308] * 6, [1.7e308, 1.6e308, 1.7e308, 1.6e308, 1.7e308, 1.5e308]])
    assert huge.verdict == "better"
    assert huge.p_value < 1e-6


def test_differences_are_positive_where_the_arm_is_better():
    arms = [[1.0, 2.0, 3.0], [1.5, 2.5, 3.25]]
    (maximized,), (minimized,) = contrasts(arms), contrasts(arms, goal="minimize")
    assert maximized.differences == (0.5, 0.5, 0.25)
    assert minimized.differences == (-0.5, -0.5, -0.25)
    assert maximized.p_value == minimized.p_value
    assert maximized.interval == (-minimized.interval[1], -minimized.interval[0])


def test_what_a_seed_does_to_both_arms_cancels():
    rng = np.random.default_rng(2)
    base, gain, seed_effect = rng.normal(size=(3, 9))
    (alone,) = contrasts([base.tolist(), (base + gain).tolist()])
    (shifted,) = contrasts([(base + 50 * seed_effect).tolist(), (base + gain + 50 * seed_effect).tolist()])
    assert shifted.interval == pytest.approx(alone.interval)
    assert shifted.verdict == alone.verdict


def test_arms_are_compared_on_the_seeds_that_both_have():
    found = compare({"base": {1: 0.0, 2: 0.5, 3: 1.0, 4: 9.0}, "arm": {3: 1.5, 1: 0.25, 2: 0.75}}, "base", "maximize")
    assert found[0].seeds == (1, 2, 3)
    assert found[0].differences == (0.25, 0.25, 0.5)


def test_a_clear_difference_on_enough_seeds_is_called():
    base = np.random.default_rng(0).normal(size=9)
    arms = [base, base + 1 + 0.1 * np.sin(np.arange(9)), base - 1 + 0.1 * np.cos(np.arange(9)), base]
    assert [c.verdict for c in contrasts([own.tolist() for own in arms])] == ["better", "worse", "not shown"]


@pytest.mark.parametrize(
    ("interval", "margin", "verdict"),
    [
        ((0.1, 0.3), None, "better"),
        ((0.1, 0.3), 0.5, "better"),
        ((-0.3, -0.1), None, "worse"),
        ((-0.3, -0.1), 0.2, "worse"),
        ((-0.3, -0.1), 0.4, "as good"),
        ((-0.1, 0.3), 0.4, "as good"),
        ((-0.1, 0.3), 0.2, "no worse"),
        ((-0.1, 0.3), 0.1, "not shown"),
        ((-0.1, 0.3), None, "not shown"),
        ((0.0, 0.0), None, "not shown"),
        ((0.0, 0.0), 0.1, "as good"),
    ],
)
def test_a_verdict_says_what_the_interval_says(interval, margin, verdict):
    assert contrast(interval, margin).verdict == verdict


def test_seeds_that_agree_by_chance_on_coarse_numbers_are_no_certainty():
    (found,) = contrasts([[0.90, 0.92], [0.91, 0.93]])
    assert found.verdict == "not shown"
    assert found.spread == pytest.approx(0.01 / math.sqrt(6))
    assert found.interval[0] < found.interval[1]


def test_a_constant_gain_on_numbers_without_steps_is_certain():
    base = np.random.default_rng(1).normal(size=5)
    (found,) = contrasts([base.tolist(), (base + 0.5).tolist()])
    assert found.verdict == "better"
    assert found.interval == pytest.approx((0.5, 0.5), rel=0.1)


@pytest.mark.parametrize("images", [360, 997, 10_000])
@pytest.mark.parametrize("precision", [np.float64, np.float32])
def test_the_resolution_of_accuracies_is_one_image(images, precision):
    right = np.random.default_rng(0).integers(int(0.9 * images), int(0.95 * images), size=60)
    shown = (right / precision(images)).astype(precision).astype(np.float64)
    assert resolution(shown) * images == pytest.approx(1, rel=5e-3)


def test_losses_have_no_resolution_to_speak_of():
    losses = np.random.default_rng(0).lognormal(size=14)
    assert resolution(losses) < 0.05 * losses.std()


def test_unequal_noise_is_seen_and_equal_noise_is_not():
    rng = np.random.default_rng(5)
    seed, loud, quiet = rng.normal(size=(3, 1000, 9))
    assert (noise_p_value(0.3 * seed + loud, 0.3 * seed + 0.1 * quiet) <= 0.01).mean() > 0.7
    assert (noise_p_value(0.3 * seed + loud, 0.3 * seed + quiet) <= 0.01).mean() < 0.02
    assert noise_p_value(loud, quiet)[7] == pytest.approx(stats.pearsonr(loud[7] + quiet[7], loud[7] - quiet[7]).pvalue)
    assert noise_p_value(np.ones(5), np.zeros(5)) == 1.0
