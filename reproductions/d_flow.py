"""(d) The continuous-time flow follows the trajectory of the optimizer.

A flow needs one gradient per state, so everything here is full batch, and few enough parameters for a stiff solver: logistic
regression on digits (17), and a whole transformer that moves in a random subspace of 8 dimensions.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from equipoise import theory
from equipoise.check._map import COLOURS
from equipoise.study._tasks.transformer import Size, Transformer
from reproductions import text
from reproductions.claim import Claim, Options, all_of, judge, mean_interval, parse_options

Floats = NDArray[np.float64]
Problem = tuple[Callable[[Floats], Floats], Floats]

HORIZON = 0.5
"""The time s = n lr that every run covers: Adam moves each parameter by up to this."""

SIZE = Size(width=16, depth=1, heads=2, context=16, batch=8)
SUBSPACE = 8

FRESH_SEEDS = range(5, 15)
"""Seeds of the transformer. Seeds 0 to 4 left the slope for Adam open (0.60 [-0.16, 1.36]), and said how many it would take."""

RULES = {
    "Adam": {"betas": (0.9, 0.999)},
    "SMES 1/4": {"betas": (0.9, 0.99), "exponent": 0.25},
    "2-Adam": {"betas": (0.9, 0.99), "stages": 2},
}

CLAIM = Claim(
    letter="d",
    statement="The continuous-time flow follows the trajectory of the optimizer, the closer the smaller the learning rate.",
    source="Gould and Tanaka, arXiv 2411.05746 (first order, Adam); ours: docs/theory/flow.md (other rules, second order)",
    rule=(
        f"Full batch, over a time of {HORIZON}, for every problem and rule. Distance: at the smallest learning rate the largest"
        " distance of any parameter at any step, over the largest distance it moved, is at most 5 % for the first order."
        " Slope: of ln(distance) in ln(lr), above 0 for the first order. (Its limit for small lr is 1 while no gradient"
        " changes its sign; here signs do change.) Second order: at the smallest lr its distance is below that of the first."
        " 95 % t intervals over seeds (starting points, batches): all on the right side is reproduced, one on the wrong side"
        " is not reproduced, else inconclusive."
    ),
)


def main(options: Options) -> None:
    """Measure, conclude."""
    source = text.load()
    steps = options.choose((20, 40), (50, 100, 200))
    lines = [f"text: SHA-256 {source.sha256[:16]}...; {steps} steps, lr = {HORIZON} / steps"]
    verdicts, shown = [], {}
    for problem, make, names, seeds in (
        ("digits", digits, list(RULES), options.choose(range(4), range(8))),
        (
            "transformer",
            lambda seed: transformer(source, seed),
            options.choose(["Adam"], ["Adam", "SMES 1/4"]),
            options.choose(range(2), FRESH_SEEDS),
        ),
    ):
        for name in names:
            errors = np.array([[_error(make(seed), RULES[name], count, 1) for count in steps] for seed in seeds])
            better = [_error(make(seed), RULES[name], steps[-1], 2) for seed in seeds]
            distance = mean_interval(errors[:, -1])
            slope = mean_interval([np.polyfit(-np.log(steps), np.log(row), 1)[0] for row in errors])
            gain = mean_interval(np.log(better / errors[:, -1]))
            found = [judge(distance, high=0.05), judge(slope, low=0.0), judge(gain, high=0.0)]
            verdicts += found
            shown[f"{problem}, {name}"] = errors.mean(axis=0), float(np.mean(better))
            lines.append(
                f"{problem}, {name}, {len(seeds)} seeds: distance {distance}; slope {slope}; second order"
                f" {gain.exponential()} times the first: {all_of(found).value}"
            )
    figure = _figure(steps, shown, transformer(source, 0))
    CLAIM.conclude(options, "\n".join(lines), all_of(verdicts), figure)


def digits(seed: int) -> Problem:
    """Zeros against ones, as 4x4 pixels and a constant; the start is random."""
    data = load_digits()
    two = data.target < 2
    pixels = data.data[two].reshape(-1, 4, 2, 4, 2).mean((2, 4)).reshape(-1, 16) / 16
    inputs, targets = np.c_[pixels, np.ones(len(pixels))], data.target[two].astype(float)
    start = np.random.default_rng(seed).normal(size=17)
    return lambda w: inputs.T @ (1 / (1 + np.exp(-inputs @ w)) - targets) / len(targets), start


def transformer(source: text.Text, seed: int) -> Problem:
    """Coordinates z of a transformer at its initial weights + P z, for a random P, on one batch of text."""
    torch.manual_seed(seed)
    model = Transformer(SIZE).double()
    generator = torch.Generator().manual_seed(seed)
    inputs, following = text.windows(source.training, SIZE.batch, SIZE.context, generator)
    weights = list(model.parameters())
    start = parameters_to_vector(weights).detach()
    directions = 0.1 * torch.randn(len(start), SUBSPACE, dtype=torch.float64, generator=generator)

    def gradient(z: Floats) -> Floats:
        vector_to_parameters(start + directions @ torch.from_numpy(z), weights)
        found = torch.autograd.grad(model.loss(inputs, following), weights)
        return (torch.cat([part.flatten() for part in found]) @ directions).numpy()

    return gradient, np.zeros(SUBSPACE)


def _error(problem: Problem, rule: dict, steps: int, order: int) -> float:
    """The largest distance between flow and rule, over the largest distance moved; 1 for a flow that ended early."""
    gradient, start = problem
    found = theory.discrepancy(gradient, start, lr=HORIZON / steps, steps=steps, order=order, **rule)
    if found.flow.status is not theory.FlowStatus.COMPLETED:
        return 1.0
    return float(found.distance.max() / np.abs(found.theta - start).max())


def _figure(steps: tuple[int, ...], shown: dict[str, tuple[Floats, float]], problem: Problem) -> Figure:
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    path, errors = figure.subplots(1, 2)
    gradient, start = problem
    count = steps[len(steps) // 2]
    found = theory.discrepancy(gradient, start, lr=HORIZON / count, steps=count, **RULES["Adam"])
    for index, colour in enumerate(COLOURS[:5]):
        path.plot(found.theta[:, index], "o", color=colour, markersize=2)
        path.plot(found.flow.theta[:, index], color=colour, linewidth=0.8)
    path.set(xlabel="step", ylabel="coordinate of the transformer", title="dots: Adam, lines: its flow (first order)")
    rates = HORIZON / np.array(steps)
    for (name, (first, second)), colour in zip(shown.items(), COLOURS, strict=False):
        errors.loglog(rates, first, "o-", color=colour, markersize=4, label=name)
        errors.plot(rates[-1], second, "s", color=colour, markersize=5)
    errors.minorticks_off()
    errors.set_xticks(rates, [f"{rate:g}" for rate in rates])
    errors.set(xlabel="lr", ylabel="distance / movement", title="circles: first order, squares: second")
    errors.legend(fontsize=8)
    return figure


if __name__ == "__main__":
    main(parse_options(CLAIM.statement))
