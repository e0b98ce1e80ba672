"""The derivative of the loss by the exponent is that of finite differences, and a controller that uses it descends."""

from __future__ import annotations

import copy
import logging
import math

import pytest
import torch
from torch import nn
from torch.nn import Parameter

from equipoise import SMES, Equipoise, KAdam
from equipoise.balance import HypergradientController
from equipoise.errors import ArgumentError
from equipoise.hyperparameters import Hyperparameters
from equipoise.migrate import convert_optimizer

STEP = 1e-5
"""The step of finite differences, whose error is of second order."""


def loss(params: list[Parameter], number: int) -> torch.Tensor:
    """Not quadratic, different in every step, and of very different curvature in its coordinates."""
    noise = torch.Generator().manual_seed(number)
    total = torch.zeros((), dtype=torch.float64)
    for parameter in params:
        x = torch.view_as_real(parameter).flatten() if parameter.is_complex() else parameter.flatten()
        target = torch.randn(x.shape, generator=noise, dtype=torch.float64)
        total = total + (torch.logspace(0, -3, len(x), dtype=torch.float64) * (x - target).cosh()).sum()
    return total


def parameters(dtype: torch.dtype = torch.float64) -> list[Parameter]:
    torch.manual_seed(0)
    return [Parameter(torch.randn(shape, dtype=dtype)) for shape in ((4, 3), (5,), (2, 3, 2))]


def backward(optimizer: torch.optim.Optimizer, number: int) -> None:
    optimizer.zero_grad()
    loss([parameter for group in optimizer.param_groups for parameter in group["params"]], number).backward()


def loss_after(optimizer: Equipoise, group: int, change: float, number: int) -> float:
    """The loss of the step after `number` if step `number` had been made with another exponent of the last stage."""
    other = copy.deepcopy(optimizer)
    for mine, theirs in zip(optimizer.param_groups, other.param_groups, strict=True):
        for original, copied in zip(mine["params"], theirs["params"], strict=True):
            copied.grad = original.grad.clone()
    *others, last = Hyperparameters.of_group(other.param_groups[group]).exponents
    other.param_groups[group]["exponent"] = (*others, last + change)
    other.step()
    found = loss([parameter for each in other.param_groups for parameter in each["params"]], number + 1)
    return found.item() * (-1 if optimizer.param_groups[group]["maximize"] else 1)


def assert_confirmed(optimizer: Equipoise, at: tuple[int, ...], **arguments) -> None:
    """In the steps `at`, the hypergradient of every group is that of finite differences, to 1e-4."""
    controller = HypergradientController(optimizer, every=1, rate=1e-12, **arguments)
    expected: list[float] = []
    for number in range(1, max(at) + 2):
        backward(optimizer, number)
        differences = []
        for group in range(len(optimizer.param_groups)):
            up, down = (loss_after(optimizer, group, change, number) for change in (STEP, -STEP))
            differences.append((up - down) / (2 * STEP))
        optimizer.step()
        if number - 1 in at:
            readings = [each.reading for each in controller.history][-len(optimizer.param_groups) :]
            assert readings == pytest.approx(expected, rel=1e-4)
            assert all(abs(value) > 1e-6 for value in expected)
        expected = differences


@pytest.mark.parametrize("exponent", [-0.2, 0.0, 0.125, 0.3, 0.5])
@pytest.mark.parametrize("reference", ["none", "initial"])
@pytest.mark.parametrize("eps", [1e-8, 0.3])
def test_finite_differences_confirm_the_hypergradient(exponent, reference, eps):
    optimizer = Equipoise(parameters(), lr=0.05, betas=(0.9, 0.99), eps=eps, exponent=exponent, reference=reference)
    # With one step, while a reference moves, at the last step that moves it, and after.
    assert_confirmed(optimizer, at=(1, 3, 20, 22), bounds=(-0.3, 0.5))


