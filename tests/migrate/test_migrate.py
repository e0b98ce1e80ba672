"""A run goes on with another optimizer as if nothing had happened, or the reason why it cannot is given."""

import copy
import json
import math
import zipfile

import pytest
import torch
from torch.nn import Parameter
from torch.optim import SGD, Adam, AdamW, RMSprop

from equipoise import SMES, Equipoise, KAdam, StabilityWarning
from equipoise.cli import main
from equipoise.errors import ArgumentError, StateDictError, UnusableInputError
from equipoise.migrate import convert_checkpoint, convert_optimizer, convert_state_dict
from equipoise.migrate._kinds import CLASS_OF_NAME
from equipoise.migrate._to_family import LONG_AGO
from equipoise.rules import REFERENCE_STEPS
from tests.conformance.training import copies, gradients, parameters, same, train

BETAS = (0.8, 0.99)
ADAM = {"lr": 0.02, "betas": BETAS, "eps": 1e-6, "weight_decay": 0.0}

# Where torch stands, and to what of the family it goes without leaving that point.
ADAM_POINT = ((Equipoise, {}), (SMES, {"exponent": 0.5}), (KAdam, {"k": 1}))
SGD_POINT = ((Equipoise, {}), (SMES, {"exponent": 0.0, "reference": "none"}))
SAME_POINT = {
    "Adam": (Adam, ADAM, ADAM_POINT),
    "Adam maximize": (Adam, {**ADAM, "maximize": True}, ADAM_POINT),
    "AdamW": (AdamW, {**ADAM, "weight_decay": 0.1}, ADAM_POINT),
    "AdamW fused": (AdamW, {**ADAM, "weight_decay": 0.1, "fused": True}, ADAM_POINT),
    "AdamW tensor lr": (AdamW, {**ADAM, "lr": torch.tensor(0.02, dtype=torch.float64)}, ADAM_POINT),
    "RMSprop": (RMSprop, {"lr": 0.01, "alpha": 0.99, "eps": 1e-6}, ADAM_POINT),
    "RMSprop maximize": (RMSprop, {"lr": 0.01, "alpha": 0.9, "maximize": True}, ADAM_POINT),
    "SGD": (SGD, {"lr": 0.1}, SGD_POINT),
    "SGD with weight decay": (SGD, {"lr": 0.1, "weight_decay": 0.1}, SGD_POINT),
    "SGD with momentum": (SGD, {"lr": 0.01, "momentum": 0.9}, SGD_POINT),
    "SGD maximize": (SGD, {"lr": 0.01, "momentum": 0.9, "maximize": True}, SGD_POINT),
    "SGD with dampening": (SGD, {"lr": 0.01, "momentum": 0.9, "dampening": 0.3}, SGD_POINT),
    "SGD as an average": (SGD, {"lr": 0.1, "momentum": 0.9, "dampening": 0.9}, SGD_POINT),
}
CASES = [pytest.param(*case[:2], *point, id=f"{n}-{point[0].__name__}") for n, case in SAME_POINT.items() for point in case[2]]


def trained(make, arguments, steps=5, dtype=torch.float64, start=0):
    optimizer = make(parameters(dtype), **copy.deepcopy(arguments))
    train(optimizer, steps, start)
    return optimizer


def params_of(optimizer):
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def twin(optimizer):
    """An optimizer of the same class in the same state, on copies of the parameters."""
    other = copy.deepcopy(optimizer)
    assert not {id(parameter) for parameter in params_of(other)} & {id(parameter) for parameter in params_of(optimizer)}
    return other


def updates(optimizer, start, steps=1):
    """How far each step moves every parameter."""
    found = []
    for number in range(start, start + steps):
        before = copies(params_of(optimizer))
        train(optimizer, 1, number)
        found.append([new.detach() - old.detach() for new, old in zip(params_of(optimizer), before, strict=True)])
    return found


def assert_close(ours, theirs, relative=1e-6):
    for own, expected in zip(ours, theirs, strict=True):
        for one, other in zip(own, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=relative, atol=0)


@pytest.mark.parametrize(("make", "arguments", "to", "asked"), CASES)
@pytest.mark.parametrize("steps", [1, 20])
def test_the_updates_after_migration_are_those_that_torch_would_have_made(make, arguments, to, asked, steps):
    old = trained(make, arguments, steps)
    whole = twin(old)
    new = convert_optimizer(old, to, **asked)
    assert type(new) is to
    assert_close(updates(new, steps, 10), updates(whole, steps, 10))


