"""One number chooses, another decides; every arm has the same budget for being chosen; what had no effect is said."""

from __future__ import annotations

import math
import re

import pytest

from equipoise.study import Analysis
from equipoise.study import run as run_study
from equipoise.study._report.progress import SilentProgress

PARABOLAS = """
import math

def train(trial):
    rate = math.log10(trial.learning_rate)
    for epoch in trial.epochs():
        trial.report(loss=(rate + 1) ** 2 + trial.seed % 10_000 / 1000, validation_loss=(rate + 2) ** 2, other=-(rate + 2) ** 2)
"""
"""The loss is least at 0.1, the validation loss at 0.01."""


class Listening(SilentProgress):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.phases: list[tuple[str, int]] = []

    def phase(self, name: str, total: int, done: int, later: int) -> None:
        self.phases.append((name, total))

    def tell(self, message: str) -> None:
        self.told.append(message)


def run(path) -> tuple[Analysis, Listening]:
    listening = Listening()
    return run_study(path, progress=listening, workers=1), listening


FEW = ("seeds = 3\ntuning_seeds = 2", "seeds = 2\ntuning_seeds = 1")
SELECT = ('metric = "loss"', 'metric = "loss"\nselect_by = "validation_loss"')
WARNING = "loss chooses the point of each arm and also decides between the arms"


def test_what_chooses_is_not_what_decides(write_study):
    analysis, listening = run(write_study(FEW, SELECT, task=PARABOLAS))
    for arm in analysis.arms:
        assert (arm.tuned.chosen, arm.tuned.means) == (0.01, pytest.approx([0.0, 1.0]))
        assert arm.values == pytest.approx((1.0, 1.001))
    assert not any(WARNING in remark for remark in [*analysis.remarks, *listening.told])


def test_what_chooses_may_have_a_goal_of_its_own(write_study):
    select = 'metric = "loss"\nselect_by = { metric = "other", goal = "maximize" }'
    analysis, _ = run(write_study(FEW, ('metric = "loss"', select), task=PARABOLAS))
    assert [arm.tuned.chosen for arm in analysis.arms] == [0.01, 0.01]


def test_a_metric_that_chooses_too_is_warned_of_before_and_after_and_so_are_values_at_an_edge(write_study):
    analysis, listening = run(write_study(FEW, task=PARABOLAS))
    assert [arm.tuned.chosen for arm in analysis.arms] == [0.1, 0.1]
    assert sum(WARNING in told for told in listening.told) == 1
    assert any(WARNING in remark for remark in analysis.remarks)
    (remark,) = [remark for remark in analysis.remarks if "at the edge" in remark]
    assert remark == (
        "The best value lies at the edge of the range that was tried; widen it: adamw (lr = 0.1), quarter (lr = 0.1)."
    )


def test_arms_search_their_own_spaces_with_as_many_points(write_study):
    searched = 'optimizer = "torch.optim.AdamW"\nsearch = { lr = { low = 1e-3, high = 1.0 }, weight_decay = [0.0, 0.1] }'
    analysis, listening = run(
        write_study(
            FEW,
            ("learning_rates = [0.01, 0.1]", "points = 4"),
            ('optimizer = "torch.optim.AdamW"', searched),
            (
                "exponent = 0.25",
                'exponent = 0.25\nsearch = { lr = [0.01, 0.1], "betas.1" = [0.9, 0.99] }\nbetas = [0.9, 0.999]',
            ),
        )
    )
    assert listening.phases == [("tuning", 4 * 2), ("comparison", 2 * 2)]
    adamw, quarter = (arm.tuned for arm in analysis.arms)
    assert {key for point in adamw.points for key in point.values} == {"lr", "weight_decay"}
    assert sorted((point.lr, point.values["betas.1"]) for point in quarter.points) == [
        (lr, beta) for lr in (0.01, 0.1) for beta in (0.9, 0.99)
    ]
    for tuned in (adamw, quarter):
        assert tuned.means[tuned.points.index(tuned.point)] == min(tuned.means)


EXTEND = (FEW[0], f"{FEW[1]}\nextend = 2")