@pytest.mark.parametrize(
    "arguments",
    [
        {"weight_decay": 0.3},
        {"maximize": True},
        {"stages": 2, "exponent": (0.25, 0.3)},
        {"stages": 3, "exponent": 0.25, "reference": "initial"},
        {"stages": 2, "exponent": 0.5},
        {"lr": torch.tensor(0.03)},
        {"eps": 0.0},
    ],
    ids=str,
)
def test_finite_differences_confirm_it_with_every_other_part_of_the_rule(arguments):
    optimizer = Equipoise(parameters(), **{"lr": 0.05, "betas": (0.8, 0.97), "exponent": 0.3, **arguments})
    # The first update of a normalized stage is 1 whatever its exponent, up to eps: nothing to confirm.
    assert_confirmed(optimizer, at=(2, 5))


def test_finite_differences_confirm_it_for_complex_and_transposed_parameters():
    params = parameters(torch.complex128)
    params[0] = Parameter(params[0].detach().t().contiguous().t())
    assert_confirmed(SMES(params, lr=0.05), at=(1, 4))


def test_finite_differences_confirm_it_after_a_migration_whose_averages_have_their_own_ages():
    optimizer = Equipoise(parameters(), lr=0.05, exponent=0.5)
    for number in range(3):
        backward(optimizer, number)
        optimizer.step()
    assert_confirmed(convert_optimizer(optimizer, KAdam, k=2), at=(1, 3))


def test_each_group_has_its_own():
    first, *others = parameters()
    groups = [{"params": [first], "exponent": 0.1}, {"params": others, "exponent": 0.4, "lr": 0.2, "maximize": True}]
    assert_confirmed(SMES(groups, lr=0.05), at=(1, 4))


def test_what_the_step_used_counts_and_not_what_a_schedule_has_made_of_it_since():
    def run(change):
        optimizer = SMES(parameters(), lr=0.05)
        controller = HypergradientController(optimizer, every=3)
        for number in range(1, 5):
            backward(optimizer, number)
            optimizer.step()
            if number == 3:
                optimizer.param_groups[0].update(change)
        return controller.history[-1].reading

    assert run({"lr": 7.0, "betas": (0.5, 0.6), "eps": 1.0, "exponent": 0.01}) == run({})


def test_a_parameter_that_did_not_move_or_that_the_loss_does_not_depend_on_adds_nothing():
    def run(absent, step):
        params = parameters()
        optimizer = SMES(params, lr=0.05)
        controller = HypergradientController(optimizer, every=3)
        for number in range(1, 5):
            backward(optimizer, number)
            if number == step:
                params[absent].grad = None
            optimizer.step()
        return controller.history[-1].reading

    assert sum(run(absent, 4) for absent in range(3)) == pytest.approx(2 * run(0, 99))
    assert run(1, 3) == pytest.approx(run(1, 4))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_low_precision_gives_what_double_gives_to_its_rounding(dtype):
    def run(dtype, **arguments):
        params = [Parameter(parameter.detach().to(dtype)) for parameter in parameters()]
        optimizer = SMES(params, lr=0.0, **arguments)  # so that all stay where they are
        controller = HypergradientController(optimizer, every=4)
        for number in range(1, 6):
            generator = torch.Generator().manual_seed(number)
            for parameter in params:
                parameter.grad = torch.randn(parameter.shape, generator=generator).to(torch.bfloat16).to(dtype)
            optimizer.param_groups[0]["lr"] = 0.01 if number == 4 else 0.0
            optimizer.step()
        return controller.history[-1].reading

    assert run(dtype) == pytest.approx(run(torch.float64), rel=1e-5)


def test_second_moments_that_underflowed_do_not_spoil_it():
    weight = Parameter(torch.ones(3))
    optimizer = Equipoise([weight], exponent=0.0)
    controller = HypergradientController(optimizer, every=1)
    for _ in range(3):
        weight.grad = torch.tensor([1.0, 1e-30, 0.0])
        optimizer.step()
    assert all(math.isfinite(decision.reading) for decision in controller.history)


def test_it_takes_validation_gradients_where_they_are_given():
    params = parameters()
    optimizer = SMES(params, lr=0.05, exponent=0.3)
    controller = HypergradientController(
        optimizer, every=2, gradients=lambda: torch.autograd.grad(loss(params, 77), params, allow_unused=True)
    )
    for number in (1, 2):
        backward(optimizer, number)
        if number == 2:
            up, down = (validation_after(optimizer, change) for change in (STEP, -STEP))
        optimizer.step()
    for parameter in params:
        parameter.grad = None  # nothing of them is used
    optimizer.step()
    assert controller.history[-1].reading == pytest.approx((up - down) / (2 * STEP), rel=1e-4)


