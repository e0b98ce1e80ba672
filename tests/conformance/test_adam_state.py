"""A state dict of torch's Adam or AdamW is continued as if nothing had changed, or refused in words."""

import copy

import pytest
import torch

from equipoise import SMES, Equipoise, KAdam
from equipoise.errors import StateDictError

from .table import every_class
from .training import copies, parameters, same, train

ADAMW = {"lr": 0.02, "betas": (0.8, 0.99), "eps": 1e-6, "weight_decay": 0.1}
ADAM = {"lr": 0.02, "betas": (0.8, 0.99), "eps": 1e-6, "weight_decay": 0.0}

CONTINUED = {
    "AdamW": (torch.optim.AdamW, ADAMW),
    "AdamW for-loop": (torch.optim.AdamW, {**ADAMW, "foreach": False}),
    "AdamW foreach": (torch.optim.AdamW, {**ADAMW, "foreach": True}),
    "AdamW fused": (torch.optim.AdamW, {**ADAMW, "fused": True}),
    "AdamW maximize": (torch.optim.AdamW, {**ADAMW, "maximize": True}),
    "AdamW tensor lr": (torch.optim.AdamW, {**ADAMW, "lr": torch.tensor(0.02, dtype=torch.float64)}),
    "Adam": (torch.optim.Adam, ADAM),
    "Adam fused": (torch.optim.Adam, {**ADAM, "fused": True}),
    "Adam decoupled": (torch.optim.Adam, {**ADAMW, "decoupled_weight_decay": True}),
}

HEIRS = {
    "Equipoise": lambda params: Equipoise(params),
    "SMES": lambda params: SMES(params, exponent=0.5),
    "KAdam": lambda params: KAdam(params, k=1),
}
every_heir = pytest.mark.parametrize("heir", HEIRS)


def step_as_number(saved):
    for state in saved["state"].values():
        state["step"] = int(state["step"])


def step_as_float64(saved):
    for state in saved["state"].values():
        state["step"] = state["step"].double()


def older_dict(saved):
    """As written before torch had these switches."""
    for name in ("foreach", "fused", "capturable", "differentiable", "decoupled_weight_decay"):
        saved["param_groups"][0].pop(name, None)


def all_switches(saved):
    """As written by runs that could not be repeated here: captured in a graph, or differentiated."""
    saved["param_groups"][0].update(capturable=True, differentiable=True, foreach=True, fused=True)


FORMS = (step_as_number, step_as_float64, older_dict, all_switches)


def trained(make, arguments, dtype=torch.float32, steps=5):
    optimizer = make(parameters(dtype), **copy.deepcopy(arguments))
    train(optimizer, steps)
    return optimizer


def assert_continued(whole, optimizer):
    """Both move on by the same steps; `optimizer` has loaded the state of `whole`."""
    train(whole, 5, start=5)
    train(optimizer, 5, start=5)
    # The same formula in another order of operations.
    for ours, theirs in zip(optimizer.param_groups[0]["params"], whole.param_groups[0]["params"], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-13)


@every_heir
@pytest.mark.parametrize("origin", CONTINUED)
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=["float64", "complex128"])
def test_a_run_of_torch_is_continued_as_if_uninterrupted(origin, heir, dtype):
    make, arguments = CONTINUED[origin]
    if dtype.is_complex:
        arguments = {**arguments, "fused": False}  # torch has no fused step for complex numbers
    whole = trained(make, arguments, dtype)
    optimizer = HEIRS[heir](copies(whole.param_groups[0]["params"]))
    optimizer.load_state_dict(whole.state_dict())
    assert_continued(whole, optimizer)


@every_heir
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_other_forms_of_the_same_state_dict_are_continued_too(heir, form):
    whole = trained(torch.optim.AdamW, ADAMW, torch.float64)
    optimizer = HEIRS[heir](copies(whole.param_groups[0]["params"]))
    saved = copy.deepcopy(whole.state_dict())
    form(saved)
    optimizer.load_state_dict(saved)
    assert_continued(whole, optimizer)


