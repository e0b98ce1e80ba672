"""What an analysis says, from runs that were made up."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from equipoise.study._analysis import Analysis, Compared, Question, decide, worst_value
from equipoise.study._cells import Result

Curve = Callable[[int], Sequence[float]]
"""The accuracies of a seed, epoch by epoch."""


def analysis(curves: dict[str, Curve], seeds: int = 8, margin: float | None = None, target: float | None = None) -> Analysis:
    """Of made-up runs; the first arm is the baseline, and a curve that ends in NaN has diverged."""
    question = Question("made up", "accuracy", "maximize", next(iter(curves)), margin, target)
    arms: list[Compared] = []
    for name, curve in curves.items():
        results = [
            Result(math.isnan(curve(seed)[-1]), 10.0, {"accuracy": dict(enumerate(curve(seed), 1))}) for seed in range(seeds)
        ]
        values = [0.1 if result.diverged else result.last("accuracy") for result in results]
        arms.append(Compared(name, tuple(range(seeds)), tuple(results), tuple(values)))
    return decide(question, arms, 0.1)


def rising(end: float, noise: float = 0.002, sign: float = 1.0) -> Curve:
    """Five epochs up to `end`, give or take a noise that differs between seeds."""
    return lambda seed: [0.2, 0.4, 0.6, 0.8, end + noise * sign * math.sin(7.0 * seed + 1)]


def mentions(found: Analysis, *words: str) -> bool:
    return any(all(word in remark for word in words) for remark in found.remarks)


def test_the_best_of_several_better_arms_leads_the_sentence():
    found = analysis({"adamw": rising(0.80), "sgd": rising(0.83, sign=-1), "lion": rising(0.86, sign=-1)})
    assert found.headline.startswith("lion beats adamw: accuracy better by +0.06")
    assert found.headline.endswith("; so do sgd.")


def test_arms_that_are_as_good_and_no_worse_are_named_with_the_margin():
    arms = {"adamw": rising(0.80), "same": rising(0.80, 0.003), "wild": rising(0.82, 0.03, -1), "bad": rising(0.7, sign=-1)}
    found = analysis(arms, margin=0.03)
    assert found.headline == "No arm is shown to beat adamw; as good within 0.03: same; no worse within 0.03: wild."
    assert mentions(found, "Shown to be worse than adamw: bad.")


def test_a_target_says_who_is_sooner_and_who_never_arrives():
    def fast(seed):
        return [0.3, 0.7, 0.9, 0.91, 0.92] if seed % 3 else [0.3, 0.9, 0.9, 0.91, 0.92]

    def slow(seed):
        return [0.2, 0.3, 0.4, 0.5, 0.6 + 0.01 * seed]

    found = analysis({"adamw": rising(0.85), "fast": fast, "slow": slow}, target=0.7)
    assert mentions(found, "accuracy = 0.7 is reached sooner than with adamw, in epochs: fast by 2.")
    assert mentions(found, "accuracy = 0.7 is reached later than with adamw, in epochs: slow by 1.")
    assert mentions(found, "in seconds: fast by 4.")
    assert mentions(found, "Not every run reaches accuracy = 0.7: slow 0 of 8. A run that does not counts with 5 epochs")


def test_a_run_that_diverged_after_the_target_has_not_arrived():
    found = analysis({"adamw": rising(0.85), "lost": lambda _: [0.3, 0.9, math.nan]}, target=0.7)
    assert set(found.time_to_target[0].times["lost"].values()) == {math.inf}
    assert found.contrasts[0].verdict == "worse"
    assert mentions(found, "lost: 8 of 8 seeds diverged, each counted as accuracy = 0.1, the worst value seen.")
    assert mentions(found, "Shown to diverge more often than adamw: lost (only it on 8 seeds, only adamw on 0; p = 0.0078).")


def test_few_seeds_unequal_noise_and_verdicts_without_a_second_opinion_are_said():
    found = analysis({"adamw": rising(0.80, 0.0001), "loud": rising(0.88, 0.02)}, seeds=3)
    assert mentions(found, "3 seeds are few for 1 comparison(s): a difference must be 3.3 times its spread")
    found = analysis({"adamw": rising(0.80, 0.0001), "loud": rising(0.88, 0.02)}, seeds=5)
    assert found.contrasts[0].verdict == "better"
    assert mentions(found, "exact sign-flip test", "does not confirm them: loud (p = 0.062)")
    assert mentions(found, "Not as noisy as adamw, by more than chance explains: loud.")
    assert not mentions(analysis({"adamw": rising(0.80), "sgd": rising(0.88, sign=-1)}), "sign-flip")


def test_a_diverged_run_counts_with_the_worst_finite_value_of_any_run():
    question = Question("q", "loss", "minimize", "adamw")
    results = [Result(False, 1.0, {"loss": {1: 3.0, 2: 0.1}}), Result(True, 1.0, {"loss": {1: 7.5, 2: math.inf, 3: math.nan}})]
    assert worst_value(question, results) == 7.5
    assert worst_value(Question("q", "loss", "minimize", "adamw", diverged=9.0), results) == 9.0


def test_the_largest_numbers_are_said_in_few_digits():
    one, other = np.random.default_rng(0).normal(1e155, 1e153, size=(2, 8)).tolist()
    found = analysis({"adamw": lambda seed: [one[seed]], "sgd": lambda seed: [2e155 + other[seed]]}, target=1e154)
    assert found.headline.startswith("sgd beats adamw: accuracy better by +1.988e+155 (95 % interval +1.981e+155")
    assert all(len(sentence) < 300 for sentence in (found.headline, *found.remarks))
