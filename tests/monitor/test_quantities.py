"""Every quantity is what one would compute beside it, and no bound is ever exceeded."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from equipoise import SMES, rules, theory
from equipoise.balance import Constant, Cyclic, Linear, Piecewise, Scheduler
from equipoise.balance._stability_ahead import FORESEEN
from equipoise.errors import StabilityWarning
from equipoise.hyperparameters import Hyperparameters
from equipoise.monitor import TensorReading
from equipoise.monitor._measuring import margin_ahead
from equipoise.monitor._measuring.margin_ahead import MarginAhead
from equipoise.monitor._measuring.predicted_norm import PredictedNorm
from equipoise.monitor._measuring.quantities import (
    GroupValues,
    TensorColumns,
    decades,
    group_reading,
    margin_of,
    update_bounds,
)

REFERENCES = ("none", "initial")


def group_values(betas, exponents, **changes) -> GroupValues:
    others = {"lr": 0.1, "weight_decay": 0.0, "referenced": False, "changed": False}
    return GroupValues(hyperparameters=Hyperparameters(tuple(betas), tuple(exponents)), **{**others, **changes})


def bound_of(values, age, elements, second_moment, reference=0.0, alike=True) -> float:
    """Of one tensor."""
    one = np.ones(1)
    tensors = TensorColumns(elements * one, age * one, np.array([alike]), reference * one, one)
    with np.errstate(all="ignore"):
        return float(update_bounds(tensors, second_moment * one, values)[0])


def updates(gradients, betas, exponents, reference="none"):
    """max |u|, the mean of v_hat and the reference in use, step by step, as the rule has it."""
    stages = [rules.Stage(*pair, exponent) for pair, exponent in zip(betas, exponents, strict=True)]
    squares = None if reference == "none" else np.zeros(rules.REFERENCE_STEPS)
    memories = [rules.Memory(0 * gradients[0], 0 * gradients[0], squares) for _ in stages]
    for number, gradient in enumerate(gradients, 1):
        step = rules.Step(number, 0.1, stages, eps=0.0)
        u, memories = rules.direction(gradient, memories, step)
        used = 0.0 if squares is None else float(rules.reference(memories[0].squares))
        yield np.abs(u).max(), (memories[0].v / rules.correction(betas[0][1], number)).mean(), used


gradients = st.integers(0, 2**32 - 1).map(
    lambda seed: [
        (rng := np.random.default_rng((seed, number))).normal(size=5) * 10.0 ** rng.integers(-4, 4) * rng.integers(0, 2, 5)
        for number in range(8)
    ]
)
betas = st.tuples(st.sampled_from([0.0, 0.5, 0.9, 0.99]), st.sampled_from([0.3, 0.9, 0.999]))


@given(gradients, betas, st.sampled_from([-0.5, 0.0, 0.125, 0.25, 0.4, 0.5]), st.sampled_from(REFERENCES))
def test_no_update_of_one_stage_exceeds_its_bound(gradients, betas, exponent, reference):
    values = group_values([betas], [exponent], referenced=reference != "none")
    for age, (largest, second_moment, used) in enumerate(updates(gradients, [betas], [exponent], reference), 1):
        bound = bound_of(values, age, 5, second_moment, used)
        assert bound < math.inf
        assert largest <= bound * (1 + 1e-9)


@given(gradients, betas, betas, st.sampled_from([(0.25, 0.5), (0.5, 0.5), (0.5, 0.25), (0.5, 0.0)]))
def test_no_update_of_two_stages_exceeds_its_bound(gradients, first, second, exponents):
    values = group_values([first, second], exponents)
    for age, (largest, second_moment, _) in enumerate(updates(gradients, [first, second], exponents), 1):
        assert largest <= bound_of(values, age, 5, second_moment) * (1 + 1e-9)


@pytest.mark.parametrize("exponent", [0.5, 0.25, 0.0, -0.25])
@pytest.mark.parametrize("steps", [1, 7, 60])
def test_the_worst_gradients_of_one_element_attain_the_bound(exponent, steps):
    worst = [np.array([g]) for g in theory.worst_case_gradients(0.9, 0.99, 0.5, steps)]
    *_, (largest, second_moment, _) = updates(worst, [(0.9, 0.99)], [exponent])
    values = group_values([(0.9, 0.99)], [exponent])
    assert largest == pytest.approx(bound_of(values, steps, 1, second_moment), rel=1e-9)


def test_the_bound_of_adam_is_the_largest_update_at_this_age_whatever_the_gradients():
    values = group_values([(0.9, 0.999)], [0.5])
    for age in (1, 10, 1000):
        expected = theory.max_update(0.9, 0.999, steps=age)
        assert bound_of(values, age, 100, math.nan) == expected


def test_without_1_over_2_at_the_end_the_bound_of_several_stages_is_that_of_the_chain():
    values = group_values([(0.9, 0.999)] * 2, (0.5, 0.25))
    found = bound_of(values, 10, 100, 1.0)
    assert found == theory.assess((0.9, 0.999), (0.5, 0.25), 2).max_update < 100


@pytest.mark.parametrize(
    ("exponents", "changes", "alike", "second_moment"),
    [
        ((0.6,), {}, True, 1.0),
        ((0.5,), {"changed": True}, True, 1.0),
        ((0.5,), {}, False, 1.0),
        ((0.25,), {}, True, math.nan),
        ((0.25,), {}, True, math.inf),
        ((0.25, 0.25), {}, True, 1.0),
        ((0.5, 0.25), {"referenced": True}, True, 1.0),
        ((0.5, 0.75), {}, True, 1.0),
    ],
)
def test_a_bound_that_cannot_be_known_is_infinite(exponents, changes, alike, second_moment):
    values = group_values([(0.9, 0.999)] * len(exponents), exponents, **changes)
    assert bound_of(values, 10, 100, second_moment, alike=alike) == math.inf


PAIRS = [(0.9, 0.999), (0.95, 0.7), (0.0, 0.5), (0.9, 0.81)]


@pytest.mark.parametrize("exponents", [(0.5,), (0.25,), (0.0,), (-0.5,), (0.25, 0.5), (0.5, 0.25), (0.25, 0.25)])
def test_the_margin_is_the_one_that_an_assessment_decides_by(exponents):
    for first in PAIRS:
        for second in PAIRS:
            pairs = (first, second)[: len(exponents)]
            assert margin_of(Hyperparameters(pairs, exponents)) == theory.assess(pairs, exponents, len(pairs)).margin


def tensor(second_moment, update_rms):
    return TensorReading(0, update_rms, 0, 0, 0, 0, 0, 0, second_moment, 0)


def test_spreads_are_decades_between_the_tensors_that_have_a_scale():
    values = group_values([(0.9, 0.999)], [0.25])
    found = group_reading(values, math.inf, [tensor(1e-4, 1e-3), tensor(0.0, 0.0), tensor(1.0, 1e-1)])
    assert (found.gradient_spread, found.update_spread) == pytest.approx((2, 2))
    assert math.isnan(group_reading(values, math.inf, [tensor(math.inf, 1), tensor(1, 1)]).gradient_spread)
    alone = group_reading(values, math.inf, [tensor(4.0, 1.0)])
    assert (alone.gradient_spread, alone.update_spread) == (0, 0)
    assert decades([]) == 0


def scheduled(**schedules):
    optimizer = SMES([torch.nn.Parameter(torch.ones(1))], betas=(0.9, 0.99))
    return optimizer, Scheduler(optimizer, **schedules)


def least_ahead(optimizer, scheduler, found, last):
    """Step by step to the end: what lies ahead, as found and as it will be."""
    margins, said = [], []
    for _ in range(last):
        group = optimizer.param_groups[0]
        betas, exponent = group["betas"], group["exponent"]
        margins.append(theory.margin(*betas, exponent))
        said.append(found.least(0, Hyperparameters((betas,), (exponent,))))
        optimizer.step()
        scheduler.step()
    return said, [min(margins[number:]) for number in range(last)]


EXPONENTS = [
    Linear(0.0, 0.5, steps=9),
    Linear(0.5, 0.0, steps=9),
    Piecewise(Linear(0.1, 0.5, steps=5), Linear(0.5, 0.2, steps=3)),
    Piecewise(Linear(0.5, 0.1, steps=3), Cyclic(Linear(0.0, 0.5, steps=3), Linear(0.5, 0.0, steps=2))),
]


@pytest.mark.filterwarnings("ignore::equipoise.errors.ScheduleWarning")
@pytest.mark.parametrize("exponent", EXPONENTS, ids=["up", "down", "there and back", "cycle"])
@pytest.mark.parametrize("chunk", [1, 2, 3, 4096])
def test_the_margin_ahead_is_the_least_that_any_later_step_will_have(monkeypatch, exponent, chunk):
    monkeypatch.setattr(margin_ahead, "CHUNK", chunk)
    optimizer, scheduler = scheduled(exponent=exponent, beta2=Linear(0.99, 0.95, steps=4))
    said, will_be = least_ahead(optimizer, scheduler, MarginAhead([scheduler]), 24)
    assert said[:16] == pytest.approx(will_be[:16])  # then not all of the cycle is left to be seen


@pytest.mark.filterwarnings("ignore::equipoise.errors.ScheduleWarning")
def test_schedulers_that_are_at_different_steps_are_each_followed_from_their_own():
    optimizer, first = scheduled(exponent=Linear(0.0, 0.5, steps=6))
    for _ in range(3):
        optimizer.step()
        first.step()
    second = Scheduler(optimizer, beta1=Linear(0.5, 0.9, steps=8))
    found = MarginAhead([first, second])
    least = found.least(0, Hyperparameters(((0.5, 0.99),), (0.25,)))
    margins = [theory.margin(0.5 + 0.05 * n, 0.99, min(0.25 + n / 12, 0.5)) for n in range(9)]
    assert least == pytest.approx(min(margins))


def test_a_margin_ahead_follows_what_no_schedule_changes():
    optimizer, scheduler = scheduled(exponent=Linear(0.0, 0.5, steps=6))
    found = MarginAhead([scheduler])
    for betas in ((0.9, 0.99), (0.9, 0.9), (0.9, 0.99)):
        assert found.least(0, Hyperparameters((betas,), (0.0,))) == pytest.approx(theory.margin(*betas))
    assert MarginAhead([]).least(0, Hyperparameters(((0.9, 0.99),), (0.5,))) == math.inf
    assert MarginAhead([Scheduler(optimizer, eps=Constant(1e-8))]).least(0, Hyperparameters(((0.9, 0.99),), (0.5,))) == math.inf


def test_a_schedule_without_an_end_in_sight_is_looked_at_once():
    with pytest.warns(StabilityWarning):
        _, scheduler = scheduled(exponent=Linear(0.0, 0.9, steps=FORESEEN // 100))
    found = MarginAhead([scheduler])
    first = found.least(0, Hyperparameters(((0.9, 0.99),), (0.0,)))
    table = found._tables[0][1]
    scheduler.last_step = 5000
    assert found.least(0, Hyperparameters(((0.9, 0.99),), (0.4,))) == first
    assert found._tables[0][1] is table


@given(st.floats(0, 0.5), st.floats(0.1, 10), st.sampled_from([1, 3, 10]))
@example(decay=0.1, update=2.0, every=3)
def test_a_norm_that_moves_as_the_norm_dynamics_say_keeps_a_ratio_of_1(decay, update, every):
    values = group_values([(0.9, 0.999)], [0.5], weight_decay=decay)
    factor = theory.cross_term_factor((0.9, 0.999), decay=0.1 * decay)
    motion = theory.norm_motion(3.0, update, 30, lr=0.1, weight_decay=decay, factor=factor)
    norm = PredictedNorm()
    for step in range(every, 31, every):
        squared = motion.squared_norm[step]
        assert norm.ratio(squared, update**2, values, float(step)) == pytest.approx(1, rel=1e-9)
    assert norm.ratio(4 * squared, update**2, values, float(step + 1)) > 1.5


@pytest.mark.parametrize("spoiled", [(1.0, math.nan), (math.nan, 1.0), (0.0, 1.0), (1.0, math.inf)])
def test_a_norm_that_cannot_be_predicted_has_no_ratio_and_begins_anew(spoiled):
    values, norm = group_values([(0.9, 0.999)], [0.5]), PredictedNorm()
    assert norm.ratio(9.0, 1.0, values, 1.0) == 1
    assert math.isnan(norm.ratio(*spoiled, values, 2.0))
    assert norm.ratio(4.0, 1.0, values, 3.0) == 1


def test_a_tensor_that_was_put_back_to_an_earlier_step_begins_anew():
    values, norm = group_values([(0.9, 0.999)], [0.5]), PredictedNorm()
    for step, parameter in ((10, 9.0), (5, 100.0)):
        assert norm.ratio(parameter, 1.0, values, float(step)) == 1
