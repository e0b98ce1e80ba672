"""The scheduler: what it writes, beside which others it runs, how it resumes, and what it warns of and refuses."""

import copy
import pickle
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from equipoise import Equipoise, KAdam
from equipoise.balance import Constant, Cosine, Cyclic, Function, Linear, Piecewise, Scheduler
from equipoise.errors import ArgumentError, ScheduleWarning, StabilityWarning, StateDictError
from tests.conformance.table import CASES, every_case
from tests.conformance.training import copies, gradients, parameters, same, train

TO_SGD = Piecewise(Cosine(0.5, 0.0, steps=5), Constant(0.0))
THROUGH_NEGATIVE = Cyclic(Linear(0.5, -0.5, steps=2), Cosine(-0.5, 0.5, steps=3))


def decaying(step):
    return 0.5 / (1 + step)


BY_NAME = Piecewise(Function(f"{__name__}:decaying", steps=6), Constant(0.05))
PLANS = {
    "constant": {"exponent": Constant(0.25)},
    "to SGD": {"exponent": TO_SGD},
    "cyclic": {"exponent": THROUGH_NEGATIVE},
    "by name": {"exponent": BY_NAME},
    "betas": {"beta1": Cyclic(Linear(0.9, 0.8, steps=3)), "beta2": Piecewise(Linear(0.99, 0.999, steps=4), Constant(0.999))},
    "everything": {
        "exponent": TO_SGD,
        "beta1": Constant(0.8),
        "beta2": Constant(0.99),
        "eps": Cyclic(Linear(1e-8, 1e-3, steps=4)),
    },
}
every_plan = pytest.mark.parametrize("plan", PLANS)


def values(optimizer):
    """What a scheduler may write."""
    return [{name: group[name] for name in ("exponent", "betas", "eps")} for group in optimizer.param_groups]


@every_case
@every_plan
def test_a_scheduled_run_is_the_run_whose_values_are_written_by_hand(case, plan):
    scheduled, manual = case.make(parameters()), case.make(parameters())
    scheduler = Scheduler(scheduled, **PLANS[plan])
    for number in range(9):
        wanted = {name: schedule(number) for name, schedule in PLANS[plan].items()}
        group = manual.param_groups[0]
        nested = group["betas"] if isinstance(group["betas"][0], tuple) else (group["betas"],) * group["stages"]
        pairs = tuple((wanted.get("beta1", b1), wanted.get("beta2", b2)) for b1, b2 in nested)
        group.update({name: value for name, value in wanted.items() if "beta" not in name}, betas=pairs)
        group["betas"] = pairs[0] if group["stages"] == 1 else pairs
        train(scheduled, 1, start=number)
        train(manual, 1, start=number)
        scheduler.step()
    assert same(scheduled.param_groups[0]["params"], manual.param_groups[0]["params"])


@pytest.mark.parametrize("kernel", ["eager", "fused"])
@pytest.mark.parametrize("reference", ["none", "initial"])
def test_a_schedule_moves_what_no_constant_does(kernel, reference):
    """So that a schedule which is written but never read would be seen."""
    runs = []
    for plan in (TO_SGD, Constant(0.5), Constant(0.0)):
        optimizer = Equipoise(parameters(), lr=0.01, kernel=kernel, reference=reference)
        train(optimizer, 9, scheduler=Scheduler(optimizer, exponent=plan))
        runs.append(optimizer.param_groups[0]["params"])
    assert not any(same(runs[0], other) for other in runs[1:])


@settings(max_examples=25, deadline=None)
@given(stop=st.integers(0, 12), plan=st.sampled_from(sorted(PLANS)), optimizer_first=st.booleans(), case=st.sampled_from(CASES))
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(tmp_path_factory, stop, plan, optimizer_first, case):
    def start(params):
        optimizer = case.make(params)
        return optimizer, Scheduler(optimizer, **PLANS[plan])

    whole, scheduler = start(parameters())
    train(whole, stop, scheduler=scheduler)
    path = tmp_path_factory.mktemp("run") / "checkpoint.pt"
    weights = copies(whole.param_groups[0]["params"])
    torch.save({"optimizer": whole.state_dict(), "scheduler": scheduler.state_dict()}, path)
    train(whole, 12 - stop, start=stop, scheduler=scheduler)

    saved = torch.load(path, weights_only=True)
    resumed, again = start(weights)
    for name in ("optimizer", "scheduler") if optimizer_first else ("scheduler", "optimizer"):
        {"optimizer": resumed, "scheduler": again}[name].load_state_dict(saved[name])
    train(resumed, 12 - stop, start=stop, scheduler=again)
    assert same(resumed.state_dict(), whole.state_dict())
    assert same(again.state_dict(), scheduler.state_dict())
    assert same(weights, whole.param_groups[0]["params"])


