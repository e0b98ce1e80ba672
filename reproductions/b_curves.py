"""(b) Training quality follows C(beta1, beta2): alike along a curve of constant C, worse down its normals.

In x = (1-b1)/b1 and y = (1-b2)/b2 the paper's C = 2x - y. Its normal curves in the plane of the betas obey
db2/db1 = -b1^2 / (2 b2^2), that is b1^3 + 2 b2^3 = constant.
"""

from __future__ import annotations

import math
import warnings

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy import optimize, stats

from equipoise import Equipoise, StabilityWarning, theory
from equipoise.study._tasks.transformer import Transformer
from reproductions import text
from reproductions.claim import Claim, Options, all_of, judge, mean_interval, parse_options
from reproductions.sizes import SIZES
from reproductions.text import VOCABULARY

LEVEL = theory.continuous_margin(0.9, 0.999)
GUESSING = math.log(VOCABULARY)

Pair = tuple[float, float]

CLAIM = Claim(
    letter="b",
    statement=(
        "Training quality follows C(beta1, beta2) = 2(1-b1)/b1 - (1-b2)/b2: it is better where C is larger along normals of the"
        " curves of constant C, and varies less along such a curve."
    ),
    source="Gould and Tanaka, arXiv 2411.05746, on the choice of (beta, gamma)",
    rule=(
        "Validation loss of a transformer on source text after a fixed number of steps, at one learning rate; points on the"
        " curve of constant C through (0.9, 0.999) and on two of its normals. Per seed: Spearman's correlation of C and loss"
        " along each normal, averaged, is below 0; the standard deviation of the loss along the curve over that along the"
        " normals is below 1. 95 % t intervals over seeds (of the second, of its logarithm): both on the right side is"
        " reproduced, one on the wrong side is not reproduced, else inconclusive."
    ),
)


def level_point(beta1: float) -> Pair:
    """The point of the level curve through (0.9, 0.999) that has this beta1."""
    return beta1, 1 / (1 + 2 * (1 - beta1) / beta1 - LEVEL)


def normal_point(start: Pair, c: float) -> Pair:
    """The point with C = c on the normal curve through `start`."""
    constant = start[0] ** 3 + 2 * start[1] ** 3

    def beta2(beta1: float) -> float:
        return ((constant - beta1**3) / 2) ** (1 / 3)

    beta1 = optimize.brentq(lambda b1: theory.continuous_margin(b1, beta2(b1)) - c, start[0] - 1e-9, 0.999)
    return beta1, beta2(beta1)


def main(options: Options) -> None:
    """Measure, conclude."""
    source = text.load()
    seeds = range(options.choose(2, 4, 3))
    lr = options.choose(3e-3, 3e-3, 3e-4)
    level = [level_point(beta1) for beta1 in options.choose((0.9, 0.8, 0.6), (0.9, 0.87, 0.8, 0.7, 0.6, 0.5))]
    count = options.choose(3, 6)
    normals = {
        start: [normal_point(start, c) for c in np.linspace(LEVEL, lowest, count)]
        for start, lowest in ((level_point(0.9), -0.045), (level_point(0.8), -0.5))
    }
    points = list(dict.fromkeys([*level, *(point for normal in normals.values() for point in normal)]))
    losses = {point: np.array([_loss(source, options, seed, point, lr) for seed in seeds]) for point in points}

    def spread(some: list[Pair]) -> np.ndarray:
        return np.std([losses[point] for point in some], axis=0, ddof=1)

    correlations, along = [], []
    for normal in normals.values():
        c = theory.continuous_margin(*np.array(normal).T)
        correlations.append([float(stats.spearmanr(c, [losses[point][seed] for point in normal])[0]) for seed in seeds])
        along.append(spread(normal))
    correlation = mean_interval(np.mean(correlations, axis=0))
    ratio = mean_interval(np.log(spread(level) / np.mean(along, axis=0))).exponential()
    verdicts = [judge(correlation, high=0.0), judge(ratio, high=1.0)]

    def described(some: list[Pair]) -> str:
        return ", ".join(f"({b1:.3f}, {b2:.3f}): {losses[b1, b2].mean():.3f}" for b1, b2 in some)

    lines = [
        f"text: SHA-256 {source.sha256[:16]}...; {len(seeds)} seeds, {len(points)} pairs, lr {lr:g}",
        f"loss along the curve C = {LEVEL:.3f}: {described(level)}",
        *(f"loss down the normal from ({b1:.3f}, {b2:.3f}): {described(some)}" for (b1, b2), some in normals.items()),
        f"correlation of C and loss along the normals: {correlation}: {verdicts[0].value}",
        f"spread of the loss along the curve over that along the normals: {ratio}: {verdicts[1].value}",
    ]
    CLAIM.conclude(options, "\n".join(lines), all_of(verdicts), _figure(losses, level, normals))


