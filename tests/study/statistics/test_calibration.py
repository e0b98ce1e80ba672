"""Studies without any difference are called different as often as they say, and their intervals hold as often as they say."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from benchmarks.calibration import NOISES, normal, simulate
from equipoise.study._statistics.divergence import DivergenceContrast, DivergenceRate
from equipoise.study._statistics.paired import compare
from equipoise.study._statistics.target import first_reached, time_to_target

STUDIES = 10_000
SEEDS = (5, 7, 10, 18)


@pytest.mark.parametrize("shared", [True, False], ids=["shared baseline", "baselines of their own"])
@pytest.mark.parametrize("comparisons", [1, 3, 5])
@pytest.mark.parametrize("seeds", SEEDS)
def test_five_of_a_hundred_studies_without_a_difference_call_one(seeds, comparisons, shared):
    rates = simulate(NOISES["normal"], seeds, comparisons, shared=shared, studies=STUDIES)
    assert rates.called == pytest.approx(0.05, abs=0.01)
    assert rates.holding == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize(("tasks", "comparisons"), [(2, 1), (2, 5), (6, 5)])
@pytest.mark.parametrize("seeds", SEEDS)
def test_five_of_a_hundred_suites_without_a_difference_call_one_on_any_task(seeds, tasks, comparisons):
    rates = simulate(NOISES["normal"], seeds, comparisons, shared=True, studies=STUDIES, tasks=tasks)
    assert rates.called == pytest.approx(0.05, abs=0.01)
    assert rates.holding == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize("comparisons", [1, 5])
@pytest.mark.parametrize("seeds", [3, *SEEDS])
@pytest.mark.parametrize("name", [name for name in NOISES if "baseline" not in name])
def test_no_noise_that_all_arms_share_makes_more_false_calls(name, seeds, comparisons):
    """Skewed and heavy-tailed noise, collapsing runs, and ties of coarse accuracies."""
    rates = simulate(NOISES[name], seeds, comparisons, shared=True, studies=3_000)
    assert rates.called <= 0.075
    assert rates.holding >= 0.925


@pytest.mark.parametrize("seeds", SEEDS)
def test_what_a_quiet_baseline_and_skewed_arms_do_is_as_documented_and_warned_of(seeds):
    rates = simulate(NOISES["quiet baseline, skewed arms"], seeds, 1, shared=True, studies=STUDIES)
    assert 0.12 <= rates.called <= 0.19
    assert rates.warned >= (0.75 if seeds == 5 else 0.98)


@pytest.mark.parametrize("seeds", [5, 10])
def test_intervals_hold_true_differences_that_are_not_zero_all_at_once(seeds):
    rng = np.random.default_rng(seeds)
    gains = np.array([0.0, 0.5, -2.0])
    held = []
    for _ in range(1_000):
        runs = rng.normal(size=(4, seeds)) + np.array([0.0, *gains])[:, None]
        arms = {f"arm {index}": dict(enumerate(own.tolist())) for index, own in enumerate(runs)}
        found = compare(arms, "arm 0", "maximize")
        held.append(all(c.interval[0] <= gain <= c.interval[1] for c, gain in zip(found, gains, strict=True)))
    assert np.mean(held) == pytest.approx(0.955, abs=0.02)


def test_an_arm_that_is_worse_by_the_margin_is_rarely_as_good():
    rng = np.random.default_rng(1)
    verdicts = []
    for _ in range(1_000):
        base = normal(rng, (1, 10))[0]
        arms = {
            "base": dict(enumerate(base.tolist())),
            "arm": dict(enumerate((base - 0.5 + 0.3 * normal(rng, (10,))).tolist())),
        }
        verdicts.append(compare(arms, "base", "maximize", margin=0.5)[0].verdict)
    assert 0 < verdicts.count("as good") + verdicts.count("no worse") <= 45  # expected are 25: half of the level


@pytest.mark.parametrize("louder", [1.0, 3.0], ids=["equal noise", "one arm three times as noisy"])
@pytest.mark.parametrize("epochs", [5, 50])
def test_looking_at_every_epoch_makes_no_more_false_calls_of_a_time(epochs, louder):
    rng = np.random.default_rng(epochs)
    verdicts = []
    for _ in range(400):
        noise = 0.3 * rng.normal(size=(2, 8, epochs)) * np.array([1.0, louder])[:, None, None]
        curves = (noise + np.linspace(0, 3, epochs)).tolist()
        times = {
            arm: {seed: first_reached(dict(enumerate(curve, 1)), 2.0, "maximize") for seed, curve in enumerate(runs)}
            for arm, runs in zip(("base", "arm"), curves, strict=True)
        }
        verdicts.append(time_to_target(times, "base", float(epochs), "epoch").contrasts[0].verdict)
    assert 400 - verdicts.count("not shown") <= 32


@pytest.mark.parametrize("rate", [0.02, 0.3, 0.7])
def test_rates_of_divergence_lie_in_their_intervals_and_equal_rates_are_rarely_told_apart(rate):
    seeds = 12
    intervals = [DivergenceRate(diverged, seeds).interval for diverged in range(seeds + 1)]
    held = [stats.binom.pmf(diverged, seeds, rate) for diverged, (low, high) in enumerate(intervals) if low <= rate <= high]
    assert sum(held) >= 0.95
    chances = [rate * (1 - rate), rate * (1 - rate), 1 - 2 * rate * (1 - rate)]
    told = [
        stats.multinomial.pmf([only_arm, only_base, seeds - only_arm - only_base], seeds, chances)
        for only_arm in range(seeds + 1)
        for only_base in range(seeds + 1 - only_arm)
        if DivergenceContrast("arm", only_arm, only_base, 1).shown
    ]
    assert 0 < sum(told) <= 0.05
