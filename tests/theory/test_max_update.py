"""The largest update: attained by the sequence that is said to attain it, and exceeded by none."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from equipoise.theory import growth_rate, margin, max_update, worst_case_gradients

from .test_region import updates

BETA1 = np.array([0.0, 0.3, 0.5, 0.9, 0.95, 0.99])
BETA2 = np.array([0.3, 0.5, 0.7, 0.9, 0.99, 0.999])
EXPONENTS = [0.02, 0.125, 0.25, 0.4, 0.49, 0.5]


def last_update(beta1, beta2, exponent, gradients):
    """The update after the last of the gradients, from the sums that define it. Rows are sequences."""
    n = gradients.shape[-1]
    age = np.arange(n)[::-1]
    m = (1 - beta1) / (1 - beta1**n) * (gradients @ beta1**age)
    v = (1 - beta2) / (1 - beta2**n) * (gradients**2 @ beta2**age)
    return np.abs(m) / np.where(v == 0, 1.0, v) ** exponent


@pytest.mark.parametrize("exponent", [-0.25, 0.0, *EXPONENTS])
@pytest.mark.parametrize("steps", [1, 2, 5, 30, 200])
def test_the_worst_gradients_sent_through_the_rule_give_the_largest_update(exponent, steps):
    for beta1 in BETA1.tolist():
        for beta2 in BETA2.tolist():
            gradients = worst_case_gradients(beta1, beta2, exponent, steps)
            assert gradients.shape == (steps,)
            assert gradients.min() >= 0
            assert gradients.max() == 1
            found = updates(beta1, beta2, exponent, gradients)[-1]
            assert found == pytest.approx(max_update(beta1, beta2, exponent, steps), rel=1e-9), (beta1, beta2)


def test_the_worst_gradients_reach_the_limit_after_many_steps_even_where_old_ones_are_enormously_larger():
    gradients = worst_case_gradients(0.5, 0.3, 0.5, 2000)  # the newest would be (0.3 / 0.5)^1999 of the oldest
    assert updates(0.5, 0.3, 0.5, gradients)[-1] == pytest.approx(max_update(0.5, 0.3), rel=1e-9)


def test_without_a_second_moment_memory_the_worst_first_gradient_is_1():
    assert worst_case_gradients(0.5, 0.0, 0.5, 1) == worst_case_gradients(0.5, 0.0, 0.25, 1) == [1.0]


@settings(max_examples=400, deadline=None)
@given(
    beta1=st.floats(0, 0.999),
    beta2=st.floats(0.01, 0.9999),
    exponent=st.floats(-0.5, 0.5),
    steps=st.integers(1, 40),
    decades=st.floats(0, 30),
    silence=st.floats(0, 0.9),
    seed=st.integers(0, 2**32 - 1),
)
def test_none_of_20000_sequences_of_gradients_exceeds_the_largest_update(beta1, beta2, exponent, steps, decades, silence, seed):
    rng = np.random.default_rng(seed)
    gradients = rng.choice([-1.0, 1.0], (50, steps)) * 10 ** -rng.uniform(0, decades, (50, steps))
    gradients[rng.random((50, steps)) < silence] = 0
    gradients[25:] = np.abs(gradients[25:])
    found = last_update(beta1, beta2, exponent, gradients)
    assert found.max() <= max_update(beta1, beta2, exponent, steps) * (1 + 1e-9)


@pytest.mark.long
@settings(max_examples=10_000, deadline=None)
@given(
    beta1=st.floats(0, 0.999),
    beta2=st.floats(0.01, 0.9999),
    exponent=st.floats(-0.5, 0.5),
    gradients=st.lists(st.floats(-1, 1), min_size=1, max_size=12).map(np.array),
)
def test_no_sequence_that_is_looked_for_exceeds_the_largest_update(beta1, beta2, exponent, gradients):
    found = last_update(beta1, beta2, exponent, gradients)
    assert found <= max_update(beta1, beta2, exponent, len(gradients)) * (1 + 1e-9)


@pytest.mark.parametrize("exponent", [0.05, 0.125, 0.25, 0.4, 0.48])
@pytest.mark.parametrize(("beta1", "beta2"), [(0.9, 0.99), (0.5, 0.9), (0.9, 0.6), (0.95, 0.85), (0.8, 0.8), (0.1, 0.95)])
def test_a_search_over_all_gradients_finds_the_same_largest_update(beta1, beta2, exponent):
    n, rng = 10, np.random.default_rng(0)
    age = np.arange(n)[::-1]
    weights1, weights2 = beta1**age, beta2**age

    def negative_logarithm(x):
        m, v = weights1 @ x, weights2 @ x**2
        return exponent * math.log(v) - math.log(m), exponent * 2 * weights2 * x / v - weights1 / m

    starts = rng.uniform(0.01, 1, (12, n))
    options = {"ftol": 1e-15, "gtol": 1e-12, "maxiter": 2000}
    found = [minimize(negative_logarithm, x, jac=True, bounds=[(0, 1)] * n, method="L-BFGS-B", options=options) for x in starts]
    best = min(found, key=lambda result: result.fun).x
    assert last_update(beta1, beta2, exponent, best) == pytest.approx(max_update(beta1, beta2, exponent, n), rel=1e-6)


@pytest.mark.parametrize("exponent", [0.02, 0.125, 0.25, 0.4, 0.49])
@pytest.mark.parametrize("steps", [3, 40, 300])
def test_a_dense_grid_of_kappa_finds_the_same_largest_update(exponent, steps):
    age = np.arange(steps)[::-1]
    for beta1, beta2 in [(0.9, 0.999), (0.9, 0.95), (0.95, 0.7), (0.99, 0.97), (0.5, 0.4), (0.99, 0.999)]:
        ratio = math.log(beta1 / beta2)
        reach = abs(ratio) * steps + 1
        best, low, high = 0.0, -reach, reach
        for _ in range(4):
            kappas = np.linspace(low, high, 2001)
            found = last_update(beta1, beta2, exponent, np.exp(np.minimum(0.0, kappas[:, None] + age * ratio)))
            best, near = max(best, found.max()), kappas[found.argmax()]
            low, high = near - (high - low) / 500, near + (high - low) / 500
        assert max_update(beta1, beta2, exponent, steps) == pytest.approx(best, rel=1e-6), (beta1, beta2)


@pytest.mark.parametrize("exponent", EXPONENTS)
def test_inside_the_largest_update_rises_with_the_steps_up_to_its_limit(exponent):
    beta1, beta2 = (grid.ravel()[:, None] for grid in np.meshgrid(BETA1, BETA2))
    inside = margin(beta1, beta2, exponent)[:, 0] > 0
    steps = np.unique(np.geomspace(1, 1e6, 120).astype(int))
    found = np.log(max_update(beta1[inside], beta2[inside], exponent, steps))
    assert found[:, 0] == pytest.approx(0, abs=1e-14)
    assert np.diff(found).min() >= -1e-14
    limit = np.log(max_update(beta1[inside], beta2[inside], exponent))
    assert found[:, -1:] == pytest.approx(limit, abs=1e-9)


@pytest.mark.parametrize("exponent", EXPONENTS)
def test_outside_the_largest_update_grows_at_the_growth_rate(exponent):
    beta1, beta2 = 0.95, 0.5 * 0.95 ** (1 / exponent)
    grown = math.log(max_update(beta1, beta2, exponent, 800) / max_update(beta1, beta2, exponent, 400))
    assert max_update(beta1, beta2, exponent) == math.inf
    assert grown / 400 == pytest.approx(growth_rate(beta1, beta2, exponent), rel=1e-3)


def test_known_values():
    assert max_update(0.9, 0.999) == pytest.approx(7.27029, rel=1e-6)
    assert max_update(0.9, 0.999) == pytest.approx(0.1 / math.sqrt(0.001 * (1 - 0.81 / 0.999)), rel=1e-13)
    assert max_update(0.5, 0.75, steps=2) == pytest.approx(math.sqrt(1.75 * (1 + 1 / 3)) / 1.5, rel=1e-14)
    assert max_update(0.8, 0.8, 0.25) == pytest.approx(1, rel=1e-9)


def test_the_general_search_meets_the_closed_form_at_half():
    beta1, beta2 = np.meshgrid(BETA1, BETA2)
    near = max_update(beta1, beta2, 0.5 - 1e-9, 50)
    assert near == pytest.approx(max_update(beta1, beta2, 0.5, 50), rel=1e-6)


def test_betas_very_close_to_1_lose_no_digits():
    # With memories of 1e9 and 1e8 steps, after 2: by hand, to first order in 1 - beta.
    assert max_update(1 - 1e-9, 1 - 1e-8, steps=2) == pytest.approx(1, abs=1e-15)
    assert max_update(1 - 1e-9, 1 - 1e-9) == pytest.approx(1, rel=1e-6)


def test_what_is_larger_than_any_double_is_infinite_without_a_warning():
    assert max_update(0.99, 0.01, 0.49, steps=10_000) == max_update(0.99, 0.01, 0.5, steps=10_000) == math.inf
