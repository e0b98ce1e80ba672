"""Flows: their order in lr against the rule itself, their invariants, their errors. The measured table of
docs/theory/flow.md is printed by ``python -m tests.theory.test_flow``."""

import math

import numpy as np
import pytest
from sklearn.datasets import load_digits

from equipoise.errors import ArgumentError
from equipoise.theory import continuous_margin, growth_rate
from equipoise.theory._flow import FlowStatus, discrepancy, flow

STEPS = {1: (200, 400, 800, 1600), 2: (50, 100, 200, 400)}
"""Per order, of every lr: lr = horizon / steps. The first order needs smaller ones before its slope is that of the limit."""

HESSIAN = np.diag([1.0, 10.0, 0.1]) + 0.05


def quadratic(x):
    return HESSIAN @ x


def rosenbrock(z):
    """The gradient of a hundredth of Rosenbrock's function, so that one horizon suits every exponent."""
    x, y = z
    return np.array([-4 * x * (y - x * x) - 0.02 * (1 - x), 2 * (y - x * x)])


def logistic_regression():
    """Zeros against ones of the digits, as 4x4 pixels and a constant."""
    digits = load_digits()
    two = digits.target < 2
    pixels = digits.data[two].reshape(-1, 4, 2, 4, 2).mean((2, 4)).reshape(-1, 16) / 16
    inputs, targets = np.c_[pixels, np.ones(len(pixels))], digits.target[two].astype(float)
    return lambda w: inputs.T @ (1 / (1 + np.exp(-inputs @ w)) - targets) / len(targets)


PROBLEMS = {  # gradient, start, horizon: no gradient changes its sign on the way
    "quadratic": (quadratic, np.array([1.0, -2.0, 3.0]), 0.5),
    "rosenbrock": (rosenbrock, np.array([-1.2, 1.0]), 0.06),
    "digits": (logistic_regression(), np.ones(17), 0.5),
}

RULES = {
    "Adam": {"betas": (0.9, 0.999)},
    "AdamW": {"betas": (0.9, 0.999), "weight_decay": 0.1},
    "Adam, short memory": {"betas": (0.5, 0.9)},
    "SMES 1/4": {"betas": (0.9, 0.99), "exponent": 0.25},
    "2-Adam": {"betas": (0.9, 0.99), "stages": 2, "weight_decay": 0.1},
}


def measured(problem, rule, order):
    """The slope of ln(largest error) in ln(lr), by regression, and the errors, from the largest lr down."""
    grad, start, horizon = PROBLEMS[problem]
    rates, errors = [], []
    for steps in STEPS[order]:
        found = discrepancy(grad, start, lr=horizon / steps, steps=steps, order=order, **RULES[rule])
        assert found.flow.status is FlowStatus.COMPLETED
        assert found.signs_kept == steps
        rates.append(math.log(horizon / steps))
        errors.append(float(found.distance.max()))
    return float(np.polyfit(rates, np.log(errors), 1)[0]), errors


def table():
    """The table of docs/theory/flow.md."""
    yield "| problem | rule | slope, order 1 | slope, order 2 | error of 400 steps, order 1 | error of 400 steps, order 2 |"
    yield "|---|---|---|---|---|---|"
    for problem in PROBLEMS:
        for rule in RULES:
            (slope1, errors1), (slope2, errors2) = (measured(problem, rule, order) for order in (1, 2))
            yield f"| {problem} | {rule} | {slope1:.2f} | {slope2:.2f} | {errors1[1]:.1e} | {errors2[-1]:.1e} |"


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("problem", PROBLEMS)
def test_the_error_of_the_first_order_falls_linearly_in_lr(problem, rule):
    slope, _ = measured(problem, rule, order=1)
    assert 0.9 <= slope < 1.5


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("problem", PROBLEMS)
def test_the_error_of_the_second_order_falls_with_the_square_of_lr(problem, rule):
    slope, _ = measured(problem, rule, order=2)
    assert slope == pytest.approx(2, abs=0.2)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize(("betas", "stages"), [((0.9, 0.999), 1), ((0.9, 0.99), 2), ((0.0, 0.9), 1), ((0.0, 0.0), 1)])