@pytest.mark.parametrize(("make", "arguments", "to", "asked"), CASES)
def test_a_state_dict_alone_migrates_to_the_same_bits_as_the_optimizer(make, arguments, to, asked):
    old = trained(make, arguments)
    loaded = to(copies(params_of(old)))
    loaded.load_state_dict(convert_state_dict(old.state_dict(), to, **asked))
    assert same(loaded.state_dict(), convert_optimizer(old, to, **asked).state_dict())


@pytest.mark.parametrize("kernel", ["eager", "fused"])
@pytest.mark.parametrize("origin", ["AdamW", "RMSprop", "SGD with momentum"])
def test_in_float32_every_kernel_moves_a_parameter_to_where_torch_would_have(origin, kernel):
    make, arguments, _ = SAME_POINT[origin]
    old = trained(make, arguments, 7, torch.float32)
    whole = twin(old)
    new = convert_optimizer(old, Equipoise, kernel=kernel)
    for optimizer in (new, whole):
        train(optimizer, 3, 7)
    for ours, theirs in zip(params_of(new), params_of(whole), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("make", "arguments", "to", "asked"), CASES)
def test_neither_optimizer_changes_the_state_of_the_other(make, arguments, to, asked):
    old = trained(make, arguments)
    before = copy.deepcopy(old.state_dict())
    new = convert_optimizer(old, to, **asked)
    train(new, 3)
    assert same(old.state_dict(), before)
    assert params_of(new) == params_of(old) or all(a is b for a, b in zip(params_of(new), params_of(old), strict=True))


@pytest.mark.parametrize(("origin", "back"), [("AdamW", AdamW), ("Adam", Adam), ("RMSprop", RMSprop)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64], ids=str)
def test_there_and_back_is_the_same_state_to_the_bit(origin, back, dtype):
    make, arguments, _ = SAME_POINT[origin]
    old = trained(make, arguments, dtype=dtype)
    again = convert_optimizer(convert_optimizer(old, Equipoise), back)
    assert type(again) is back
    assert same(again.state_dict(), old.state_dict())


@pytest.mark.parametrize(
    "arguments", [{"lr": 0.1}, {"lr": 0.1, "weight_decay": 0.1}, {"lr": 0.1, "momentum": 0.9, "dampening": 0.9}]
)
def test_sgd_there_and_back_is_the_same_state_to_the_bit(arguments):
    old = trained(SGD, arguments)
    saved, again = old.state_dict(), convert_optimizer(convert_optimizer(old, Equipoise), SGD).state_dict()
    assert same(again["state"], saved["state"])
    assert again["param_groups"] == saved["param_groups"]


def test_sgd_without_dampening_comes_back_with_it_or_as_it_was_to_rounding():
    old = trained(SGD, {"lr": 0.01, "momentum": 0.9})
    middle = convert_optimizer(old, Equipoise)
    average, plain = convert_optimizer(middle, SGD), convert_optimizer(middle, SGD, dampening=0.0)
    assert [average.param_groups[0][name] for name in ("momentum", "dampening")] == [0.9, 0.9]
    assert average.param_groups[0]["lr"] == pytest.approx(0.1, rel=1e-15)
    assert plain.param_groups[0]["lr"] == pytest.approx(0.01, rel=1e-15)
    for parameter in params_of(old):
        torch.testing.assert_close(plain.state[parameter]["momentum_buffer"], old.state[parameter]["momentum_buffer"])
    whole = twin(old)
    other = twin(average)
    expected = updates(whole, 5, 3)
    assert_close(updates(other, 5, 3), expected)
    assert_close(updates(plain, 5, 3), expected)


BACK = {
    "AdamW": (AdamW, {**ADAM, "weight_decay": 0.1}, 5),
    "Adam": (Adam, ADAM, 5),
    "SGD": (SGD, {"lr": 0.01, "betas": (0.8, 0.9), "exponent": 0.0}, 65),
    "SGD with a large eps": (SGD, {"lr": 0.01, "betas": (0.8, 0.9), "exponent": 0.0, "eps": 0.5}, 65),
    "SGD without momentum": (SGD, {"lr": 0.01, "betas": (0.0, 0.9), "exponent": 0.0, "weight_decay": 0.1, "eps": 0.1}, 2),
    "RMSprop": (RMSprop, {"lr": 0.01, "betas": (0.0, 0.8)}, 65),
    "Adam with a reference": (Adam, {**ADAM, "reference": "initial"}, 5),
}


