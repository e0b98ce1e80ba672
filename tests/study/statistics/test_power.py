"""Power is the share of studies that show a difference, and the numbers of seeds follow from it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from equipoise.study._statistics.paired import mean_and_spread, student_p_value
from equipoise.study._statistics.power import LEVEL, POWER, detectable_difference, power, seeds_to_show


@pytest.mark.parametrize(("seeds", "comparisons", "difference"), [(2, 1, 5.0), (5, 1, 1.5), (5, 3, 2.0), (12, 5, 1.0)])
def test_power_is_the_share_of_simulated_studies_that_show_the_difference(seeds, comparisons, difference):
    differences = np.random.default_rng(seeds).normal(difference, 1.0, size=(40_000, seeds))
    shown = student_p_value(*mean_and_spread(differences, 0.0), seeds) <= LEVEL / comparisons
    assert power(difference, seeds, comparisons) == pytest.approx(shown.mean(), abs=0.01)


@given(st.integers(2, 400), st.integers(1, 30))
def test_the_detectable_difference_has_the_power_that_was_asked_for(seeds, comparisons):
    difference = detectable_difference(seeds, comparisons)
    assert power(difference, seeds, comparisons) == pytest.approx(POWER, abs=1e-6)
    assert power(0.0, seeds, comparisons) == pytest.approx(LEVEL / comparisons)


@given(st.floats(0.03, 20), st.integers(1, 10))
def test_the_seeds_to_show_a_difference_are_the_fewest_that_do(difference, comparisons):
    seeds = seeds_to_show(difference, 1.0, comparisons)
    if seeds is None:
        assert power(difference, 10_000, comparisons) < POWER
    else:
        assert power(difference, seeds, comparisons) >= POWER
        assert seeds == 2 or power(difference, seeds - 1, comparisons) < POWER


def test_no_number_of_seeds_shows_that_there_is_nothing():
    assert seeds_to_show(0.0, 1.0, 1) is None
    assert seeds_to_show(0.0, 0.0, 1) is None
