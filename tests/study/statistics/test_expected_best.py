"""The expected best of n points is the mean over all subsets of n, and its interval covers what more points would show."""

from __future__ import annotations

import itertools
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from equipoise.study._statistics.expected_best import best_weights, expected_best, trials_needed

values = st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=9)


@given(values)
def test_the_expected_best_is_the_mean_of_the_best_over_all_subsets(points):
    for goal, best_of in (("maximize", max), ("minimize", min)):
        found = expected_best(points, goal)
        assert found.trials[0] == 1
        assert found.trials[-1] == len(points)
        for trials, best in zip(found.trials, found.best, strict=True):
            expected = statistics.fmean(map(best_of, itertools.combinations(points, trials)))
            assert best == pytest.approx(expected, abs=1e-9)


@given(values)
def test_more_trials_are_never_expected_to_do_worse(points):
    best = expected_best(points, "maximize").best
    assert all(later >= earlier - 1e-9 for earlier, later in itertools.pairwise(best))


@given(values, st.floats(-1e3, 1e3))
def test_the_trials_needed_are_the_fewest_whose_expected_best_arrives(points, target):
    means = [statistics.fmean(map(max, itertools.combinations(points, n))) for n in range(1, len(points) + 1)]
    if min(abs(mean - target) for mean in means) > 1e-9:
        enough = [n for n, mean in enumerate(means, 1) if mean >= target]
        assert trials_needed(points, "maximize", target) == (enough[0] if enough else None)
        negated = [-point for point in points]
        assert trials_needed(negated, "minimize", -target) == (enough[0] if enough else None)


def test_it_is_unbiased_and_its_interval_covers_what_points_of_the_space_give():
    rng = np.random.default_rng(0)
    truth = 4 / 5  # the expected largest of 4 uniform numbers
    found = [expected_best(list(rng.uniform(size=16)), "maximize") for _ in range(150)]
    fours = [(one.best[2], one.intervals[2]) for one in found]
    assert found[0].trials == (1, 2, 4, 8, 16)
    assert statistics.fmean(best for best, _ in fours) == pytest.approx(truth, abs=0.02)
    assert statistics.fmean(low <= truth <= high for _, (low, high) in fours) > 0.85


def test_weights_are_probabilities():
    for count, trials in ((1, 1), (7, 3), (64, 32)):
        assert sum(best_weights(count, trials)) == pytest.approx(1)
