"""Every bad argument is refused by name, with its value and what would be accepted, wherever it is given."""

import copy
import inspect
import math

import pytest
import torch

from equipoise import SMES, Equipoise, EquipoiseError, KAdam
from equipoise.errors import ArgumentError, StateDictError

from .table import every_case, every_class
from .training import parameters, same, train

NUMBER = "a finite number of at least 0"
PAIR = "one pair (beta1, beta2) of numbers in [0, 1)"

# name, value, what the message says would be accepted
BAD = (
    ("lr", -1e-3, NUMBER),
    ("lr", math.nan, NUMBER),
    ("lr", math.inf, NUMBER),
    ("lr", "0.1", NUMBER),
    ("lr", None, NUMBER),
    ("lr", 1j, NUMBER),
    ("lr", torch.tensor([0.1, 0.2]), "a number, or a tensor of one element"),
    ("lr", torch.tensor([]), "a number, or a tensor of one element"),
    ("lr", torch.tensor(-1.0), NUMBER),
    ("lr", torch.tensor(math.nan), NUMBER),
    ("lr", torch.tensor(1j), NUMBER),
    ("eps", -1e-8, NUMBER),
    ("eps", math.nan, NUMBER),
    ("eps", math.inf, NUMBER),
    ("eps", None, NUMBER),
    ("eps", torch.tensor([1.0, 2.0]), NUMBER),
    ("weight_decay", -0.1, NUMBER),
    ("weight_decay", math.nan, NUMBER),
    ("weight_decay", math.inf, NUMBER),
    ("weight_decay", "0", NUMBER),
    ("weight_decay", torch.tensor(0.1), NUMBER),
    ("betas", (1.0, 0.999), PAIR),
    ("betas", (0.9, 1.0), PAIR),
    ("betas", (-0.1, 0.999), PAIR),
    ("betas", (0.9, math.nan), PAIR),
    ("betas", 0.9, PAIR),
    ("betas", (0.9,), PAIR),
    ("betas", (0.9, 0.99, 0.999), PAIR),
    ("betas", ("0.9", "0.999"), PAIR),
    ("betas", None, PAIR),
    ("betas", (0.9, (0.9, 0.99)), PAIR),
    ("betas", ((0.9, 0.99),) * 4, PAIR),
    ("exponent", math.nan, "a finite number"),
    ("exponent", math.inf, "a finite number"),
    ("exponent", (0.1,) * 4, "a finite number"),
    ("exponent", (), "a finite number"),
    ("exponent", "half", "a finite number"),
    ("exponent", None, "a finite number"),
    ("stages", 0, "a whole number from 1 to 10000"),
    ("stages", -1, "a whole number from 1 to 10000"),
    ("stages", 1.0, "a whole number from 1 to 10000"),
    ("stages", True, "a whole number from 1 to 10000"),
    ("reference", "median", "one of ('none', 'initial')"),
    ("reference", None, "one of ('none', 'initial')"),
    ("reference", ["none"], "one of ('none', 'initial')"),
    ("reference", "running", "one of ('none', 'initial')"),
    ("maximize", 1, "True or False"),
    ("maximize", "yes", "True or False"),
    ("maximize", None, "True or False"),
    ("kernel", "warp", "one of 'auto', 'fused', 'eager', 'compiled'"),
    ("kernel", None, "one of 'auto', 'fused', 'eager', 'compiled'"),
    ("kernel", ["eager"], "one of 'auto', 'fused', 'eager', 'compiled'"),
    ("rounding", "up", "one of ('nearest', 'stochastic')"),
    ("rounding", None, "one of ('nearest', 'stochastic')"),
    ("state_dtype", torch.float16, "one of (None, torch.bfloat16)"),
    ("state_dtype", "bfloat16", "one of (None, torch.bfloat16)"),
    ("seed", -1, "a whole number from 0 to 2**63 - 1"),
    ("seed", 2**63, "a whole number from 0 to 2**63 - 1"),
    ("seed", 0.5, "a whole number from 0 to 2**63 - 1"),
    ("seed", True, "a whole number from 0 to 2**63 - 1"),
)
BAD_K = tuple(("k", value, "a whole number of at least 1") for value in (0, -1, 2.0, True, None, "2"))

