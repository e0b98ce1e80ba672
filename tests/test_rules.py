"""The update rule against trajectories computed with 50 digits, and its laws at the edges."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from equipoise.optim._optimizer import Equipoise
from equipoise.rules import REFERENCE_STEPS, Memory, Stage, Step, normalize, reference, update
from tests.marks import needs_inductor

CASES = {
    case["name"]: case for case in json.loads(Path(__file__).with_name("golden").joinpath("trajectories.json").read_text())
}
FLOATS_ONLY = {name: case for name, case in CASES.items() if case["reference"] == "none"}  # a float has no tensor to average


def steps(case):
    """The hyperparameters of every step of a golden case."""
    for number, (lr, exponents) in enumerate(zip(case["lrs"], case["exponents"], strict=True), 1):
        stages = [Stage(*pair, exponent) for pair, exponent in zip(case["betas"], exponents, strict=True)]
        kept = {key: case[key] for key in ("eps", "weight_decay", "maximize")}
        yield Step(number, lr, stages, **kept)


def trajectory(case, convert, update=update):
    """Parameters after every step, and the memories after the last, on the numbers that `convert` makes of a list."""
    theta = convert(case["param"])
    squares = None if case["reference"] == "none" else convert([0.0] * REFERENCE_STEPS)
    memories = [Memory(0 * theta, 0 * theta, squares) for _ in case["betas"]]
    thetas = []
    for step, gradient in zip(steps(case), case["grads"], strict=True):
        theta, memories = update(theta, convert(gradient), memories, step)
        thetas.append(theta)
    return thetas, memories


def assert_golden(case, thetas, memories):
    found = {"params": thetas, "exp_avg": [memory.m for memory in memories], "exp_avg_sq": [memory.v for memory in memories]}
    for name, values in found.items():
        rows = [value.tolist() if hasattr(value, "tolist") else value for value in values]
        np.testing.assert_allclose(rows, case["expected"][name], rtol=1e-13, atol=0, err_msg=name)


@pytest.mark.parametrize("name", FLOATS_ONLY)
def test_python_floats_reproduce_the_golden_trajectories(name):
    case = FLOATS_ONLY[name]
    elements = [trajectory(case, lambda values, i=i: values[i]) for i in range(len(case["param"]))]
    thetas = [[thetas[t] for thetas, _ in elements] for t in range(len(case["lrs"]))]
    memories = [
        Memory([memories[k].m for _, memories in elements], [memories[k].v for _, memories in elements])
        for k in range(len(case["betas"]))
    ]
    assert_golden(case, thetas, memories)


@pytest.mark.parametrize("name", CASES)
def test_numpy_reproduces_the_golden_trajectories(name):
    assert_golden(CASES[name], *trajectory(CASES[name], np.array))


@pytest.mark.parametrize("name", CASES)
def test_torch_in_float64_reproduces_the_golden_trajectories(name):
    thetas, memories = trajectory(CASES[name], lambda values: torch.tensor(values, dtype=torch.float64))
    assert_golden(CASES[name], thetas, memories)


@pytest.mark.parametrize("name", CASES)
def test_torch_in_float32_stays_within_two_millionths_of_the_golden_trajectories(name):
    case = CASES[name]
    thetas, _ = trajectory(case, lambda values: torch.tensor(values, dtype=torch.float32))
    start, expected = np.array(case["param"]), np.array(case["expected"]["params"])
    scale = np.maximum(np.abs(expected), np.abs(expected - start))
    assert np.max(np.abs(torch.stack(thetas).double().numpy() - expected) / scale) < 2e-6


@pytest.mark.parametrize("name", CASES)
def test_the_rule_traces_into_one_graph_that_reproduces_the_golden_trajectories(name):
    assert_golden(CASES[name], *compiled_trajectory(CASES[name], "aot_eager"))


@needs_inductor
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # inside of torch's own compiler
@pytest.mark.parametrize("name", ["golden-reference-2-stages"])  # one: the compiler itself takes seconds to start
def test_compiled_code_reproduces_the_golden_trajectories(name):
    assert_golden(CASES[name], *compiled_trajectory(CASES[name], "inductor"))


def compiled_trajectory(case, backend):
    torch.compiler.reset()
    compiled = torch.compile(update, backend=backend, fullgraph=True, dynamic=True)

    def update_by_tensors(theta, gradient, memories, step):
        stages = [Stage(*(torch.tensor(value, dtype=torch.float64) for value in stage)) for stage in step.stages]
        step = step._replace(number=torch.tensor(step.number), lr=torch.tensor(step.lr, dtype=torch.float64), stages=stages)
        return compiled(theta, gradient, memories, step)

    return trajectory(case, lambda values: torch.tensor(values, dtype=torch.float64), update_by_tensors)


@pytest.mark.filterwarnings("ignore::equipoise.errors.StabilityWarning")
@pytest.mark.parametrize("name", CASES)
def test_the_optimizer_reproduces_the_golden_trajectories(name):
    case = CASES[name]
    parameter = torch.nn.Parameter(torch.tensor(case["param"], dtype=torch.float64))
    kept = {key: case[key] for key in ("eps", "weight_decay", "maximize", "reference")}
    optimizer = Equipoise([parameter], betas=case["betas"], stages=len(case["betas"]), **kept)
    thetas = []
    for step, gradient in zip(steps(case), case["grads"], strict=True):
        optimizer.param_groups[0].update(lr=step.lr, exponent=[stage.exponent for stage in step.stages])
        parameter.grad = torch.tensor(gradient, dtype=torch.float64)
        optimizer.step()
        thetas.append(parameter.detach().clone())
    state = optimizer.state[parameter]
    suffixes = ["", *(f"_{k}" for k in range(2, len(case["betas"]) + 1))]
    assert_golden(case, thetas, [Memory(state["exp_avg" + s], state["exp_avg_sq" + s]) for s in suffixes])


def as_float(value):
    return value


def as_numpy(value):
    return np.array([value])


def as_torch(value):
    return torch.tensor([value], dtype=torch.float64)


KINDS = pytest.mark.parametrize("number", [as_float, as_numpy, as_torch])


@KINDS
@pytest.mark.parametrize("exponent", [-1.0, -0.25, 0.0, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("eps", [0.0, 1e-8, 1.0])
def test_an_element_without_gradient_is_normalized_to_0(number, exponent, eps):
    assert normalize(number(0.0), number(0.0), exponent, eps) == 0


@KINDS
def test_0_to_the_0_is_1(number):
    assert normalize(number(3.0), number(0.0), 0.0, 0.0) == 3.0


@KINDS
def test_0_to_a_negative_power_is_infinite_so_that_the_quotient_is_0(number):
    assert normalize(number(3.0), number(0.0), -0.5, 0.0) == 0


@KINDS
def test_a_negative_exponent_multiplies(number):
    assert normalize(number(3.0), number(4.0), -0.5, 0.0) == pytest.approx(6.0, rel=1e-15)
    assert normalize(number(3.0), number(4.0), -0.5, 0.5) == pytest.approx(3.0, rel=1e-15)


@given(
    gradient=st.one_of(st.just(0.0), st.floats(-1e6, 1e6).filter(lambda g: abs(g) > 1e-6)),
    exponent=st.floats(-1, 1),
    eps=st.one_of(st.just(0.0), st.floats(1e-12, 1)),
    betas=st.tuples(st.floats(0, 0.9999), st.floats(1e-3, 0.9999)),
    referenced=st.booleans(),
)
def test_an_element_that_never_saw_a_gradient_never_moves_beside_one_that_does(gradient, exponent, eps, betas, referenced):
    squares = np.zeros(REFERENCE_STEPS) if referenced else None
    theta, memories = np.array([1.0, 1.0]), [Memory(np.zeros(2), np.zeros(2), squares)]
    for number in (1, 2, 3):
        step = Step(number, 0.1, [Stage(*betas, exponent)], eps)
        theta, memories = update(theta, np.array([0.0, gradient]), memories, step)
    assert theta[0] == 1.0
    assert np.isfinite(theta).all()


@given(exponent=st.floats(-1, 1), eps=st.sampled_from([0.0, 1e-8]), beta1=st.floats(0, 0.999), beta2=st.floats(0, 0.999))
def test_without_any_gradient_a_python_float_never_moves(exponent, eps, beta1, beta2):
    theta, memories = 1.0, [Memory(0.0, 0.0)]
    for number in (1, 2, 3):
        theta, memories = update(theta, 0.0, memories, Step(number, 0.1, [Stage(beta1, beta2, exponent)], eps))
    assert theta == 1.0


@KINDS
def test_nothing_is_changed_in_place(number):
    squares = np.arange(20.0) if number is not as_torch else torch.arange(20.0, dtype=torch.float64)
    theta, gradient, memory = number(1.0), number(2.0), Memory(number(0.3), number(0.4), squares)
    update(theta, gradient, [memory], Step(3, 0.1, [Stage(0.9, 0.999, 0.25)], weight_decay=0.1, maximize=True))
    assert (theta, gradient, memory.m, memory.v) == (number(1.0), number(2.0), number(0.3), number(0.4))
    assert squares.tolist() == list(range(20))


@pytest.mark.parametrize("exponent", [-0.5, 0.0, 0.1, 0.25, 0.5])
def test_with_a_reference_the_first_step_of_a_single_element_moves_by_lr_against_the_gradient(exponent):
    for gradient in (1e-3, -1.0, 1e3):
        step = Step(1, 0.01, [Stage(0.9, 0.999, exponent)], eps=0.0)
        theta, _ = update(0.0, gradient, [Memory(0.0, 0.0, np.zeros(REFERENCE_STEPS))], step)
        assert theta == pytest.approx(-math.copysign(0.01, gradient), rel=1e-12)


def references(gradients, number=np.array):
    """R of one tensor in every step."""
    theta = number([0.0] * len(gradients[0]))
    memories, found = [Memory(theta, theta, number([0.0] * REFERENCE_STEPS))], []
    with np.errstate(all="ignore"):  # what overflows becomes NaN, where it is
        for count, gradient in enumerate(gradients, 1):
            theta, memories = update(theta, number(gradient), memories, Step(count, 0.1, [Stage(0.9, 0.9, 0.25)]))
            found.append(float(reference(memories[0].squares)))
    return found


@given(st.lists(st.floats(0.0, 1e6).map(lambda g: g if g > 1e-6 else 0.0), min_size=1, max_size=60))
def test_the_reference_is_the_mean_over_the_first_20_steps_with_a_gradient_without_the_largest_quarter(sizes):
    means = [mean for size in sizes if (mean := (size**2 + (size / 2) ** 2) / 2) > 0][:20]
    kept = sorted(means)[: max(len(means) - max(len(means) // 4, 1), 1)]
    expected = sum(kept) / len(kept) if means else 0.0
    assert references([[size, size / 2] for size in sizes])[-1] == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("number", [np.array, lambda values: torch.tensor(values, dtype=torch.float64)])
@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan, 1e200])
@pytest.mark.parametrize("when", [1, 2, 5, 20])
def test_elements_whose_square_is_not_finite_count_nowhere(number, bad, when):
    gradients = np.random.default_rng(0).standard_normal((25, 8)).tolist()
    without = [gradient[1:] if count == when else gradient for count, gradient in enumerate(gradients, 1)]
    expected = [np.mean(np.square(gradient)) for gradient in without[:20]]
    gradients[when - 1][0] = bad
    assert references(gradients, number)[-1] == pytest.approx(np.mean(sorted(expected)[:15]), rel=1e-14)
    gradients[when - 1] = [bad] * 8  # a step in which nothing is finite is none
    expected = [np.mean(np.square(gradient)) for count, gradient in enumerate(gradients, 1) if count != when][:20]
    assert references(gradients, number)[-1] == pytest.approx(np.mean(sorted(expected)[:15]), rel=1e-14)


@given(when=st.integers(1, 30), spike=st.sampled_from([30.0, 1e3, 1e6, 1e-3, 0.0]), seed=st.integers(0, 100))
def test_a_spike_in_one_step_changes_the_reference_by_less_than_half_from_the_next_step_on(when, spike, seed):
    clean = np.random.default_rng(seed).standard_normal((30, 400))
    spoilt = clean.copy()
    spoilt[when - 1] *= spike
    ratios = np.array(references(spoilt.tolist())) / np.array(references(clean.tolist()))
    assert (ratios[when:] < 1.5).all()
    assert (ratios[max(when, 4) :] > 1 / 1.5).all()  # of fewer a small one is half or a third