def validation_after(optimizer: Equipoise, change: float) -> float:
    other = copy.deepcopy(optimizer)
    for original, copied in zip(optimizer.param_groups[0]["params"], other.param_groups[0]["params"], strict=True):
        copied.grad = original.grad.clone()
    other.param_groups[0]["exponent"] += change
    other.step()
    return loss(other.param_groups[0]["params"], 77).item()


def descend(exponent: float, noise: float, controlled: bool) -> tuple[list[float], float]:
    """Exponents and the last loss of 400 steps down a quadratic with curvatures over four decades, which noise follows."""
    torch.manual_seed(0)
    weight, curvature = Parameter(torch.ones(50)), torch.logspace(0, -4, 50)
    optimizer = SMES([weight], lr=0.01, exponent=exponent)
    history = HypergradientController(optimizer, every=5).history if controlled else ()
    for _ in range(400):
        weight.grad = curvature * (2 * weight.detach() + noise * torch.randn(50))
        optimizer.step()
    return [decision.after for decision in history], (curvature * weight.square()).sum().item()


@pytest.mark.parametrize("start", [0.0, 0.1, 0.25])
def test_it_finds_that_noise_in_steep_directions_asks_for_a_large_exponent(start):
    exponents, reached = descend(start, noise=1.0, controlled=True)
    assert exponents[-1] > 0.45
    assert reached < 0.75 * descend(0.1, noise=1.0, controlled=False)[1]


def test_it_is_short_sighted_where_the_steep_directions_pay_first_and_the_flat_ones_last():
    """Without noise 1/2 ends a million times lower, but the next step's loss falls fastest along what is steep."""
    exponents, reached = descend(0.5, noise=0.0, controlled=True)
    assert min(exponents) == 0
    assert reached > 1e5 * descend(0.5, noise=0.0, controlled=False)[1]


def test_a_gradient_that_is_not_a_number_is_said_and_changes_nothing(caplog):
    weight = Parameter(torch.ones(2))
    optimizer = SMES([weight])
    controller = HypergradientController(optimizer, every=1)
    for value in (1.0, math.nan, 1.0):
        weight.grad = torch.full((2,), value)
        with caplog.at_level(logging.WARNING, "equipoise"):
            optimizer.step()
    assert "the exponent of parameter group 0 stays as it is (hypergradient: nan)" in caplog.text
    assert {decision.after for decision in controller.history} == {0.25}
    assert controller.state_dict()["averages"] == {0: (0.0, 0.0, 0)}


def test_a_closure_is_refused_as_it_would_compute_the_gradients_too_late():
    optimizer = SMES([Parameter(torch.ones(2))])
    HypergradientController(optimizer)
    with pytest.raises(ArgumentError, match=r"closure = .* must be None: the hypergradient needs the gradients before step"):
        optimizer.step(lambda: 0.0)


@pytest.mark.parametrize("given", [[], [torch.ones(3)], [torch.ones(2), None]], ids=str)
def test_gradients_of_other_shapes_are_refused(given):
    weight = Parameter(torch.ones(2))
    optimizer = SMES([weight])
    HypergradientController(optimizer, every=1, gradients=lambda: given)
    weight.grad = torch.ones(2)
    optimizer.step()
    with pytest.raises(ArgumentError, match=r"one gradient, or None, per parameter, of the shapes \[\(2,\)\]"):
        optimizer.step()


def test_nothing_is_computed_in_steps_in_between(monkeypatch):
    asked = []
    module = nn.Linear(2, 1)
    optimizer = SMES(module.parameters())
    controller = HypergradientController(optimizer, every=4, gradients=lambda: asked.append(controller.steps) or [None, None])
    for _ in range(13):
        optimizer.zero_grad()
        module(torch.ones(2)).backward()
        optimizer.step()
    assert asked == [5, 9, 13]