every_bad = pytest.mark.parametrize(("name", "value", "accepted"), BAD, ids=[f"{name}={value!r}" for name, value, _ in BAD])


def accepts(cls, name):
    return name in inspect.signature(cls).parameters


def assert_named(error, name, value, accepted):
    assert isinstance(error, ValueError)
    assert isinstance(error, EquipoiseError)
    assert str(error).startswith(f"{name} = {value!r} is not accepted: {name} must be {accepted}")


def test_every_argument_of_every_class_has_a_bad_value():
    arguments = set().union(*(inspect.signature(cls).parameters for cls in (Equipoise, SMES, KAdam)))
    assert {name for name, _, _ in BAD + BAD_K} == arguments - {"params"}


CONSTRUCTED = [(cls, *row) for cls in (Equipoise, SMES, KAdam) for row in BAD + BAD_K if accepts(cls, row[0])]


@pytest.mark.parametrize(
    ("cls", "name", "value", "accepted"),
    CONSTRUCTED,
    ids=[f"{cls.__name__}-{name}={value!r}" for cls, name, value, _ in CONSTRUCTED],
)
def test_a_bad_argument_is_refused_by_name_value_and_accepted_range(cls, name, value, accepted):
    with pytest.raises(ArgumentError) as caught:
        cls(parameters(), **{name: value})
    assert_named(caught.value, name, value, accepted)


@every_bad
@every_class
def test_a_bad_value_in_a_group_is_refused_at_construction(case, name, value, accepted):
    weight, bias, _ = parameters()
    with pytest.raises(ArgumentError) as caught:
        case.make([{"params": [weight]}, {"params": [bias], name: value}])
    assert_named(caught.value, name, value, accepted)


@every_bad
@every_class
def test_a_bad_value_in_a_group_added_later_is_refused_and_the_group_not_added(case, name, value, accepted):
    weight, bias, _ = parameters()
    optimizer = case.make([weight])
    with pytest.raises(ArgumentError) as caught:
        optimizer.add_param_group({"params": [bias], name: value})
    assert_named(caught.value, name, value, accepted)
    assert len(optimizer.param_groups) == 1


@every_bad
@every_class
def test_a_scheduled_value_that_became_bad_is_refused_before_anything_is_updated(case, name, value, accepted):
    optimizer = case.make([{"params": parameters()}, {"params": parameters()}])
    train(optimizer, 1)
    before = copy.deepcopy((optimizer.state_dict()["state"], [group["params"] for group in optimizer.param_groups]))
    optimizer.param_groups[1][name] = value
    with pytest.raises(ArgumentError) as caught:
        train(optimizer, 1)
    assert_named(caught.value, name, value, accepted)
    assert same((optimizer.state_dict()["state"], [group["params"] for group in optimizer.param_groups]), before)


@every_bad
def test_a_saved_value_that_is_bad_is_refused_and_nothing_is_loaded(name, value, accepted):
    optimizer = Equipoise(parameters())
    train(optimizer, 1)
    before = copy.deepcopy(optimizer.state_dict())
    saved = copy.deepcopy(before)
    saved["param_groups"][0].update({"lr": 0.5, name: value})
    with pytest.raises(ArgumentError) as caught:
        optimizer.load_state_dict(saved)
    assert_named(caught.value, name, value, accepted)
    assert same(optimizer.state_dict(), before)


@every_case
def test_a_number_of_stages_that_changed_under_way_is_refused_before_anything_is_updated(case):
    any_number_of_stages = {"betas": (0.9, 0.999), "exponent": 0.25}
    optimizer = case.make([{"params": parameters()}, {"params": parameters(), **any_number_of_stages}])
    train(optimizer, 1)
    before = copy.deepcopy((optimizer.state_dict()["state"], [group["params"] for group in optimizer.param_groups]))
    optimizer.param_groups[1]["stages"] = case.stages + 1
    with pytest.raises(StateDictError, match=rf"{case.stages} stage\(s\) and the parameter group {case.stages + 1}"):
        train(optimizer, 1)
    assert same((optimizer.state_dict()["state"], [group["params"] for group in optimizer.param_groups]), before)