@every_heir
def test_hyperparameters_that_torch_saved_are_taken_over_and_the_others_stay(heir):
    optimizer = HEIRS[heir](parameters())
    made = dict(optimizer.param_groups[0])
    optimizer.load_state_dict(trained(torch.optim.AdamW, {**ADAMW, "maximize": True}).state_dict())
    group = optimizer.param_groups[0]
    taken_over = {**ADAMW, "maximize": True}
    assert {name: group[name] for name in taken_over} == taken_over
    assert {name: group[name] for name in made if name not in (*taken_over, "params")} == {
        name: made[name] for name in made if name not in (*taken_over, "params")
    }
    assert set(group) == set(made)


def test_a_trained_adam_is_continued_with_another_exponent():
    source = trained(torch.optim.AdamW, ADAMW)
    optimizer = SMES(copies(source.param_groups[0]["params"]), exponent=0.25)
    optimizer.load_state_dict(source.state_dict())
    assert optimizer.param_groups[0]["exponent"] == 0.25
    assert same([state["exp_avg_sq"] for state in optimizer.state.values()], [s["exp_avg_sq"] for s in source.state.values()])
    train(optimizer, 1)
    assert [int(state["step"]) for state in optimizer.state.values()] == [6, 6, 6]


@every_heir
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
def test_the_low_precision_state_of_torch_is_continued_in_float32(heir, dtype):
    source = trained(torch.optim.AdamW, {**ADAMW, "eps": 1e-4}, dtype)
    optimizer = HEIRS[heir](copies(source.param_groups[0]["params"]))
    optimizer.load_state_dict(source.state_dict())
    for ours, theirs in zip(optimizer.state.values(), source.state.values(), strict=True):
        assert theirs["exp_avg"].dtype == dtype
        assert same(ours["exp_avg"], theirs["exp_avg"].float())
        assert same(ours["exp_avg_sq"], theirs["exp_avg_sq"].float())


@every_heir
def test_keys_of_the_user_in_a_group_of_torch_survive(heir):
    source = torch.optim.AdamW([{"params": parameters(), "name": "trunk"}])
    optimizer = HEIRS[heir](parameters())
    optimizer.load_state_dict(source.state_dict())
    assert optimizer.param_groups[0]["name"] == "trunk"


REFUSED = {
    "AMSGrad": (torch.optim.AdamW, {"amsgrad": True}, "amsgrad = True"),
    "coupled decay": (torch.optim.Adam, {"weight_decay": 0.1}, "coupled weight decay .*weight_decay = 0.1"),
    "SGD": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}, "0 stage"),
    "Adamax": (torch.optim.Adamax, {}, "0 stage"),
}


@every_class
@pytest.mark.parametrize("origin", REFUSED)
def test_a_state_dict_that_this_rule_cannot_continue_is_refused_and_nothing_is_changed(case, origin):
    make, arguments, message = REFUSED[origin]
    optimizer = case.make(parameters())
    train(optimizer, 2)
    before = copy.deepcopy(optimizer.state_dict())
    with pytest.raises(StateDictError, match=message):
        optimizer.load_state_dict(trained(make, arguments).state_dict())
    assert same(optimizer.state_dict(), before)


def test_the_state_of_an_adam_is_no_state_for_two_stages():
    optimizer = KAdam(parameters(), k=2)
    with pytest.raises(StateDictError, match=r"1 stage\(s\) and the parameter group 2"):
        optimizer.load_state_dict(trained(torch.optim.AdamW, ADAMW).state_dict())
    assert not optimizer.state


def test_torch_continues_a_state_of_ours():
    ours = trained(Equipoise, ADAMW, torch.float64)
    theirs = torch.optim.AdamW(copies(ours.param_groups[0]["params"]))
    saved = copy.deepcopy(ours.state_dict())  # torch continues on the very tensors that it loads
    own = {name: value for name, value in theirs.state_dict()["param_groups"][0].items() if name not in ADAMW}
    saved["param_groups"] = [{**saved["param_groups"][0], **own}]
    theirs.load_state_dict(saved)
    assert_continued(theirs, ours)
