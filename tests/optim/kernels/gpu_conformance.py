"""The conformance of the GPU kernel, which test_gpu.py runs in a process of its own: compiled where there is a GPU, else under
Triton's interpreter, on the CPU and with fewer cases (it takes a tenth of a second for a block of a step).

The tests of the other kernels run here as they are: parameters on the CPU are stepped on by copies on the device.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import hypothesis
import pytest
import torch
from torch.nn import Parameter

from equipoise import Equipoise, errors, rules
from equipoise.optim import _kernels as kernels
from equipoise.optim._kernels import gpu
from equipoise.optim._telemetry import Telemetry
from tests.conformance.table import KERNEL_ROWS

from . import test_kernels, test_powers

pytestmark = [
    pytest.mark.filterwarnings("ignore::equipoise.StabilityWarning"),
    pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning"),  # numpy's, of what the GPU does silently
]

COMPILED = torch.cuda.is_available()
DEVICE = torch.device("cuda" if COMPILED else "cpu")
# In double the rule's 1 - 0.999^t has 14 digits at t = 5, and three stages treble what is lost: the rule is 1.6e-14 from itself
# in long double, and this kernel, which adds the digits up otherwise, 1.5e-15.
ROWS = [replace(row, relative=max(row.relative, 4e-14)) for row in KERNEL_ROWS if row.kernel == "fused"]
WAYS = list(itertools.product((0.5, 0.25, 0.125, 0.0, 0.3, -0.25), (1, 2, 3), ("none", "initial")))
CASES = list(itertools.product(ROWS, WAYS)) if COMPILED else [(row, way) for i, row in enumerate(ROWS) for way in WAYS[i::23]]
REFERENCES = {f"golden-reference-{name}" for name in ("silent-start", "2-stages", "spike")}
GOLDEN = [case for case in test_kernels.GOLDEN if COMPILED or case["name"] in REFERENCES]


SETTINGS = hypothesis.settings(
    max_examples=1000 if COMPILED else 15,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)


def prepare(slots):
    """Steps on slots on the device, as long as these live."""
    return gpu.prepare(slots[0].theta.device, list(map(gpu.row, slots)))


def prepare_copies(_, slots):
    """Steps on copies of the slots on the device."""
    everything = [(slot.theta, slot.steps, *(part for memory in slot.memories for part in memory)) for slot in slots]
    pairs = [(own, own.to(DEVICE, copy=True)) for parts in everything for own in parts if isinstance(own, torch.Tensor)]
    twin = {id(own): copied for own, copied in pairs}
    batch = prepare(
        [
            slot._replace(
                theta=twin[id(slot.theta)],
                steps=twin[id(slot.steps)],
                memories=[rules.Memory(*(twin.get(id(part), part) for part in memory)) for memory in slot.memories],
            )
            for slot in slots
        ]
    )

    def execute(gradients, groups, measures):
        for own, copied in pairs:
            copied.copy_(own)
        measured = None if measures is None else measures.to(DEVICE)
        batch([gradient.to(DEVICE) for gradient in gradients], groups, measured)
        for own, copied in pairs:
            own.copy_(copied)
        if measures is not None:
            measures.copy_(measured)

    return execute


@pytest.fixture(autouse=True)
def gpu_kernel_for_parameters_on_the_cpu(monkeypatch):
    fused = kernels.Kernel(lambda device, dtype: gpu.refusal(DEVICE, dtype), lambda slot: slot, prepare_copies)
    monkeypatch.setitem(kernels.FUSED, "cpu", fused)
    if not COMPILED:
        monkeypatch.setattr(test_kernels, "SIZES", (0, 1, gpu.BLOCK + 1))


@pytest.mark.parametrize(("row", "way"), CASES, ids=str)
def test_every_step_is_that_of_the_rule(row, way):
    exponent, stages, reference = way
    arguments = {"exponent": exponent, "stages": stages, "reference": reference}
    test_kernels.follow(row, 5, lr=0.01, weight_decay=0.1, maximize=exponent == 0.3, **arguments)


@pytest.mark.parametrize("case", GOLDEN, ids=[case["name"] for case in GOLDEN])
def test_the_golden_trajectories_are_met_in_float32(case):
    test_kernels.test_the_golden_trajectories_are_met_in_float32(case, "fused")


@pytest.mark.parametrize("reference", ["none", "initial"])
def test_every_average_is_corrected_by_its_own_age(reference):
    test_kernels.test_every_average_is_corrected_by_its_own_age("fused", reference)


def test_steps_count_on_where_float32_stands_still():
    test_kernels.test_steps_count_on_where_float32_stands_still("fused")


@pytest.mark.parametrize(("dtype", "relative"), [(torch.float32, 5e-7), (torch.float64, 1e-14)])
@SETTINGS
@hypothesis.given(case=test_powers.CASES)
def test_every_quotient_that_can_be_represented_is_right(dtype, relative, case):
    test_powers.check("fused", dtype, relative, case)


@pytest.mark.parametrize("exponent", [0.25, 0.0, 0.3, -0.1])
def test_zero_and_infinity_follow_the_conventions_of_the_rule(exponent):
    test_kernels.test_zero_and_infinity_follow_the_conventions_of_the_rule("fused", exponent, 0.0)


@pytest.mark.parametrize("exponent", [0.125, 0.3, -0.7])
def test_powers_are_right_to_four_ten_millionths_over_the_whole_range(exponent):
    gradient = torch.logspace(-22.4, 19.2, 20_000, dtype=torch.float64).float()  # g^2 of 1e-45, the least denormal, to 1e38
    power = (gradient * gradient).double() ** exponent
    expected = gradient.double() / power
    inside = expected.lt(1e38) & expected.gt(1e-37) & power.lt(1e38) & power.gt(1e-37)
    error = (test_kernels.only_step("fused", gradient, exponent).double() / expected - 1).abs()[inside]
    assert inside.sum() > 5_000
    assert error.max() < 4e-7


@pytest.mark.parametrize("exponent", [0.01, 0.75, -0.7])
def test_powers_in_double_are_right_to_the_last_digits(exponent):
    gradient = torch.logspace(-161, 153, 5_000, dtype=torch.float64)
    power = (gradient * gradient) ** exponent
    expected = gradient / power
    inside = expected.lt(1e307) & expected.gt(1e-306) & power.lt(1e307) & power.gt(1e-306)
    error = (test_kernels.only_step("fused", gradient, exponent) / expected - 1).abs()[inside]
    assert inside.sum() > 2_500
    assert error.max() < 1e-15


def train(kernel, params, gradients, **arguments):
    """The optimizer after its steps, and what it measured last."""
    optimizer = Equipoise(params, kernel=kernel, **arguments)
    telemetry = Telemetry(optimizer)
    for given in gradients:
        for parameter, gradient in zip(params, given, strict=True):
            parameter.grad = gradient
        optimizer.step()
    return optimizer, list(telemetry.read().values())


def noise(shapes, dtype=torch.float32, steps=3):
    generator = torch.Generator().manual_seed(1)
    return [[torch.randn(shape, generator=generator).to(dtype) for shape in shapes] for _ in range(steps)]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_what_is_rounded_at_random_is_rounded_as_by_the_eager_kernel_to_the_bit(dtype):
    found = []
    for kernel in ("fused", "eager"):
        params = [Parameter(tensor) for tensor in noise([(1100,), (3,)], dtype, 1)[0]]
        rounding = {"rounding": "stochastic", "state_dtype": torch.bfloat16, "seed": 2**40 + 7}
        # What is rounded to moments is then the same in both to the bit, and what is rounded to parameters to the last one.
        arguments = {"betas": (0.5, 0.5), "exponent": 0.0, "lr": 0.25, "eps": 0.0, **rounding}
        optimizer, _ = train(kernel, params, noise([(1100,), (3,)], dtype), **arguments)
        found.append([value for parameter in params for value in (parameter.data, *optimizer.state[parameter].values())])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_it_measures_what_the_eager_kernel_measures():
    found = []
    for kernel in ("fused", "eager"):
        gradients = noise([(1100,), (), (0,)])
        gradients[-1][0][:7] = 0.0
        params = [Parameter(tensor) for tensor in noise([(1100,), (), (0,)], steps=1)[0]]
        _, measures = train(kernel, params, gradients, stages=2, exponent=(0.25, 0.5), reference="initial")
        found.append(torch.tensor(measures, dtype=torch.float64))
    torch.testing.assert_close(*found, rtol=1e-5, atol=0)
    assert found[0][0, 6] == 7


def test_infinite_and_missing_numbers_are_counted_and_named():
    parameter = Parameter(torch.zeros(4))
    _, (measures,) = train("fused", [parameter], [[torch.tensor([1.0, math.inf, math.nan, 0.0])]])
    assert (measures.zeros, measures.nonfinite) == (1, 2)
    assert math.isnan(measures.largest_update)


@pytest.mark.parametrize("dtypes", ["double double double", "bfloat16 bfloat16 bfloat16", "double bfloat16 float"])
def test_memory_of_every_layout_is_stepped_on(dtypes):
    """Transposed, with gaps, off the boundaries of 16 bytes; gradients of other dtypes, transposed, and negated lazily."""
    found = []
    for kernel in ("fused", "eager"):
        base = torch.linspace(-1, 1, 48)
        views = [base.clone().reshape(6, 8).t(), base.clone().reshape(6, 8)[:, ::2], base.clone()[1:]]
        params = [Parameter(view) for view in views]
        negated = torch.complex(base[1:], base[1:]).conj().imag
        gradients = [base.reshape(6, 8).t(), base[24:].reshape(4, 6).t(), negated]
        for parameter, gradient, dtype in zip(params, gradients, dtypes.split(), strict=True):
            parameter.grad_dtype = None  # of any dtype
            parameter.grad = gradient.to(getattr(torch, dtype))
        optimizer = Equipoise(params, lr=0.1, kernel=kernel)
        optimizer.step()
        found.append([parameter.detach().clone() for parameter in params])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)


def slots_of(params, steps=0.0):
    """Slots of Adam with empty moments, on the device."""
    return [
        kernels.Slot(
            tensor.to(DEVICE, copy=True),
            [rules.Memory(torch.zeros_like(tensor, device=DEVICE), torch.zeros_like(tensor, device=DEVICE))],
            torch.tensor(steps, dtype=torch.float64, device=DEVICE),
            group=0,
            position=place,
        )
        for place, tensor in enumerate(params)
    ]


def adam(lr, betas=(0.9, 0.999)):
    return [kernels.Group(rules.Step(0, lr, [rules.Stage(*betas, 0.5)]), stochastic=False, seed=0)]


@pytest.mark.parametrize("number", [1, 2, 1000, 2**24 - 1, 2**24 + 1])
def test_bias_corrections_are_right_to_the_last_digits_at_every_step(number):
    (slot,) = slots_of([torch.zeros(1, dtype=torch.float64)], steps=number - 1.0)
    gradient = torch.full((1,), 3.0, dtype=torch.float64, device=DEVICE)
    prepare([slot])([gradient], adam(1.0, (0.9, 0.9999)), None)
    corrections = [-math.expm1(number * math.log1p(beta - 1)) for beta in (0.9, 0.9999)]
    m_hat, v_hat = ((1 - beta) / correction for beta, correction in zip((0.9, 0.9999), corrections, strict=True))
    assert slot.theta.item() == pytest.approx(-3 * m_hat / (3 * math.sqrt(v_hat) + 1e-8), rel=2e-15)
    assert slot.steps.item() == number


def test_a_learning_rate_on_the_device_is_read_there():
    gradients = [torch.ones(5, device=DEVICE)]
    (slot,) = slots_of([torch.zeros(5)])
    batch, lr = prepare([slot]), torch.tensor(0.25, device=DEVICE)
    batch(gradients, adam(lr), None)
    lr.fill_(0.5)
    batch(gradients, adam(lr), None)
    torch.testing.assert_close(slot.theta.cpu(), torch.full((5,), -0.75))


def test_what_changes_between_steps_is_sent_anew_and_the_rest_is_not(monkeypatch):
    sent = []
    code = gpu.device_code()

    class Put:
        def __getitem__(self, grid):
            return lambda *arguments, **options: sent.append(grid) or original[grid](*arguments, **options)

    original = code.put
    monkeypatch.setattr(code, "put", Put())
    params = [torch.zeros(3) for _ in range(40)]
    gradients = [torch.ones(3, device=DEVICE) for _ in params]
    slots = slots_of(params)  # whose memory the batch does not own
    batch = prepare(slots)
    counts = []
    for lr in (0.25, 0.25, 0.5):
        batch(gradients, adam(lr), None)
        counts.append(len(sent))
    gradients[0] = gradients[0].clone()
    batch(gradients, adam(0.5), None)
    assert [*counts, len(sent)] == [2, 2, 3, 4]  # 40 addresses and 9 hyperparameters in two launches of 32


def test_a_graph_has_a_copy_of_what_changes(monkeypatch):
    """Captured as by a graph, with other gradients and another rate; the steps after it know nothing of that."""
    slots = slots_of([torch.zeros(3)])
    batch = prepare(slots)
    gradient, other = torch.ones(3, device=DEVICE), -torch.ones(3, device=DEVICE)
    batch([gradient], adam(0.25), None)
    with monkeypatch.context() as inside:
        inside.setattr(gpu, "capturing", lambda device: True)
        batch([other], adam(0.5), None)
    batch([gradient], adam(0.25), None)
    expected = slots_of([torch.zeros(3)])
    separate = prepare(expected)
    for given, lr in ((gradient, 0.25), (other, 0.5), (gradient, 0.25)):
        separate([given], adam(lr), None)
    assert torch.equal(slots[0].theta, expected[0].theta)


def test_the_first_step_cannot_be_captured(monkeypatch):
    monkeypatch.setattr(gpu, "capturing", lambda device: True)
    with pytest.raises(errors.CaptureError, match="take one before"):
        prepare(slots_of([torch.zeros(3)]))


@pytest.mark.skipif(not COMPILED, reason="there is no GPU")
@pytest.mark.parametrize("reference", ["none", "initial"])
def test_a_cuda_graph_replays_the_steps_that_it_captured(reference):
    torch.manual_seed(0)
    start = [torch.randn(shape, device=DEVICE) for shape in ((1000, 7), (5,))]
    runs = []
    for graphed in (False, True):
        params = [Parameter(tensor.clone()) for tensor in start]
        lr = torch.tensor(0.01, device=DEVICE)
        optimizer = Equipoise(params, lr=lr, exponent=0.25, reference=reference)
        for parameter in params:
            parameter.grad = torch.sin(parameter.detach() * 50)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            optimizer.step()
        torch.cuda.current_stream().wait_stream(stream)
        replay = optimizer.step
        if graphed:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                optimizer.step()
            replay = graph.replay
        for rate in (0.01, 0.005, 0.0025):
            lr.fill_(rate)
            for parameter in params:
                parameter.grad.copy_(torch.sin(parameter.detach() * 50))
            replay()
        runs.append([tensor.cpu() for p in params for tensor in (p.detach(), *optimizer.state[p].values())])
    assert all(torch.equal(one, other) for one, other in zip(*runs, strict=True))


@pytest.mark.skipif(not COMPILED, reason="there is no GPU")
def test_auto_takes_it_on_a_gpu_and_a_step_waits_for_nothing():
    parameter = Parameter(torch.ones(3000, device=DEVICE))
    optimizer = Equipoise([parameter], lr=0.25)
    parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    torch.cuda.set_sync_debug_mode("error")
    try:
        optimizer.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert "kernel in use: fused" in repr(optimizer)
    assert optimizer.state[parameter]["step"].device == parameter.device
    torch.testing.assert_close(parameter.detach().cpu(), torch.full((3000,), 0.5))
