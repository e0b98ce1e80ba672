"""What an optimizer remembers: the documented keys, in full precision, as values that any checkpoint can hold."""

import copy
import io

import numpy
import pytest
import torch
from torch import Tensor

from equipoise.errors import StateDictError

from .table import STATE_DTYPES, every_case, every_class, every_dtype
from .training import copies, parameters, same, tensors, train

PLAIN = (bool, int, float, str, type(None), torch.dtype)


def storages(value):
    """The addresses of all memory behind a nested structure."""
    if isinstance(value, Tensor):
        return {value.untyped_storage().data_ptr()} if value.numel() else set()
    entries = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return set().union(*map(storages, entries))


@every_case
def test_the_state_has_exactly_the_documented_keys(case):
    optimizer = case.make(parameters())
    train(optimizer, 1)
    assert [set(state) for state in optimizer.state.values()] == [case.state_keys] * 3


@every_case
@every_dtype
def test_state_is_at_least_float32_before_and_after_a_load(case, dtype):
    optimizer = case.make(parameters(dtype))
    train(optimizer, 2)
    restored = case.make(copies(optimizer.param_groups[0]["params"]))
    restored.load_state_dict(optimizer.state_dict())
    for state in [*optimizer.state.values(), *restored.state.values()]:
        for key, value in tensors(state).items():
            expected = STATE_DTYPES[dtype].to_real() if key.startswith("reference") else STATE_DTYPES[dtype]
            assert value.dtype == (torch.float64 if key == "step" else expected)
            assert value.device.type == "cpu"
    assert same(restored.state_dict(), optimizer.state_dict())


@every_case
@pytest.mark.parametrize("kind", [numpy.float64, numpy.float32])
def test_every_group_value_is_plain_python_whatever_was_given(case, kind):
    given = {"lr": kind(0.01), "eps": kind(1e-8), "weight_decay": kind(0.1)}
    betas = numpy.array(case.arguments.get("betas", (0.9, 0.999)), dtype=kind)
    optimizer = case.make(parameters(), **given, betas=betas)
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    assert same(torch.load(file, weights_only=True), optimizer.state_dict())
    for name in optimizer.defaults:
        value = optimizer.param_groups[0][name]
        numbers = numpy.array(value, dtype=object).ravel() if isinstance(value, tuple) else [value]
        assert all(type(number) in PLAIN for number in numbers), name


@every_case
def test_the_state_dict_is_that_of_any_other_optimizer_with_the_same_history(case):
    first, second = case.make(parameters()), case.make(parameters())
    train(first, 3)
    train(second, 3)
    assert same(first.state_dict(), second.state_dict())
    assert list(first.state_dict()["state"]) == [0, 1, 2]


@every_case
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=["float32", "bfloat16", "float64"])
def test_a_loaded_state_dict_shares_no_memory_with_the_optimizer(case, dtype):
    source = case.make(parameters(dtype), lr=torch.tensor(0.01))
    train(source, 2)
    loaded = copy.deepcopy(source.state_dict())
    kept = copy.deepcopy(loaded)
    optimizer = case.make(parameters(dtype))
    optimizer.load_state_dict(loaded)
    assert storages(optimizer.state_dict()).isdisjoint(storages(loaded))
    optimizer.param_groups[0]["lr"].fill_(0.5)
    optimizer.param_groups[0]["added"] = 1
    train(optimizer, 2)
    assert same(loaded, kept)

    before = copy.deepcopy(optimizer.state_dict())
    for state in loaded["state"].values():
        for value in tensors(state).values():
            value.fill_(7)
        state.clear()
    loaded["param_groups"][0].clear()
    assert same(optimizer.state_dict(), before)


@every_class
def test_a_state_dict_is_live_as_that_of_every_torch_optimizer(case):
    optimizer = case.make(parameters())
    train(optimizer, 1)
    assert optimizer.state_dict()["state"][0]["exp_avg"] is next(iter(optimizer.state.values()))["exp_avg"]


@every_case
def test_a_state_dict_of_lower_precision_is_continued_in_full_precision(case):
    optimizer = case.make(parameters())
    train(optimizer, 2)
    saved = copy.deepcopy(optimizer.state_dict())
    for state in saved["state"].values():
        state.update({key: value.bfloat16() for key, value in tensors(state).items() if key != "step"})
    optimizer.load_state_dict(saved)
    for state, half in zip(optimizer.state.values(), saved["state"].values(), strict=True):
        full = {key: value if key == "step" else value.float() for key, value in tensors(half).items()}
        assert same(tensors(state), full)


def without(key):
    return lambda saved: [state.pop(key) for state in saved["state"].values()]


def one_shape_changed(saved):
    saved["state"][2]["exp_avg"] = torch.zeros(2)


def one_more_stage(saved):
    saved["param_groups"][0]["stages"] += 1


@every_case
@pytest.mark.parametrize("spoil", [without("exp_avg_sq"), one_shape_changed, one_more_stage])
def test_a_state_dict_that_cannot_be_continued_is_refused_and_nothing_is_changed(case, spoil):
    optimizer = case.make(parameters())
    train(optimizer, 2)
    before = copy.deepcopy(optimizer.state_dict())
    saved = copy.deepcopy(before)
    saved["param_groups"][0]["lr"] = 0.123
    spoil(saved)
    with pytest.raises((StateDictError, ValueError)):
        optimizer.load_state_dict(saved)
    assert same(optimizer.state_dict(), before)


@every_class
def test_other_groups_or_other_numbers_of_parameters_are_refused_in_the_words_of_torch(case):
    optimizer = case.make(parameters())
    train(optimizer, 1)
    before = copy.deepcopy(optimizer.state_dict())
    fewer = case.make(parameters()[:2]).state_dict()
    with pytest.raises(ValueError, match="doesn't match the size of optimizer's group"):
        optimizer.load_state_dict(fewer)
    apart = case.make([{"params": [parameter]} for parameter in parameters()]).state_dict()
    with pytest.raises(ValueError, match="different number of parameter groups"):
        optimizer.load_state_dict(apart)
    assert same(optimizer.state_dict(), before)


@every_class
def test_state_that_belongs_to_no_parameter_survives_a_load(case):
    optimizer = case.make(parameters())
    train(optimizer, 1)
    saved = optimizer.state_dict()
    saved["state"]["of the user"] = {"epoch": 3}
    restored = case.make(parameters())
    restored.load_state_dict(saved)
    assert restored.state["of the user"] == {"epoch": 3}