def test_loading_writes_the_values_of_the_step_into_the_optimizer():
    optimizer = Equipoise(parameters())
    scheduler = Scheduler(optimizer, exponent=Linear(0.5, 0.0, steps=10))
    scheduler.load_state_dict({**scheduler.state_dict(), "last_step": 4})
    assert optimizer.param_groups[0]["exponent"] == pytest.approx(0.3, abs=1e-15)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))], ids=["deepcopy", "pickle"])
def test_a_copy_goes_on_with_its_own_optimizer(copied):
    optimizer = Equipoise(parameters())
    scheduler = Scheduler(optimizer, exponent=BY_NAME)
    scheduler.step()
    other, its = copied((optimizer, scheduler))
    its.step()
    assert (optimizer.param_groups[0]["exponent"], other.param_groups[0]["exponent"]) == (0.25, decaying(2))


def test_schedulers_of_several_values_and_of_torch_run_side_by_side_on_one_optimizer():
    optimizer = Equipoise(parameters(), lr=0.1)
    schedulers = [
        lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=20),  # which cycles beta1 too
        Scheduler(optimizer, exponent=TO_SGD),
        Scheduler(optimizer, beta2=Piecewise(Linear(0.99, 0.999, steps=6), Constant(0.999))),
    ]
    alone = torch.optim.AdamW(parameters(), lr=0.1)
    guide = lr_scheduler.OneCycleLR(alone, 0.1, total_steps=20)
    for number in range(9):
        train(optimizer, 1, start=number)
        alone.step()
        for scheduler in (*schedulers, guide):
            scheduler.step()
        group, theirs = optimizer.param_groups[0], alone.param_groups[0]
        assert (group["lr"], group["betas"][0]) == (theirs["lr"], theirs["betas"][0])
        assert group["exponent"] == TO_SGD(number + 1)
        assert group["betas"][1] == Linear(0.99, 0.999, steps=6)(number + 1)


def test_a_chained_scheduler_of_torch_steps_and_restores_it():
    def start():
        optimizer = Equipoise(parameters(), lr=0.1)
        parts = [Scheduler(optimizer, exponent=TO_SGD), lr_scheduler.ExponentialLR(optimizer, 0.5)]
        return optimizer, lr_scheduler.ChainedScheduler(parts)

    optimizer, chained = start()
    train(optimizer, 3, scheduler=chained)
    assert (optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["exponent"]) == (0.0125, TO_SGD(3))
    other, restored = start()
    restored.load_state_dict(chained.state_dict())
    restored.step()
    assert other.param_groups[0]["exponent"] == TO_SGD(4)


def test_a_step_that_the_scaler_skips_counts_and_leaves_the_values_of_the_schedule():
    optimizer = Equipoise(parameters())
    scaler, scheduler = torch.amp.GradScaler("cpu", init_scale=4.0), Scheduler(optimizer, exponent=TO_SGD)
    params = optimizer.param_groups[0]["params"]
    for number in range(4):
        for parameter, gradient in zip(params, gradients(params, number), strict=True):
            parameter.grad = scaler.scale(gradient if number != 1 else gradient * torch.inf)
        before = copies(params)
        scaler.step(optimizer)
        scaler.update()
        scheduler.step()
        assert same([p.data for p in before], [p.data for p in params]) == (number == 1)
        assert optimizer.param_groups[0]["exponent"] == TO_SGD(number + 1)


def test_a_list_schedules_each_group_by_itself_and_none_leaves_a_group_alone():
    optimizer = Equipoise([{"params": parameters()}, {"params": parameters(), "exponent": 0.1}, {"params": parameters()}])
    scheduler = Scheduler(optimizer, exponent=[TO_SGD, None, Constant(0.25)], beta2=[None, Constant(0.9), None])
    scheduler.step()
    assert [group["exponent"] for group in optimizer.param_groups] == [TO_SGD(1), 0.1, 0.25]
    assert [group["betas"] for group in optimizer.param_groups] == [(0.9, 0.999), (0.9, 0.9), (0.9, 0.999)]


