"""A run that was interrupted and resumed is the run that was not, to the last bit."""

import copy
import io
import pickle

import pytest
import torch

from .table import every_case, every_class
from .training import copies, parameters, same, train


def by_state_dict(optimizer, case):
    params = copies(optimizer.param_groups[0]["params"])
    restored = case.make(params)
    restored.load_state_dict(optimizer.state_dict())
    return restored


def by_file(optimizer, case):
    file = io.BytesIO()
    torch.save({"params": optimizer.param_groups[0]["params"], "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=True)
    restored = case.make(loaded["params"])
    restored.load_state_dict(loaded["optimizer"])
    return restored


def by_counts_in_float32(optimizer, case):
    """As torch counts, and as we did before."""
    saved = copy.deepcopy(optimizer.state_dict())
    for state in saved["state"].values():
        state["step"] = state["step"].float()
    restored = case.make(copies(optimizer.param_groups[0]["params"]))
    restored.load_state_dict(saved)
    return restored


def by_deepcopy(optimizer, case):
    return copy.deepcopy(optimizer)


def by_pickle(optimizer, case):
    return pickle.loads(pickle.dumps(optimizer))


def by_other_hyperparameters(optimizer, case):
    """The state dict decides, not what the new optimizer was made with."""
    restored = type(optimizer)(copies(optimizer.param_groups[0]["params"]), lr=0.5, eps=0.1, weight_decay=0.3)
    restored.load_state_dict(optimizer.state_dict())
    return restored


WAYS = (by_state_dict, by_file, by_counts_in_float32, by_deepcopy, by_pickle, by_other_hyperparameters)
every_way = pytest.mark.parametrize("restore", WAYS, ids=lambda way: way.__name__)


@every_way
@every_case
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_a_resumed_run_equals_an_uninterrupted_one(case, restore, dtype):
    whole = case.make(parameters(dtype))
    train(whole, 10)
    first = case.make(parameters(dtype))
    train(first, 5)
    second = restore(first, case)
    train(second, 5, start=5)
    assert same(second.param_groups[0]["params"], whole.param_groups[0]["params"])
    assert same(second.state_dict(), whole.state_dict())


@every_way
@every_class
def test_a_restored_optimizer_shares_nothing_with_the_first(case, restore):
    first = case.make(parameters())
    train(first, 3)
    second = restore(first, case)
    before = copy.deepcopy(first.state_dict())
    train(second, 3)
    assert same(first.state_dict(), before)


@every_way
@every_class
def test_an_optimizer_that_never_stepped_is_restored_too(case, restore):
    first = case.make(parameters())
    second = restore(first, case)
    train(first, 3)
    train(second, 3)
    assert same(second.state_dict(), first.state_dict())


@every_class
def test_a_schedule_is_resumed_with_its_optimizer(case):
    def begin(params):
        optimizer = case.make(params, lr=0.1)
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10)
        return optimizer, torch.optim.lr_scheduler.ChainedScheduler(
            [cosine, torch.optim.lr_scheduler.ConstantLR(optimizer, factor=0.5, total_iters=7)]
        )

    whole, schedule = begin(parameters())
    train(whole, 10, scheduler=schedule)
    first, schedule = begin(parameters())
    train(first, 5, scheduler=schedule)
    second, resumed_schedule = begin(copies(first.param_groups[0]["params"]))
    resumed_schedule.load_state_dict(schedule.state_dict())
    second.load_state_dict(first.state_dict())
    train(second, 5, start=5, scheduler=resumed_schedule)
    assert same(second.param_groups[0]["params"], whole.param_groups[0]["params"])
    assert same(second.state_dict(), whole.state_dict())


@every_case
def test_a_parameter_that_had_no_gradient_before_the_interruption_begins_at_its_own_first_step(case):
    whole, first = case.make(parameters()), case.make(parameters())
    for optimizer in (whole, first):
        late = optimizer.param_groups[0]["params"][1]
        late.grad = None
        for number in range(2):
            for parameter in optimizer.param_groups[0]["params"]:
                if parameter is not late:
                    parameter.grad = torch.full_like(parameter, number - 0.5)
            optimizer.step()
    second = by_file(first, case)
    for optimizer in (whole, second):
        train(optimizer, 3)
        assert [int(state["step"]) for state in optimizer.state.values()] != [5, 5, 5]
    assert same(second.param_groups[0]["params"], whole.param_groups[0]["params"])


@every_class
def test_saving_and_loading_twice_gives_the_same_file(case):
    optimizer = case.make(parameters())
    train(optimizer, 3)
    again = by_file(optimizer, case)
    assert same(again.state_dict(), optimizer.state_dict())
    assert same(by_file(again, case).state_dict(), optimizer.state_dict())
