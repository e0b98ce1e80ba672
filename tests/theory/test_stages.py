"""Several stages: their betas, what bounds them, and what they make of a sequence of gradients as their number grows."""

import doctest
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from equipoise.errors import ArgumentError
from equipoise.theory import assess, margin, max_update, stage_betas, stage_updates

from .test_region import updates

ADAM = (0.9, 0.999)


def sequences(steps):
    """Gradients as columns, the first of each not 0: constant, alternating, sparse, noisy, heavy-tailed, of either sign."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(steps, 20))
    sparse = np.where(rng.random((steps, 20)) < 0.1, noise, 0.0)
    sparse[0] = noise[0]
    patterns = [np.ones((steps, 1)), (-1.0) ** np.arange(steps)[:, None], noise, sparse, noise**5]
    return np.concatenate([*patterns, *(-pattern for pattern in patterns)], axis=1)


def test_the_page_on_stages_says_what_its_code_prints():
    with np.printoptions():  # which the page changes
        found = doctest.testfile(str(Path(__file__).parents[2] / "docs/theory/stages.md"), module_relative=False)
    assert found.attempted > 10
    assert found.failed == 0


@given(beta1=st.floats(0, 0.9999), beta2=st.floats(0, 0.9999), k=st.integers(1, 1000))
def test_inverse_exp_keeps_the_weight_of_the_newest_gradient(beta1, beta2, k):
    stages = stage_betas(beta1, beta2, k, "inverse-exp")
    assert len(stages) == k
    assert [math.prod(1 - pair[i] for pair in stages) for i in (0, 1)] == pytest.approx([1 - beta1, 1 - beta2], rel=1e-11)


def test_uniform_repeats_the_pair_and_one_stage_is_the_pair_whatever_the_strategy():
    assert stage_betas(*ADAM, 3, "uniform") == (ADAM,) * 3
    assert stage_betas(*ADAM, 1, "inverse-exp")[0] == pytest.approx(ADAM, rel=1e-14)


@given(beta1=st.floats(0.001, 0.9999), within=st.floats(1e-6, 1), exponent=st.floats(0.02, 0.5), k=st.integers(2, 1000))
def test_inverse_exp_never_leaves_the_stable_region(beta1, within, exponent, k):
    boundary = beta1 ** (1 / exponent)
    beta2 = boundary + within * (1 - boundary)
    assume(beta2 < 1)
    assert margin(beta1, beta2, exponent) > 0
    assert margin(*stage_betas(beta1, beta2, k, "inverse-exp")[0], exponent) > 0


@pytest.mark.parametrize("exponent", [0.0, 0.1, 0.25, 0.4])
def test_the_bounds_of_uniform_stages_chain_up_to_a_limit(exponent):
    one = max_update(*ADAM, exponent)
    found = [assess(stage_betas(*ADAM, k, "uniform"), exponent, k).max_update for k in (1, 2, 3, 200)]
    assert found[:2] == pytest.approx([one, one * one ** (1 - 2 * exponent)], rel=1e-13)
    assert found == sorted(found)
    assert found[-1] == pytest.approx(one ** (1 / (2 * exponent)) if exponent else 1, rel=1e-9)


def test_the_bound_of_inverse_exp_falls_to_1_like_1_over_k():
    memory1, memory2 = -math.log(1 - ADAM[0]), -math.log(1 - ADAM[1])
    slope = (memory1 - memory2) ** 2 / (2 * memory2)
    found = [k * (max_update(*stage_betas(*ADAM, k, "inverse-exp")[0]) - 1) for k in (1000, 10_000)]
    assert found == pytest.approx([slope] * 2, rel=2e-3)


def test_the_outputs_of_stages_are_those_of_the_rule_sent_through_one_after_the_other():
    gradients = np.random.default_rng(0).normal(size=50)
    first = updates(0.9, 0.99, 0.25, gradients)
    found = stage_updates(gradients, [(0.9, 0.99), (0.5, 0.8)], (0.25, 0.5), 2)
    assert found[0] == pytest.approx(first, rel=1e-14)
    assert found[1] == pytest.approx(updates(0.5, 0.8, 0.5, first), rel=1e-14)


def test_elements_of_a_gradient_do_not_meet():
    gradients = np.random.default_rng(0).normal(size=(30, 2, 3))
    together = stage_updates(gradients, ADAM, 0.25, stages=2)
    assert together.shape == (2, 30, 2, 3)
    assert together[:, :, 1, 2] == pytest.approx(stage_updates(gradients[:, 1, 2], ADAM, 0.25, stages=2), rel=1e-14)


@pytest.mark.parametrize("exponent", [0.25, 0.5])
def test_many_inverse_exp_stages_are_the_sign_of_the_last_gradient_that_was_not_0(exponent):
    gradients = np.array([0.3, -2, 5, 0.4, 0, 0, 0, -0.7, 0, 2])
    signs = np.array([1, -1, 1, 1, 1, 1, 1, -1, -1, 1])
    for k in (256, 2048):
        found = stage_updates(gradients, stage_betas(*ADAM, k, "inverse-exp"), exponent, k)[-1]
        correction = (signs[1:] != signs[:-1]) * math.log(10) / (exponent * k)
        assert found[1:] * signs[1:] == pytest.approx(1 - correction, abs=1.5 / k)
        assert found[0] == pytest.approx(1, rel=1e-14)


def test_without_normalization_many_inverse_exp_stages_average_with_poisson_weights():
    gradients, mean = np.random.default_rng(0).normal(size=12), math.log(10)
    weights = [math.exp(-mean) * mean**lag / math.factorial(lag) for lag in range(12)]
    # What would reach back beyond the first gradient is put on it: the bias correction.
    expected = [np.dot(weights[:t], gradients[t:0:-1]) + (1 - sum(weights[:t])) * gradients[0] for t in range(12)]
    found = stage_updates(gradients, stage_betas(*ADAM, 4000, "inverse-exp"), 0.0, 4000)[-1]
    assert found == pytest.approx(expected, abs=5e-3)


@pytest.mark.parametrize("exponent", [0.1, 0.25, 0.5])
@pytest.mark.parametrize("pair", [ADAM, (0.5, 0.9), (0.3, 0.5)])
def test_many_uniform_stages_end_at_the_sign_of_the_first_gradient(exponent, pair):
    gradients = sequences(24)
    found = stage_updates(gradients, pair, exponent, stages=128)
    assert found[-1] == pytest.approx(np.broadcast_to(np.sign(gradients[0]), gradients.shape), abs=1e-6)
    assert np.abs(found[-1] - found[-2]).max() < 1e-6


def test_near_their_fixed_point_stages_contract_by_the_difference_of_the_weights_of_their_averages():
    (beta1, beta2), p, t, small = ADAM, 0.25, 5, 1e-6
    gradients = np.ones(t)
    gradients[-1] += small
    expected = (1 - beta1) / (1 - beta1**t) - 2 * p * (1 - beta2) / (1 - beta2**t)
    assert (stage_updates(gradients, ADAM, p)[0, -1] - 1) / small == pytest.approx(expected, rel=1e-4)


def test_after_first_gradients_of_0_only_the_time_and_the_sign_of_the_next_one_matter():
    gradients = sequences(24)
    gradients[:5] = 0
    gradients[5] = np.sign(sequences(24)[0])
    found = stage_updates(gradients, ADAM, stages=128)[-1] * gradients[5]
    assert np.ptp(found, axis=1).max() < 1e-6
    assert np.ptp(found[5:, 0]) > 0.1


@pytest.mark.parametrize(("pair", "survives"), [((0.1, 0.05), True), ((0.2, 0.2), False), (ADAM, False)])
def test_alternating_gradients_survive_any_number_of_stages_only_with_very_short_memories(pair, survives):
    found = stage_updates((-1.0) ** np.arange(40), pair, stages=300)[-1]
    amplitude = (1 - pair[0]) / (1 + pair[0])
    expected = [amplitude, -amplitude] if survives else [1, 1]
    assert found[-2:] == pytest.approx(expected, abs=1e-6)


def test_uniform_stages_pass_a_change_of_sign_on_late():
    crossed = np.argmax(stage_updates(np.where(np.arange(300) < 100, 1.0, -1.0), ADAM, stages=16) < 0, axis=1)
    assert np.diff(crossed).min() >= 8
    assert np.diff(crossed).max() <= 10


def test_at_an_exponent_of_1_stages_are_a_cycle():
    assert stage_updates([3.0], ADAM, 1.0, stages=4).ravel() == pytest.approx([1 / 3, 3, 1 / 3, 3])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: stage_betas(1.0, 0.999, 2), r"beta1 = 1\.0 is not accepted: beta1 must be in \[0, 1\)"),
        (lambda: stage_betas(0.9, math.nan, 2), "beta2 = nan"),
        (lambda: stage_betas(0.9, 0.999, 0), "k = 0 is not accepted: k must be a whole number of at least 1"),
        (lambda: stage_betas(0.9, 0.999, 1.5), "k = 1.5"),
        (lambda: stage_betas(0.9, 0.999, 2, "linear"), 'strategy = \'linear\' .* "uniform" or "inverse-exp"'),
    ],
)
def test_errors_name_the_argument_the_value_and_what_is_accepted(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()
