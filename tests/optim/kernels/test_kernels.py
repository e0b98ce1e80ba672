"""Every kernel does what the rule says, for every dtype, shape, exponent, stage and reference: against float64."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from equipoise import Equipoise, rules
from equipoise.errors import ArgumentError
from equipoise.optim import _kernels as kernels
from equipoise.optim import _plan
from equipoise.optim._kernels import compiled, cpu, eager
from equipoise.optim._plan import DTYPES
from tests.conformance.table import KERNEL_ROWS, KernelRow, every_kernel_row

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "trajectories.json").read_text())
EXPONENTS = (0.5, 0.25, 0.125, 0.0, 0.375, 0.3, 0.75, -0.25, -0.1)
# Around the chunks of the fused kernel, which are worked on by different threads, and nothing at all.
SIZES = (0, 1, 7, cpu.CHUNK - 1, cpu.CHUNK, cpu.CHUNK + 1, 3 * cpu.CHUNK + 5)

# Exponents above 1/2 and unstable betas belong to the rule too.
pytestmark = pytest.mark.filterwarnings("ignore::equipoise.StabilityWarning")

every_kernel = pytest.mark.parametrize("kernel", kernels.KERNELS)


@pytest.fixture(autouse=True)
def traced(monkeypatch):
    """Dynamo's graph, run by torch's own operations: generating code for it takes seconds each time (see test_compiled)."""
    torch.compiler.reset()
    graph = torch.compile(eager.apply, dynamic=True, fullgraph=True, backend="aot_eager")
    monkeypatch.setattr(compiled, "compiled_apply", lambda: graph)


def test_the_table_has_a_row_for_every_kernel_and_dtype():
    assert {(row.kernel, row.dtype) for row in KERNEL_ROWS} == {(k, dtype) for k in kernels.KERNELS for dtype in DTYPES}


def fresh_memory(value: torch.Tensor, reference: str) -> rules.Memory:
    squares = None if reference == "none" else torch.zeros(rules.REFERENCE_STEPS, dtype=torch.float64)
    return rules.Memory(0 * value, 0 * value, squares)


def follow(row: KernelRow, steps: int, **arguments):
    """Assert that a kernel goes the way of the rule in float64, on the same gradients.

    The error of a parameter is measured against the larger of its size and the way it went, and where the parameter has low
    precision, against the neighbours to which it may be rounded; it then goes on from there.
    """
    generator = torch.Generator().manual_seed(0)
    sizes = [(size,) for size in SIZES] + [(3, 5, 2)]
    wide = torch.complex128 if row.dtype.is_complex else torch.float64
    # Elements, and so their gradients, of very different scale: 1e-6 to 1e2, or what float16 has.
    least, most = (-4, 0) if row.dtype is torch.float16 else (-6, 2)
    scales = [torch.logspace(least, most, math.prod(size), dtype=torch.float64).reshape(size) for size in sizes]
    params = [torch.nn.Parameter(torch.randn(size, generator=generator, dtype=wide).to(row.dtype)) for size in sizes]
    optimizer = Equipoise(params, kernel=row.kernel, **arguments)
    group = optimizer.param_groups[0]
    stages = [rules.Stage(*group["betas"], group["exponent"])] * group["stages"]
    seen = [torch.view_as_real(parameter.data) if row.dtype.is_complex else parameter.data for parameter in params]
    exact = [value.double() for value in seen]
    ways = [value.abs() for value in exact]
    memories = [[fresh_memory(value, group["reference"]) for _ in stages] for value in exact]
    coarse = torch.finfo(row.dtype).eps / 2 if row.dtype in (torch.bfloat16, torch.float16) else 0.0
    for number in range(1, steps + 1):
        step = rules.Step(number, group["lr"], stages, group["eps"], group["weight_decay"], group["maximize"])
        for index, (parameter, scale) in enumerate(zip(params, scales, strict=True)):
            gradient = torch.randn(parameter.shape, generator=generator, dtype=wide) * scale
            parameter.grad = gradient.to(row.dtype)
            if parameter.numel():
                before = exact[index]
                given = torch.view_as_real(parameter.grad) if row.dtype.is_complex else parameter.grad
                exact[index], memories[index] = rules.update(before, given.double(), memories[index], step)
                ways[index] = ways[index] + (exact[index] - before).abs()
        optimizer.step()
        for index, (own, expected, way) in enumerate(zip(seen, exact, ways, strict=True)):
            # 2^-25 is half of the distance between the smallest numbers of float16.
            allowed = row.relative * way + coarse * expected.abs() + (2**-25 if row.dtype is torch.float16 else 0)
            assert (own.double() - expected).abs().le(allowed).all()
            if coarse:
                exact[index] = own.double()


# Tracing a graph takes seconds: the compiled kernel, which runs the eager one's code, is tested on the most involved.
@pytest.mark.parametrize(
    ("row", "stages", "reference"),
    [
        pytest.param(row, stages, reference, id=f"{row}-{stages}-{reference}")
        for row in KERNEL_ROWS
        for stages in (1, 2, 3)
        for reference in ("none", "initial")
        if row.kernel != "compiled" or (stages, reference) == (2, "initial")
    ],
)
def test_every_step_is_that_of_the_rule_for_every_exponent(row, reference, stages):
    for exponent in EXPONENTS if row.dtype is torch.float32 else EXPONENTS[::2]:
        arguments = {"exponent": exponent, "stages": stages, "reference": reference}
        follow(row, 6, lr=0.01, weight_decay=0.1, **arguments)


@every_kernel
@pytest.mark.parametrize("reference", ["none", "initial"])
def test_every_average_is_corrected_by_its_own_age(kernel, reference):
    """Averages of a parameter at step 5: one as old as it, one that began at step 3, and some of long ago."""
    generator = torch.Generator().manual_seed(0)
    parameter = torch.nn.Parameter(torch.randn(cpu.CHUNK + 5, generator=generator))
    arguments = {"exponent": (0.25, 0.375), "stages": 2, "reference": reference}
    optimizer = Equipoise([parameter], lr=0.01, kernel=kernel, **arguments)
    m, v, later_m, later_v = torch.rand(4, len(parameter), generator=generator)
    born = {"born_exp_avg": -(2**24), "born_exp_avg_2": 3, "born_exp_avg_sq_2": 3}
    optimizer.state[parameter] |= {"step": torch.tensor(5.0), "exp_avg": m, "exp_avg_sq": v, **born}
    optimizer.state[parameter] |= {"exp_avg_2": later_m, "exp_avg_sq_2": later_v}
    exact = parameter.detach().double()
    memories = [
        fresh_memory(exact, reference)._replace(m=m.double(), v=v.double(), m_born=-(2**24)),
        fresh_memory(exact, reference)._replace(m=later_m.double(), v=later_v.double(), m_born=3, v_born=3),
    ]
    stages = [rules.Stage(0.9, 0.999, exponent) for exponent in (0.25, 0.375)]
    start = exact
    for number in range(6, 10):
        parameter.grad = torch.randn(len(parameter), generator=generator)
        step = rules.Step(number, 0.01, stages)
        exact, memories = rules.update(exact, parameter.grad.double(), memories, step)
        optimizer.step()
        assert ((parameter - exact).abs() / ((exact - start).abs() + exact.abs())).max() < 2e-6
    if reference == "initial":
        for key, memory in zip(("reference", "reference_2"), memories, strict=True):
            torch.testing.assert_close(optimizer.state[parameter][key].double(), memory.squares, rtol=1e-5, atol=0)


@every_kernel
def test_steps_count_on_where_float32_stands_still(kernel):
    """From 2^24 - 2 on, with averages that began there: every step has its own bias correction and its own random numbers."""
    start = 2**24 - 2
    parameter = torch.nn.Parameter(torch.ones(3))
    rounded = torch.nn.Parameter(torch.ones(64, dtype=torch.bfloat16))
    optimizer = Equipoise([parameter, rounded], lr=2**-9, kernel=kernel, rounding="stochastic")
    for each in (parameter, rounded):
        zeros = {key: torch.zeros(each.shape) for key in ("exp_avg", "exp_avg_sq")}
        born = dict.fromkeys(("born_exp_avg", "born_exp_avg_sq"), start)
        optimizer.state[each] |= {"step": torch.tensor(float(start)), **zeros, **born}  # float32, as torch and we counted once
    exact, memories = torch.ones(3, dtype=torch.float64), [rules.Memory(0.0, 0.0, None, start, start)]
    patterns = set()
    for number in range(start + 1, start + 7):
        parameter.grad = torch.tensor([1.0, -2.0, 0.5]) * (number - start)
        rounded.grad = torch.ones(64, dtype=torch.bfloat16)  # half of the way to the next number
        step = rules.Step(number, 2**-9, [rules.Stage(0.9, 0.999, 0.5)])
        exact, memories = rules.update(exact, parameter.grad.double(), memories, step)
        optimizer.step()
        torch.testing.assert_close(parameter.detach().double(), exact, rtol=2e-7, atol=0)
        patterns.add(tuple(rounded.tolist()))
        rounded.data.fill_(1.0)
    assert len(patterns) == 6
    assert [state["step"].item() for state in optimizer.state.values()] == [start + 6] * 2


@every_kernel_row
def test_the_parameter_ascends_with_maximize(row):
    follow(row, 5, lr=0.01, maximize=True, stages=2)


@pytest.mark.parametrize("kernel", ["fused", "eager"])
def test_a_long_run_stays_within_two_millionths_of_the_rule(kernel):
    arguments = {"exponent": 0.3, "stages": 2, "reference": "initial"}
    follow(KernelRow(kernel, torch.float32, 2e-6), 100, lr=0.01, **arguments)


@every_kernel
@pytest.mark.parametrize("stages", [1, 2])
@pytest.mark.parametrize("when", [1, 5])
@pytest.mark.parametrize("bad", [math.inf, math.nan, 1e25])
def test_one_bad_element_in_the_first_steps_costs_itself_alone(kernel, stages, when, bad):
    """Whatever is beside it goes the way that it goes without it."""

    def train(elements: slice, bad: float | None) -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        parameter = torch.nn.Parameter(torch.randn(100, generator=generator)[elements])
        optimizer = Equipoise([parameter], 0.01, exponent=0.25, stages=stages, reference="initial", kernel=kernel)
        for number in range(1, 30):
            gradient = torch.randn(100, generator=generator)
            if number == when and bad is not None:
                gradient[0] = bad
            parameter.grad = gradient[elements]
            optimizer.step()
        return parameter.detach()

    beside, alone = train(slice(None), bad)[1:], train(slice(1, None), None)
    # From then on both are measured against the same reference; where it was taken the element counted in the other steps.
    torch.testing.assert_close(beside, alone, rtol=0.02, atol=0.02)
    assert (beside - train(slice(None), 1.0)[1:]).abs().max() < 0.01


@pytest.mark.parametrize("kernel", ["fused", "eager"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_references_are_the_same_to_the_last_bit_for_every_number_of_threads(kernel, dtype):
    def references(threads: int) -> list[torch.Tensor]:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            generator = torch.Generator().manual_seed(0)
            base = torch.randn(1000, 1001, generator=generator, dtype=dtype)
            params = [torch.nn.Parameter(base.clone()), torch.nn.Parameter(base[:, ::7].clone()[:, 1:])]
            optimizer = Equipoise(params, exponent=0.25, stages=2, reference="initial", kernel=kernel)
            for _ in range(3):
                for parameter in params:
                    parameter.grad = torch.randn(parameter.shape, generator=generator, dtype=dtype)
                optimizer.step()
            return [optimizer.state[parameter][key] for parameter in params for key in ("reference", "reference_2")]
        finally:
            torch.set_num_threads(before)

    for one, two in zip(references(1), references(2), strict=True):
        assert one[-3] > 0
        assert torch.equal(one, two)


@every_kernel
@pytest.mark.parametrize("case", GOLDEN, ids=[case["name"] for case in GOLDEN])
def test_the_golden_trajectories_are_met_in_float32(case, kernel):
    stages = len(case["betas"])
    parameter = torch.nn.Parameter(torch.tensor(case["param"], dtype=torch.float32))
    given = {key: case[key] for key in ("eps", "weight_decay", "maximize", "reference")}
    betas = case["betas"] if stages > 1 else case["betas"][0]
    optimizer = Equipoise([parameter], betas=betas, stages=stages, kernel=kernel, **given)
    start = np.array(case["param"])
    steps = zip(case["grads"], case["lrs"], case["exponents"], case["expected"]["params"], strict=True)
    for gradient, lr, exponents, expected in steps:
        optimizer.param_groups[0] |= {"lr": lr, "exponent": tuple(exponents)}
        parameter.grad = torch.tensor(gradient, dtype=torch.float32)
        optimizer.step()
        scale = np.maximum(np.abs(expected), np.abs(np.array(expected) - start))
        assert np.max(np.abs(parameter.detach().double().numpy() - expected) / scale) < 2e-6


def only_step(kernel: str, gradient: torch.Tensor, exponent: float, eps: float = 0.0) -> torch.Tensor:
    """The update of one step with beta = 0: g / (g^2)^p + eps."""
    parameter = torch.nn.Parameter(torch.zeros_like(gradient))
    parameter.grad = gradient
    optimizer = Equipoise([parameter], lr=1.0, betas=(0.0, 0.0), eps=eps, exponent=exponent, kernel=kernel, maximize=True)
    optimizer.step()
    return parameter.detach()


# torch's own float32 power, which the eager kernel uses, is not as close.
@pytest.mark.parametrize("exponent", [0.5, 0.25, 0.125, 0.3, 0.01, 0.499, 0.75, 1.5, -0.1, -0.25, -0.7])
def test_powers_are_right_to_four_ten_millionths_over_the_whole_range(exponent):
    # g^2 from the smallest to the largest normal number, where its power and the update are normal numbers too.
    gradient = torch.logspace(-18.9, 19.2, 100_001, dtype=torch.float64).float()
    second = (gradient * gradient).double()
    power = second**exponent
    expected = gradient.double() / power
    inside = expected.lt(1e38) & expected.gt(1e-37) & power.lt(1e38) & power.gt(1e-37)
    error = (only_step("fused", gradient, exponent).double() / expected - 1).abs()[inside]
    assert inside.sum() > 10_000
    assert error.max() < 4e-7


@pytest.mark.parametrize("exponent", [0.5, 0.25, 0.125, 0.3])
def test_denormal_second_moments_have_powers_too(exponent):
    gradient = torch.logspace(-22.4, -19, 1001, dtype=torch.float64).float()
    second = (gradient * gradient).double()  # 1e-45 to 1e-38, with as few as one significant bit
    expected = gradient.double() / second**exponent
    assert second.min() > 0
    assert (only_step("fused", gradient, exponent).double() / expected - 1).abs().max() < 4e-7


@every_kernel
@pytest.mark.parametrize("eps", [0.0, 1e-8])
@pytest.mark.parametrize("exponent", EXPONENTS)
def test_zero_and_infinity_follow_the_conventions_of_the_rule(kernel, exponent, eps):
    gradient = torch.tensor([0.0, -0.0, 1e30, -1e30, math.inf, math.nan])
    with np.errstate(all="ignore"):
        stage = rules.Stage(0.0, 0.0, exponent)
        step = rules.Step(1, 1.0, [stage], eps)
        expected, _ = rules.apply_stage(gradient, rules.Memory(0 * gradient.abs().nan_to_num(), 0.0), stage, step)
    torch.testing.assert_close(only_step(kernel, gradient, exponent, eps), expected, rtol=1e-6, atol=0, equal_nan=True)


def test_a_kernel_that_is_asked_for_and_cannot_says_why():
    with pytest.raises(ArgumentError, match=r"kernel = 'fused' .* for torch.float32 on meta: it runs on the CPU"):
        Equipoise([torch.nn.Parameter(torch.zeros(2, device="meta"))], kernel="fused")


def test_auto_takes_the_fastest_kernel_that_can():
    devices = [torch.nn.Parameter(torch.zeros(2, device=device)) for device in ("cpu", "meta")]
    assert "kernel in use: fused, eager" in repr(Equipoise(devices))


def test_without_a_compiler_the_eager_kernel_runs(monkeypatch, request):
    monkeypatch.setattr(cpu, "library", lambda: None)
    for chosen in (kernels.choose_kernel, _plan.batch_of):  # what was chosen before is remembered
        chosen.cache_clear()
        request.addfinalizer(chosen.cache_clear)
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = Equipoise([parameter], lr=0.5)
    parameter.grad = torch.ones(2)
    optimizer.step()
    assert "kernel in use: eager" in repr(optimizer)
    assert parameter.tolist() == pytest.approx([0.5, 0.5])
    with pytest.raises(ArgumentError, match="no C compiler"):
        Equipoise([parameter], kernel="fused")
