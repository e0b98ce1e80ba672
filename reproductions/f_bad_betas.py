"""(f) Normalization layers make training tolerate bad betas."""

from __future__ import annotations

import math

from matplotlib.figure import Figure

from equipoise.study._analysis import Analysis
from equipoise.theory import margin
from reproductions.claim import Claim, Options, all_of, judge, mean_interval, parse_options
from reproductions.studies import PICTURES, TEXT, draw, epochs, run, task

CLAIM = Claim(
    letter="f",
    statement="Normalization layers make training tolerate betas outside of the stable region.",
    source="Gould and Tanaka, arXiv 2411.05746: normalization layers are implicitly meta-adaptive; the discrete region is ours",
    rule=(
        "The damage of a pair of betas is the training loss of Adam with it minus that of Adam with (0.9, 0.999), on the"
        " same seed, each at its own best learning rate; averaged over the unstable pairs. The damage without layers minus"
        " that with them, in nats: reproduced if its interval over seeds lies above 0 on the pictures and on the text; not"
        " reproduced if on either it lies below 0."
    ),
)

GOOD = (0.9, 0.999)
BAD = ((0.9, 0.7), (0.9, 0.5), (0.95, 0.5))
"""With margins of -0.07, -0.24 and -0.30 nats per step."""

UNIFORM_GUESS = {PICTURES: math.log(10), TEXT: math.log(128)}
"""The loss that a diverged trial counts with."""


def study(options: Options, data: str, *, normalized: bool) -> Analysis:
    """Adam with good and with bad betas."""
    arms = [{"name": f"{betas}", "optimizer": "torch.optim.Adam", "betas": betas} for betas in (GOOD, *BAD)]
    arms[0]["baseline"] = True
    return run(
        options,
        name=f"f-{data}-{'with' if normalized else 'without'}",
        task=task(options, data, normalized=normalized),
        metric="loss",
        goal="minimize",
        epochs=epochs(options, data),
        seeds=options.choose(3, 8, 5),
        tuning_seeds=options.choose(1, 2, 1),
        learning_rates=options.choose([1e-3, 1e-2], [3e-4, 1e-3, 3e-3, 1e-2, 3e-2], [1e-4, 3e-4, 1e-3, 3e-3, 1e-2]),
        diverged=UNIFORM_GUESS[data],
        arms=options.choose([arms[0], arms[-1]], arms),
    )


def damage(found: Analysis) -> list[float]:
    """Mean loss of the arms with bad betas minus that of the baseline, the first arm, seed by seed."""
    return [math.fsum(bad) / len(bad) - good for good, *bad in zip(*(arm.values for arm in found.arms), strict=True)]


def main(options: Options) -> None:
    """Run four studies and judge."""
    lines: list[str] = []
    verdicts = []
    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, data in zip(figure.subplots(1, 2), (PICTURES, TEXT), strict=True):
        without, with_layers = (study(options, data, normalized=normalized) for normalized in (False, True))
        damages = {}
        for name, found in (("without", without), ("with", with_layers)):
            for better in found.contrasts:
                damages[f"{better.arm} {name}"] = mean_interval([-gain for gain in better.differences])
        lines += [f"{data}, betas {name} layers: damage {interval} nats" for name, interval in damages.items()]
        difference = mean_interval([bare - spared for bare, spared in zip(damage(without), damage(with_layers), strict=True)])
        verdicts.append(judge(difference, low=0))
        lines.append(f"{data}: damage without layers minus with them {difference} nats: {verdicts[-1].value}")
        draw(axes, damages)
        axes.set(title=data, xlabel="damage by the betas, nats of training loss")
    margins = ", ".join(f"{betas}: {margin(*betas):+.2f}" for betas in (GOOD, *BAD))
    lines.insert(0, f"margins (nats per step): {margins}")
    CLAIM.conclude(options, "\n".join(lines), all_of(verdicts), figure)


if __name__ == "__main__":
    main(parse_options(__doc__))
