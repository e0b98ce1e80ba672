"""Every arm tries as many points of its own space, which they cover evenly, and the same ones each time."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from equipoise.study._arms.space import Axis, Point, Range, axis_of, default_scale, quasi_random
from equipoise.study._faults import described
from equipoise.study._spec import TABLES, Study


def make_study(own: dict | None = None, **keys) -> Study:
    """A study of adamw and sgd, both ready-made, with the same keys of their own."""
    head = {"name": "s", "task": "digits", "metric": "accuracy", "select_by": "validation_accuracy", "goal": "maximize"}
    arms = [{"name": name, "optimizer": name, "baseline": name == "adamw", **(own or {})} for name in ("adamw", "sgd")]
    return Study.model_validate({**head, "epochs": 1, "seeds": 6, "tuning_seeds": 1, **keys, "arm": arms})


def tried(study: Study, index: int) -> list[Point]:
    return study.points_of(study.arms[index])


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(0, 8))
@settings(deadline=None)
def test_a_power_of_two_points_has_one_in_every_stratum_of_every_axis(seed, keys, power):
    count = 2**power
    space = {f"key{index}": Axis(0.0, 1.0, "linear") for index in range(keys)}
    points = list(itertools.islice(quasi_random(space, seed), count))
    for key in space:
        assert sorted(int(point.values[key] * count) for point in points) == pytest.approx(range(count), abs=1)


@given(st.integers(1, 40), st.integers(1, 40))
def test_more_points_keep_those_that_fewer_had(fewer, more):
    short, long = (tried(make_study(points=count), 1) for count in sorted((fewer, more)))
    assert long[: len(short)] == short


def test_arms_with_as_many_searched_keys_try_the_same_shares_of_their_ranges():
    study = make_study(points=8)
    adamw, sgd = (tried(study, index) for index in (0, 1))
    assert [10 * point.lr for point in adamw] == pytest.approx([point.lr for point in sgd], rel=1e-5)  # 1e-4..1e-1, 1e-3..1


def test_another_search_seed_draws_other_points():
    assert tried(make_study(points=8), 1) != tried(make_study(points=8, search_seed=1), 1)


@given(st.sampled_from(["log", "linear", "one-minus"]), st.floats(0, 1))
def test_an_axis_stays_in_its_range(scale, share):
    axis = Axis(0.5, 0.999, scale)
    assert 0.5 <= axis.value(share) <= 0.999


def test_betas_are_searched_by_what_they_lack_to_one():
    assert [axis_of("betas.1", Range(low=0.9, high=0.9999)).value(share) for share in (0, 1 / 3, 2 / 3, 1)] == pytest.approx(
        [0.9, 0.99, 0.999, 0.9999]
    )
    scales = {
        "betas.0": "one-minus",
        "momentum": "one-minus",
        "lr": "log",
        "eps": "log",
        "warmup": "linear",
        "exponent": "linear",
    }
    assert {key: default_scale(key) for key in scales} == scales


def test_lists_alone_are_tried_in_every_combination():
    points = tried(make_study({"search": {"lr": [0.01, 0.1], "weight_decay": [0.0, 0.1, 0.2]}}), 1)
    assert [str(point) for point in points] == [
        f"lr={lr} weight_decay={decay:g}" for lr in (0.01, 0.1) for decay in (0, 0.1, 0.2)
    ]


def test_lists_alone_are_tried_without_repetition_where_fewer_points_are_asked_for():
    points = tried(make_study({"search": {"lr": [0.01, 0.1], "weight_decay": [0.0, 0.1, 0.2]}}, points=5), 1)
    assert len({str(point) for point in points}) == 5


def test_what_an_arm_sets_is_not_searched_and_what_it_searches_is_added():
    study = make_study(
        {"weight_decay": 0.1, "search": {"warmup": {"low": 0.0, "high": 0.2}, "schedule": ["cosine", "linear"]}}, points=4
    )
    assert all(list(point.values) == ["lr", "warmup", "schedule"] for point in tried(study, 1))
    arm, (point, *_) = study.arms[1], tried(study, 1)
    assert arm.arguments_at(point) == {"momentum": 0.9, "weight_decay": 0.1}
    assert arm.schedule_at(point) == (point.values["schedule"], point.values["warmup"])


def test_an_entry_of_a_list_is_searched_by_its_number():
    study = make_study({"betas": [0.9, 0.999], "search": {"betas.1": {"low": 0.9, "high": 0.9999}}}, points=4)
    arm, point = study.arms[0], tried(study, 0)[2]
    assert arm.arguments_at(point) == {"betas": [0.9, point.values["betas.1"]], "weight_decay": point.values["weight_decay"]}
    assert arm.arguments == {"betas": [0.9, 0.999]}  # is as it was


FAULTS = {
    "a range without points": ({}, {}, "arm 'adamw' searches ranges (lr); say how many points each arm tries, as points = 12"),
    "more points than there are": ({"search": {"lr": [0.1], "weight_decay": [0.0]}}, {"points": 2}, "has only 1 to try"),
    "a key that is set and searched": ({"eps": 1e-8, "search": {"eps": [1e-8]}}, {}, "eps = 1e-08 is searched as well"),
    "an entry of what is no list": (
        {"search": {"eps.0": [1.0]}},
        {},
        "search eps.0 sets an entry of eps = None; the arm needs a list",
    ),
    "an entry that there is not": (
        {"betas": [0.9, 0.99], "search": {"betas.2": [0.9]}},
        {},
        "betas.2 sets an entry of betas = [0.9, 0.99]",
    ),
    "a key that is no optimizer's": ({"search": {"baseline": [True]}}, {}, "search 'baseline' cannot be searched"),
    "a logarithm of zero": ({"search": {"lr": {"low": 0.0, "high": 1.0}}}, {}, "low must be above 0"),
    "a beta of one": ({"betas": [0.9, 0.9], "search": {"betas.1": {"low": 0.9, "high": 1.0}}}, {}, "must be in [0, 1)"),
    "a range upside down": ({"search": {"lr": {"low": 1.0, "high": 0.1}}}, {}, "low = 1 must be below high = 0.1"),
    "a learning rate that is none": (
        {"search": {"lr": [0.1, "fast"]}},
        {},
        "search lr holds 'fast'; accepted are finite numbers above 0",
    ),
    "a schedule that is none": (
        {"search": {"schedule": ["cosin"]}},
        {},
        "search schedule holds 'cosin'; accepted are constant, cosine, linear",
    ),
    "a warm-up of everything": ({"search": {"warmup": [1.0]}}, {}, "search warmup holds 1.0; accepted are numbers in [0, 1)"),
    "neither a list nor a range": (
        {"search": {"lr": 0.1}},
        {},
        "search lr = 0.1 must be a list of values, or a range { low = ..., high = ... }",
    ),
    "a value twice": ({"search": {"lr": [0.1, 0.1]}}, {}, "search lr = [0.1, 0.1] repeats a value"),
    "a misspelled end": (
        {"search": {"lr": {"lo": 0.1, "high": 1.0}}},
        {},
        "search lr lo = 0.1 is no key; accepted are low, high, scale: did you mean 'low'?",
    ),
    "search and learning rates": (
        {"learning_rates": [0.1], "search": {"lr": [0.1]}},
        {},
        "learning_rates and search are both given",
    ),
}


@pytest.mark.parametrize(("own", "keys", "said"), FAULTS.values(), ids=FAULTS.keys())
def test_a_space_that_cannot_be_searched_is_refused_with_what_is_accepted(own, keys, said):
    with pytest.raises(ValidationError) as refused:
        make_study(own, **keys)
    assert said in "\n".join(described(refused.value, TABLES))


def test_a_choice_by_a_loss_needs_to_be_told_that_smaller_is_better():
    with pytest.raises(ValidationError, match=r'select_by = { metric = "validation_loss", goal = "minimize" }'):
        make_study(points=2, select_by="validation_loss")
    chosen = make_study(points=2, select_by={"metric": "validation_loss", "goal": "minimize"}).selection
    assert (chosen.metric, chosen.goal) == ("validation_loss", "minimize")