@pytest.mark.parametrize("case", BACK)
def test_a_run_of_ours_goes_on_with_torch(case):
    to, arguments, steps = BACK[case]
    old = trained(Equipoise, arguments, steps)
    whole = twin(old)
    assert_close(updates(convert_optimizer(old, to), steps), updates(whole, steps))


def test_a_new_stage_is_corrected_by_its_own_age():
    """Its updates are those of the stage alone, begun anew on the updates of an Adam that goes on."""
    old = trained(AdamW, ADAM, 50)
    generator = torch.Generator().manual_seed(3)
    inputs = []
    two = convert_optimizer(old, KAdam, k=2)
    first = twin(convert_optimizer(old, Equipoise))
    fresh = Equipoise(copies(params_of(old)), **ADAM)
    for number in range(6):
        given = [torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype) for parameter in params_of(two)]
        for parameters_of_one in (params_of(two), params_of(first)):
            for parameter, gradient in zip(parameters_of_one, given, strict=True):
                parameter.grad = gradient
        before = copies(params_of(first))
        first.step()
        inputs = [(old - new).detach() / ADAM["lr"] for new, old in zip(params_of(first), before, strict=True)]
        for parameter, gradient in zip(params_of(fresh), inputs, strict=True):
            parameter.grad = gradient
        starts = [copies(params_of(optimizer)) for optimizer in (two, fresh)]
        two.step()
        fresh.step()
        for place, (own, expected) in enumerate(zip(params_of(two), params_of(fresh), strict=True)):
            moved, wanted = own - starts[0][place], expected - starts[1][place]
            torch.testing.assert_close(moved, wanted, rtol=1e-9, atol=1e-12)
        if number == 0:
            assert all(moved.abs().max() <= ADAM["lr"] * 1.01 for moved in map(torch.sub, params_of(two), starts[0]))


def test_the_age_of_a_stage_is_saved_and_resumed():
    two = convert_optimizer(trained(AdamW, ADAM, 20), KAdam, k=3)
    train(two, 2, 20)
    again = KAdam(copies(params_of(two)), k=3)
    again.load_state_dict(two.state_dict())
    state = again.state[params_of(again)[0]]
    assert (int(state["step"]), state["born_exp_avg_2"], state["born_exp_avg_sq_3"]) == (22, 20, 20)
    for optimizer in (two, again):
        train(optimizer, 3, 22)
    assert same(again.state_dict(), two.state_dict())
    assert same(params_of(again), params_of(two))


def test_a_parameter_that_came_later_has_its_own_age():
    old = AdamW(parameters(), **ADAM)
    first, late, never = old.param_groups[0]["params"]
    for number in range(6):
        first.grad, never.grad = torch.ones_like(first), None
        late.grad = torch.ones_like(late) if number > 3 else None
        old.step()
    state = convert_state_dict(old.state_dict(), KAdam)["state"]
    assert [state[place]["born_exp_avg_2"] for place in state] == [6, 2]


def test_the_reference_after_migration_is_the_mean_of_the_second_moment_now_for_good():
    old = trained(AdamW, ADAM, 50)
    second_moments = [old.state[parameter]["exp_avg_sq"].mean() / (1 - ADAM["betas"][1] ** 50) for parameter in params_of(old)]
    new = convert_optimizer(old, SMES, exponent=0.25)
    for _ in range(2):
        for state, expected in zip(new.state.values(), second_moments, strict=True):
            torch.testing.assert_close(state["reference"], expected.expand(REFERENCE_STEPS), rtol=1e-12, atol=0)
        train(new, 1, 50)


def test_the_size_of_updates_does_not_jump_when_adam_goes_on_as_smes():
    old = trained(AdamW, ADAM, 200)
    expected = updates(twin(old), 200)[0]
    for exponent in (0.0, 0.125, 0.25, 0.375):
        (moved,) = updates(twin(convert_optimizer(old, SMES, exponent=exponent)), 200)
        ratios = [float(own.norm() / other.norm()) for own, other in zip(moved, expected, strict=True)]
        assert all(0.5 < ratio < 2 for ratio in ratios)


