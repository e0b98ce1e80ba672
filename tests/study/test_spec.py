"""A study file is read whole or refused with every fault."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from equipoise.errors import UnusableInputError
from equipoise.study._arms.arm import LearningRateRange
from equipoise.study._arms.space import Point
from equipoise.study._spec import read_study
from equipoise.study._task_source import locate_task


def test_a_study_file_becomes_arms_rates_and_seeds(write_study):
    study = read_study(write_study())
    assert [arm.name for arm in study.arms] == ["adamw", "quarter"]
    assert study.baseline.name == "adamw"
    assert study.arms[1].arguments == {"exponent": 0.25}
    assert study.points_of(study.arms[1]) == [Point({"lr": 0.01}), Point({"lr": 0.1})]


def test_the_study_file_of_the_guide_is_one(tmp_path):
    guide = (Path(__file__).parents[2] / "docs" / "guides" / "compare.md").read_text(encoding="utf-8")
    (tmp_path / "study.toml").write_text(
        guide.partition("```{code-block} toml\n:caption: every_key.toml\n")[2].partition("```")[0]
    )
    study = read_study(tmp_path / "study.toml")
    assert [len(study.points_of(arm)) for arm in study.arms] == [12, 12, 12]


def test_no_comparison_seed_is_a_tuning_seed(write_study):
    study = read_study(write_study(("tuning_seeds = 2", "tuning_seeds = 10000"), ("seeds = 3", "seeds = 50")))
    assert not set(study.seeds_for_tuning) & set(study.seeds_for_comparison)
    assert len(study.seeds_for_comparison) == 50


def test_a_range_of_learning_rates_is_even_on_a_logarithmic_axis():
    rates = LearningRateRange(low=1e-4, high=1.0, count=9).values()
    assert (rates[0], rates[-1], len(rates)) == (1e-4, 1.0, 9)
    assert all(later / earlier == pytest.approx(10**0.5, rel=1e-5) for earlier, later in itertools.pairwise(rates))


def test_an_arm_may_have_its_own_learning_rates(write_study):
    path = write_study(("exponent = 0.25", "exponent = 0.25\nlearning_rates = { low = 1.0, high = 2.0, count = 2 }"))
    study = read_study(path)
    assert study.points_of(study.arms[1]) == [Point({"lr": 1.0}), Point({"lr": 2.0})]


FAULTS = {
    "an unknown key": (('metric = "loss"', 'metric = "loss"\nmetrik = "x"'), "metrik"),
    "a missing key": (('task = "task.py:train"', ""), "task"),
    "no baseline": (("baseline = true", "baseline = false"), "exactly one arm must have baseline = true; none have it"),
    "two baselines": (("exponent = 0.25", "baseline = true"), "exactly one arm"),
    "equal names": (('name = "quarter"', 'name = "adamw"'), "arm names must differ"),
    "another number of learning rates": (
        ("exponent = 0.25", "learning_rates = [1.0]"),
        "every arm must try as many points, by its search or learning_rates; they try {'adamw': 2, 'quarter': 1}",
    ),
    "a repeated learning rate": (("[0.01, 0.1]", "[0.1, 0.1]"), "repeat"),
    "a learning rate of zero": (("[0.01, 0.1]", "[0.0, 0.1]"), "greater than 0"),
    "one seed": (("seeds = 3", "seeds = 1"), "seeds"),
    "an lr among the arguments": (("exponent = 0.25", "lr = 0.1"), "learning_rates"),
    "another goal": (('"minimize"', '"smallest"'), "goal"),
    "an optimizer that is no dotted name": (('"equipoise.SMES"', '"import os; os.abort()"'), "optimizer"),
    "a controller without a name": (
        ("exponent = 0.25", "controller = { every = 2 }"),
        "arm[2] controller name is missing",
    ),
    "a name that is a path": (('"quadratic"', '"../quadratic"'), "name"),
    "no TOML": (('name = "quadratic"', "name = "), "is not valid TOML"),
}


@pytest.mark.parametrize(("replacement", "said"), FAULTS.values(), ids=FAULTS.keys())
def test_a_faulty_study_file_is_refused_with_what_is_wrong(write_study, replacement, said):
    with pytest.raises(UnusableInputError) as refused:
        read_study(write_study(replacement))
    assert said in str(refused.value)
    assert "study.toml" in str(refused.value)


def test_every_fault_is_named_at_once(write_study):
    with pytest.raises(UnusableInputError) as refused:
        read_study(write_study(("epochs = 3", "epochs = 0"), ('metric = "loss"', "metric = 3")))
    assert "epochs" in str(refused.value)
    assert "metric" in str(refused.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(UnusableInputError, match=r"absent\.toml cannot be read: No such file"):
        read_study(tmp_path / "absent.toml")


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("digit", "'digits'"),
        ("absent.py:train", "cannot be read"),
        ("no_such_package:train", "there is no module"),
        ("task.py:not a name", "must be one of"),
    ],
)
def test_a_task_that_cannot_be_found_is_refused(write_study, task, said):
    path = write_study(("task.py:train", task))
    with pytest.raises(UnusableInputError) as refused:
        locate_task(read_study(path).task, path.parent)
    assert said in str(refused.value)
