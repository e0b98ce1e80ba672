"""(f) Normalization layers make training tolerate bad betas."""

from __future__ import annotations

import math
from statistics import fmean, median

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from equipoise.study._analysis import Analysis
from equipoise.theory import margin
from reproductions.claim import Claim, Options, all_of, judge, mean_interval, parse_options
from reproductions.studies import PICTURES, SMALL_TEXT, epochs, run, task

CLAIM = Claim(
    letter="f",
    statement="Normalization layers make training tolerate betas outside of the stable region.",
    source="Gould and Tanaka, arXiv 2411.05746: normalization layers are implicitly meta-adaptive; the discrete region is ours",
    rule=(
        "The damage of a pair of betas is the training loss of Adam with it minus that of Adam with (0.9, 0.999), the median"
        " of its seeds, as a share of what training gains at all, the loss of a guess minus that median; at least 0, at most 1."
        " Each pair is at its own best learning rate. The damage without layers minus that with them, averaged over the four"
        " pairs outside of the stable region: reproduced if its interval over seeds lies above 0 on the pictures and on the"
        " text; not reproduced if on either it lies below 0."
    ),
)

BETA1 = 0.9
GOOD = 0.999
OTHERS = (0.95, 0.85, 0.7, 0.5, 0.3, 0.1)
"""Values of beta2. The first two are inside of the stable region: below BETA1^2 = 0.81 updates are not bounded."""

GUESS = {PICTURES: math.log(10), SMALL_TEXT: math.log(128)}
"""The loss of a uniform guess, with which a diverged trial counts."""


def study(options: Options, data: str, *, normalized: bool) -> Analysis:
    """Adam with each beta2; the first arm is the baseline."""
    arms = [{"name": f"{beta2}", "optimizer": "torch.optim.Adam", "betas": (BETA1, beta2)} for beta2 in (GOOD, *OTHERS)]
    arms[0]["baseline"] = True
    return run(
        options,
        name=f"f-{data.replace(' ', '-')}-{'with' if normalized else 'without'}",
        task=task(options, data, normalized=normalized),
        metric="loss",
        goal="minimize",
        epochs=epochs(options, data),
        seeds=options.choose(3, 16, 5),
        tuning_seeds=options.choose(1, 3, 1),
        learning_rates=options.choose([1e-3, 1e-2], [3e-4, 1e-3, 3e-3, 1e-2, 3e-2], [1e-4, 3e-4, 1e-3, 3e-3, 1e-2]),
        extend=options.choose(0, 4),
        diverged=GUESS[data],
        arms=options.choose([arms[0], arms[-1]], arms),
    )


def damages(found: Analysis, guess: float) -> dict[float, list[float]]:
    """The damage of each beta2, seed by seed."""
    baseline, *others = found.arms
    good = median(baseline.values)
    return {float(arm.name): [min(max((value - good) / (guess - good), 0.0), 1.0) for value in arm.values] for arm in others}


def outside(found: dict[float, list[float]]) -> list[float]:
    """The mean damage of the pairs outside of the stable region, seed by seed."""
    return list(map(fmean, zip(*(values for beta2, values in found.items() if margin(BETA1, beta2) < 0), strict=True)))


def main(options: Options) -> None:
    """Run four studies and judge."""
    lines = ["margins (nats per step): " + ", ".join(f"{beta2}: {margin(BETA1, beta2):+.2f}" for beta2 in (GOOD, *OTHERS))]
    verdicts = []
    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, data in zip(figure.subplots(1, 2), GUESS, strict=True):
        damage: dict[str, dict[float, list[float]]] = {}
        for name in ("without", "with"):
            found = study(options, data, normalized=name == "with")
            damage[name] = damages(found, GUESS[data])
            edges = [arm.name for arm in found.arms if arm.tuned is not None and arm.tuned.at_edge]
            lines += [f"{data} {name} layers, beta2 = {beta2}: {mean_interval(found)}" for beta2, found in damage[name].items()]
            lines.append(f"{data} {name} layers: best learning rate at an edge for beta2 = {', '.join(edges) or 'none'}")
        bare, spared = outside(damage["without"]), outside(damage["with"])
        difference = mean_interval([one - other for one, other in zip(bare, spared, strict=True)])
        verdicts.append(judge(difference, low=0))
        lines.append(
            f"{data}: damage outside of the region, without layers minus with them: {difference}: {verdicts[-1].value}"
        )
        plot(axes, damage)
        axes.set_title(data)
    CLAIM.conclude(options, "\n".join(lines), all_of(verdicts), figure)


def plot(axes: Axes, damage: dict[str, dict[float, list[float]]]) -> None:
    """Damage over beta2, every seed a dot, and where the stable region ends."""
    for colour, (name, found) in zip(("C1", "C0"), damage.items(), strict=True):
        axes.plot(list(found), [fmean(values) for values in found.values()], f"{colour}-", label=f"{name} layers")
        axes.plot(list(found), list(found.values()), f"{colour}.", markersize=3)
    axes.axvline(BETA1**2, color="grey", linewidth=0.8, label="end of the stable region")
    axes.set(xlabel="beta2, with beta1 = 0.9", ylabel="damage, as a share of what training gains", ylim=(-0.03, 1.03))
    axes.legend()


if __name__ == "__main__":
    main(parse_options(__doc__))