def test_sgd_goes_on_as_smes_with_a_second_moment_that_begins_now():
    old = trained(SGD, {"lr": 0.1, "momentum": 0.9}, 30)
    new = convert_optimizer(old, SMES, lr=0.01)
    group, state = new.param_groups[0], new.state[params_of(new)[0]]
    assert (group["betas"], group["eps"], group["exponent"], group["reference"]) == ((0.9, 0.999), 1e-8, 0.25, "initial")
    assert (int(state["step"]), state["born_exp_avg"]) == (0, LONG_AGO)
    buffer = old.state[params_of(old)[0]]["momentum_buffer"].clone()
    (gradient, *_), (parameter, *_) = gradients(params_of(new), 30), params_of(new)
    before = parameter.detach().clone()
    train(new, 1, 30)
    m, v = 0.9 * 0.1 * buffer + 0.1 * gradient, gradient**2
    torch.testing.assert_close(before - parameter.detach(), 0.01 * m / ((v.mean() * v) ** 0.25 + 1e-8))


def test_what_a_user_put_into_a_group_stays_and_a_scheduler_can_go_on():
    old = SGD([{"params": parameters(), "name": "trunk"}], lr=0.1, momentum=0.75)
    torch.optim.lr_scheduler.StepLR(old, step_size=3, gamma=0.5)
    train(old, 3)
    old.param_groups[0]["lr"] = 0.05
    group = convert_optimizer(old, Equipoise).param_groups[0]
    assert (group["name"], group["lr"], group["initial_lr"]) == ("trunk", 0.2, 0.4)
    assert convert_optimizer(old, SMES, lr=0.01).param_groups[0]["initial_lr"] == 0.01


@pytest.mark.parametrize("origin", ["AdamW", "RMSprop", "SGD with momentum"])
def test_what_was_saved_before_torch_had_its_present_switches_migrates_too(origin):
    saved = trained(*SAME_POINT[origin][:2]).state_dict()
    older = copy.deepcopy(saved)
    for name in ("maximize", "foreach", "fused", "capturable", "differentiable", "decoupled_weight_decay"):
        older["param_groups"][0].pop(name, None)
    for to in (Equipoise, SAME_POINT[origin][0]):
        assert same(convert_state_dict(older, to), convert_state_dict(saved, to))


def test_each_group_keeps_its_own_values():
    first, second, third = parameters()
    old = AdamW([{"params": [first], "lr": 0.5}, {"params": [second, third], "betas": (0.5, 0.6), "weight_decay": 0.0}], **ADAM)
    train(old, 3)
    new = convert_optimizer(old, SMES, exponent=0.125)
    assert [group["lr"] for group in new.param_groups] == [0.5, 0.02]
    assert [group["betas"] for group in new.param_groups] == [BETAS, (0.5, 0.6)]
    assert [group["exponent"] for group in new.param_groups] == [0.125, 0.125]
    assert [len(group["params"]) for group in new.param_groups] == [1, 2]


def test_an_optimizer_that_never_stepped_migrates_too():
    new = convert_optimizer(AdamW(parameters(), **ADAM), KAdam)
    assert not new.state
    train(new, 2)
    fresh = trained(KAdam, ADAM, 2, torch.float32)
    assert same(params_of(new), params_of(fresh))


def test_one_of_ours_goes_on_as_another_of_ours():
    old = trained(SMES, {"lr": 0.01, "exponent": 0.125}, 30)
    same_one = convert_optimizer(old, Equipoise)
    assert same(same_one.state_dict(), old.state_dict())
    assert same_one.param_groups[0]["exponent"] == 0.125
    two = convert_optimizer(old, Equipoise, stages=2)
    assert {"reference", "exp_avg_2", "born_exp_avg_2"} <= set(two.state[params_of(two)[0]])
    assert "reference" not in convert_optimizer(old, KAdam).state[params_of(old)[0]]


