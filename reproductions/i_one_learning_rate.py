"""(i) With a reference one learning rate serves all exponents; without one it does not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from equipoise.study.analysis import Analysis
from reproductions.claim import Claim, Interval, Options, Verdict, all_of, judge, mean_interval, parse_options
from reproductions.studies import PICTURES, draw, epochs, run, task

CLAIM = Claim(
    letter="i",
    statement="With a reference (E3) the learning rate found for Adam serves every exponent; without one it does not.",
    source="E3 of the design; ours",
    rule=(
        "The cost of an exponent is the test accuracy at its own best learning rate minus that at the best one of exponent"
        " 1/2, on the same fresh seed. Reproduced if with each reference the cost of every exponent lies below 0.01, and"
        " without one that of exponent 0 above 0.01, intervals included; not reproduced if any of these lies on the other"
        " side."
    ),
)

TOLERABLE = 0.01
"""In accuracy."""

REFERENCES = ("none", "initial", "running")


def main(options: Options) -> None:
    """Run two studies of the same arms, at their own and at a shared learning rate, and judge."""
    adam = {"name": "Adam", "optimizer": "equipoise.Equipoise", "exponent": 0.5, "baseline": True}
    arms: list[dict[str, Any]] = [adam] + [
        {"name": f"{reference} {exponent:g}", "optimizer": "equipoise.Equipoise", "exponent": exponent, "reference": reference}
        for reference in REFERENCES
        for exponent in options.choose((0.0, 0.25), (0.0, 0.125, 0.25, 0.375))
    ]
    rates = options.choose([1e-2, 1e-1, 1.0], [1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0])
    own = study(options, "own", rates, arms)
    shared_rate = own.arms[0].tuned.chosen
    shared = study(options, "shared", [shared_rate], arms)
    best = {arm.name: arm.values for arm in own.arms}
    costs = {arm.name: difference(best[arm.name], arm.values) for arm in shared.arms[1:]}
    verdicts = [judged(name, cost) for name, cost in costs.items() if name == "none 0" or not name.startswith("none")]
    lines = [f"Adam: accuracy {own.arms[0].mean:.4f} at its best learning rate, {shared_rate:g}, which all others share"]
    for arm in own.arms[1:]:
        reference, exponent = arm.name.split()
        line = f"{arm.name}: accuracy {arm.mean:.4f} at its own lr {arm.tuned.chosen:g}; Adam's costs {costs[arm.name]}"
        if reference != "none":
            line += f"; no reference at its own lr is better by {difference(best[f'none {exponent}'], best[arm.name])}"
        lines.append(line)
    CLAIM.conclude(options, "\n".join(lines), all_of(verdicts), plot(own, costs))


def study(options: Options, name: str, learning_rates: list[float], arms: list[dict[str, Any]]) -> Analysis:
    """All arms on the pictures. Trials that an earlier study has run are not run again."""
    return run(
        options,
        name=f"i-{name}",
        task=task(options, PICTURES, normalized=False),
        metric="accuracy",
        goal="maximize",
        epochs=epochs(options, PICTURES),
        seeds=options.choose(3, 8, 5),
        tuning_seeds=options.choose(1, 2, 1),
        learning_rates=learning_rates,
        arms=arms,
    )


def difference(better: Sequence[float], worse: Sequence[float]) -> Interval:
    """Of two arms, on the same seeds."""
    return mean_interval([a - b for a, b in zip(better, worse, strict=True)])


def judged(name: str, cost: Interval) -> Verdict:
    """Small with a reference, large without."""
    return judge(cost, low=TOLERABLE) if name.startswith("none") else judge(cost, high=TOLERABLE)


def plot(own: Analysis, costs: dict[str, Interval]) -> Figure:
    """Accuracy over the learning rate, and the cost of sharing Adam's."""
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    curves, cost = figure.subplots(1, 2)
    styles = {"none": ":", "initial": "-", "running": "--"}
    for arm in own.arms:
        curves.semilogx(arm.tuned.rates, arm.tuned.means, styles.get(arm.name.split()[0], "-."), marker=".", label=arm.name)
    curves.set(xlabel="learning rate", ylabel="test accuracy, tuning seeds")
    curves.legend(fontsize="x-small")
    draw(cost, costs)
    cost.axvline(TOLERABLE, color="grey", linewidth=0.8, linestyle=":")
    cost.set(xlabel="cost of Adam's learning rate, accuracy")
    return figure


if __name__ == "__main__":
    main(parse_options(__doc__))
