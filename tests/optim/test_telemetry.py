"""What a step measures in passing is what one would compute beside it."""

from __future__ import annotations

import copy
import math
import pickle
import threading

import pytest
import torch
from torch.nn import Parameter

from equipoise import SMES, Equipoise, KAdam
from equipoise.errors import ArgumentError
from equipoise.optim._kernels import cpu
from equipoise.optim._telemetry import Telemetry

kernels = pytest.mark.parametrize("kernel", ["fused", "eager"])
SHAPES = ((5,), (), (0,), (2 * cpu.CHUNK + 3,), (40, 2048))


def measured(optimizer: Equipoise, gradients: list[torch.Tensor]) -> list:
    params = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for parameter, gradient in zip(params, gradients, strict=True):
        parameter.grad = gradient
    with Telemetry(optimizer) as telemetry:
        optimizer.step()
    found = telemetry.read()
    return [found[parameter] for parameter in params]


@kernels
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.complex64], ids=str)
@pytest.mark.parametrize(
    ("cls", "arguments"), [(Equipoise, {}), (SMES, {}), (KAdam, {"weight_decay": 0.1}), (Equipoise, {"exponent": 0.3})]
)
def test_the_measures_are_those_of_the_gradient_the_update_and_the_state(kernel, dtype, cls, arguments):
    generator = torch.Generator().manual_seed(0)
    params = [Parameter(torch.randn(shape, generator=generator).to(dtype)) for shape in SHAPES]
    optimizer = cls(params, lr=0.25, kernel=kernel, **arguments)
    for _ in range(2):
        befores = [parameter.detach().clone() for parameter in params]
        gradients = [torch.randn(shape, generator=generator).relu().to(dtype) for shape in SHAPES]
        found = measured(optimizer, gradients)
        for parameter, before, gradient, own in zip(params, befores, gradients, found, strict=True):
            parts = torch.view_as_real if dtype.is_complex else torch.Tensor.double
            theta, gradient, before = (parts(each.detach()).double() for each in (parameter, gradient, before))
            update = (before * (1 - 0.25 * arguments.get("weight_decay", 0)) - theta) / 0.25
            v = parts(optimizer.state[parameter]["exp_avg_sq"]).double()
            # Of the update we see only what it made of the parameter, rounded to that one's precision.
            close = {"rel": 1e-5, "abs": 1e-5} if dtype is not torch.bfloat16 else {"rel": 0.05, "abs": 0.07}
            assert own.elements == theta.numel()
            assert own.gradient == pytest.approx(gradient.square().sum().item(), **close)
            assert own.update == pytest.approx(update.square().sum().item(), **close)
            assert own.parameter == pytest.approx(theta.square().sum().item(), **close)
            assert own.second_moment == pytest.approx(v.sum().item(), **close)
            assert own.largest_update == pytest.approx(update.abs().max().item() if theta.numel() else 0.0, **close)
            assert own.zeros == (gradient == 0).sum()
            assert own.nonfinite == 0


@kernels
def test_what_is_not_finite_is_counted_and_shown(kernel):
    size = cpu.CHUNK + 9
    gradient = torch.ones(size)
    gradient[3], gradient[cpu.CHUNK + 1], gradient[-1] = math.nan, math.inf, -math.inf
    (found,) = measured(Equipoise([Parameter(torch.ones(size))], kernel=kernel), [gradient])
    assert found.nonfinite == 3
    assert math.isnan(found.gradient)
    assert math.isnan(found.largest_update)


@kernels
def test_measuring_changes_no_bit_of_the_run(kernel):
    def run(subscribers):
        generator = torch.Generator().manual_seed(0)
        parameter = Parameter(torch.randn(3 * cpu.CHUNK + 1, generator=generator))
        optimizer = KAdam([parameter], kernel=kernel)
        for _ in range(subscribers):
            Telemetry(optimizer)
        for _ in range(3):
            parameter.grad = torch.randn(parameter.shape, generator=generator)
            optimizer.step()
        return parameter.detach()

    assert torch.equal(run(0), run(1))
    assert torch.equal(run(0), run(2))


def test_only_parameters_that_took_part_in_the_last_step_are_read():
    first, second = Parameter(torch.ones(2)), Parameter(torch.ones(3))
    optimizer = Equipoise([first, second])
    telemetry = Telemetry(optimizer)
    first.grad = second.grad = None
    first.grad = torch.ones(2)
    optimizer.step()
    assert set(telemetry.read()) == {first}
    first.grad, second.grad = None, torch.ones(3)
    optimizer.step()
    assert set(telemetry.read()) == {second}


def test_telemetry_is_no_part_of_what_is_saved_or_copied():
    parameter = Parameter(torch.ones(2))
    optimizer = Equipoise([parameter])
    telemetry = Telemetry(optimizer)
    measured(optimizer, [torch.ones(2)])
    assert pickle.loads(pickle.dumps(optimizer)).telemetries == ()
    assert copy.deepcopy(optimizer).telemetries == ()
    assert "telemetries" not in optimizer.state_dict()
    assert optimizer.telemetries == (telemetry,)


def test_everyone_who_asked_has_the_measures_of_the_steps_while_open():
    parameter = Parameter(torch.ones(2))
    optimizer = Equipoise([parameter])
    first, second = Telemetry(optimizer), Telemetry(optimizer)
    for number, gradient in enumerate((1.0, 2.0, 3.0)):
        if number == 1:
            first.close()
            first.close()
        if number == 2:
            optimizer.add_param_group({"params": [Parameter(torch.ones(3))]})
        parameter.grad = torch.full((2,), gradient)
        optimizer.step()
    assert first.read()[parameter].gradient == 2.0
    assert second.read()[parameter].gradient == 18.0
    assert second.read(parameter) == second.read()
    assert second.read(Parameter(torch.ones(2))) == {}
    assert optimizer.telemetries == (second,)


def test_what_is_measured_is_measured_once_for_all_who_asked():
    parameter = Parameter(torch.ones(2))
    optimizer = Equipoise([parameter])
    first, second = Telemetry(optimizer), Telemetry(optimizer)
    assert first.read() == {}
    parameter.grad = torch.ones(2)
    optimizer.step()
    assert first.parts is second.parts


def test_an_optimizer_that_does_not_measure_is_refused():
    with pytest.raises(ArgumentError, match=r"optimizer = 'Adam' is not accepted: .* SMES or KAdam, whose steps measure"):
        Telemetry(torch.optim.Adam([Parameter(torch.ones(2))]))


def test_a_reading_is_of_one_finished_step_while_another_thread_steps():
    """Step k has gradients of k everywhere: every reading has the sums of one k, and none is older than the reading before."""
    params = [Parameter(torch.zeros(20_000)) for _ in range(3)]
    optimizer = Equipoise(params, lr=0.0)
    telemetry = Telemetry(optimizer)
    steps = 300

    def train():
        for number in range(1, steps + 1):
            for parameter in params:
                parameter.grad = torch.full((20_000,), float(number))
            optimizer.step()

    thread = threading.Thread(target=train)
    thread.start()
    readings = []
    while thread.is_alive():
        readings.append([measures.gradient / 20_000 for measures in telemetry.read().values()])
    thread.join()
    seen = [reading for reading in readings if reading]
    assert seen
    assert all(len(reading) == 3 and len(set(reading)) == 1 for reading in seen)
    squares = [reading[0] for reading in seen]
    assert set(squares) <= {float(number * number) for number in range(1, steps + 1)}
    assert squares == sorted(squares)