REFUSED = {
    "AMSGrad": (AdamW, {"amsgrad": True}, Equipoise, {}, "amsgrad = True"),
    "Adam with coupled decay": (Adam, {"weight_decay": 0.1}, Equipoise, {}, "coupled weight decay"),
    "Nesterov": (SGD, {"momentum": 0.9, "nesterov": True}, Equipoise, {}, "nesterov = True"),
    "SGD with coupled decay": (SGD, {"momentum": 0.9, "weight_decay": 0.1}, Equipoise, {}, "weight_decay = 0.1"),
    "SGD that forgets nothing": (SGD, {"momentum": 1.0}, Equipoise, {}, "momentum = 1.0"),
    "SGD that learns nothing": (SGD, {"momentum": 0.9, "dampening": 1.0}, Equipoise, {}, "dampening = 1.0"),
    "RMSprop with momentum": (RMSprop, {"momentum": 0.9}, Equipoise, {}, "momentum = 0.9"),
    "centered RMSprop": (RMSprop, {"centered": True}, Equipoise, {}, "centered = True"),
    "RMSprop with decay": (RMSprop, {"weight_decay": 0.1}, Equipoise, {}, "weight_decay = 0.1"),
    "NAdam": (torch.optim.NAdam, {}, Equipoise, {}, "another optimizer .*momentum_decay.*: accepted are Equipoise"),
    "Adamax": (torch.optim.Adamax, {}, SMES, {}, "another optimizer"),
    "two stages to AdamW": (KAdam, {}, AdamW, {}, r"exponent = \(0.5, 0.5\)"),
    "1/4 to AdamW": (SMES, {}, AdamW, {}, r"exponent = \(0.25,\)"),
    "a reference to SGD": (SMES, {"exponent": 0.0}, SGD, {}, "reference = 'initial'"),
    "decoupled decay to Adam": (Equipoise, {"weight_decay": 0.1}, Adam, {}, "weight_decay = 0.1"),
    "decoupled decay to SGD": (Equipoise, {"exponent": 0.0, "weight_decay": 0.1}, SGD, {}, "weight_decay = 0.1"),
    "a young average to SGD": (Equipoise, {"exponent": 0.0}, SGD, {}, "5 steps old .* until it is 131 steps old"),
    "a young average to RMSprop": (Equipoise, {"betas": (0.0, 0.9)}, RMSprop, {}, "5 steps old .* until it is 131 steps old"),
    "momentum to RMSprop": (Equipoise, {}, RMSprop, {}, "beta1 = 0.9"),
    "fewer stages": (KAdam, {"k": 3}, KAdam, {"k": 2}, "3 stages"),
    "to AMSGrad": (AdamW, {}, AdamW, {"amsgrad": True}, "amsgrad = True"),
    "to Nesterov": (SGD, {"momentum": 0.9, "dampening": 0.0}, SGD, {"nesterov": True, "dampening": 0.0}, "nesterov = True"),
    "RMSprop's average to AdamW": (RMSprop, {}, AdamW, {}, "one age for both"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_in_the_family_is_refused_with_the_reason(case):
    make, arguments, to, asked, message = REFUSED[case]
    old = trained(make, arguments)
    before = copy.deepcopy(old.state_dict())
    with pytest.raises(StateDictError, match=message):
        convert_optimizer(old, to, **asked)
    assert same(old.state_dict(), before)


def test_a_young_average_may_go_to_sgd_when_its_bias_correction_is_over():
    train(old := trained(Equipoise, {"exponent": 0.0}, 130), 0)
    with pytest.raises(StateDictError, match="130 steps old"):
        convert_optimizer(old, SGD)
    train(old, 1, 130)
    convert_optimizer(old, SGD)


@pytest.mark.parametrize(
    ("make", "arguments", "to", "asked"),
    [
        (SGD, {"lr": 0.1, "momentum": 0.9}, SMES, {}),
        (SGD, {"lr": 0.1}, KAdam, {}),
        (AdamW, {}, SMES, {"reference": "none"}),
        (Equipoise, {"exponent": 0.25}, Equipoise, {"exponent": 0.5}),
    ],
)
def test_a_learning_rate_that_would_lose_its_meaning_must_be_given_anew(make, arguments, to, asked):
    old = trained(make, arguments)
    with pytest.raises(ArgumentError, match=r"lr = .* must be given anew, which then multiplies gradients\^"):
        convert_optimizer(old, to, **asked)
    assert convert_optimizer(old, to, **asked, lr=0.5).param_groups[0]["lr"] == 0.5


@pytest.mark.parametrize(
    ("to", "asked", "message"),
    [
        (SMES, {"k": 2}, "k = 2 is not accepted: k must be left out for SMES, which takes lr, betas"),
        (KAdam, {"k": 0}, "k = 0"),
        (SMES, {"exponent": "half"}, "exponent = 'half'"),
        (Equipoise, {"lr": -1.0}, "lr = -1.0"),
        (torch.optim.Adagrad, {}, "to = .*one of equipoise, smes, kadam, adamw, adam, rmsprop, sgd, or the class of that name"),
        ("lion", {}, "to = 'lion'"),
    ],
)
def test_an_argument_that_is_not_accepted_is_named(to, asked, message):
    with pytest.raises(ArgumentError, match=message):
        convert_optimizer(trained(AdamW, ADAM), to, **asked)


@pytest.mark.parametrize("name", CLASS_OF_NAME)
def test_a_class_may_be_given_by_its_name(name):
    arguments = {"exponent": 0.0} if name == "sgd" else {"betas": (0.0, 0.5)} if name == "rmsprop" else {}
    old = trained(Equipoise, arguments, 140)
    arguments = {"lr": 0.1} if name in ("smes", "kadam") else {}
    by_name, by_class = convert_optimizer(old, name, **arguments), convert_optimizer(old, CLASS_OF_NAME[name], **arguments)
    assert type(by_name) is type(by_class) is CLASS_OF_NAME[name]
    assert same(by_name.state_dict(), by_class.state_dict())


def test_the_help_of_the_command_names_every_class(capsys):
    code, out, _ = run(capsys, "migrate", "--help")
    assert code == 0
    assert f"one of {', '.join(CLASS_OF_NAME)}." in " ".join(out.split())


def test_an_unstable_choice_is_warned_about():
    with pytest.warns(StabilityWarning, match="margin"):
        convert_optimizer(trained(AdamW, {"betas": (0.99, 0.9)}), Equipoise)


@pytest.mark.parametrize("given", [{}, [], {"state": {}}, {"state": {}, "param_groups": []}, None])
def test_what_is_no_state_dict_is_refused(given):
    with pytest.raises(StateDictError, match="no state_dict"):
        convert_state_dict(given, SMES)


def test_a_state_dict_that_lacks_something_or_has_too_much_is_refused():
    saved = trained(AdamW, ADAM).state_dict()
    lacking = copy.deepcopy(saved)
    del lacking["state"][1]["exp_avg_sq"]
    with pytest.raises(StateDictError, match="parameter 1 lacks exp_avg_sq"):
        convert_state_dict(lacking, SMES)
    saved["param_groups"][0]["params"] = [0, 1]
    with pytest.raises(StateDictError, match="remembers parameters that none of its groups has: 2"):
        convert_state_dict(saved, SMES)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("param_groups", 0), 1, "group 0 is no mapping of names to values"),
        (("param_groups", 0, "params"), "x", "group 0 has no list of parameters"),
        (("param_groups", 0, "params"), [0, 1, 1], "has a parameter that it, or another group, has already"),
        (("param_groups", 0, "param_names"), ["a"], "param_names that are not one name for each"),
        (("param_groups", 0, "lr"), "x", "group 0: lr = 'x' is not accepted: lr must be a finite number of at least 0"),
        (("param_groups", 0, "lr"), math.inf, "group 0: lr = inf"),
        (("param_groups", 0, "betas"), (0.9, 1.0), r"group 0: betas = \(0\.9, 1\.0\)"),
        (("param_groups", 0, "betas"), torch.ones(1).expand(10**6, 10**6), "group 0: betas = tensor"),
        (("param_groups", 0, "amsgrad"), torch.ones(2), "group 0: amsgrad = .* must be True or False"),
        (("state",), [], "its state is of type list"),
        (("state", 0), 1, "the state of parameter 0 is no mapping of names to values"),
        (("state", 0, "step"), -1, "a step that is no whole number from 0 to"),
        (("state", 0, "step"), torch.tensor(math.nan), "a step that is no whole number"),
        (("state", 0, "exp_avg"), "x", "an? exp_avg that is no tensor of numbers"),
        (("state", 0, "exp_avg"), torch.ones(7), r"averages of shapes \(7,\) and \(4, 3\): they must agree"),
        (("state", 0, "exp_avg"), torch.ones(1).expand(4, 3), "each with a memory of its own"),
        (("state", 0, "exp_avg_sq"), torch.ones(4, 3, dtype=torch.int64), "exp_avg_sq that is no tensor of numbers"),
        (("state", 0, "born_exp_avg"), 0.5, "a born_exp_avg that is no whole number"),
    ],
)
def test_a_value_of_a_state_dict_that_cannot_be_is_named(path, value, message):
    saved = trained(AdamW, ADAM).state_dict()
    container = saved
    for key in path[:-1]:
        container = container[key]
    container[path[-1]] = value
    with pytest.raises(StateDictError, match=message):
        convert_state_dict(saved, SMES)