def test_without_a_gradient_only_the_decay_moves_the_parameters(betas, stages, order):
    start = np.array([1.0, -30.0])
    found = flow(np.zeros_like, start, lr=0.01, betas=betas, stages=stages, steps=300, weight_decay=0.5, order=order)
    # The rule multiplies by 1 - lr wd, which is e^(-wd lr) to first order and e^(-wd lr - (wd lr)^2 / 2) to second.
    rate = 0.5 if order == 1 else 0.5 + 0.01 * 0.5**2 / 2
    assert found.status is FlowStatus.COMPLETED
    assert found.theta == pytest.approx(start * np.exp(-rate * found.times)[:, None], rel=1e-6)
    assert not found.m.any()
    assert not found.v.any()


@pytest.mark.parametrize(("beta1", "beta2", "exponent"), [(0.95, 0.7, 0.5), (0.9, 0.5, 0.25), (0.97, 0.8, 0.4)])
@pytest.mark.parametrize("order", [1, 2])
def test_outside_of_the_region_an_update_grows_in_silence_at_the_rate_of_the_theory(beta1, beta2, exponent, order):
    # The gradient vanishes within a few steps, because each of them leads away from where it is large.
    lr = 0.01
    found = flow(
        lambda x: np.exp(x / lr), [0.0], lr=lr, betas=(beta1, beta2), steps=60, exponent=exponent, eps=0.0, order=order
    )
    assert found.status is FlowStatus.COMPLETED
    update = np.log(found.m[:, 0, 0]) - exponent * np.log(found.v[:, 0, 0])
    rate = (update[60] - update[40]) / 20
    assert continuous_margin(beta1, beta2, exponent) < 0
    # The averages of the second order forget exactly as those of the rule: its boundary is that of the rule, not of the paper.
    expected = -exponent * continuous_margin(beta1, beta2, exponent) if order == 1 else growth_rate(beta1, beta2, exponent)
    assert rate == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("beta", [0.0, 0.3, 0.9, 0.999])
def test_averages_of_the_second_order_are_those_of_the_rule_from_the_first_step_on(beta):
    found = flow(lambda x: np.full_like(x, 3.0), [0.0], lr=0.1, betas=(beta, beta), steps=50, order=2)
    seen = 1 - beta ** np.arange(1, 52)
    assert found.m[:, 0, 0] == pytest.approx(3 * seen, rel=1e-7)
    assert found.v[:, 0, 0] == pytest.approx(9 * seen, rel=1e-7)


def test_the_rule_of_the_discrepancy_is_the_rule_itself():
    found = discrepancy(quadratic, [1.0, -2.0, 3.0], lr=0.01, betas=(0.0, 0.0), exponent=0.0, eps=0.0, steps=50)
    matrix = np.linalg.matrix_power(np.eye(3) - 0.01 * HESSIAN, 50)
    assert found.theta[-1] == pytest.approx(matrix @ [1.0, -2.0, 3.0], rel=1e-12)
    assert found.signs_kept == 50
    assert found.distance.shape == (51,)
    assert found.distance[0] == 0


def test_the_signs_are_kept_until_the_first_of_them_changes():
    found = discrepancy(lambda x: x, [0.035, 1.0], lr=0.01, betas=(0.0, 0.0), steps=10)
    assert found.signs_kept == 4


def test_an_element_without_a_gradient_stays_where_it_is():
    for exponent in (-0.5, 0.0, 0.25, 0.5):
        found = flow(lambda x: x * [1.0, 0.0], [1.0, 5.0], lr=0.01, betas=(0.9, 0.999), steps=20, exponent=exponent, eps=0.0)
        assert np.all(found.theta[:, 1] == 5)
        assert np.all(np.diff(found.theta[:, 0]) < 0)


@pytest.mark.parametrize("order", [1, 2])
def test_a_flow_ends_where_stop_changes_its_sign(order):
    arguments = {"lr": 0.01, "betas": (0.9, 0.999), "steps": 100, "order": order}
    whole = flow(quadratic, [1.0, -2.0, 3.0], **arguments)
    found = flow(quadratic, [1.0, -2.0, 3.0], stop=lambda theta: theta[2] - 2.345, **arguments)
    assert found.status is FlowStatus.STOPPED
    rows = len(found.theta)
    assert rows - 1 <= found.stopped_at < rows
    assert found.theta == pytest.approx(whole.theta[:rows], rel=1e-12)
    assert np.interp(found.stopped_at, range(101), whole.theta[:, 2]) == pytest.approx(2.345, abs=1e-5)


