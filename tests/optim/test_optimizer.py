"""The three classes: their defaults, what they say about themselves, and the golden trajectories through a whole optimizer."""

import copy
import doctest
import json
import pickle
import warnings
from pathlib import Path

import pytest
import torch
from torch.nn import Parameter

from equipoise import SMES, Equipoise, KAdam, StabilityWarning
from equipoise.errors import StateDictError
from equipoise.optim import _kernels as kernels
from equipoise.optim import _optimizer
from tests.conformance.table import every_case, every_class
from tests.conformance.training import parameters, same, train

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "trajectories.json").read_text())


@pytest.mark.filterwarnings("ignore::equipoise.StabilityWarning")  # some are outside of the region on purpose
@pytest.mark.parametrize("run", GOLDEN, ids=lambda run: run["name"])
def test_a_float64_run_follows_the_golden_trajectory(run):
    stages = len(run["betas"])
    parameter = Parameter(torch.tensor(run["param"], dtype=torch.float64))
    fixed = {name: run[name] for name in ("eps", "weight_decay", "maximize", "reference")}
    optimizer = Equipoise([parameter], betas=run["betas"], stages=stages, exponent=run["exponents"][0], **fixed)
    steps = zip(run["lrs"], run["exponents"], run["grads"], run["expected"]["params"], strict=True)
    for lr, exponent, gradient, expected in steps:
        optimizer.param_groups[0].update(lr=lr, exponent=exponent)
        parameter.grad = torch.tensor(gradient, dtype=torch.float64)
        optimizer.step()
        assert_close(parameter.data, expected)
    for stage in range(stages):
        for key in ("exp_avg", "exp_avg_sq"):
            value = optimizer.state[parameter][key if stage == 0 else f"{key}_{stage + 1}"]
            assert_close(value, run["expected"][key][stage])


def assert_close(value, expected):
    """Rounded in float64 at every step, where the golden file has 50 digits."""
    torch.testing.assert_close(value, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-14)


@every_case
def test_the_repr_names_every_hyperparameter_and_the_kernel_in_use(case):
    optimizer = case.make([{"params": parameters()}, {"params": parameters(), "lr": 0.75}])
    described = repr(optimizer)
    assert described.startswith(case.cls.__name__)
    for group in optimizer.param_groups:
        assert all(f"    {name}: {group[name]}\n" in described for name in optimizer.defaults)
    assert described.splitlines()[-1] == f"kernel in use: {kernels.choose_kernel('auto', torch.device('cpu'), torch.float32)}"


def test_a_drop_in_has_the_positional_arguments_of_adamw():
    for cls in (Equipoise, SMES, KAdam):
        group = cls(parameters(), 0.1, (0.8, 0.9), 1e-6, 0.2).param_groups[0]
        assert [group[name] for name in ("lr", "betas", "eps", "weight_decay")] == [0.1, (0.8, 0.9), 1e-6, 0.2]


DEFAULTS = {
    "lr": 1e-3,
    "betas": (0.9, 0.999),
    "eps": 1e-8,
    "weight_decay": 0.0,
    "exponent": 0.5,
    "stages": 1,
    "reference": "none",
    "maximize": False,
    "kernel": "auto",
    "rounding": "nearest",
    "state_dtype": None,
    "seed": 0,
}


@pytest.mark.parametrize(
    ("cls", "own"), [(Equipoise, {}), (SMES, {"exponent": 0.25, "reference": "initial"}), (KAdam, {"stages": 2})]
)
def test_the_defaults_are_those_of_the_documentation(cls, own):
    assert cls(parameters()).defaults == {**DEFAULTS, **own}


def test_smes_is_equipoise_with_its_exponent_and_reference_and_kadam_with_its_stages():
    for named, general in (
        (SMES(parameters(), 0.02), Equipoise(parameters(), 0.02, exponent=0.25, reference="initial")),
        (KAdam(parameters(), 0.02, k=3), Equipoise(parameters(), 0.02, stages=3)),
    ):
        train(named, 25)
        train(general, 25)
        assert same(named.param_groups[0]["params"], general.param_groups[0]["params"])


@every_class
def test_a_closure_is_evaluated_once_with_gradients_enabled_and_its_loss_returned(case):
    params = parameters()
    optimizer = case.make(params)
    calls = []

    def closure():
        calls.append(torch.is_grad_enabled())
        optimizer.zero_grad()
        loss = sum(parameter.square().sum() for parameter in params)
        loss.backward()
        return loss

    expected = sum(parameter.detach().square().sum() for parameter in params)
    assert torch.equal(optimizer.step(closure).detach(), expected)
    assert calls == [True]
    assert optimizer.step() is None
    assert not same(params, parameters())