def test_a_checkpoint_of_another_model_is_refused_when_it_is_loaded():
    migrated = convert_state_dict(trained(AdamW, ADAM).state_dict(), SMES)
    other = [Parameter(torch.zeros(shape)) for shape in ((4, 4), (7,), ())]
    with pytest.raises(StateDictError, match="another model, or of its parameters in another order"):
        SMES(other).load_state_dict(migrated)
    with pytest.raises(ValueError, match="doesn't match the size"):
        SMES(parameters()[:2]).load_state_dict(migrated)


def test_parameters_in_another_order_are_noticed_where_they_have_names():
    def named(*names):
        return AdamW([(name, Parameter(torch.ones(3))) for name in names])

    old = named("weight", "bias")
    train(old, 2)
    migrated = convert_state_dict(old.state_dict(), SMES)
    assert migrated["param_groups"][0]["param_names"] == ["weight", "bias"]
    with pytest.raises(StateDictError, match="parameter 0 is 'weight' in the state dict and 'bias' here"):
        SMES([(name, Parameter(torch.ones(3))) for name in ("bias", "weight")]).load_state_dict(migrated)
    for names in (("weight", "bias"), ("_orig_mod.weight", "_orig_mod.bias")):
        SMES([(name, Parameter(torch.ones(3))) for name in names]).load_state_dict(migrated)