def test_a_tuple_schedules_each_stage_by_itself():
    optimizer = KAdam(parameters(), k=2)
    scheduler = Scheduler(optimizer, exponent=(TO_SGD, Constant(0.5)), beta2=(Linear(0.9, 0.99, steps=3), Constant(0.999)))
    train(optimizer, 2, scheduler=scheduler)
    group = optimizer.param_groups[0]
    assert group["exponent"] == (TO_SGD(2), 0.5)
    assert group["betas"] == ((0.9, Linear(0.9, 0.99, steps=3)(2)), (0.9, 0.999))
    scheduler.step()
    train(optimizer, 1, start=2)


def test_one_schedule_serves_all_stages_and_betas_stay_one_pair_while_they_can():
    optimizer = KAdam(parameters(), k=2)
    Scheduler(optimizer, beta2=Constant(0.99), exponent=Constant(0.25))
    assert (optimizer.param_groups[0]["betas"], optimizer.param_groups[0]["exponent"]) == ((0.9, 0.99), 0.25)
    mixed = KAdam(parameters(), k=2, betas=((0.8, 0.9), (0.9, 0.999)))
    Scheduler(mixed, beta1=Constant(0.7))
    assert mixed.param_groups[0]["betas"] == ((0.7, 0.9), (0.7, 0.999))


def test_leaving_the_stable_region_is_foreseen_with_the_first_step_and_the_margin():
    optimizer = Equipoise(parameters(), betas=(0.95, 0.7), exponent=0.0)
    message = (
        r"parameter group 0 will leave the stable region, first at step 29: margin -0\.0004 nats per step at exponent 0\.145,"
        r" betas \(0\.95, 0\.7\); the lowest margin is -0\.1270, at step 100\. Not safe: .* grows by up to 13\.5% per step"
    )
    with pytest.warns(StabilityWarning, match=message) as caught:
        Scheduler(optimizer, exponent=Linear(0.0, 0.5, steps=100))
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_groups_that_leave_it_alike_are_named_in_one_warning():
    optimizer = Equipoise([{"params": parameters(), "betas": betas} for betas in ((0.9, 0.999), (0.95, 0.95), (0.95, 0.95))])
    with pytest.warns(StabilityWarning, match="parameter groups 1, 2 will leave the stable region, first at step 0:") as caught:
        Scheduler(optimizer, beta2=[None, Constant(0.7), Constant(0.7)], exponent=Constant(0.5))
    assert len(caught) == 1


def test_a_stage_of_a_half_at_the_end_makes_an_unstable_one_before_it_safe_until_it_falls():
    optimizer = KAdam(parameters(), k=2, betas=((0.95, 0.7), (0.9, 0.999)))
    Scheduler(optimizer, exponent=(Constant(0.5), Constant(0.5)))
    with pytest.warns(StabilityWarning, match=r"first at step 3: .* exponents \(0\.5, 0\.45\), betas \(\(0\.95, 0\.7\),"):
        Scheduler(optimizer, exponent=(Constant(0.5), Piecewise(Constant(0.5, steps=3), Constant(0.45))))


def test_a_group_that_is_not_scheduled_is_not_spoken_of():
    optimizer = Equipoise([a_group(), a_group(betas=(0.95, 0.7), exponent=0.0)])
    optimizer.param_groups[1]["exponent"] = 0.5
    Scheduler(optimizer, exponent=[TO_SGD, None])


def test_stable_schedules_are_silent():
    for plan in PLANS.values():
        Scheduler(Equipoise(parameters()), **plan)


def test_a_run_longer_than_its_schedule_is_told_once_and_keeps_the_last_value():
    optimizer = Equipoise([{"params": parameters()}, {"params": parameters()}])
    scheduler = Scheduler(optimizer, exponent=[Linear(0.5, 0.125, steps=3), TO_SGD], beta2=Cosine(0.9, 0.99, steps=5))
    told = {}
    for _ in range(9):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            scheduler.step()
        told[scheduler.last_step] = [str(each.message) for each in caught if each.category is ScheduleWarning]
    assert [step for step, messages in told.items() if messages] == [4, 6]
    assert told[4][0].startswith("the schedule of exponent of parameter group 0 ended at step 3 and the run goes on")
    assert told[6][0].startswith("the schedule of beta2 of parameter groups 0, 1 ended at step 5")
    assert values(optimizer)[0] == {"exponent": 0.125, "betas": (0.9, 0.99), "eps": 1e-8}