@every_case
def test_loss_goes_down_and_up_to_maximize(case):
    params = [Parameter(torch.full((5,), 3.0)), Parameter(torch.full((2, 3), -2.0))]
    optimizer = case.make(params, lr=0.01)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = sum((parameter - 1).square().sum() for parameter in params)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses == sorted(losses, reverse=not optimizer.defaults["maximize"])


@every_case
def test_a_copy_and_a_pickle_have_every_public_attribute(case):
    optimizer = case.make(parameters())
    train(optimizer, 2)
    for twin in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        assert {name for name in vars(twin) if name[0] != "_"} == {name for name in vars(optimizer) if name[0] != "_"}
        assert type(twin) is type(optimizer)
        assert twin.defaults.items() >= optimizer.defaults.items()  # torch adds its own when unpickling
        assert same(twin.state_dict(), optimizer.state_dict())
        assert repr(twin) == repr(optimizer)
        twin.add_param_group({"params": parameters()})
        train(twin, 1)


UNSTABLE = {"betas": (0.99, 0.9)}  # 0.9^p < 0.99 for p = 1/4 and for p = 1/2


@every_class
def test_outside_of_the_region_one_warning_gives_the_margin_and_stable_values(case):
    with pytest.warns(StabilityWarning) as caught:
        case.make(parameters(), **UNSTABLE)
    assert len(caught) == 1
    message = str(caught[0].message)
    assert message.startswith("betas = (0.99, 0.9), exponent = ")
    for said in ("margin -0.0", "nats per step", "Not safe", "beta1 <= 0.9", "beta2 >= 0.9", "or exponent <= 0."):
        assert said in message


def test_above_exponent_one_half_the_warning_says_that_only_eps_caps_the_update():
    with pytest.warns(StabilityWarning, match="exponent = 0.75, .* vanish"):
        Equipoise(parameters(), exponent=0.75)


@every_case
def test_inside_of_the_region_nothing_is_warned_about(case):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        case.make(parameters())


@every_class
def test_every_distinct_set_of_stages_is_warned_about_once(case):
    groups = [{"params": [parameter], **UNSTABLE} for parameter in parameters()]
    other = {"params": [Parameter(torch.ones(2))], "betas": (0.99, 0.8)}
    with pytest.warns(StabilityWarning) as caught:
        optimizer = case.make([*groups, other])
    assert [str(warning.message)[:20] for warning in caught] == ["betas = (0.99, 0.9),", "betas = (0.99, 0.8),"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer.add_param_group({"params": [Parameter(torch.ones(2))], **UNSTABLE})
    with pytest.warns(StabilityWarning, match=r"betas = \(0.99, 0.7\)"):
        optimizer.add_param_group({"params": [Parameter(torch.ones(2))], "betas": (0.99, 0.7)})


@every_class
def test_neither_steps_nor_copies_nor_loads_repeat_the_warning(case):
    with pytest.warns(StabilityWarning):
        optimizer = case.make(parameters(), **UNSTABLE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(optimizer, 2)
        copy.deepcopy(optimizer).load_state_dict(pickle.loads(pickle.dumps(optimizer)).state_dict())


@pytest.mark.parametrize("optimizer", [Equipoise, SMES, KAdam])
def test_the_examples_of_a_class_run(optimizer):
    """The classes say that they live in ``equipoise``, where a search for examples through the modules does not find them."""
    found = doctest.DocTestFinder().find(optimizer, module=False, globs=dict(vars(_optimizer)))
    examples = [each for each in found if each.examples]
    assert examples
    assert [doctest.DocTestRunner().run(each).failed for each in examples] == [0] * len(examples)


def test_a_state_of_before_keeps_the_one_number_that_was_its_reference():
    old = SMES(parameters())
    for parameter in old.param_groups[0]["params"]:
        parameter.grad = torch.ones_like(parameter)
    old.step()
    saved = old.state_dict()
    for state in saved["state"].values():
        state["reference"] = torch.tensor(0.25)
    new = SMES(parameters())
    new.load_state_dict(saved)
    for _ in range(2):
        assert all(torch.equal(state["reference"], torch.full((20,), 0.25)) for state in new.state.values())
        for parameter in new.param_groups[0]["params"]:
            parameter.grad = torch.ones_like(parameter)
        new.step()


def test_a_reference_of_another_length_is_refused():
    old = SMES(parameters())
    old.param_groups[0]["params"][0].grad = torch.ones_like(old.param_groups[0]["params"][0])
    old.step()
    saved = old.state_dict()
    saved["state"][0]["reference"] = torch.ones(7)
    with pytest.raises(StateDictError, match=r"reference has shape \(7,\): it must be \(20,\)"):
        SMES(parameters()).load_state_dict(saved)
