"""(c) The stable region of other exponents: b2^p > b1. New, ours: the papers treat p = 1/2.

As in (a), training and silence are measured apart. At a smaller exponent an element whose gradient vanishes also has a small
update (of degree 1 - 2p in the scale of the gradient), so that growth has farther to go before it is the largest of all:
training says how much of the worst case is met in practice, silence where the boundary is.
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from equipoise import theory
from equipoise.check._map import COLOURS
from reproductions import text
from reproductions.claim import Claim, Interval, Options, all_of, judge, mean_interval, parse_options
from reproductions.updates import Updates, record

BETA2 = 0.7

CLAIM = Claim(
    letter="c",
    statement="A smaller exponent p widens the stable region: updates stay bounded where b2^p > b1, and grow outside of it.",
    source="ours: the stability region and the update bound; for p = 1/2 Gould and Tanaka, arXiv 2411.05746",
    rule=(
        "At beta2 = 0.7 a scan of beta1 for every exponent, a transformer on source text. Bound: in no stable run |u_n| > K_n"
        " G^(1-2p), G the largest gradient so far. Boundary: beta1* is where the growth of max|u| in silence, a line in ln"
        " beta1, is 0; the measured exponent ln beta1* / ln beta2 is within p +- 0.01 for every p. 95 % intervals: all on the"
        " right side is reproduced, one on the wrong side is not reproduced, else inconclusive. Growth in training is reported,"
        " without a verdict."
    ),
)

Runs = dict[tuple[float, float, int], Updates]


def main(options: Options) -> None:
    """Measure, conclude."""
    source = text.load()
    exponents = options.choose((0.25, 0.5), (0.125, 0.25, 0.375, 0.5))
    first_betas = options.choose((0.8, 0.95), (0.7, 0.8, 0.88, 0.93, 0.97, 0.99))
    seeds = range(options.choose(2, 3))
    runs: Runs = {
        (p, beta1, seed): record(source, options, seed, (beta1, BETA2), p)
        for p in exponents
        for beta1 in first_betas
        for seed in seeds
    }
    shares = np.array([run.share_of_bound() for run in runs.values() if theory.margin(*run.betas, run.exponent) > 0])
    bound = Interval(shares.max(), shares.min(), shares.max())  # of all steps: one violation is enough
    verdicts = [judge(bound, high=1 + 1e-9)]
    lines = [
        f"text: SHA-256 {source.sha256[:16]}...; {len(seeds)} seeds, beta1 in {first_betas}",
        f"largest |u_n| / (K_n G^(1-2p)) in a stable run: {bound.value:.6f}"
        f" ({shares[:, shares.shape[1] // 2 :].max():.3f} in the second half): {verdicts[0].value}",
    ]
    for p in exponents:
        found = mean_interval([_boundary_exponent([runs[p, beta1, seed] for beta1 in first_betas]) for seed in seeds])
        verdicts.append(judge(found, p - 0.01, p + 0.01))
        outside = [beta1 for beta1 in first_betas if theory.margin(beta1, BETA2, p) < 0]
        training = mean_interval([_multiple([runs[p, beta1, seed] for beta1 in outside]) for seed in seeds])
        lines.append(
            f"p = {p}: stable below beta1 = {BETA2**found.value:.4f} (predicted: {BETA2**p:.4f}), measured exponent"
            f" {found.value:.5f} [{found.low:.5f}, {found.high:.5f}]: {verdicts[-1].value};"
            f" growth in training over the predicted rate: {training}"
        )
    CLAIM.conclude(options, "\n".join(lines), all_of(verdicts), _figure(runs, exponents, first_betas, len(seeds)))


def _boundary_exponent(runs: list[Updates]) -> float:
    """ln beta1* / ln beta2, where beta1* is the zero of the growth in silence."""
    slope, intercept = np.polyfit([np.log(run.betas[0]) for run in runs], [run.rate_in_silence() for run in runs], 1)
    return float(-intercept / slope / np.log(BETA2))


def _multiple(unstable: list[Updates]) -> float:
    """Growth in training as a multiple of the predicted rate, by regression through the origin."""
    predicted = np.array([theory.growth_rate(*run.betas, run.exponent) for run in unstable])
    return float(predicted @ [run.rate_in_training() for run in unstable] / (predicted @ predicted))


def _figure(runs: Runs, exponents: tuple[float, ...], first_betas: tuple[float, ...], seeds: int) -> Figure:
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    scan = np.linspace(first_betas[0], first_betas[-1], 100)
    for panel, name, measured in (
        (panels[0], "in silence", Updates.rate_in_silence),
        (panels[1], "in training", Updates.rate_in_training),
    ):
        for p, colour in zip(exponents, COLOURS, strict=False):
            means = [np.mean([measured(runs[p, beta1, seed]) for seed in range(seeds)]) for beta1 in first_betas]
            panel.plot(first_betas, means, "o", color=colour, markersize=4, label=f"p = {p:g}")
            panel.plot(scan, -theory.margin(scan, BETA2, p), color=colour, linewidth=0.8, linestyle=":")
        panel.axhline(0, color="grey", linewidth=0.5)
        panel.set(xlabel=f"beta1 (beta2 = {BETA2})", title=f"{name}; dotted: predicted")
    panels[0].set_ylabel("growth of max |u| (nats per step)")
    panels[0].legend()
    return figure


if __name__ == "__main__":
    main(parse_options(CLAIM.statement))