@pytest.fixture
def checkpoint(tmp_path):
    """A training checkpoint of AdamW, and what is in it."""
    model = torch.nn.Linear(3, 2)
    old = AdamW(model.parameters(), **ADAM)
    train(old, 4)
    content = {"epoch": 3, "model": model.state_dict(), "trainer": {"optimizers": [old.state_dict()]}, "note": "x"}
    torch.save(content, tmp_path / "in.pt")
    return tmp_path / "in.pt", content


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    shown = capsys.readouterr()
    return stopped.value.code, shown.out, shown.err


def test_the_command_writes_a_checkpoint_that_holds_the_new_optimizer_and_all_else_as_it_was(checkpoint, capsys):
    source, content = checkpoint
    target = source.with_name("out.pt")
    before = source.read_bytes()
    code, out, err = run(capsys, "migrate", source, target, "--to", "kadam", "--k", "2")
    assert (code, err) == (0, "")
    assert "trainer.optimizers[0]: AdamW or Adam to KAdam, 2 parameters with state" in out
    assert "stages 2" in out
    assert source.read_bytes() == before
    written = torch.load(target, weights_only=True)
    migrated = written["trainer"]["optimizers"][0]
    assert same(migrated, convert_state_dict(content["trainer"]["optimizers"][0], KAdam, k=2))
    written["trainer"]["optimizers"][0] = content["trainer"]["optimizers"][0]
    assert same(written, content)
    model = torch.nn.Linear(3, 2)
    new = KAdam(model.parameters())
    new.load_state_dict(migrated)
    train(new, 1, 4)
    assert [int(state["step"]) for state in new.state.values()] == [5, 5]


def test_a_checkpoint_that_is_a_state_dict_itself_is_migrated_there_and_back(tmp_path, capsys):
    old = trained(AdamW, {**ADAM, "weight_decay": 0.1}, dtype=torch.float32)
    torch.save(old.state_dict(), tmp_path / "adamw.pt")
    code, out, _ = run(capsys, "migrate", tmp_path / "adamw.pt", tmp_path / "ours.pt", "--to", "equipoise", "--json")
    shown = json.loads(out)
    assert code == 0
    assert (shown["optimizer"], shown["to"], shown["groups"][0]["lr"]) == ("", "Equipoise", 0.02)
    assert run(capsys, "migrate", tmp_path / "ours.pt", tmp_path / "back.pt", "--to", "adamw")[0] == 0
    assert same(torch.load(tmp_path / "back.pt", weights_only=True), old.state_dict())