def a_group(**changed):
    return {"params": parameters(), **changed}


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda o: Scheduler(o), "given for at least one of exponent, beta1, beta2, eps"),
        (lambda o: Scheduler(o, exponent=[None, None]), "given for at least one of"),
        (lambda o: Scheduler(o, exponent=0.25), r"exponent = 0\.25 .* a schedule, as Cosine.* a tuple of 2 schedules"),
        (lambda o: Scheduler(o, exponent=lambda step: 0.5), r"exponent = <function .* Function\('package.module:function'"),
        (lambda o: Scheduler(o, exponent=[TO_SGD]), "exponent = .* a list of 2, one per parameter group .a tuple is one per"),
        (lambda o: Scheduler(o, exponent=(TO_SGD,) * 3), "exponent = .* a tuple of 2 schedules, one per stage"),
        (lambda o: Scheduler(o, eps=(Constant(1e-8),) * 2), "eps = .* a schedule"),
        (lambda o: Scheduler(o, beta2=Linear(0.9, 1.0, steps=8)), r"beta2 at step 8 of the schedule = 1\.0 .* in \[0, 1\)"),
        (lambda o: Scheduler(o, beta1=Linear(0.1, -0.1, steps=4)), r"beta1 at step 3 of the schedule = -0\.05 .* in \[0, 1\)"),
        (lambda o: Scheduler(o, eps=Linear(0.1, -0.1, steps=4)), r"eps at step 3 of the schedule = -0\.05 .* of at least 0"),
        (
            lambda o: Scheduler(torch.optim.AdamW(parameters()), exponent=TO_SGD),
            "optimizer = 'AdamW' .* exponent, stages, as",
        ),
    ],
)
def test_bad_input_is_refused_and_changes_nothing(build, message):
    optimizer = Equipoise([a_group(), a_group()], stages=2)
    before = values(optimizer)
    with pytest.raises(ArgumentError, match=message):
        build(optimizer)
    assert values(optimizer) == before


def test_a_group_added_later_is_refused_in_words_before_anything_changes():
    optimizer = Equipoise(parameters())
    scheduler = Scheduler(optimizer, exponent=TO_SGD)
    optimizer.add_param_group(a_group())
    with pytest.raises(ArgumentError, match=r"Equipoise with 2 groups.* with 1 parameter groups, as when"):
        scheduler.step()
    assert (scheduler.last_step, optimizer.param_groups[0]["exponent"]) == (0, 0.5)


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        (lambda: lr_scheduler.LinearLR(torch.optim.SGD(parameters())).state_dict(), "a state dict with the keys .* last_epoch"),
        (dict, r"a state dict with the keys \(none\)"),
        (lambda: {**Scheduler(Equipoise(parameters()), exponent=TO_SGD).state_dict(), "last_step": -1}, "is not one of a"),
        (
            lambda: Scheduler(Equipoise([a_group(), a_group()]), exponent=TO_SGD).state_dict(),
            "schedule of exponent of parameter group 1 is",
        ),
        (lambda: Scheduler(Equipoise(parameters()), beta2=Constant(0.9)).state_dict(), "schedule of exponent of .* is None"),
        (
            lambda: Scheduler(Equipoise(parameters()), exponent=Constant(0.5)).state_dict(),
            "group 0 is .*'Constant.* built with .*'Cosine'",
        ),
    ],
    ids=["of torch", "empty", "negative step", "another model", "other values", "another schedule"],
)
def test_the_state_of_something_else_is_refused_and_changes_nothing(saved, message):
    optimizer = Equipoise(parameters())
    scheduler = Scheduler(optimizer, exponent=TO_SGD)
    scheduler.step()
    before = copy.deepcopy((scheduler.state_dict(), values(optimizer)))
    with pytest.raises(StateDictError, match=message):
        scheduler.load_state_dict(saved())
    assert (scheduler.state_dict(), values(optimizer)) == before


def test_a_run_may_go_on_with_another_schedule_by_replacing_the_saved_one():
    first = Scheduler(Equipoise(parameters()), exponent=Linear(0.5, 0.0, steps=4))
    first.step()
    optimizer = Equipoise(parameters())
    longer = Scheduler(optimizer, exponent=Linear(0.5, 0.0, steps=8))
    longer.load_state_dict({**first.state_dict(), "schedules": longer.state_dict()["schedules"]})
    assert optimizer.param_groups[0]["exponent"] == Linear(0.5, 0.0, steps=8)(1)


def test_a_function_that_a_state_dict_names_is_never_called():
    scheduler = Scheduler(Equipoise(parameters()), exponent=TO_SGD)
    foreign = copy.deepcopy(scheduler.state_dict())
    foreign["schedules"]["exponent"] = [[{"schedule": "Function", "steps": 5, "name": f"{__name__}:trap"}]]
    with pytest.raises(StateDictError, match="the saved schedule of exponent"):
        scheduler.load_state_dict(foreign)


def trap(_):
    raise AssertionError