def _loss(source: text.Text, options: Options, seed: int, betas: Pair, lr: float) -> float:
    """Validation loss at the end; guessing at most, so that one that exploded does not decide alone."""
    size = SIZES[options.scale.value]
    torch.manual_seed(seed)
    model = Transformer(size).to(options.device)
    windows = torch.Generator().manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StabilityWarning)  # half of the pairs are unstable on purpose
        optimizer = Equipoise(model.parameters(), lr=lr, betas=betas)
    for _ in range(options.choose(100, 300, 2000)):
        inputs, following = text.windows(source.training, size.batch, size.context, windows)
        loss = model.loss(inputs.to(options.device), following.to(options.device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    windows.manual_seed(0)  # the same validation for all
    with torch.no_grad():
        batches = [text.windows(source.validation, size.batch, size.context, windows) for _ in range(20)]
        loss = float(np.mean([model.loss(x.to(options.device), y.to(options.device)).item() for x, y in batches]))
    return min(loss, GUESSING) if math.isfinite(loss) else GUESSING


def _figure(losses: dict[Pair, np.ndarray], level: list[Pair], normals: dict[Pair, list[Pair]]) -> Figure:
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    where, along, down = figure.subplots(1, 3)
    curve = np.array([level_point(b1) for b1 in np.linspace(0.45, 0.9, 50)]).T
    where.plot(*curve, color="#0072b2", linewidth=0.8)
    boundary = np.linspace(0.45, 1, 50)
    where.plot(boundary, boundary**2, color="black", linestyle=":", linewidth=0.8)
    where.plot(*np.array(level).T, "o", color="#0072b2", markersize=4)
    along.set(xlabel="beta1 along the curve", ylabel="validation loss", title=f"C = {LEVEL:.3f}")
    along.errorbar([b1 for b1, _ in level], *_means(losses, level), fmt="o-", color="#0072b2", capsize=2)
    for (start, normal), colour in zip(normals.items(), ("#d55e00", "#009e73"), strict=True):
        where.plot(*np.array(normal).T, "s-", color=colour, markersize=4, linewidth=0.8)
        c = theory.continuous_margin(*np.array(normal).T)
        down.errorbar(
            c, *_means(losses, normal), fmt="s-", color=colour, capsize=2, label=f"from ({start[0]:.2f}, {start[1]:.3f})"
        )
    where.set(xlabel="beta1", ylabel="beta2", title="pairs (dotted: the boundary of the stability region)")
    down.axvline(0, color="grey", linewidth=0.5)
    down.set(xlabel="C", title="along the normals")
    down.legend()
    down.sharey(along)
    return figure


def _means(losses: dict[Pair, np.ndarray], some: list[Pair]) -> tuple[list[float], list[float]]:
    """Means and standard errors over seeds."""
    return [losses[point].mean() for point in some], [stats.sem(losses[point]) for point in some]


if __name__ == "__main__":
    main(parse_options(CLAIM.statement))
