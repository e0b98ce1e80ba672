"""Parameter groups: per-group values, groups added later, names, and what torch refuses."""

import copy

import pytest
import torch
from torch.nn import Parameter

from equipoise import Equipoise
from equipoise.errors import ArgumentError

from .table import every_case, every_class
from .training import copies, parameters, same, train

OVERRIDES = (
    {"lr": 0.05},
    {"betas": (0.5, 0.9)},
    {"eps": 0.1},
    {"weight_decay": 0.3},
    {"maximize": True},
    {"exponent": 0.25, "stages": 1, "betas": (0.9, 0.99)},
    {"stages": 2, "exponent": 0.25, "betas": (0.9, 0.99)},
    {"reference": "initial", "exponent": 0.0},
    {"kernel": "eager"},
    {"rounding": "stochastic"},
    {"seed": 7},
)


@every_case
@pytest.mark.parametrize("override", OVERRIDES, ids=lambda override: "-".join(override))
def test_a_group_with_its_own_values_moves_as_an_optimizer_made_with_them(case, override):
    grouped = case.make([{"params": parameters()}, {"params": parameters(), **override}])
    alone = Equipoise(parameters(), **{**case.make(parameters()).defaults, **override})
    plain = case.make(parameters())
    for number in range(4):
        train(plain, 1, start=number)
        train(alone, 1, start=number)
        for one, both in ((plain, grouped.param_groups[0]), (alone, grouped.param_groups[1])):
            for source, parameter in zip(one.param_groups[0]["params"], both["params"], strict=True):
                parameter.grad = source.grad
        grouped.step()
    assert same(grouped.param_groups[0]["params"], plain.param_groups[0]["params"])
    assert same(grouped.param_groups[1]["params"], alone.param_groups[0]["params"])


def test_every_hyperparameter_is_overridden_in_a_test():
    elsewhere = {"state_dtype"}  # rounded by the position in the optimizer: see test_rounding
    assert set().union(*OVERRIDES) | elsewhere == set(Equipoise(parameters()).defaults)


@every_case
def test_a_value_changed_between_steps_holds_from_the_next_step_on(case):
    changed, constant = case.make(parameters(), lr=0.0), case.make(parameters(), lr=0.1)
    train(changed, 1)
    assert same(changed.param_groups[0]["params"], parameters())
    train(constant, 1)
    for parameter, value in zip(constant.param_groups[0]["params"], parameters(), strict=True):
        parameter.data.copy_(value)
    changed.param_groups[0]["lr"] = 0.1
    for optimizer in (changed, constant):
        train(optimizer, 1, start=1)
    assert same(changed.param_groups[0]["params"], constant.param_groups[0]["params"])
    assert not same(changed.param_groups[0]["params"], parameters())


@every_case
def test_a_group_added_later_starts_at_its_own_first_step(case):
    optimizer, fresh = case.make(parameters()), case.make(parameters())
    train(optimizer, 3)
    added = parameters()
    optimizer.add_param_group({"params": added})
    train(fresh, 1)
    for parameter, source in zip(added, fresh.param_groups[0]["params"], strict=True):
        parameter.grad = source.grad
    optimizer.step()
    assert same(added, fresh.param_groups[0]["params"])
    assert [int(optimizer.state[parameter]["step"]) for parameter in added] == [1, 1, 1]


@every_class
def test_a_single_tensor_is_a_group_and_a_generator_of_parameters_is_read_once(case):
    weight, bias, scale = parameters()
    optimizer = case.make(parameter for parameter in [weight, bias])
    optimizer.add_param_group({"params": scale})
    assert [len(group["params"]) for group in optimizer.param_groups] == [2, 1]


@every_case
def test_names_of_parameters_are_kept_and_change_no_update(case):
    model = torch.nn.Linear(3, 2)
    named, plain = case.make(model.named_parameters()), case.make(copies(list(model.parameters())))
    train(named, 2)
    train(plain, 2)
    assert named.param_groups[0]["param_names"] == ["weight", "bias"]
    assert same(named.param_groups[0]["params"], plain.param_groups[0]["params"])
    assert same(named.state_dict()["state"], plain.state_dict()["state"])


NAMES = {"other names": ["w", "b", "s"], "no names": None}