def test_an_unstable_checkpoint_is_migrated_with_one_warning(tmp_path, capsys):
    torch.save(trained(AdamW, {"betas": (0.99, 0.9)}).state_dict(), tmp_path / "in.pt")
    code, _, err = run(capsys, "migrate", tmp_path / "in.pt", tmp_path / "out.pt", "--to", "smes", "--exponent", "0.5")
    assert code == 0
    assert err.startswith("warning: betas = (0.99, 0.9)")
    assert err.count("warning:") == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--to", "lion"], "to = 'lion' is not accepted: to must be one of equipoise, smes, kadam, adamw"),
        (["--to", "smes", "--k", "2"], "k must be left out for SMES"),
        (["--to", "sgd"], "exponent = (0.5,)"),
        (["--to", "smes", "--reference", "mean"], "reference = 'mean'"),
    ],
)
def test_the_command_says_what_it_does_not_accept_and_writes_nothing(checkpoint, capsys, options, message):
    source, _ = checkpoint
    code, out, err = run(capsys, "migrate", source, source.with_name("out.pt"), *options)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert message in err
    assert [path.name for path in source.parent.iterdir()] == ["in.pt"]


def test_no_file_is_overwritten(checkpoint):
    source, _ = checkpoint
    before = source.read_bytes()
    with pytest.raises(UnusableInputError, match="exists: choose another name"):
        convert_checkpoint(source, source, SMES)
    assert source.read_bytes() == before


@pytest.mark.parametrize("number", [0, 2])
def test_a_checkpoint_must_hold_one_optimizer(tmp_path, number):
    saved = trained(AdamW, ADAM).state_dict()
    torch.save({f"optimizer_{place}": saved for place in range(number)} | {"epoch": 1}, tmp_path / "in.pt")
    with pytest.raises(UnusableInputError, match=f"holds {number} state dicts of optimizers"):
        convert_checkpoint(tmp_path / "in.pt", tmp_path / "out.pt", SMES)


def test_what_is_wrong_in_a_checkpoint_is_said_with_its_file_and_place(tmp_path):
    saved = trained(AdamW, ADAM).state_dict()
    saved["state"][0]["step"] = "x"
    torch.save({"trainer": [saved]}, tmp_path / "in.pt")
    with pytest.raises(StateDictError, match=r"in\.pt, at trainer\[0\]: the state of parameter 0 has a step"):
        convert_checkpoint(tmp_path / "in.pt", tmp_path / "out.pt", SMES)


def test_an_archive_that_unfolds_is_refused_before_it_is_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "in.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10**6))
    with pytest.raises(UnusableInputError, match=r"compressed archive, which unfolds from [\d,]+ to 1,000,000 bytes"):
        convert_checkpoint(tmp_path / "in.pt", tmp_path / "out.pt", SMES)


def test_a_disk_that_is_full_leaves_no_half_of_a_checkpoint(checkpoint):
    resource, signal = pytest.importorskip("resource"), pytest.importorskip("signal")
    source, _ = checkpoint
    limits, before = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(UnusableInputError, match=r"out\.pt cannot be written: File too large"):
            convert_checkpoint(source, source.with_name("out.pt"), SMES)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert [path.name for path in source.parent.iterdir()] == ["in.pt"]


def test_a_file_that_is_missing_or_no_checkpoint_is_refused(tmp_path):
    with pytest.raises(UnusableInputError, match="cannot be read"):
        convert_checkpoint(tmp_path / "in.pt", tmp_path / "out.pt", SMES)
    (tmp_path / "in.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(UnusableInputError, match="was not opened"):
        convert_checkpoint(tmp_path / "in.pt", tmp_path / "out.pt", SMES)
    torch.save(trained(AdamW, ADAM).state_dict(), tmp_path / "good.pt")
    with pytest.raises(UnusableInputError, match="cannot be written"):
        convert_checkpoint(tmp_path / "good.pt", tmp_path / "nowhere" / "out.pt", SMES)
