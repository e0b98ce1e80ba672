"""Learning-rate schedulers: all of torch's, with numbers and tensors, and what they must not break."""

import math

import pytest
import torch
from torch.nn import Parameter
from torch.optim import lr_scheduler, swa_utils

from equipoise import Equipoise, KAdam
from equipoise.errors import ArgumentError

from .table import CASES, every_case, every_class
from .training import copies, parameters, same, train

SCHEDULERS = {
    "StepLR": lambda made: lr_scheduler.StepLR(made, 3, 0.5),
    "MultiStepLR": lambda made: lr_scheduler.MultiStepLR(made, [2, 5]),
    "ConstantLR": lambda made: lr_scheduler.ConstantLR(made, 0.5, 3),
    "LinearLR": lambda made: lr_scheduler.LinearLR(made, 0.3, 0.0, 7),
    "ExponentialLR": lambda made: lr_scheduler.ExponentialLR(made, 0.9),
    "PolynomialLR": lambda made: lr_scheduler.PolynomialLR(made, 5, 2.0),
    "CosineAnnealingLR": lambda made: lr_scheduler.CosineAnnealingLR(made, 5),
    "CosineAnnealingWarmRestarts": lambda made: lr_scheduler.CosineAnnealingWarmRestarts(made, 3),
    "LambdaLR": lambda made: lr_scheduler.LambdaLR(made, lambda epoch: 0.9**epoch),
    "MultiplicativeLR": lambda made: lr_scheduler.MultiplicativeLR(made, lambda _: 0.9),
    "OneCycleLR": lambda made: lr_scheduler.OneCycleLR(made, 0.1, total_steps=20),
    "CyclicLR": lambda made: lr_scheduler.CyclicLR(made, 0.01, 0.1, 3),
    "ChainedScheduler": lambda made: lr_scheduler.ChainedScheduler(
        [lr_scheduler.LinearLR(made, 0.1, 1.0, 3), lr_scheduler.ExponentialLR(made, 0.9)]
    ),
    "SequentialLR": lambda made: lr_scheduler.SequentialLR(
        made, [lr_scheduler.LinearLR(made, 0.1, 1.0, 3), lr_scheduler.CosineAnnealingLR(made, 5)], [3]
    ),
    "ReduceLROnPlateau": lambda made: lr_scheduler.ReduceLROnPlateau(made, factor=0.5, patience=1),
    "SWALR": lambda made: swa_utils.SWALR(made, swa_lr=0.02, anneal_epochs=4),
}
ABSTRACT = {"LRScheduler"}

every_scheduler = pytest.mark.parametrize("scheduler", SCHEDULERS)
single_pair = pytest.mark.parametrize("case", [case for case in CASES if "two-stage" not in case.name], ids=str)


def advance(scheduler):
    """One step of a scheduler; the plateau is told that nothing improves."""
    if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau):
        scheduler.step(1.0)
    else:
        scheduler.step()


def test_every_scheduler_of_torch_is_tested():
    assert set(lr_scheduler.__all__) - ABSTRACT == set(SCHEDULERS) - {"SWALR"}


@every_scheduler
@single_pair
def test_a_step_under_a_scheduler_uses_the_values_that_it_wrote(case, scheduler):
    """The same run, with the scheduled values copied by hand from an AdamW that nothing else happens to."""
    guide = torch.optim.AdamW([Parameter(torch.zeros(1))], lr=0.1, betas=case.arguments.get("betas", (0.9, 0.999)))
    scheduled, manual = case.make(parameters(), lr=0.1), case.make(parameters(), lr=0.1)
    schedules = SCHEDULERS[scheduler](scheduled), SCHEDULERS[scheduler](guide)
    written = set()
    for number in range(8):
        manual.param_groups[0].update({key: guide.param_groups[0][key] for key in ("lr", "betas")})
        written.add((guide.param_groups[0]["lr"], guide.param_groups[0]["betas"]))
        guide.step()
        for optimizer in (scheduled, manual):
            train(optimizer, 1, start=number)
        for schedule in schedules:
            advance(schedule)
    assert len(written) > 1
    assert same(scheduled.param_groups[0]["params"], manual.param_groups[0]["params"])


@single_pair
@pytest.mark.parametrize("scheduler", ["OneCycleLR", "CyclicLR"])
def test_momentum_is_cycled_through_the_first_beta(case, scheduler):
    optimizer = case.make(parameters(), lr=0.1)
    schedule = SCHEDULERS[scheduler](optimizer)
    seen = set()
    for number in range(8):
        train(optimizer, 1, start=number)
        seen.add(optimizer.param_groups[0]["betas"])
        schedule.step()
    assert len({first for first, _ in seen}) > 2
    assert {second for _, second in seen} == {case.arguments.get("betas", (0.9, 0.999))[1]}


