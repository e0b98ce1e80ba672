"""How often does a study call a difference where there is none, and how often do its intervals hold? Simulated studies say.

`make calibrate` prints the tables of docs/statistics.md (a minute). The tests run the same with fewer studies.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from equipoise.study._statistics.paired import (
    UNEQUAL_NOISE_LEVEL,
    mean_and_spread,
    noise_p_value,
    simultaneous_interval,
    student_p_value,
)
from equipoise.study._statistics.power import LEVEL
from equipoise.study._statistics.precision import resolution

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[int, ...]], Floats]
"""Numbers of one distribution, in an array of that shape."""


class Noise(NamedTuple):
    """What the seeds do to the runs of the baseline and of the other arms. All have the same expectation."""

    baseline: Draw
    arms: Draw


class Rates(NamedTuple):
    """Of simulated studies without any difference."""

    called: float
    """The share in which at least one arm is called better or worse."""
    holding: float
    """The share in which all intervals hold the true differences."""
    warned: float
    """Of the studies with such a call, the share in which unequal noise was reported for that arm."""


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Standard normal noise."""
    return rng.normal(size=shape)


def quiet(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """The same, 20 times as small."""
    return 0.05 * rng.normal(size=shape)


def heavy(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Student's t with 3 degrees of freedom."""
    return rng.standard_t(3, size=shape)


def skewed(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Lognormal noise, skewness 6."""
    return rng.lognormal(size=shape) - np.exp(0.5)


def slightly_skewed(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Lognormal noise, skewness 1.75."""
    return rng.lognormal(sigma=0.5, size=shape) - np.exp(0.125)


def collapsing(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Normal noise, and one run in ten collapses to 30 standard deviations below."""
    return rng.normal(size=shape) - 30 * (rng.random(shape) < 0.1)


def counted(spread: float) -> Draw:
    """Normal noise of so many test images out of 360: accuracies k/360."""

    def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
        return np.round(340 + rng.uniform(size=(shape[0], 1, 1)) + spread * rng.normal(size=shape)) / 360

    return draw


NOISES = {
    "normal": Noise(normal, normal),
    "heavy tails (t, 3 degrees of freedom)": Noise(heavy, heavy),
    "skewed (lognormal)": Noise(skewed, skewed),
    "1 run in 10 collapses": Noise(collapsing, collapsing),
    "accuracies k/360, spread 4 images": Noise(counted(4), counted(4)),
    "accuracies k/360, spread 0.7 images": Noise(counted(0.7), counted(0.7)),
    "quiet baseline, normal arms": Noise(quiet, normal),
    "quiet baseline, slightly skewed arms": Noise(quiet, slightly_skewed),
    "quiet baseline, skewed arms": Noise(quiet, skewed),
}


def simulate(noise: Noise, seeds: int, comparisons: int, *, shared: bool, studies: int, tasks: int = 1, seed: int = 0) -> Rates:
    """Judge studies in which no arm differs from its baseline, or suites of such studies, which are decided together.

    Args:
        noise: what the seeds do.
        seeds: of each arm.
        comparisons: the number of arms besides the baseline.
        shared: whether all arms are compared with one baseline, or each with one of its own.
        studies: how many, or how many suites.
        tasks: how many each suite has.
        seed: of the random numbers.
    """
    rng = np.random.default_rng([seed, seeds, comparisons, shared])
    every, family = tasks * studies, tasks * comparisons
    arms = noise.arms(rng, (every, comparisons, seeds))
    baselines = noise.baseline(rng, (every, 1 if shared else comparisons, seeds))
    if "counted" in noise.arms.__qualname__:  # one network: all arms have about the same accuracy
        both = noise.arms(rng, (every, comparisons + baselines.shape[1], seeds))
        arms, baselines = both[:, :comparisons], both[:, comparisons:]
    step = resolution(np.concatenate([arms, baselines], 1).reshape(every, -1))[:, None]
    mean, spread = mean_and_spread(arms - baselines, step)
    low, high = simultaneous_interval(mean, spread, seeds, family)
    called = family * student_p_value(mean, spread, seeds) <= LEVEL
    unequal = noise_p_value(arms, np.broadcast_to(baselines, arms.shape)) <= UNEQUAL_NOISE_LEVEL

    def together(found: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return found.reshape(studies, family)

    any_called = together(called).any(-1)
    return Rates(
        called=float(any_called.mean()),
        holding=float(together((low <= 0) & (high >= 0)).all(-1).mean()),
        warned=float(together(called & unequal).any(-1).sum() / max(any_called.sum(), 1)),
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=100_000)
    studies = parser.parse_args().studies
    print("| noise | comparisons | n = 3 | n = 5 | n = 7 | n = 10 | n = 18 |")
    print("|---|---|---|---|---|---|---|")
    for name, noise in NOISES.items():
        for comparisons in (1, 3, 5):
            row = [simulate(noise, seeds, comparisons, shared=True, studies=studies) for seeds in (3, 5, 7, 10, 18)]
            print(f"| {name} | {comparisons} | {' | '.join(f'{100 * rates.called:.1f} %' for rates in row)} |", flush=True)
    print("\n| tasks | comparisons on each | n = 5 | n = 7 | n = 10 | n = 18 |")
    print("|---|---|---|---|---|---|")
    for tasks in (2, 5, 10):
        for comparisons in (1, 5):
            row = [
                simulate(NOISES["normal"], seeds, comparisons, shared=True, studies=studies // 5, tasks=tasks)
                for seeds in (5, 7, 10, 18)
            ]
            print(f"| {tasks} | {comparisons} | {' | '.join(f'{100 * rates.called:.1f} %' for rates in row)} |", flush=True)


if __name__ == "__main__":
    main()
