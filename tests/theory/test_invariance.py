"""How the norm of a scale-invariant weight moves: the formulas against the rule itself."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from equipoise.errors import ArgumentError
from equipoise.rules import Memory, Stage, Step, update
from equipoise.theory import autocorrelation, cross_term_factor, noise_update, norm_equilibrium, norm_motion, scale_degree

SIZE = 500


def train(W, stages, lr, weight_decay, steps, signal=0.0, noise=1.0, seed=0):
    """W after every step and every update, for a scale-invariant loss that pulls to one direction, and noise."""
    rng = np.random.default_rng(seed)
    target = rng.standard_normal(SIZE)
    memories = [Memory(0 * W, 0 * W) for _ in stages]
    weights, updates = [W], []
    for number in range(1, steps + 1):
        pull = noise * rng.standard_normal(SIZE) - signal * target
        gradient = (pull - W * (W @ pull) / (W @ W)) / np.linalg.norm(W)
        step = Step(number, lr=lr, stages=stages, eps=0.0, weight_decay=weight_decay)
        new, memories = update(W, gradient, memories, step)
        updates.append((W * (1 - lr * weight_decay) - new) / lr)
        W = new
        weights.append(W)
    return np.array(weights), np.array(updates)


def measured_factor(weights, updates, lr, decay, skip):
    """The factor c of the norm dynamics, from the cross term itself."""
    cross = np.einsum("ti,ti->t", weights[:-1], updates)[skip:].sum()
    return 1 - 2 * (1 - decay) * cross / (lr * (updates[skip:] ** 2).sum())


@pytest.mark.parametrize(
    ("betas", "exponents"),
    [
        pytest.param([(0.0, 0.99)], [0.5], id="RMSprop"),
        pytest.param([(0.5, 0.99)], [0.5], id="AdamW with beta1 = 0.5"),
        pytest.param([(0.9, 0.99)], [0.5], id="AdamW"),
        pytest.param([(0.9, 0.99)], [0.25], id="SMES"),
        pytest.param([(0.9, 0.99)], [0.0], id="SGD"),
        pytest.param([(0.7, 0.998), (0.8, 0.998)], [0.5, 0.5], id="2-Adam"),
        pytest.param([(0.7, 0.99), (0.8, 0.99)], [0.25, 0.125], id="2-SMES"),
    ],
)
@pytest.mark.parametrize("start", [0.8, 1.5])
def test_hyperparameters_alone_predict_norm_and_angle_under_noise_to_2_percent(betas, exponents, start):
    k, degree = len(betas), scale_degree(exponents, len(betas))
    lr, weight_decay, steps, last = 1e-3, 0.1, 6000, 1000
    stages = [Stage(*pair, p) for pair, p in zip(betas, exponents, strict=True)]
    size = math.sqrt(SIZE * noise_update(betas, exponents, k))  # |u| where |W| is 1, and the gradient's variance too
    known = {"lr": lr, "weight_decay": weight_decay, "degree": degree}
    known["factor"] = cross_term_factor(betas, k, decay=lr * weight_decay)
    norm = start * norm_equilibrium(1.0, size, **known).norm
    direction = np.random.default_rng(1).standard_normal(SIZE)
    weights, _ = train(norm * direction / np.linalg.norm(direction), stages, lr, weight_decay, steps)

    motion = norm_motion(norm, size * norm**-degree, steps, **known)
    found = (weights**2).sum(axis=1)
    np.testing.assert_allclose(motion.squared_norm, found, rtol=0.02)
    angles = np.arccos((weights[1:] * weights[:-1]).sum(axis=1) / np.sqrt(found[1:] * found[:-1]))[-last:]
    assert np.sqrt((angles**2).mean()) == pytest.approx(np.sqrt((motion.angular_update[-last:] ** 2).mean()), rel=0.02)


@pytest.mark.parametrize("beta1", [0.0, 0.5, 0.9])
@pytest.mark.parametrize(("signal", "noise"), [(1.0, 0.0), (1.0, 1.0), (0.0, 1.0)])
def test_with_one_denominator_the_factor_depends_on_beta1_alone_and_not_on_the_gradients(beta1, signal, noise):
    lr, weight_decay = 0.01, 0.05
    start = np.random.default_rng(2).standard_normal(SIZE)
    weights, updates = train(start, [Stage(beta1, 0.999, 0.0)], lr, weight_decay, 2000, signal, noise)
    found = measured_factor(weights, updates, lr, lr * weight_decay, skip=300)
    assert found == pytest.approx(cross_term_factor((beta1, 0.999), decay=lr * weight_decay), rel=0.01)


@pytest.mark.parametrize(("signal", "noise"), [(1.0, 0.0), (1.0, 1.0), (0.0, 1.0)])
def test_with_two_stages_it_follows_from_the_autocorrelation_at_lag_1(signal, noise):
    lr, weight_decay, betas = 0.01, 0.05, [(0.6, 0.999), (0.9, 0.999)]
    start = np.random.default_rng(2).standard_normal(SIZE)
    weights, updates = train(start, [Stage(*pair, 0.0) for pair in betas], lr, weight_decay, 2000, signal, noise)
    found = measured_factor(weights, updates, lr, lr * weight_decay, skip=300)
    lags = autocorrelation(updates[300:], lags=1)
    assert found == pytest.approx(cross_term_factor(betas, 2, decay=lr * weight_decay, autocorrelation=lags), rel=0.01)


def test_the_sum_of_all_autocorrelations_is_another_number_where_gradients_agree_with_each_other():
    # Gradient descent without momentum: <W, u> is exactly 0, however much the updates resemble each other.
    start = np.random.default_rng(2).standard_normal(SIZE)
    weights, updates = train(start, [Stage(0.0, 0.999, 0.0)], 0.01, 0.0, 1000, signal=1.0, noise=0.0)
    assert measured_factor(weights, updates, 0.01, 0.0, skip=0) == pytest.approx(1, abs=1e-6)
    assert cross_term_factor((0.0, 0.999)) == 1
    assert 1 + 2 * autocorrelation(updates, lags=50).sum() > 90


def test_the_sum_of_all_autocorrelations_is_the_factor_for_white_noise():
    noise = np.random.default_rng(3).standard_normal((4000, 200))
    updates, m = [], 0.0
    for gradient in noise:
        m = 0.9 * m + 0.1 * gradient
        updates.append(m)
    assert 1 + 2 * autocorrelation(updates[100:], lags=60).sum() == pytest.approx(cross_term_factor((0.9, 0.999)), rel=0.02)


@given(beta1s=st.lists(st.floats(0.0, 0.99), min_size=1, max_size=4))
@settings(max_examples=100, deadline=None)
def test_averages_make_updates_smaller_by_as_much_as_they_correlate_them(beta1s):
    betas = [(beta1, 0.999) for beta1 in beta1s]
    k = len(betas)
    # Exponent 0: the mean square is that of the joint impulse response, whose sum is 1.
    assert cross_term_factor(betas, k) * noise_update(betas, 0.0, k) == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9, 0.99])
def test_golden_factors_of_one_and_two_equal_stages(beta):
    assert cross_term_factor((beta, 0.999)) == pytest.approx((1 + beta) / (1 - beta), rel=1e-12)
    two = (1 + beta) ** 3 / ((1 - beta) * (1 + beta**2))
    assert cross_term_factor((beta, 0.999), stages=2) == pytest.approx(two, rel=1e-9)
    assert noise_update((beta, 0.999)) == pytest.approx((1 - beta) / (1 + beta), rel=1e-12)


def test_without_the_cross_term_the_motion_is_the_formula_of_the_paper():
    lr, weight_decay, size = 1e-4, 0.5, 3.0
    s = lr * np.arange(10_001)
    decay = np.exp(-2 * weight_decay * s)
    paper = 4.0 * decay + lr * size**2 * (1 - decay) / (2 * weight_decay)
    found = norm_motion(2.0, size, 10_000, lr=lr, weight_decay=weight_decay).squared_norm
    np.testing.assert_allclose(found, paper, rtol=1e-4)


@given(
    start=st.floats(0.3, 3.0),
    degree=st.floats(0.0, 1.0),
    factor=st.floats(1.0, 40.0),
    lr=st.floats(1e-4, 1e-2),
    within=st.floats(0.01, 0.2),
)
@settings(max_examples=25, deadline=None)
def test_the_motion_reaches_the_equilibrium_when_it_is_said_to(start, degree, factor, lr, within):
    known = {"lr": lr, "weight_decay": 1e-3 / lr, "factor": factor, "degree": degree}
    norm = start * norm_equilibrium(1.0, 2.0, **known).norm
    size = 2.0 * norm**-degree
    settled = norm_equilibrium(norm, size, within=within, **known)
    motion = norm_motion(norm, size, 8000, **known)
    assert motion.squared_norm[-1] == pytest.approx(settled.norm**2, rel=1e-4)
    assert motion.angular_update[-1] == pytest.approx(settled.angular_update, rel=1e-4)
    away = np.flatnonzero(np.abs(motion.squared_norm / settled.norm**2 - 1) > within)
    last = away[-1] + 1 if away.size else 0
    assert settled.steps == pytest.approx(last, rel=0.01, abs=2)


def test_a_schedule_and_measured_sizes_are_given_per_step():
    rates, sizes = np.linspace(1e-2, 0, 300), np.linspace(1, 2, 300)
    motion = norm_motion(1.0, sizes, 300, lr=rates, weight_decay=0.1, factor=3.0)
    squared = 1.0
    for rate, size in zip(rates, sizes, strict=True):
        squared = (1 - rate * 0.1) ** 2 * squared + 3 * (rate * size) ** 2
    assert motion.squared_norm[-1] == pytest.approx(squared, rel=1e-12)
    assert motion.angular_update[-1] == 0


def test_without_weight_decay_the_norm_grows_and_never_settles():
    assert norm_equilibrium(1.0, 1.0, lr=0.01, weight_decay=0.0) == (math.inf, 0.0, math.inf)
    grown = norm_motion(1.0, 1.0, 1000, lr=0.1, weight_decay=0.0, degree=1.0).squared_norm[-1]
    assert grown**2 == pytest.approx(1 + 2 * 1000 * 0.1**2, rel=0.01)  # the fourth power of |W| grows linearly


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cross_term_factor((1.0, 0.999)), r"betas = \(1\.0, 0\.999\)"),
        (lambda: cross_term_factor((math.nan, 0.999)), "betas = .*nan"),
        (lambda: cross_term_factor((0.9, 0.999), decay=1.0), r"decay = 1\.0 .* in \[0, 1\)"),
        (lambda: cross_term_factor((0.9, 0.999), 2, autocorrelation=[]), r"autocorrelation = \[\] .* at least 1 numbers"),
        (lambda: cross_term_factor((0.9, 0.999), 2, autocorrelation=[math.nan]), "autocorrelation = .*nan"),
        (lambda: autocorrelation([1.0, 2.0], 1), "updates = .* shape"),
        (lambda: autocorrelation([[1.0], [math.inf]], 1), "updates = .* finite"),
        (lambda: autocorrelation([[1.0], [2.0]], 2), "lags = 2 .* from 1 to 1"),
        (lambda: noise_update((0.9, 0.999), math.nan), "exponent = nan"),
        (lambda: norm_motion(math.nan, 1.0, 5, lr=0.1, weight_decay=0.1), "norm = nan .* positive"),
        (lambda: norm_motion(1.0, math.nan, 5, lr=0.1, weight_decay=0.1), "update = nan"),
        (lambda: norm_motion(1.0, [1.0, 2.0], 5, lr=0.1, weight_decay=0.1), "update = .* or 5 of them"),
        (lambda: norm_motion(1.0, 1.0, 0, lr=0.1, weight_decay=0.1), "steps = 0 .* whole number"),
        (lambda: norm_motion(1.0, 1.0, 5, lr=-0.1, weight_decay=0.1), r"lr = -0\.1"),
        (lambda: norm_motion(1.0, 1.0, 5, lr=0.1, weight_decay=-1), "weight_decay = -1"),
        (lambda: norm_motion(1.0, 1.0, 5, lr=0.1, weight_decay=10), "weight_decay = 10 .* below 1 / lr = 10"),
        (lambda: norm_motion(1.0, 1.0, 5, lr=0.1, weight_decay=0.1, factor=0.0), r"factor = 0\.0"),
        (lambda: norm_equilibrium(1.0, 1.0, lr=0.1, weight_decay=0.1, degree=-1), "degree = -1 .* above -1"),
        (lambda: norm_equilibrium(1.0, 0.0, lr=0.1, weight_decay=0.1), r"update = 0\.0"),
        (lambda: norm_equilibrium(1.0, 1.0, lr=0.1, weight_decay=0.1, within=math.nan), "within = nan"),
    ],
)
def test_errors_name_the_argument_the_value_and_what_is_accepted(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()