def test_a_cycled_momentum_with_one_pair_of_betas_per_stage_is_refused_in_words():
    optimizer = KAdam(parameters(), lr=0.1, k=3, betas=((0.9, 0.99),) * 3)
    lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=20)
    with pytest.raises(ArgumentError, match=r"betas = \(0.95, .* one pair \(beta1, beta2\) .* or 3 such pairs"):
        train(optimizer, 1)
    assert same(optimizer.param_groups[0]["params"], parameters())


@every_case
def test_a_linear_ramp_to_zero_whose_end_is_rounded_below_zero_is_not_an_error(case):
    optimizer = case.make(parameters(), lr=0.03)
    schedule = lr_scheduler.LinearLR(optimizer, 1 / 3, 0.0, 7)
    train(optimizer, 9, scheduler=schedule)
    assert -1e-17 < optimizer.param_groups[0]["lr"] < 0


TENSORS = {
    "0-d": lambda lr: torch.tensor(lr),
    "one element": lambda lr: torch.tensor([lr]),
    "one element in two dimensions": lambda lr: torch.tensor([[lr]]),
    "float64": lambda lr: torch.tensor([lr], dtype=torch.float64),
}


@every_case
@pytest.mark.parametrize("tensor", TENSORS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=["float32", "float64", "bfloat16"])
def test_a_tensor_as_learning_rate_is_its_number_and_is_not_replaced(case, tensor, dtype):
    lr = TENSORS[tensor](0.01)
    tensors, numbers = case.make(parameters(dtype), lr=lr), case.make(parameters(dtype), lr=lr.item())
    train(tensors, 4)
    train(numbers, 4)
    assert tensors.param_groups[0]["lr"] is lr
    assert same(tensors.param_groups[0]["params"], numbers.param_groups[0]["params"])


@every_scheduler
@every_class
def test_a_scheduled_tensor_is_a_scheduled_number_to_the_precision_of_the_tensor(case, scheduler):
    lr = torch.tensor(0.1, dtype=torch.float64)
    tensors, numbers = case.make(parameters(torch.float64), lr=lr), case.make(parameters(torch.float64), lr=0.1)
    schedules = SCHEDULERS[scheduler](tensors), SCHEDULERS[scheduler](numbers)
    for number in range(8):
        for optimizer, schedule in zip((tensors, numbers), schedules, strict=True):
            train(optimizer, 1, start=number)
            advance(schedule)
    # torch evaluates some schedules with other functions for a tensor.
    for left, right in zip(tensors.param_groups[0]["params"], numbers.param_groups[0]["params"], strict=True):
        torch.testing.assert_close(left, right, rtol=1e-12, atol=1e-14)


@every_class
def test_two_groups_have_their_own_scheduled_learning_rates(case):
    optimizer = case.make([{"params": parameters()}, {"params": parameters()}], lr=0.1)
    schedule = lr_scheduler.LambdaLR(optimizer, [lambda _: 1.0, lambda _: 0.0])
    train(optimizer, 1, scheduler=schedule)
    assert not same(optimizer.param_groups[0]["params"], parameters())
    assert same(optimizer.param_groups[1]["params"], parameters())


@every_class
def test_weights_are_averaged_over_the_steps_by_swa(case):
    model = torch.nn.Linear(3, 2)
    averaged = swa_utils.AveragedModel(model)
    optimizer = case.make(model.parameters(), lr=0.1)
    schedule = swa_utils.SWALR(optimizer, swa_lr=0.05, anneal_epochs=2)
    visited = []
    for number in range(4):
        train(optimizer, 1, start=number)
        averaged.update_parameters(model)
        schedule.step()
        visited.append(copies(list(model.parameters())))
    for parameter, *history in zip(averaged.module.parameters(), *visited, strict=True):
        # The running average is rounded at every update, the mean once.
        torch.testing.assert_close(parameter.data, torch.stack(history).mean(0), rtol=1e-5, atol=1e-6)
    assert math.isclose(optimizer.param_groups[0]["lr"], 0.05)


@pytest.mark.parametrize("reference", ["none", "initial"])
def test_a_scheduled_exponent_holds_from_the_next_step_on_and_keeps_the_moments(reference):
    """One stage's moments do not depend on its exponent, so only the last exponent decides where a step leads."""
    scheduled, fixed = (Equipoise(parameters(), exponent=exponent, reference=reference) for exponent in (-0.5, 0.25))
    for number, exponent in enumerate((-0.5, 0.0, 0.5, 0.25)):
        scheduled.param_groups[0]["exponent"] = exponent
        train(scheduled, 1, start=number)
        moved = copies(scheduled.param_groups[0]["params"])
        for ours, theirs in zip(scheduled.param_groups[0]["params"], fixed.param_groups[0]["params"], strict=True):
            theirs.grad = ours.grad
        fixed.step()
        arrived = copies(fixed.param_groups[0]["params"])
        for left, right in zip(scheduled.param_groups[0]["params"], fixed.param_groups[0]["params"], strict=True):
            right.data.copy_(left)
        assert same(moved, arrived) == (exponent == 0.25)
    assert same(scheduled.state_dict()["state"], fixed.state_dict()["state"])
