"""(a) Bounded updates inside of the stability region, exponential growth outside of it, on a transformer.

The stability region is about the worst sequence of gradients. Two things are therefore measured apart: training itself, whose
gradients are not the worst case, and what the moments of the trained network do once its gradient is cut to zero, which is the
worst case. The second is the algebra of the update rule, run by the real optimizer on real moments; the first is the
empirical part.
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from equipoise import theory
from reproductions import text
from reproductions.claim import Claim, Interval, Options, all_of, judge, mean_interval, parse_options
from reproductions.updates import Updates, record

CLAIM = Claim(
    letter="a",
    statement=(
        "Inside of the stability region the updates of Adam stay below K_n; outside of it they grow exponentially in training,"
        " and at the predicted rate once gradients vanish."
    ),
    source="Gould and Tanaka, arXiv 2411.05746; ours: the discrete stability region and the update bound",
    rule=(
        "On a grid of (beta1, beta2), a transformer on source text. Bound: in no stable run |u_n| > K_n at any step. Growth:"
        " the slope of ln max|u| in training, over the unstable pairs and as a multiple of the predicted rate, is above 0."
        " Rate: in silence that multiple is within 1 +- 0.01. 95 % t intervals over seeds: all on the right side is reproduced,"
        " one on the wrong side is not reproduced, else inconclusive."
    ),
)


def main(options: Options) -> None:
    """Measure, conclude."""
    source = text.load()
    first_betas = options.choose((0.7, 0.9, 0.95), (0.7, 0.9, 0.95, 0.98, 0.99))
    second_betas = options.choose((0.7, 0.9, 0.999), (0.7, 0.8, 0.9, 0.98, 0.999))
    seeds = range(options.choose(2, 3))
    runs = {
        (seed, beta1, beta2): record(source, options, seed, (beta1, beta2), 0.5)
        for seed in seeds
        for beta1 in first_betas
        for beta2 in second_betas
    }
    stable = [run for run in runs.values() if theory.margin(*run.betas) > 0]
    shares = np.array([run.share_of_bound() for run in stable])
    bound = Interval(shares.max(), shares.min(), shares.max())  # of all steps: one violation is enough
    training = mean_interval([_multiple(runs, seed, Updates.rate_in_training) for seed in seeds])
    silence = mean_interval([_multiple(runs, seed, Updates.rate_in_silence) for seed in seeds])
    verdicts = [judge(bound, high=1 + 1e-9), judge(training, low=0.0), judge(silence, 0.99, 1.01)]
    measurement = f"""\
text: {len(text.FILES)} files, SHA-256 {source.sha256[:16]}...; {len(seeds)} seeds, {len(stable)} stable and {
        len(runs) - len(stable)
    } unstable runs
largest |u_n| / K_n in a stable run: {bound.value:.6f} ({shares[:, shares.shape[1] // 2 :].max():.3f} in the second half): {
        verdicts[0].value
    }
growth in training over the predicted rate: {training}: {verdicts[1].value}
growth in silence over the predicted rate: {silence.value:.5f} [{silence.low:.5f}, {silence.high:.5f}]: {verdicts[2].value}
largest |u| in training: {max(run.largest[: run.steps].max() for run in stable):.3g} in a stable run, {
        max(run.largest[: run.steps].max() for run in runs.values()):.3g} in an unstable one"""
    CLAIM.conclude(options, measurement, all_of(verdicts), _figure(runs))


def _multiple(runs: dict[tuple[int, float, float], Updates], seed: int, measured) -> float:
    """The measured rate as a multiple of the predicted one: a regression through the origin over the unstable pairs."""
    chosen = [run for (of, *_), run in runs.items() if of == seed and theory.margin(*run.betas) < 0]
    predicted = np.array([theory.growth_rate(*run.betas) for run in chosen])
    return float(predicted @ [measured(run) for run in chosen] / (predicted @ predicted))


def _figure(runs: dict[tuple[int, float, float], Updates]) -> Figure:
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    curves, rates = figure.subplots(1, 2)
    for (seed, beta1, beta2), run in runs.items():
        margin = theory.margin(beta1, beta2)
        if seed == 0:
            curves.semilogy(run.largest, color="#0072b2" if margin > 0 else "#d55e00", linewidth=0.8)
        predicted = -margin
        style = {"markersize": 4, "fillstyle": "none"}
        rates.plot(predicted, run.rate_in_silence(), "o", color="#0072b2", **style)
        if margin < 0:
            rates.plot(predicted, run.rate_in_training(), "x", color="#d55e00", markersize=4)
    steps = next(iter(runs.values())).steps
    curves.axvline(steps, color="black", linewidth=0.8, linestyle=":")
    curves.set(
        xlabel="step (dotted: the gradient is cut to zero)", ylabel="max |u|", title="blue: stable pairs, orange: unstable"
    )
    rates.axline((0, 0), slope=1, color="black", linewidth=0.8, linestyle=":")
    rates.axvline(0, color="grey", linewidth=0.5)
    rates.set(
        xlabel="predicted rate, -margin (nats per step)",
        ylabel="measured growth of max |u|",
        title="circles: in silence, crosses: in training",
    )
    return figure


if __name__ == "__main__":
    main(parse_options(CLAIM.statement))
