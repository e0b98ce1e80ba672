"""What was found of a parameter is found once, however the set of gradients changes from step to step."""

from __future__ import annotations

import sys

import pytest
import torch
from torch.nn import Parameter

from equipoise import Equipoise, rules
from equipoise.optim import _plan


@pytest.fixture
def found(monkeypatch):
    """The positions of the parameters that were looked at one by one, in this order."""
    positions: list[int] = []
    make_slot = _plan.make_slot

    def record(state, parameter, view, group, number, position):
        positions.append(position)
        return make_slot(state, parameter, view, group, number, position)

    monkeypatch.setattr(_plan, "make_slot", record)
    return positions


def step(optimizer, members):
    params = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for place, parameter in enumerate(params):
        parameter.grad = torch.full_like(parameter, place + 1.0) if place in members else None
    optimizer.step()


def test_a_parameter_is_looked_at_when_it_has_its_first_gradient_and_never_again(found):
    optimizer = Equipoise([Parameter(torch.ones(3)) for _ in range(6)])
    for members in ({0, 1, 2}, {2, 1}, {0, 3}, {0, 1, 2, 3}, set(), {5}, {1, 5}):
        step(optimizer, members)
    assert found == [0, 1, 2, 3, 5]


@pytest.mark.parametrize(
    "change",
    [
        lambda optimizer, parameter: setattr(parameter, "data", parameter.data.clone()),
        lambda optimizer, parameter: optimizer.state.pop(parameter),
        lambda optimizer, parameter: optimizer.state[parameter].update(exp_avg=torch.ones(3)),
        lambda optimizer, parameter: optimizer.param_groups[0].update(state_dtype=torch.bfloat16),
        lambda optimizer, parameter: optimizer.param_groups[0]["params"].insert(0, Parameter(torch.ones(3))),
        lambda optimizer, parameter: optimizer.load_state_dict(optimizer.state_dict()),
    ],
    ids=["moved", "forgotten", "other state", "other dtype of the state", "other place", "loaded"],
)
def test_what_changed_while_a_parameter_had_no_gradient_is_seen_when_it_has_one_again(found, change):
    params = [Parameter(torch.ones(3)) for _ in range(3)]
    optimizer = Equipoise(params, lr=0.5)
    step(optimizer, {0, 1, 2})
    step(optimizer, {0})
    change(optimizer, params[2])
    found.clear()
    before = params[2].detach().clone()
    for parameter in params:
        parameter.grad = torch.ones(3)
    optimizer.step()
    assert [each is params[2] for each in optimizer.param_groups[0]["params"]].index(True) in found
    assert (params[2] < before).all()


def test_one_plan_after_the_other_steps_as_the_rule_does():
    """Every parameter counts its own steps, in whatever company it makes them."""
    optimizer = Equipoise([Parameter(torch.ones(3)) for _ in range(4)], lr=0.25)
    exact = [(1.0, [rules.Memory(0.0, 0.0)], 0)] * 4
    for members in ({0, 1}, {1, 2, 3}, {0, 3}, {0, 1, 2, 3}, {2}):
        step(optimizer, members)
        for place in members:
            theta, memories, count = exact[place]
            rule = rules.Step(count + 1, 0.25, [rules.Stage(0.9, 0.999, 0.5)])
            exact[place] = (*rules.update(theta, place + 1.0, memories, rule), count + 1)
    for parameter, (theta, _, count) in zip(optimizer.param_groups[0]["params"], exact, strict=True):
        torch.testing.assert_close(parameter.detach(), torch.full((3,), theta), rtol=1e-6, atol=0)
        assert optimizer.state[parameter]["step"] == count


def calls(optimizer, members):
    """How many functions of Python and of C a step calls."""
    count = 0

    def record(frame, event, argument):
        nonlocal count
        count += event in ("call", "c_call")

    params = optimizer.param_groups[0]["params"]
    for place, parameter in enumerate(params):
        parameter.grad = torch.ones(3) if place in members else None
    sys.setprofile(record)
    try:
        optimizer.step()
    finally:
        sys.setprofile(None)
    return count


def test_a_step_calls_few_functions_for_each_parameter():
    """Beside those that ``map`` calls, which Python does not count: the first step, one like it, and one of another set."""
    found = []
    for size in (1000, 2000):
        optimizer = Equipoise([Parameter(torch.ones(3)) for _ in range(size)])
        everyone = set(range(size))
        sets = (everyone, everyone, everyone - {0}, everyone - {1})
        found.append([calls(optimizer, members) for members in sets])
    first, same, _, other = ((two - one) / 1000 for one, two in zip(*found, strict=True))
    assert first < 60
    assert same < 3
    assert other < 8