@pytest.mark.long
def test_a_best_value_at_the_edge_extends_the_range_of_that_arm_and_the_budget_of_all(write_study):
    # Of the rates of adamw the best lies at the upper edge, and beyond it; of quarter's in the middle.
    rates = ("learning_rates = [0.01, 0.1]", "learning_rates = [0.00001, 0.0001, 0.001, 0.003]")
    own = ("exponent = 0.25", "exponent = 0.25\nlearning_rates = [0.001, 0.01, 0.1, 1.0]")
    analysis, listening = run(write_study(SELECT, EXTEND, rates, own, task=PARABOLAS))
    adamw, quarter = (arm.tuned for arm in analysis.arms)
    rounds = [total for name, total in listening.phases if name == "tuning"]
    assert rounds[:2] == [8, 2]  # a quarter of four points, for each arm
    assert len(adamw.points) == len(quarter.points) == sum(rounds) / 2
    added = sorted(set(adamw.rates) - {0.00001, 0.0001, 0.001, 0.003})
    half = math.sqrt(0.003 / 0.00001)
    assert 0.003 < added[0] < 0.003 * half
    assert adamw.chosen == min(adamw.rates, key=lambda rate: abs(math.log10(rate) + 2)) > 0.003
    assert all(0.001 <= rate <= 1.0 for rate in quarter.rates)


def test_a_best_value_inside_of_its_range_extends_nothing(write_study):
    rates = ("learning_rates = [0.01, 0.1]", "learning_rates = [0.001, 0.01, 0.1]")
    _, listening = run(write_study(SELECT, EXTEND, rates, task=PARABOLAS))
    assert [name for name, _ in listening.phases] == ["tuning", "comparison"]


SCHEDULED = """
import torch

def train(trial):
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = trial.optimizer([weight])
    scheduler = trial.scheduler(optimizer, trial.total_epochs)
    for epoch in trial.epochs():
        loss = weight.square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        trial.report(loss=loss, validation_loss=loss)
"""
LINEAR = ("exponent = 0.25", 'exponent = 0.25\nschedule = "linear"')
IGNORED = "The task does not use trial.scheduler, so these had no effect: quarter (schedule = linear)."


def test_a_schedule_moves_the_learning_rate_and_is_a_curve(write_study):
    analysis, _ = run(write_study(FEW, SELECT, LINEAR, task=SCHEDULED))
    adamw, quarter = analysis.arms
    chosen = quarter.tuned.chosen
    for result in quarter.results:
        assert result.curves["learning_rate"] == pytest.approx({1: chosen * 2 / 3, 2: chosen / 3, 3: 0.0})
    assert all("learning_rate" not in result.curves for result in adamw.results)
    assert IGNORED not in analysis.remarks


def test_a_schedule_that_the_task_ignores_is_said_to_have_no_effect_also_of_a_finished_study(write_study):
    path = write_study(FEW, SELECT, LINEAR, task=re.sub(r".*scheduler.*\n", "", SCHEDULED))
    assert IGNORED in run(path)[0].remarks
    assert IGNORED in run(path)[0].remarks


HALVED = ("epochs = 3\nseeds = 3\ntuning_seeds = 2", "epochs = 4\nseeds = 2\ntuning_seeds = 1\nhalving = 2")
FOUR = ("learning_rates = [0.01, 0.1]", "learning_rates = [0.001, 0.01, 0.1, 1.0]")


@pytest.mark.long
def test_halving_trains_the_best_half_twice_as_long_and_counts_the_same_for_every_arm(write_study, tmp_path):
    counted = PARABOLAS.replace(
        "        trial.report",
        "        open('epochs.log', 'a').write(f'{trial.seed} {trial.learning_rate}\\n')\n        trial.report",
    ).replace("'epochs.log'", repr(str(tmp_path / "epochs.log")))
    analysis, listening = run(write_study(SELECT, HALVED, FOUR, task=counted))
    assert listening.phases == [("tuning", 8), ("tuning", 4), ("tuning", 2), ("comparison", 4)]
    for arm in analysis.arms:
        assert arm.tuned.chosen == 0.01
        assert (len(arm.tuned.points), len(arm.tuned.tried)) == (1, 4)
        assert (arm.tuned.edges, arm.search) == ((), None)
    trained = (tmp_path / "epochs.log").read_text().splitlines()
    # Of each arm: four points for an epoch, two for two, one for all four.
    assert sum(line.startswith("0 ") for line in trained) == 2 * (4 * 1 + 2 * 2 + 1 * 4)
    assert sum(line.startswith("0 1.0") for line in trained) == 2 * 1  # the worst is stopped after its first epoch