@every_class
@pytest.mark.parametrize("saved_names", NAMES)
@pytest.mark.parametrize("own_names", ["own names", "no names"])
def test_state_is_loaded_by_position_whatever_the_names(case, saved_names, own_names):
    def make(names):
        return case.make(parameters() if names is None else zip(names, parameters(), strict=True))

    source, optimizer = make(NAMES[saved_names]), make(["x", "y", "z"] if own_names == "own names" else None)
    train(source, 2)
    optimizer.load_state_dict(source.state_dict())
    assert same(optimizer.state_dict()["state"], source.state_dict()["state"])
    kept = NAMES[saved_names] or (["x", "y", "z"] if own_names == "own names" else None)
    assert optimizer.param_groups[0].get("param_names") == kept


@every_class
def test_names_can_be_used_to_reorder_a_state_dict_before_it_is_loaded(case):
    source = case.make(zip("abc", parameters(), strict=True))
    train(source, 2)
    optimizer = case.make(list(zip("cba", reversed(copies(source.param_groups[0]["params"])), strict=True)))

    def by_name(loading, given):
        places = {name: place for place, name in enumerate(given["param_groups"][0]["param_names"])}
        own = loading.param_groups[0]["param_names"]
        state = {place: given["state"][places[name]] for place, name in enumerate(own)}
        return {"state": state, "param_groups": [{**given["param_groups"][0], "param_names": own}]}

    optimizer.register_load_state_dict_pre_hook(by_name)
    optimizer.load_state_dict(source.state_dict())
    assert same(list(optimizer.state.values()), list(source.state.values())[::-1])


@every_class
def test_keys_of_the_user_in_a_group_survive_saving_and_loading(case):
    optimizer = case.make([{"params": parameters(), "name": "trunk", "lr_scale": 0.5}])
    restored = case.make(parameters())
    restored.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert (restored.param_groups[0]["name"], restored.param_groups[0]["lr_scale"]) == ("trunk", 0.5)


WEIGHT, BIAS = Parameter(torch.ones(2)), Parameter(torch.ones(2))

REFUSED = {
    "a tensor instead of a list": (lambda: WEIGHT, TypeError, "iterable of Tensors or dicts"),
    "nothing": (list, ValueError, "empty parameter list"),
    "a set": (lambda: [{"params": {WEIGHT}}], TypeError, "ordered collections"),
    "no tensor": (lambda: [WEIGHT, 3.0], TypeError, "can only optimize Tensors"),
    "a group that is no dict": (lambda: [{"params": [WEIGHT]}, [BIAS]], TypeError, "must be a dict"),
    "a non-leaf": (lambda: [WEIGHT * 2], ValueError, "non-leaf"),
    "the same parameter in two groups": (
        lambda: [{"params": [WEIGHT]}, {"params": [WEIGHT]}],
        ValueError,
        "more than one parameter group",
    ),
    "some names": (lambda: [("weight", WEIGHT), BIAS], ValueError, "with/without names"),
    "names in some groups": (
        lambda: [{"params": [WEIGHT]}, {"params": [("bias", BIAS)]}],
        ValueError,
        "with/without names",
    ),
    "integers": (lambda: [torch.ones(2, dtype=torch.int64)], ArgumentError, r"params = torch.int64 .* torch.float32, "),
    "eight bits": (
        lambda: [torch.ones(2).to(torch.float8_e5m2)],
        ArgumentError,
        r"params = torch.float8_e5m2 .* torch.float32, ",
    ),
}


@every_class
@pytest.mark.parametrize("refused", REFUSED)
def test_parameters_that_cannot_be_optimized_are_refused(case, refused):
    params, error, message = REFUSED[refused]
    with pytest.raises(error, match=message):
        case.make(params())


@every_class
@pytest.mark.parametrize("refused", ["a non-leaf", "no tensor", "integers"])
def test_a_refused_group_is_not_added(case, refused):
    params, error, message = REFUSED[refused]
    optimizer = case.make(parameters())
    with pytest.raises(error, match=message):
        optimizer.add_param_group({"params": params()})
    assert len(optimizer.param_groups) == 1


@every_class
def test_a_parameter_given_twice_in_one_group_is_warned_about_as_in_torch(case):
    with pytest.warns(UserWarning, match="duplicate parameters"):
        case.make([WEIGHT, WEIGHT])
