"""What claim (i) compares."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import torch

from equipoise.study._analysis import Analysis, Compared, Question, Tuned
from equipoise.study._arms.arm import Arm
from equipoise.study._arms.space import Point
from reproductions.claim import Options, Scale, Verdict
from reproductions.i_one_learning_rate import ARMS, CLAIM, NETWORKS, ONE_STEP, judged, move, rates

OPTIONS = Options(Scale.DEFAULT, torch.device("cpu"), Path())


def found(best: dict[str, float]) -> Analysis:
    """A study that found these learning rates best, and 0.01 for all other arms."""
    compared: list[Compared] = []
    for arm in ARMS:
        chosen = best.get(arm["name"], 0.01)
        points = tuple(Point({"lr": rate}) for rate in rates(OPTIONS, arm))
        tuned = Tuned(Arm(**arm), points, (), (), Point({"lr": chosen}))
        compared.append(Compared(arm["name"], (0,), (), (0.0,), tuned))
    return Analysis(Question("i", "m", "maximize", ARMS[0]["name"]), tuple(compared), (), (), (), 0.0)


def test_the_claim_has_a_rule_for_all_three_verdicts():
    assert CLAIM.letter == "i"
    assert all(word in CLAIM.rule for word in ("reproduced", "not reproduced", "inconclusive"))


def test_networks_are_pictures_and_text_without_and_with_layers():
    assert len({network.name for network in NETWORKS}) == 4


@pytest.mark.parametrize("arm", ARMS, ids=lambda arm: arm["name"])
def test_learning_rates_lie_half_a_decade_apart_at_most_one_step_and_as_many_for_every_arm(arm):
    tried = rates(OPTIONS, arm)
    assert len(tried) == len(rates(OPTIONS, ARMS[0]))
    assert all(math.sqrt(10) / 1.1 < high / low < ONE_STEP for low, high in itertools.pairwise(tried))


def test_a_move_of_one_step_is_small_and_of_two_is_not():
    one, two = found({"initial 0": 0.003}), found({"initial 0": 0.003, "initial 0.25": 0.03})
    assert (move("initial", one), judged("initial", one)) == (pytest.approx(10 / 3), Verdict.REPRODUCED)
    assert (move("initial", two), judged("initial", two)) == (pytest.approx(10), Verdict.NOT_REPRODUCED)
    assert move("none", found({"none 0": 0.3})) == pytest.approx(30)


def test_without_a_reference_the_claim_is_the_opposite():
    assert judged("none", found({"none 0": 0.03})) is Verdict.NOT_REPRODUCED
    assert judged("none", found({"none 0": 1.0})) is Verdict.REPRODUCED


def test_a_best_learning_rate_at_the_edge_leaves_it_open():
    assert judged("initial", found({"initial 0": 0.0001})) is Verdict.INCONCLUSIVE
    assert judged("none", found({"initial 0": 0.0001, "none 0": 1.0})) is Verdict.REPRODUCED
