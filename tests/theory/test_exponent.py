"""What the exponent does to scales, rare gradients and noise: every formula against the rule itself, to 2 %."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from equipoise.errors import ArgumentError
from equipoise.rules import Memory, Stage, Step, apply_stage
from equipoise.theory import (
    assess,
    noise_ratio,
    recommend_exponent,
    scale_degree,
    signal_loss,
    signal_to_noise,
    sparse_rate,
    update_spread,
)

EXPONENTS = [0.0, 0.125, 0.25, 0.375, 0.5]


def updates(draw, stages, warm, kept):
    """The updates of the last `kept` steps, one row per step, without eps; `draw` gives the gradient of a step."""
    memories, found = [Memory(0.0, 0.0)] * len(stages), []
    for number in range(1, warm + kept + 1):
        x, step, after = draw(), Step(number, lr=1.0, stages=stages, eps=0.0), []
        for stage, memory in zip(stages, memories, strict=True):
            x, memory = apply_stage(x, memory, stage, step)
            after.append(memory)
        memories = after
        if number > warm:
            found.append(x)
    return np.array(found)


@pytest.mark.parametrize("exponents", [[0.0], [0.25], [0.5], [0.25, 0.125]])
def test_layers_keep_the_spread_of_their_gradients_times_the_degree(exponents):
    rng = np.random.default_rng(0)
    scales = np.logspace(0, -4, 5)[:, None]  # five layers of 20,000 weights; gradients vanish towards the last
    stages = [Stage(0.9, 0.95, p) for p in exponents]
    found = updates(lambda: scales * rng.standard_normal((5, 20_000)), stages, warm=100, kept=1)
    sizes = np.sqrt((found**2).mean(axis=(0, 2)))
    spread = np.log10(sizes[0] / sizes)
    expected = [update_spread(decades, exponents, len(exponents)) for decades in range(5)]
    np.testing.assert_allclose(10**spread, 10 ** np.array(expected), rtol=0.02)


@given(scale=st.floats(1e-3, 1e3), exponents=st.lists(st.floats(-0.5, 0.5), min_size=1, max_size=3))
@settings(max_examples=50, deadline=None)
def test_the_update_is_homogeneous_of_the_scale_degree(scale, exponents):
    gradients = np.random.default_rng(1).standard_normal((30, 4))
    stages = [Stage(0.9, 0.99, p) for p in exponents]
    one = updates(iter(gradients).__next__, stages, warm=20, kept=10)
    scaled = updates(iter(scale * gradients).__next__, stages, warm=20, kept=10)
    np.testing.assert_allclose(scaled, scale ** scale_degree(exponents, len(exponents)) * one, rtol=1e-9)


def test_the_degree_is_that_of_the_bound_on_updates():
    assert scale_degree([0.125, 0.25], 2) == assess((0.9, 0.999), [0.125, 0.25], 2).scale_degree == 0.375


@pytest.mark.parametrize("density", [0.3, 0.05, 0.01, 0.003])
@pytest.mark.parametrize("exponent", [0.125, 0.25, 0.5])
def test_sparse_coordinates_move_at_the_sparse_rate_to_2_percent(density, exponent):
    rng = np.random.default_rng(2)
    size = 4000
    found = updates(lambda: (rng.random(size) < density).astype(float), [Stage(0.9, 0.995, exponent)], warm=1500, kept=500)
    assert found.mean() == pytest.approx(sparse_rate(density, exponent, (0.9, 0.995)), rel=0.02)


@pytest.mark.parametrize("exponent", [0.25, 0.5])
def test_coordinates_that_are_sparse_against_the_memory_move_more_slowly_than_f_to_the_power_1_minus_p(exponent):
    # A gradient every 1,000 steps with a memory of 200: each acts alone.
    rng = np.random.default_rng(3)
    size, density, beta1, beta2 = 20_000, 0.001, 0.5, 0.995
    found = updates(
        lambda: (rng.random(size) < density).astype(float), [Stage(beta1, beta2, exponent)], warm=1000, kept=500
    ).mean()
    assert found == pytest.approx(sparse_rate(density, exponent, (beta1, beta2)), rel=0.02)
    assert found < 0.92 * density ** (1 - exponent)


@given(exponent=st.floats(0.0, 0.5), beta1=st.floats(0.0, 0.95), beta2=st.floats(0.98, 0.9995))
@settings(max_examples=40, deadline=None)
def test_both_limits_of_the_sparse_rate(exponent, beta1, beta2):
    rare = 1e-4 * (1 - beta2)
    alone = rare * (1 - beta1) / ((1 - beta1 * beta2**-exponent) * (1 - beta2) ** exponent)
    assert sparse_rate(rare, exponent, (beta1, beta2)) == pytest.approx(alone, rel=1e-3)
    often = min(1.0, 50 * (1 - beta2))
    assert sparse_rate(often, exponent, (beta1, beta2)) == pytest.approx(often ** (1 - exponent), rel=0.01)


def test_the_sparse_rate_is_the_average_over_every_pattern_of_gradients():
    # A second moment with a short memory sees few gradients: sum over all patterns of 18 of them.
    beta1, beta2, density, p, n = 0.3, 0.5, 0.4, 0.25, 18
    patterns = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
    weight = np.prod(np.where(patterns == 1, density, 1 - density), axis=1)
    m = (1 - beta1) * patterns @ beta1 ** np.arange(n)
    v = (1 - beta2) * patterns @ beta2 ** np.arange(n)
    exact = (weight * m / np.where(v == 0, 1, v) ** p).sum()
    assert sparse_rate(density, p, (beta1, beta2)) == pytest.approx(exact, rel=5e-6)


def test_the_golden_rates_where_f_to_the_power_1_minus_p_is_right_to_2_percent_and_where_it_ends():
    def share(density, p):
        return sparse_rate(density, p) / density ** (1 - p)

    assert share(0.009, 0.25) > 0.98 > share(0.008, 0.25)
    assert share(0.016, 0.5) > 0.98 > share(0.0145, 0.5)
    assert [round(share(0.001, p), 3) for p in (0.25, 0.5)] == [0.858, 0.741]
    assert share(1e-6, 0.5) == pytest.approx(1 / 31.5, rel=0.01)


@pytest.mark.parametrize("exponent", EXPONENTS)
@pytest.mark.parametrize("beta1", [0.0, 0.9])
def test_signal_to_noise_of_the_update_to_2_percent(exponent, beta1):
    rng = np.random.default_rng(4)
    kinds, copies = 40, 500  # coordinates of 40 kinds, of which 10 have a signal
    mean = np.where(np.arange(kinds) < 10, rng.uniform(0.5, 2.0, kinds), 0.0)
    deviation = rng.uniform(0.05, 0.5, kinds)
    found = updates(
        lambda: mean + deviation * rng.standard_normal((copies, kinds)), [Stage(beta1, 0.995, exponent)], warm=1000, kept=100
    )
    signal = found.mean(axis=(0, 1))[:10]  # that of the others is 0
    noise = found.var(axis=1, ddof=1).mean(axis=0)
    ratio = np.linalg.norm(signal) / np.sqrt(noise.sum())
    assert ratio == pytest.approx(signal_to_noise(mean, deviation, exponent, (beta1, 0.995)), rel=0.02)


@given(p=st.floats(0.0, 0.5), noise=st.floats(1e-4, 1.0))
@settings(max_examples=50, deadline=None)
def test_signal_and_noise_on_different_coordinates_keep_their_ratio_to_the_power_1_minus_2p(p, noise):
    kept = signal_to_noise([1.0, 0.0], [0.0, noise], p) / signal_to_noise([1.0, 0.0], [0.0, noise], 0.0)
    assert kept == pytest.approx(noise ** (2 * p), rel=1e-9)


def test_within_one_coordinate_the_exponent_changes_nothing():
    assert signal_to_noise([3.0], [2.0], 0.5) == pytest.approx(signal_to_noise([3.0], [2.0], 0.0), rel=1e-12)
    assert signal_to_noise([3.0, 0.0], [2.0, 0.0], -0.5) == pytest.approx(1.5 * math.sqrt(19), rel=1e-12)


@given(
    spread=st.floats(0.0, 8.0),
    density=st.floats(1e-4, 1.0),
    noise=st.floats(1e-4, 10.0),
    tolerance=st.floats(0.1, 3.0),
)
@settings(max_examples=30, deadline=None)
def test_the_recommended_exponent_is_the_smallest_that_equalises_enough_for_what_it_loses(spread, density, noise, tolerance):
    found = recommend_exponent(spread, density, noise, tolerance)

    def enough(p):
        gap = max((1 - 2 * p) * spread, -math.log10(sparse_rate(density, p)))
        return gap <= max(tolerance, -2 * p * math.log10(noise))

    assert 0 <= found.exponent <= 0.5
    assert enough(found.exponent + 1e-6) if found.exponent < 0.499 else not enough(0.498)
    assert found.exponent == 0 or not enough(found.exponent - 1e-6)
    assert found.update_spread == pytest.approx((1 - 2 * found.exponent) * spread)
    assert found.sparse_rate == sparse_rate(density, found.exponent)
    assert found.signal_loss == max(0.0, -2 * found.exponent * math.log10(noise))


@pytest.mark.parametrize(
    ("asked", "exponent", "decided_by", "within"),
    [
        ({}, 0.0, (), True),
        ({"spread": 1.0}, 0.0, (), True),
        ({"spread": 4.0}, 0.375, ("spread",), True),
        ({"spread": 4.0, "noise": 0.5}, 0.375, ("spread",), True),
        ({"spread": 4.0, "noise": 3.0}, 0.375, ("spread",), True),
        ({"spread": 4.0, "noise": 1e-4}, 0.25, ("spread", "noise"), False),
        ({"spread": 6.0, "noise": 1e-2}, 0.375, ("spread", "noise"), False),
        ({"density": 0.1, "tolerance": 0.75}, 0.25, ("density",), True),
        ({"density": 1e-3}, 0.5, ("density",), False),
        ({"density": 0.1, "noise": 0.1, "tolerance": 0.1}, 1 / 3, ("density", "noise"), False),
    ],
)
def test_golden_recommendations(asked, exponent, decided_by, within):
    found = recommend_exponent(**asked)
    assert found.exponent == pytest.approx(exponent, abs=0.002)
    assert found.decided_by == decided_by
    assert found.within_tolerance is within


@pytest.mark.parametrize("ratio", [0.01, 0.3, 5.0])
def test_the_noise_ratio_is_found_from_gradients_with_its_own_noise_taken_out(ratio):
    rng = np.random.default_rng(0)
    steps, half = 400, 2000
    # Half of the coordinates carry signal, whose mean square is 1 and whose noise is weak; half carry noise alone.
    signal, noise = np.r_[rng.choice([-1.0, 1.0], half), np.zeros(half)], np.r_[np.full(half, 0.1), np.full(half, ratio)]
    gradients = signal + noise * rng.standard_normal((steps, 2 * half))
    mean, deviation = gradients.mean(0), gradients.std(0, ddof=1)
    true = [signal_to_noise(signal, noise, p) for p in (0.5, 0.0)]
    assert noise_ratio(mean, deviation, steps) == pytest.approx(true[0] / true[1], rel=0.02)
    assert math.isnan(noise_ratio(mean[half:], deviation[half:], steps))


@pytest.mark.parametrize("p", EXPONENTS)
def test_the_loss_of_signal_is_what_signal_to_noise_gives_up(p):
    kept = signal_to_noise([1.0, 0.0], [0.0, 1e-3], p) / signal_to_noise([1.0, 0.0], [0.0, 1e-3], 0.0)
    assert signal_loss(1e-3, p) == pytest.approx(-math.log10(kept), abs=1e-12)
    assert signal_loss(2.0, p) == 0


def test_no_exponent_above_the_highest_is_recommended():
    found = recommend_exponent(spread=4.0, highest=0.2)
    assert (found.exponent, found.decided_by, found.within_tolerance) == (0.2, ("spread",), False)
    assert recommend_exponent(spread=1.25, highest=0.2).exponent == pytest.approx(0.1)
    # Rates of rare gradients are asked for at no exponent that is not stable.
    assert recommend_exponent(density=0.01, betas=(0.95, 0.7), highest=0.1).exponent == 0.1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: scale_degree(math.nan), "exponent = nan .* finite"),
        (lambda: scale_degree([0.5], 2), r"exponent = \[0\.5\] .* one per stage"),
        (lambda: update_spread(math.nan, 0.5), "spread = nan .* decades"),
        (lambda: update_spread(-1.0, 0.5), r"spread = -1\.0"),
        (lambda: sparse_rate(0.0, 0.5), r"density = 0\.0 .* in \(0, 1\]"),
        (lambda: sparse_rate(math.nan, 0.5), "density = nan"),
        (lambda: sparse_rate(0.1, 0.75), r"exponent = 0\.75 .* in \[0, 0\.5\]"),
        (lambda: sparse_rate(0.1, 0.5, (0.9, 1.0)), r"betas = \(0\.9, 1\.0\) .* in \[0, 1\)"),
        (lambda: sparse_rate(0.1, 0.5, (0.95, 0.7)), r"betas = \(0\.95, 0\.7\) .* stability region"),
        (lambda: sparse_rate(0.1, 0.5, (0.1, 0.4)), r"betas = \(0\.1, 0\.4\) .* beta2 >= 0\.5"),
        (lambda: signal_to_noise([math.nan], [1.0], 0.5), "mean = "),
        (lambda: signal_to_noise([1.0], [-1.0], 0.5), "deviation = "),
        (lambda: signal_to_noise([1.0], [0.0], 0.5), "deviation = .* not all 0"),
        (lambda: signal_to_noise([1.0, 2.0], [1.0], 0.5), "deviation = .* shape of mean"),
        (lambda: signal_to_noise([1.0], [1.0], math.inf), "exponent = inf"),
        (lambda: recommend_exponent(spread=math.nan), "spread = nan"),
        (lambda: recommend_exponent(density=2.0), r"density = 2\.0"),
        (lambda: recommend_exponent(noise=0.0), r"noise = 0\.0 .* positive"),
        (lambda: recommend_exponent(noise=math.nan), "noise = nan"),
        (lambda: recommend_exponent(tolerance=0.0), r"tolerance = 0\.0 .* decades"),
        (lambda: recommend_exponent(highest=0.6), r"highest = 0\.6 .* in \(0, 0\.5\]"),
        (lambda: signal_loss(-1.0, 0.5), r"noise = -1\.0 .* positive"),
        (lambda: noise_ratio([1.0], [1.0], 1), "observations = 1 .* at least 2"),
        (lambda: recommend_exponent(density=0.1, betas=(1.5, 0.9)), r"betas = \(1\.5, 0\.9\)"),
    ],
)
def test_errors_name_the_argument_the_value_and_what_is_accepted(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()
