"""One decision over several tasks."""

from __future__ import annotations

import math

import numpy as np
import pytest

from equipoise.study._statistics.paired import compare
from equipoise.study._suite.table import as_plain
from tests.study.suite.made import made_analysis

SEEDS = 9


def runs(*gains):
    """One arm for each gain over the baseline, which comes first."""
    rng = np.random.default_rng(1)
    return {f"arm{index}": (rng.normal(0, 0.1, SEEDS) + gain).tolist() for index, gain in enumerate((0.0, *gains))}


@pytest.mark.parametrize(
    ("gains", "margin", "said"),
    [
        ([(1, 0), (1, 0)], None, "Use arm1 in place of arm0: better on all 2 tasks."),
        ([(1, 1), (1, 1)], None, "Use arm1 or arm2 in place of arm0: better on all 2 tasks."),
        (
            [(1, 0), (0, 0)],
            None,
            "Consider arm1 in place of arm0: better on 1 of 2 tasks, and not shown to be worse on the other.",
        ),
        ([(1, 0), (-1, 0)], None, "Choose by task: arm1 on task0; arm0 on task1."),
        ([(-1, 0), (0, -1)], None, "Keep arm0: no other arm is shown to beat it on any of 2 tasks."),
        ([(0, 0), (0, -1)], 0.5, "Keep arm0, or take arm1: as good within the margin on all 2 tasks."),
        ([(0, -0.5), (0, -1)], 0.5, "Keep arm0, or take arm1: as good within the margin on all 2 tasks."),
        ([(1,)], None, "Use arm1 in place of arm0: better on the task."),
    ],
)
def test_the_decision_is_read_off_the_verdicts_on_all_tasks(gains, margin, said):
    assert made_analysis({f"task{number}": runs(*own) for number, own in enumerate(gains)}, margin=margin).headline == said


def test_the_intervals_of_all_arms_on_all_tasks_are_one_family():
    tasks = {f"task{number}": runs(0.1, 0.2) for number in range(3)}
    together = made_analysis(tasks)
    for task, values in tasks.items():
        alone = compare({arm: dict(enumerate(own)) for arm, own in values.items()}, "arm0", "maximize")
        for one, other in zip(alone, together.tasks[task].contrasts, strict=True):
            assert other.comparisons == 3 * one.comparisons == 6
            assert other.p_value == one.p_value
            assert other.interval[0] < one.interval[0] < one.interval[1] < other.interval[1]


def test_no_number_of_a_decision_depends_on_the_unit_of_a_metric():
    tasks = {f"task{number}": runs(0.1, -0.2) for number in range(2)}
    scaled = {task: {arm: [1000 * value for value in own] for arm, own in values.items()} for task, values in tasks.items()}
    one, other = as_plain(made_analysis(tasks)), as_plain(made_analysis(scaled))
    assert [one["headline"], one["arms"]] == [other["headline"], other["arms"]]
    for first, second in zip(one["profiles"][0]["distances"].values(), other["profiles"][0]["distances"].values(), strict=True):
        assert list(first.values()) == pytest.approx(list(second.values()), rel=1e-6, abs=1e-9)


def test_how_little_few_tasks_say_is_said_with_a_number():
    few = made_analysis({f"task{number}": runs(1) for number in range(5)})
    assert few.about_tasks == (
        "5 tasks say little about another one. Only an arm that wins on each of 6 tasks is shown, by a sign test at 5 %, to win"
        " on most tasks like these."
    )
    many = made_analysis({f"task{number}": runs(1, -1) for number in range(6)})
    assert [many.sign_test(standing) for standing in many.standings] == [2 * 2 * 0.5**6] * 2
    assert "not shown by a sign test for any arm" in many.about_tasks
    enough = made_analysis({f"task{number}": runs(1, -1) for number in range(7)})
    assert "arm1 (7 won, 0 lost, p = 0.031), arm2 (0 won, 7 lost, p = 0.031)" in enough.about_tasks


def test_an_arm_that_is_missing_on_a_task_is_named_and_not_chosen():
    tasks = {"full": runs(1, 0), "short": runs(1, 0)}
    del tasks["short"]["arm1"]
    found = made_analysis(tasks)
    assert [standing.on("missing") for standing in found.standings] == [["short"], []]
    assert found.headline == "Choose by task: arm1 on full; arm0 on short."
    assert "arm1 could not be compared on short: too few of its trials have a result." in found.remarks
    assert math.isinf(found.profiles[0].distances["arm1"]["short"])
