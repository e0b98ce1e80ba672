"""Gradient scaling: a scaled run equals the unscaled one, and an overflow leaves everything as it was."""

import copy

import pytest
import torch

from .table import every_case
from .training import gradients, parameters, same, train

SCALE = 2.0**10  # a power of two, so that scaling and unscaling are exact


def scaled_step(scaler, optimizer, number, spoil=None):
    """One step on the gradients of `train`, scaled as those of a scaled loss are."""
    params = optimizer.param_groups[0]["params"]
    for parameter, gradient in zip(params, gradients(params, number), strict=True):
        parameter.grad = scaler.scale(gradient)
    if spoil is not None:
        params[1].grad[3] = spoil
    scaler.step(optimizer)
    scaler.update()


@every_case
def test_a_scaled_run_equals_the_unscaled_one(case):
    scaler = torch.amp.GradScaler("cpu", init_scale=SCALE, growth_interval=2)
    scaled, plain = case.make(parameters()), case.make(parameters())
    for number in range(5):
        scaled_step(scaler, scaled, number)
    train(plain, 5)
    assert scaler.get_scale() > SCALE
    assert same(scaled.state_dict(), plain.state_dict())
    assert same(scaled.param_groups[0]["params"], plain.param_groups[0]["params"])


@every_case
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_step_whose_gradient_overflowed_is_skipped_and_changes_nothing(case, value):
    scaler = torch.amp.GradScaler("cpu", init_scale=SCALE)
    optimizer = case.make(parameters())
    scaled_step(scaler, optimizer, 0)
    before = copy.deepcopy((optimizer.state_dict(), optimizer.param_groups[0]["params"]))
    scaled_step(scaler, optimizer, 1, spoil=value)
    assert scaler.get_scale() == SCALE / 2
    assert same((optimizer.state_dict(), optimizer.param_groups[0]["params"]), before)


@every_case
def test_gradients_unscaled_by_hand_may_be_clipped_before_the_step(case):
    scaler = torch.amp.GradScaler("cpu", init_scale=SCALE)
    scaled, plain = case.make(parameters()), case.make(parameters())
    for optimizer in (scaled, plain):
        params = optimizer.param_groups[0]["params"]
        for parameter, gradient in zip(params, gradients(params, 0), strict=True):
            parameter.grad = scaler.scale(gradient) if optimizer is scaled else gradient
        if optimizer is scaled:
            scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(params, 0.1)
    scaler.step(scaled)
    plain.step()
    assert same(scaled.param_groups[0]["params"], plain.param_groups[0]["params"])
