"""The exact sign-flip test counts patterns, and ties are ties however the numbers were rounded."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from equipoise.study._statistics.paired import compare
from equipoise.study._statistics.sign_flips import EXACT_SEEDS, sign_flip_p_value

# Multiples of 1/64 add without rounding, so that ties are ties.
numbers = st.integers(-640, 640).map(lambda count: count / 64)
samples = st.lists(numbers, min_size=2, max_size=9).map(np.array)


def exact_p_value(differences: list[int]) -> float:
    patterns = np.array(list(itertools.product([-1, 1], repeat=len(differences))))
    return float((np.abs(patterns @ np.array(differences)) >= abs(sum(differences))).mean())


@given(samples)
def test_the_sign_flip_test_counts_all_sign_patterns(differences):
    assert sign_flip_p_value(differences) == exact_p_value([round(64 * difference) for difference in differences])


@given(samples)
def test_neither_the_order_of_seeds_nor_the_direction_changes_the_p_value(differences):
    assert sign_flip_p_value(differences) == sign_flip_p_value(-differences) == sign_flip_p_value(differences[::-1])


def test_the_smallest_p_value_is_reached_when_every_seed_agrees():
    for seeds in range(2, 12):
        assert sign_flip_p_value(np.linspace(1.0, 2.0, seeds)) == 2 / 2**seeds


@pytest.mark.parametrize("precision", [np.float64, np.float32])
@given(
    images=st.sampled_from([60, 360, 997, 10_000]),
    pairs=st.lists(st.tuples(st.integers(40, 60), st.integers(40, 60)), min_size=2, max_size=9),
)
def test_accuracies_are_tied_where_the_counts_of_right_answers_are(precision, images, pairs):
    def accuracies(counts):
        return dict(enumerate(float(precision(count) / precision(images)) for count in counts))

    arms = {"base": accuracies([base for base, _ in pairs]), "arm": accuracies([arm for _, arm in pairs])}
    (found,) = compare(arms, "base", "maximize")
    assert found.sign_flip_p_value == exact_p_value([arm - base for base, arm in pairs])


def test_the_tie_that_rounding_decided_is_a_tie():
    gains = [3, 1, 2, 3, -1, 1]
    arms = {"base": dict.fromkeys(range(6), 0.9), "arm": {seed: 0.9 + gain / 10_000 for seed, gain in enumerate(gains)}}
    (found,) = compare(arms, "base", "maximize")
    assert found.sign_flip_p_value == exact_p_value(gains)


def test_more_seeds_are_sampled_and_agree_with_the_normal_limit():
    rng = np.random.default_rng(3)
    differences = rng.normal(0.3, 1.0, size=EXACT_SEEDS + 14)
    normal = 2 * stats.norm.sf(abs(differences.sum()) / np.sqrt((differences**2).sum()))
    assert sign_flip_p_value(differences) == pytest.approx(normal, rel=0.15)
    assert sign_flip_p_value(np.ones(40)) == 1 / 10_000
