"""One verdict on several stages: which stage decides, and what the chain of them is bounded by."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from equipoise.errors import ArgumentError
from equipoise.hyperparameters import parse_betas, parse_exponents
from equipoise.rules import Memory, Stage, Step, apply_stage
from equipoise.theory import Growth, NearestStable, Stability, assess, margin, max_update
from equipoise.theory._assessment import rounded_towards_stability

SPIKE = np.eye(1, 400)[0]


def chained(found, gradients):
    """The updates that the stages of an assessment make of the gradients, without eps."""
    memories, updates = [Memory(0.0, 0.0)] * len(found.hyperparameters.betas), []
    for number, x in enumerate(gradients.tolist(), 1):
        step = Step(number, lr=1.0, stages=(), eps=0.0)
        for k, (pair, exponent) in enumerate(zip(found.hyperparameters.betas, found.hyperparameters.exponents, strict=True)):
            x, memories[k] = apply_stage(x, memories[k], Stage(*pair, exponent), step)
        updates.append(abs(x))
    return np.array(updates)


def test_adam_is_stable_with_the_numbers_of_its_region():
    found = assess((0.9, 0.999))
    assert found.stability is Stability.STABLE
    assert found.stable
    assert (found.margin, found.max_update) == (margin(0.9, 0.999), max_update(0.9, 0.999))
    assert (found.growth_rate, found.scale_degree, found.deciding_stage) == (0, 0, 1)
    assert found.nearest == NearestStable(0.9, 0.999, 0.5)


def test_the_last_stage_alone_decides_if_its_exponent_is_half():
    found = assess([(0.95, 0.7), (0.9, 0.999)], stages=2)
    first = assess((0.95, 0.7))
    assert not first.stable
    assert found.stable
    assert found.deciding_stage == 2
    assert chained(first, SPIKE).max() > 1e15
    assert chained(found, SPIKE).max() <= found.max_update == pytest.approx(max_update(0.9, 0.999), rel=1e-15)


def test_a_stable_first_stage_does_not_help_an_unstable_last():
    found = assess([(0.9, 0.999), (0.95, 0.7)], stages=2)
    assert found.stability is Stability.UNSTABLE
    assert chained(found, SPIKE).max() > 1e6


def test_with_a_smaller_last_exponent_every_stage_must_be_stable():
    found = assess([(0.95, 0.7), (0.9, 0.999)], exponent=0.25, stages=2)
    assert found.stability is Stability.UNSTABLE
    assert (found.deciding_stage, found.margin) == (1, margin(0.95, 0.7, 0.25))
    updates = chained(found, SPIKE)
    # The second stage passes on G^(1 - 2p): it halves the rate in nats.
    rate = math.log(updates[390] / updates[290]) / 100
    assert rate == pytest.approx(found.growth_rate / 2, rel=0.05)


def test_a_stage_of_half_in_the_middle_bounds_whatever_came_before_it():
    found = assess([(0.95, 0.7), (0.9, 0.999), (0.9, 0.99)], exponent=(0.25, 0.5, 0.25), stages=3)
    assert found.stable
    assert found.deciding_stage in (2, 3)
    assert found.max_update == pytest.approx(max_update(0.9, 0.99, 0.25) * max_update(0.9, 0.999) ** 0.5, rel=1e-14)
    assert chained(found, SPIKE).max() <= found.max_update


def test_any_stage_above_half_that_counts_is_unstable_for_vanishing_gradients():
    assert assess((0.9, 0.999), exponent=0.6).stability is Stability.VANISHING
    assert assess([(0.5, 0.999), (0.9, 0.999)], exponent=(0.6, 0.25), stages=2).stability is Stability.VANISHING
    assert assess((0.9, 0.999), exponent=(0.6, 0.5), stages=2).stability is Stability.STABLE
    small = chained(assess((0.9, 0.999), exponent=0.75), np.full(5, 1e-12))
    assert small.min() > 1e5


@settings(max_examples=300, deadline=None)
@given(
    betas=st.lists(st.tuples(st.floats(0, 0.99), st.floats(0.5, 0.999)), min_size=2, max_size=3),
    exponents=st.lists(st.sampled_from([-0.25, 0.0, 0.125, 0.25, 0.4, 0.5]), min_size=3, max_size=3),
    scale=st.floats(1e-3, 1e3),
    decades=st.floats(0, 6),
    seed=st.integers(0, 2**32 - 1),
)
def test_no_sequence_of_gradients_exceeds_the_bound_of_a_stable_chain(betas, exponents, scale, decades, seed):
    found = assess(betas, exponents[: len(betas)], len(betas))
    rng = np.random.default_rng(seed)
    gradients = rng.choice([-1, 0, 1], 60) * 10 ** -rng.uniform(0, decades, 60)
    if found.stable:
        bound = found.max_update * scale**found.scale_degree
        assert chained(found, scale * gradients).max() <= bound * (1 + 1e-9)


def test_a_bound_beyond_all_doubles_is_infinite():
    found = assess((0.5, 0.999), exponent=(0.4, -1000.0), stages=2)
    assert found.stable
    assert found.max_update == math.inf


@pytest.mark.parametrize(
    ("betas", "exponent", "sentence"),
    [
        ((0.9, 0.999), 0.5, "Safe: no sequence of gradients can make an update larger than 7.27 learning rates."),
        ((0.9, 0.999), 0.25, "exceeds 2.4 learning rates (for gradients up to G: times G^0.5)."),
        ((0.9, 0.999), 0.0, "exceeds 1 learning rate (for gradients up to G: times G)."),
        (
            (0.95, 0.7),
            0.5,
            "Not safe: when a large gradient is followed by small ones, the update grows by up to 13.5% per step,",
        ),
        ((0.95, 0.001), 0.5, "the update grows up to 30-fold per step."),
        ((0.5, 0.25), 0.5, "Not safe: exactly on the boundary, where the largest possible update grows without limit"),
        ((0.9, 0.0), 0.5, "Not safe: with beta2 = 0 a single gradient of 0 makes the update infinite"),
        ((0.9, 0.999), 0.75, "Not safe: with an exponent above 1/2, updates grow without bound as gradients vanish"),
    ],
)
def test_the_sentence_says_what_follows(betas, exponent, sentence):
    assert sentence in assess(betas, exponent).sentence


@pytest.mark.parametrize(
    ("betas", "exponent", "growth"),
    [
        ((0.9, 0.999), 0.5, Growth.NONE),
        ((0.9, 0.81), 0.5, Growth.MODERATE),  # the boundary itself
        ((0.9, (0.9 * math.exp(-0.0999)) ** 2), 0.5, Growth.MODERATE),
        ((0.9, (0.9 * math.exp(-0.1001)) ** 2), 0.5, Growth.FAST),
        ((0.9, 0.2), 0.125, Growth.MODERATE),  # a smaller exponent grows more slowly
        ((0.9, 0.0), 0.5, Growth.FAST),
        ((0.9, 0.999), 0.75, Growth.WITH_GRADIENTS),
        ((0.9, 0.2), 0.75, Growth.WITH_GRADIENTS),
    ],
)
def test_what_is_outside_of_the_region_is_graded_by_its_rate_and_comes_with_advice(betas, exponent, growth):
    found = assess(betas, exponent)
    assert found.growth is growth
    assert (found.advice == "") == found.stable


@given(beta1=st.floats(0, 0.999999), beta2=st.floats(0, 0.999999), exponent=st.floats(0.001, 1))
def test_nearest_values_stay_stable_when_they_are_rounded_for_reading(beta1, beta2, exponent):
    rounded = rounded_towards_stability(assess((beta1, beta2), exponent).nearest)
    if exponent <= 0.5:
        assert assess((rounded.beta1, beta2), exponent).stable
        assert assess((beta1, rounded.beta2), exponent).stable
    assert assess((beta1, beta2), rounded.exponent).stable
    for value in rounded:
        assert math.isnan(value) or len(f"{min(value, 1 - value):.12e}".rstrip("0")) <= 20


def test_rounding_keeps_three_digits_of_the_distance_to_1():
    assert rounded_towards_stability(NearestStable(0.99991492, 0.9991234, 0.4999)) == NearestStable(0.9999149, 0.999124, 0.499)
    assert rounded_towards_stability(NearestStable(0.0, math.nan, 0.0))[::2] == (0.0, 0.0)


def test_one_pair_and_one_exponent_serve_every_stage():
    assert parse_betas((0.9, 0.999), 3) == ((0.9, 0.999),) * 3
    assert parse_betas([[0.9, 0.99], [0.8, 0.9]], 2) == ((0.9, 0.99), (0.8, 0.9))
    assert parse_betas(np.float32([0.5, 0.75]), 1) == ((0.5, 0.75),)
    assert parse_exponents(np.float32(0.25), 2) == (0.25, 0.25)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((0.9,), 0.5, 1), r"betas = \(0\.9,\) .* one pair \(beta1, beta2\) of numbers in \[0, 1\)$"),
        (((0.9, 1.0), 0.5, 1), r"betas = \(0\.9, 1\.0\) .* in \[0, 1\)$"),
        (((0.9, math.nan), 0.5, 1), "betas = .*nan"),
        (("0.9", 0.5, 1), "betas = '0.9'"),
        ((((0.9, 0.99),) * 2, 0.5, 3), "betas = .* or 3 such pairs, one per stage"),
        (((0.9, 0.999), "half", 1), "exponent = 'half' .* a finite number$"),
        (((0.9, 0.999), "1", 1), "exponent = '1' .* a finite number$"),
        (((0.9, 0.999), 10**400, 1), "exponent = 10.* a finite number$"),
        (((("0.9", "0.99"),), 0.5, 1), "betas = .* of numbers in"),
        (((0.9, 0.999), math.inf, 1), "exponent = inf"),
        (((0.9, 0.999), (0.5, 0.5), 3), r"exponent = \(0\.5, 0\.5\) .* or 3 of them, one per stage"),
        (((0.9, 0.999), 0.5, 0), "stages = 0 .* a whole number from 1 to 10000"),
        (((0.9, 0.999), 0.5, True), "stages = True"),
        (((0.9, 0.999), 0.5, 1.5), r"stages = 1\.5"),
    ],
)
def test_errors_name_the_argument_the_value_and_what_is_accepted(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        assess(*arguments)
