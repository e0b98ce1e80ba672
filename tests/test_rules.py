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
from equipoise.rules import Memory, Stage, Step, normalize, update
from tests.marks import needs_inductor

CASES = {
    case["name"]: case for case in json.loads(Path(__file__).with_name("golden").joinpath("trajectories.json").read_text())
}
FLOATS_ONLY = {name: case for name, case in CASES.items() if case["reference"] == "none"}  # a float has no tensor to average


def steps(case):
    """The hyperparameters of every step of a golden case."""
    for number, (lr, exponents) in enumerate(zip(case["lrs"], case["exponents"], strict=True), 1):
        stages = [Stage(*pair, exponent) for pair, exponent in zip(case["betas"], exponents, strict=True)]
        kept = {key: case[key] for key in ("eps", "weight_decay", "maximize", "reference", "reference_steps")}
        yield Step(number, lr, stages, **kept)


def trajectory(case, convert, update=update, zero=0.0):
    """Parameters after every step, and the memories after the last, on the numbers that `convert` makes of a list."""
    theta = convert(case["param"])
    memories = [Memory(0 * theta, 0 * theta, zero) for _ in case["betas"]]
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
    zero = torch.tensor(0.0, dtype=torch.float64)
    compiled = torch.compile(update, backend=backend, fullgraph=True, dynamic=True)

    def update_by_tensors(theta, gradient, memories, step):
        stages = [Stage(*(torch.tensor(value, dtype=torch.float64) for value in stage)) for stage in step.stages]
        step = step._replace(number=torch.tensor(step.number), lr=torch.tensor(step.lr, dtype=torch.float64), stages=stages)
        return compiled(theta, gradient, memories, step)

    return trajectory(case, lambda values: torch.tensor(values, dtype=torch.float64), update_by_tensors, zero)


@pytest.mark.filterwarnings("ignore::equipoise.errors.StabilityWarning")
@pytest.mark.parametrize("name", CASES)
def test_the_optimizer_reproduces_the_golden_trajectories(name):
    case = CASES[name]
    parameter = torch.nn.Parameter(torch.tensor(case["param"], dtype=torch.float64))
    kept = {key: case[key] for key in ("eps", "weight_decay", "maximize", "reference", "reference_steps")}
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
    reference=st.sampled_from(["none", "initial", "running"]),
)
def test_an_element_that_never_saw_a_gradient_never_moves_beside_one_that_does(gradient, exponent, eps, betas, reference):
    theta, memories = np.array([1.0, 1.0]), [Memory(np.zeros(2), np.zeros(2))]
    for number in (1, 2, 3):
        step = Step(number, 0.1, [Stage(*betas, exponent)], eps, reference=reference, reference_steps=2)
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
@pytest.mark.parametrize("reference", ["none", "running"])
def test_nothing_is_changed_in_place(number, reference):
    theta, gradient, memory = number(1.0), number(2.0), Memory(number(0.3), number(0.4), 0.5)
    stages = [Stage(0.9, 0.999, 0.25)]
    update(theta, gradient, [memory], Step(3, 0.1, stages, weight_decay=0.1, maximize=True, reference=reference))
    assert (theta, gradient, memory) == (number(1.0), number(2.0), Memory(number(0.3), number(0.4), 0.5))


@pytest.mark.parametrize("exponent", [-0.5, 0.0, 0.1, 0.25, 0.5])
def test_with_a_reference_the_first_step_of_a_single_element_moves_by_lr_against_the_gradient(exponent):
    for gradient in (1e-3, -1.0, 1e3):
        step = Step(1, 0.01, [Stage(0.9, 0.999, exponent)], eps=0.0, reference="initial")
        theta, _ = update(0.0, gradient, [Memory(0.0, 0.0)], step)
        assert theta == pytest.approx(-math.copysign(0.01, gradient), rel=1e-12)


def test_the_initial_reference_is_kept_from_reference_steps_on():
    references = followed_reference([1.0, 2.0, 4.0, 8.0, 16.0], reference_steps=3)
    assert references[2] == references[3] == references[4]
    # After step 2, v_hat is the weighted mean of 1 and 4.
    assert references[2] == pytest.approx((0.9 * 1 + 4) / 1.9, rel=1e-12)


def test_the_initial_reference_after_silence_is_that_of_the_first_step_with_a_gradient():
    references = followed_reference([0.0, 0.0, 0.0, 3.0, 7.0], reference_steps=2)
    assert references[:3] == [0.0, 0.0, 0.0]
    assert references[3] == references[4] == pytest.approx(9 * 0.1 / (1 - 0.9**4), rel=1e-12)


def followed_reference(gradients, reference_steps):
    """R of a single element after every step, for beta2 = 0.9 and the reference "initial"."""
    theta, memories, references = 0.0, [Memory(0.0, 0.0)], []
    for number, gradient in enumerate(gradients, 1):
        step = Step(number, 0.1, [Stage(0.9, 0.9, 0.25)], reference="initial", reference_steps=reference_steps)
        theta, memories = update(theta, gradient, memories, step)
        references.append(memories[0].reference)
    return references


@pytest.mark.parametrize("number", [np.array, torch.tensor])
def test_an_overflow_elsewhere_does_not_touch_a_reference_that_is_kept(number):
    memory = Memory(number([0.1, 0.0]), number([0.01, 0.0]), number(0.04))
    step = Step(9, 0.1, [Stage(0.9, 0.99, 0.25)], reference="initial", reference_steps=5)
    gradients = number([1.0, math.inf])
    with np.errstate(invalid="ignore"):  # the element that overflowed becomes NaN
        theta, (kept,) = update(number([1.0, 1.0]), gradients, [memory], step)
    alone, _ = update(number([1.0]), gradients[:1], [Memory(memory.m[:1], memory.v[:1], memory.reference)], step)
    assert kept.reference == memory.reference
    assert theta[0] == alone[0] != 1.0
