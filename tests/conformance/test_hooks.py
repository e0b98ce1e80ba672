"""Hooks: all of torch's fire, in torch's order, and none of the optimizer's own stays behind."""

import copy

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from .table import every_case, every_class
from .training import parameters, same, train

HOOKS = (
    "_optimizer_load_state_dict_pre_hooks",
    "_optimizer_load_state_dict_post_hooks",
    "_optimizer_state_dict_pre_hooks",
    "_optimizer_state_dict_post_hooks",
    "_optimizer_step_pre_hooks",
    "_optimizer_step_post_hooks",
)


def registered(optimizer):
    return {name: list(getattr(optimizer, name).values()) for name in HOOKS}


def recorded(optimizer, steps=2):
    """An optimizer with a history, and its state dict as a copy."""
    train(optimizer, steps)
    return copy.deepcopy(optimizer.state_dict())


@every_class
def test_step_hooks_fire_around_each_step_with_the_global_ones_outermost(case):
    optimizer = case.make(parameters())
    fired = []

    def note(name):
        return lambda *_: fired.append((name, len(optimizer.state)))

    handles = [
        register_optimizer_step_pre_hook(note("global before")),
        register_optimizer_step_post_hook(note("global after")),
        optimizer.register_step_pre_hook(note("before")),
        optimizer.register_step_post_hook(note("after")),
    ]
    train(optimizer, 1)
    for handle in handles:
        handle.remove()
    train(optimizer, 1)
    assert fired == [("global before", 0), ("before", 0), ("after", 3), ("global after", 3)]


@every_class
def test_a_step_pre_hook_may_replace_the_closure(case):
    optimizer = case.make(parameters())

    def replace(_, args, kwargs):
        return (args[0], lambda: 2.0), kwargs

    optimizer.register_step_pre_hook(replace)
    assert optimizer.step(lambda: 1.0) == 2.0


@every_class
def test_state_dict_hooks_fire_before_and_after_and_may_replace_what_is_saved(case):
    optimizer = case.make(parameters())
    saved = recorded(optimizer)
    fired = []
    optimizer.register_state_dict_pre_hook(lambda _: fired.append("second"))
    optimizer.register_state_dict_pre_hook(lambda _: fired.append("first"), prepend=True)
    optimizer.register_state_dict_post_hook(lambda _, made: {**made, "added": 1})
    optimizer.register_state_dict_post_hook(lambda _, made: fired.append(sorted(made)))
    assert same(optimizer.state_dict(), {**saved, "added": 1})
    assert fired == ["first", "second", ["added", "param_groups", "state"]]


@every_class
def test_hooks_before_a_load_fire_in_order_and_each_sees_what_the_one_before_made(case):
    saved = recorded(case.make(parameters()))
    optimizer = case.make(parameters())
    fired = []

    def halve(_, given):
        fired.append("replaces")
        groups = [{**group, "lr": group["lr"] / 2} for group in given["param_groups"]]
        return {**given, "param_groups": groups}

    def look(_, given):
        fired.append(given["param_groups"][0]["lr"])

    optimizer.register_load_state_dict_pre_hook(halve)
    optimizer.register_load_state_dict_pre_hook(look)
    optimizer.register_load_state_dict_pre_hook(lambda *_: fired.append("prepended"), prepend=True)
    before = copy.deepcopy(saved)
    optimizer.load_state_dict(saved)
    lr = saved["param_groups"][0]["lr"]
    assert fired == ["prepended", "replaces", lr / 2]
    assert optimizer.param_groups[0]["lr"] == lr / 2
    assert same(saved, before)


@every_case
def test_a_hook_before_a_load_may_replace_the_state(case):
    longer, shorter = recorded(case.make(parameters()), 5), recorded(case.make(parameters()), 2)
    optimizer = case.make(parameters())
    optimizer.register_load_state_dict_pre_hook(lambda *_: longer)
    optimizer.load_state_dict(shorter)
    assert same(optimizer.state_dict(), longer)


@every_case
@pytest.mark.parametrize("prepend", [False, True])
def test_a_hook_after_a_load_sees_the_state_in_full_precision(case, prepend):
    saved = recorded(case.make(parameters(torch.bfloat16)))
    optimizer = case.make(parameters(torch.bfloat16))
    seen = []
    handle = optimizer.register_load_state_dict_post_hook(
        lambda loaded: seen.append(copy.deepcopy(loaded.state_dict())), prepend=prepend
    )
    optimizer.load_state_dict(saved)
    handle.remove()
    optimizer.load_state_dict(saved)
    assert len(seen) == 1
    assert same(seen[0], saved)


@every_class
def test_hooks_after_a_load_fire_in_order_and_may_change_the_optimizer(case):
    saved = recorded(case.make(parameters()))
    optimizer = case.make(parameters())
    fired = []

    def restart(loaded):
        fired.append("second")
        loaded.param_groups[0]["lr"] = 0.5

    optimizer.register_load_state_dict_post_hook(restart)
    optimizer.register_load_state_dict_post_hook(lambda _: fired.append("first"), prepend=True)
    optimizer.load_state_dict(saved)
    assert fired == ["first", "second"]
    assert optimizer.param_groups[0]["lr"] == 0.5


def fail(*_):
    raise KeyError("the user's hook failed")


@every_class
@pytest.mark.parametrize("failing", ["nothing", "the state dict", "a hook before", "a hook after"])
def test_a_load_leaves_only_the_users_hooks_behind_even_when_it_fails(case, failing):
    optimizer = case.make(parameters())
    saved = recorded(optimizer)
    if failing == "the state dict":
        saved["param_groups"] *= 2
    elif failing == "a hook before":
        optimizer.register_load_state_dict_pre_hook(fail)
    elif failing == "a hook after":
        optimizer.register_load_state_dict_post_hook(fail)
    before = registered(optimizer)
    if failing == "nothing":
        optimizer.load_state_dict(saved)
    else:
        with pytest.raises((KeyError, ValueError)):
            optimizer.load_state_dict(saved)
    assert registered(optimizer) == before


@every_class
def test_a_load_that_a_hook_stopped_changed_nothing(case):
    optimizer = case.make(parameters())
    saved = recorded(optimizer)
    train(optimizer, 2)
    before = copy.deepcopy(optimizer.state_dict())
    optimizer.register_load_state_dict_pre_hook(fail)
    with pytest.raises(KeyError):
        optimizer.load_state_dict(saved)
    assert same(optimizer.state_dict(), before)


@every_class
def test_a_load_inside_of_a_hook_after_a_load_is_possible(case):
    first, second = recorded(case.make(parameters()), 2), recorded(case.make(parameters()), 4)
    optimizer = case.make(parameters())
    remaining = [second]
    optimizer.register_load_state_dict_post_hook(lambda loaded: remaining and loaded.load_state_dict(remaining.pop()))
    before = registered(optimizer)
    optimizer.load_state_dict(first)
    assert same(optimizer.state_dict(), second)
    assert registered(optimizer) == before
