"""Where updates stay bounded: the formula, and simulations on both sides of the boundary."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from equipoise.errors import ArgumentError
from equipoise.rules import Memory, Stage, Step, apply_stage
from equipoise.theory import assess, continuous_margin, growth_rate, margin, max_update, nearest_stable, worst_case_gradients

OUTSIDE = [(0.95, 0.7, 0.5), (0.9, 0.5, 0.25), (0.99, 0.9, 0.4), (0.97, 0.1, 0.125), (0.999, 0.99, 0.5)]
INSIDE = [(0.9, 0.999, 0.5), (0.9, 0.82, 0.5), (0.95, 0.95, 0.25), (0.9, 0.3, 0.05), (0.0, 0.9, 0.5), (0.99, 0.9, -0.25)]


def updates(beta1, beta2, exponent, gradients):
    """The update after every gradient, without eps."""
    memory, found = Memory(0.0, 0.0), []
    for number, gradient in enumerate(gradients, 1):
        step = Step(number, lr=1.0, stages=(), eps=0.0)
        update, memory = apply_stage(float(gradient), memory, Stage(beta1, beta2, exponent), step)
        found.append(update)
    return np.array(found)


@pytest.mark.parametrize(("beta1", "beta2", "exponent"), OUTSIDE)
def test_outside_one_gradient_and_then_silence_grows_at_the_growth_rate(beta1, beta2, exponent):
    # Late enough for the bias corrections to have ended, early enough for the second moment not to underflow.
    first, last = round(5 / (1 - beta1)), round(8 / (1 - beta1))
    found = np.abs(updates(beta1, beta2, exponent, [1.0] + [0.0] * last))
    rate = (math.log(found[last]) - math.log(found[first])) / (last - first)
    assert margin(beta1, beta2, exponent) < 0
    assert rate == pytest.approx(growth_rate(beta1, beta2, exponent), rel=0.01)


@pytest.mark.parametrize(("beta1", "beta2", "exponent"), INSIDE)
def test_inside_no_pattern_of_gradients_exceeds_the_largest_update(beta1, beta2, exponent):
    n = 1000
    rng = np.random.default_rng(0)
    patterns = {
        "spike": np.eye(1, n)[0],
        "spikes": np.where(np.arange(n) % 37 == 0, 1.0, 0.0),
        "silence, then gradients": np.where(np.arange(n) > 900, 1.0, 1e-30),
        "noise": rng.uniform(-1, 1, n),
        "bursts": rng.uniform(-1, 1, n) ** 31,
        "fading": np.exp(-0.05 * np.arange(n)),
        "rising": np.exp(-0.05 * np.arange(n)[::-1]),
        "the worst": worst_case_gradients(beta1, beta2, exponent, n),
    }
    assert margin(beta1, beta2, exponent) > 0
    for name, gradients in patterns.items():
        assert np.abs(updates(beta1, beta2, exponent, gradients)).max() <= max_update(beta1, beta2, exponent) * (1 + 1e-9), name


@given(beta1=st.floats(0.01, 0.999), exponent=st.floats(0.02, 0.5), beyond=st.floats(-0.01, 0.01))
def test_the_boundary_is_where_beta2_to_the_exponent_equals_beta1(beta1, exponent, beyond):
    beta2 = min((beta1 + beyond * (1 - beta1)) ** (1 / exponent), 1 - 1e-12) if beta1 + beyond * (1 - beta1) > 0 else 0.0
    found = margin(beta1, beta2, exponent)
    if abs(beyond) > 1e-9:
        assert (found > 0) == (beyond > 0)
    assert growth_rate(beta1, beta2, exponent) == max(0.0, -found)
    assert math.isfinite(max_update(beta1, beta2, exponent)) == (found > 0)


def test_margin_is_in_nats_per_step():
    assert margin(0.9, 0.999) == pytest.approx(0.5 * math.log(0.999) - math.log(0.9), rel=1e-15)


def test_a_smaller_exponent_widens_the_region():
    assert margin(0.95, 0.7, [0.5, 0.25, 0.125, 0.0]) == pytest.approx([-0.12704, -0.03788, 0.00671, 0.05129], abs=1e-5)


def test_at_an_exponent_of_half_the_continuous_margin_is_that_of_the_paper():
    assert continuous_margin(0.9, 0.999) == pytest.approx(2 * 0.1 / 0.9 - 0.001 / 0.999, rel=1e-14)


def test_the_two_margins_agree_to_first_order_near_1():
    for scale in (1e-2, 1e-3, 1e-4):
        beta1, beta2 = 1 - scale, 1 - 0.5 * scale
        assert 0.5 * continuous_margin(beta1, beta2) == pytest.approx(margin(beta1, beta2), rel=3 * scale)


@pytest.mark.parametrize("exponent", [0.0, -0.5, -3.0])
@pytest.mark.parametrize(("beta1", "beta2"), [(0.99, 0.0), (0.99, 0.1), (0.0, 0.0), (0.5, 0.9)])
def test_without_a_positive_exponent_there_is_no_boundary_and_no_update_exceeds_the_gradient(exponent, beta1, beta2):
    assert margin(beta1, beta2, exponent) > 0
    assert continuous_margin(beta1, beta2, exponent) == math.inf
    assert max_update(beta1, beta2, exponent) == 1


def test_above_half_no_update_is_the_largest():
    assert max_update(0.9, 0.999, 0.75) == max_update(0.9, 0.999, 0.75, steps=1) == math.inf


def test_without_momentum_everything_is_infinitely_far_inside():
    assert margin(0.0, 0.5) == continuous_margin(0.0, 0.5) == margin(0.0, 0.0) == math.inf
    assert max_update(0.0, 0.99) == pytest.approx(10, rel=1e-14)
    assert max_update(0.0, 0.0) == 1


def test_a_second_moment_without_memory_is_infinitely_far_outside():
    assert margin(0.9, 0.0) == continuous_margin(0.9, 0.0) == -math.inf
    assert growth_rate(0.9, 0.0) == max_update(0.9, 0.0) == max_update(0.9, 0.0, 0.25, steps=2) == math.inf
    assert max_update(0.9, 0.0, 0.25, steps=1) == max_update(0.9, 0.0, 0.5, steps=1) == 1


def test_numbers_in_give_floats_out_and_arrays_broadcast():
    functions = (margin, continuous_margin, growth_rate, max_update)
    grid = np.array([[0.5], [0.9]]), np.array([0.7, 0.99, 0.999])
    for function in functions:
        assert type(function(0.9, 0.999)) is type(function(np.float32(0.9), np.float64(0.999), 0)) is float
        found = function(*grid, 0.25)
        assert found.shape == (2, 3)
        assert found[1, 2] == pytest.approx(function(0.9, 0.999, 0.25), rel=1e-15)
    assert max_update(0.9, 0.999, [0.25, 0.5], steps=[[1], [10], [100]]).shape == (3, 2)
    assert [value.shape for value in nearest_stable(*grid)] == [(2, 3)] * 3


@given(
    beta1=st.floats(0.01, 0.9999),
    beta2=st.floats(0.0, 0.9999),
    exponent=st.floats(0.01, 0.5),
    slack=st.sampled_from([0.05, 0.1, 0.5]),
)
def test_nearest_stable_values_are_stable_and_leave_just_the_slack(beta1, beta2, exponent, slack):
    nearest = nearest_stable(beta1, beta2, exponent, slack)
    alone = [(nearest.beta1, beta2, exponent), (beta1, nearest.beta2, exponent), (beta1, beta2, nearest.exponent)]
    for b1, b2, p in alone:
        assert assess((b1, b2), p).stable
        share = math.inf if b1 == 0 else margin(b1, b2, p) / -math.log(b1)
        if (b1, b2, p) == (beta1, beta2, exponent):
            assert share >= slack * (1 - 1e-9)
        elif b1 > 1e-300 and b2 > 1e-300:  # else it is 0, or the smallest double
            assert share == pytest.approx(slack, abs=1e-9)


def test_above_half_no_beta_helps_but_a_smaller_exponent_does():
    nearest = nearest_stable(0.9, 0.999, 0.75)
    assert math.isnan(nearest.beta1)
    assert math.isnan(nearest.beta2)
    assert nearest.exponent == 0.5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: margin(1.0, 0.999), r"beta1 = 1\.0 is not accepted: beta1 must be in \[0, 1\)"),
        (lambda: max_update(0.9, -0.1), r"beta2 = -0\.1 is not accepted: beta2 must be in \[0, 1\)"),
        (lambda: growth_rate(math.nan, 0.5), r"beta1 = nan .* in \[0, 1\)"),
        (lambda: continuous_margin(0.9, 0.999, math.inf), "exponent = inf .* must be a finite number"),
        (lambda: max_update(0.9, 0.999, steps=0), "steps = 0 .* a whole number of at least 1"),
        (lambda: max_update(0.9, 0.999, steps=2.5), r"steps = 2\.5 .* a whole number of at least 1"),
        (lambda: nearest_stable(0.9, 0.999, slack=1), r"slack = 1 .* in \[0, 1\)"),
        (lambda: worst_case_gradients(0.9, 0.999, 0.6, 5), r"exponent = 0\.6 .* at most 0\.5"),
        (lambda: worst_case_gradients(0.9, 0.0, 0.5, 5), "beta2 = 0.* positive"),
        (lambda: worst_case_gradients(0.9, 0.999, 0.5, None), "steps = None .* no finite sequence attains the limit"),
    ],
)
def test_errors_name_the_argument_the_value_and_what_is_accepted(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()


@pytest.mark.parametrize(
    ("beta1", "beta2", "exponent"), [(0.9, 0.81, 0.5), (0.3, 0.09, 0.5), (0.7, 0.7**4, 0.25), (0.99, 0.9801, 0.5)]
)
def test_betas_on_the_boundary_are_on_it_whatever_binary_makes_of_them(beta1, beta2, exponent):
    assert margin(beta1, beta2, exponent) == 0
    assert max_update(beta1, beta2, exponent) == math.inf
