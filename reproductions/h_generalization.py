"""(h) The exponent of SMES trades training loss for test accuracy on a convolutional network."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.figure import Figure

from equipoise.study._analysis import Analysis
from reproductions.claim import Claim, Interval, Options, all_of, judge, mean_interval, parse_options
from reproductions.studies import run

CLAIM = Claim(
    letter="h",
    statement=(
        "On a convolutional network a larger exponent of SMES fits the training data better and generalizes worse, from SGD (0)"
        " to Adam (1/2)."
    ),
    source="Zhang and Liu, arXiv 2405.18498",
    rule=(
        "Per seed, the slopes over the exponent of log10 of the training loss and of the test accuracy, every exponent at"
        " its own best learning rate of equally many. Reproduced if both intervals over seeds lie below 0; not reproduced"
        " if either lies above."
    ),
)

EXPONENTS = (0.0, 0.125, 0.25, 0.375, 0.5)


def main(options: Options) -> None:
    """Run a study and judge."""
    exponents = options.choose((0.0, 0.25, 0.5), EXPONENTS)
    found = run(
        options,
        name="h-exponents",
        task=options.choose("few_digits_norm", "few_digits_norm", "cifar100_norm"),
        metric="accuracy",
        goal="maximize",
        epochs=options.choose(5, 20, 60),
        seeds=options.choose(3, 16, 5),
        tuning_seeds=options.choose(1, 4, 1),
        learning_rates=options.choose([3e-3, 1e-2], [1e-3, 3e-3, 1e-2, 3e-2, 1e-1], [3e-4, 1e-3, 3e-3, 1e-2, 3e-2]),
        arms=[
            {"name": f"{exponent:g}", "optimizer": "equipoise.SMES", "exponent": exponent, "baseline": exponent == 0.5}
            for exponent in exponents
        ],
    )
    fit = [[math.log10(result.last("loss")) for result in arm.results] for arm in found.arms]
    accuracy = [[result.last("accuracy") for result in arm.results] for arm in found.arms]
    fit_slope, accuracy_slope = slope(exponents, fit), slope(exponents, accuracy)
    verdicts = [judge(fit_slope, high=0), judge(accuracy_slope, high=0)]
    lines = [
        f"exponent {arm.name}: training loss 10^{np.mean(loss):.3f}, test accuracy {arm.mean:.4f}, at lr {arm.tuned.chosen:g}"
        for arm, loss in zip(found.arms, fit, strict=True)
    ]
    lines += [
        f"exponent {contrast.arm}: accuracy better than at 0.5 by {mean_interval(contrast.differences)}"
        f" (p = {contrast.adjusted_p_value:.2g}, adjusted for the number of comparisons)"
        for contrast in found.contrasts
    ]
    lines.append(f"slope of log10(training loss) over the exponent {fit_slope}: {verdicts[0].value}")
    lines.append(f"slope of test accuracy over the exponent {accuracy_slope}: {verdicts[1].value}")
    CLAIM.conclude(options, "\n".join(lines), all_of(verdicts), plot(found, fit, accuracy))


def slope(exponents: tuple[float, ...], values: list[list[float]]) -> Interval:
    """The slope of the line of least squares through an arm's value over its exponent, one line per seed."""
    return mean_interval(np.polyfit(exponents, np.array(values), 1)[0].tolist())


def plot(found: Analysis, fit: list[list[float]], accuracy: list[list[float]]) -> Figure:
    """Every seed as a thin line over the exponent, and the mean."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    names = [arm.name for arm in found.arms]
    for axes, values, label in zip(
        figure.subplots(1, 2), (fit, accuracy), ("log10 of training loss", "test accuracy"), strict=True
    ):
        axes.plot(names, values, color="grey", linewidth=0.5)
        axes.plot(names, np.mean(values, axis=1), "o-")
        axes.set(xlabel="exponent", ylabel=label)
    return figure


if __name__ == "__main__":
    main(parse_options(__doc__))