@pytest.mark.parametrize("order", [1, 2])
def test_a_gradient_that_ceases_to_be_finite_leaves_the_part_before_it(order):
    arguments = {"lr": 0.01, "betas": (0.9, 0.999), "steps": 100, "order": order}
    whole = flow(lambda x: 2 * x, [1.0], **arguments)
    found = flow(lambda x: 2 * x if x[0] > 0.5 else x * math.nan, [1.0], **arguments)
    assert found.status is FlowStatus.NOT_FINITE
    rows = len(found.theta)
    assert 40 < rows < 60
    assert found.stopped_at == rows - 1
    assert found.times.shape == (rows,)
    assert found.m.shape == found.v.shape == (rows, 1, 1)
    assert found.theta == pytest.approx(whole.theta[:rows], rel=1e-6)


def test_a_flow_that_ends_within_its_first_step_has_one_row():
    found = flow(lambda x: 2 * x if x[0] > 0.995 else x * math.nan, [1.0], lr=0.01, betas=(0.9, 0.999), steps=100)
    assert (found.status, found.stopped_at) == (FlowStatus.NOT_FINITE, 0)
    assert found.theta.tolist() == [[1.0]]


def test_a_flow_that_reaches_infinity_in_finite_time_leaves_the_part_before_it():
    # SGD without memory on -x^3/3 from 1: x = 1 / (1 - s).
    found = flow(lambda x: -(x**2), [1.0], lr=0.01, betas=(0.0, 0.0), exponent=0.0, eps=0.0, steps=200)
    assert found.status in (FlowStatus.INACCURATE, FlowStatus.NOT_FINITE)
    assert found.stopped_at == 99
    assert found.theta[:91, 0] == pytest.approx(1 / (1 - found.times[:91]), rel=1e-6)


def test_a_flow_that_would_take_forever_says_so():
    # With so short a memory the flow oscillates about the valley of Rosenbrock's function faster and faster.
    found = flow(lambda x: 100 * rosenbrock(x), [-1.2, 1.0], lr=0.01, betas=(0.5, 0.9), steps=500)
    assert found.status is FlowStatus.TOO_FAST
    assert 0 < found.stopped_at < 500
    assert len(found.theta) == found.stopped_at + 1


ACCEPTED = {"grad": quadratic, "theta0": [1.0, 2.0, 3.0], "lr": 0.1, "betas": (0.9, 0.999), "steps": 5}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("grad", lambda x: x[:2]),
        ("grad", lambda x: float(x.sum())),
        ("grad", lambda x: x * math.nan),
        ("grad", lambda x: x if x[0] == 1 else x * math.inf),
        ("theta0", [1.0, math.nan, 3.0]),
        ("theta0", 1.0),
        ("theta0", []),
        ("theta0", np.ones((2, 3))),
        ("lr", 0.0),
        ("lr", math.nan),
        ("lr", math.inf),
        ("betas", (0.9, 1.0)),
        ("betas", (-0.1, 0.9)),
        ("betas", (math.nan, 0.9)),
        ("betas", [(0.9, 0.99), (0.9, 0.99)]),
        ("steps", 0),
        ("steps", 2.5),
        ("steps", True),
        ("exponent", math.nan),
        ("stages", 0),
        ("weight_decay", -0.1),
        ("weight_decay", math.nan),
        ("eps", -1e-8),
        ("eps", math.inf),
        ("order", 3),
        ("order", True),
    ],
)
def test_what_is_not_accepted_is_named(name, value):
    for function in (flow, discrepancy):
        with pytest.raises(ArgumentError, match=f"{name} must be") as raised:
            function(**{**ACCEPTED, name: value})
        assert raised.value.name == name


def test_an_error_of_the_gradient_function_is_its_own():
    def grad(_):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        flow(grad, [1.0], lr=0.1, betas=(0.9, 0.999), steps=5)


if __name__ == "__main__":
    print("\n".join(table()))
