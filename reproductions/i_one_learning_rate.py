"""(i) With a reference one learning rate serves all exponents; without one it does not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from equipoise.study._analysis import Analysis, Compared
from reproductions.claim import Claim, Interval, Options, Verdict, all_of, judge, mean_interval, parse_options
from reproductions.studies import PICTURES, SMALL_TEXT, epochs, run, task
from reproductions.text import VOCABULARY

CLAIM = Claim(
    letter="i",
    statement="With a reference the best learning rate hardly moves with the exponent; without one it does.",
    source="ours: the reference scale",
    rule=(
        "The best learning rate of an exponent is the one with the best mean over the tuning seeds, on a grid of half decades."
        " Its move is the ratio of the largest to the smallest over the exponents from 0 to 1/2. Reproduced if with the"
        " reference it is at most one step of the grid, and without one more, on a convolutional network and on a transformer,"
        " each without and with normalization layers; not reproduced if any of these is otherwise. A best learning rate at the"
        " edge of its grid leaves it inconclusive."
    ),
)

ONE_STEP = 3.4
"""From 3 to 10 is the longer half of a decade."""

REFERENCES = ("none", "initial")
EXPONENTS = (0.0, 0.25)
"""Besides 1/2, where a reference changes nothing."""


ADAM = {"name": "Adam", "optimizer": "equipoise.Equipoise", "exponent": 0.5, "baseline": True}

ARMS: list[dict[str, Any]] = [ADAM] + [
    {"name": f"{reference} {exponent:g}", "optimizer": "equipoise.Equipoise", "exponent": exponent, "reference": reference}
    for reference in REFERENCES
    for exponent in EXPONENTS
]


class Network(NamedTuple):
    """What is trained, and how its outcome is told."""

    data: str
    normalized: bool
    metric: str
    goal: str
    guess: float
    """The metric of a guess; what is worse counts as one, so that no single run decides a mean."""

    @property
    def name(self) -> str:
        """For figures and measurements."""
        return f"{self.data} {'with' if self.normalized else 'without'} layers"

    def gains(self, arm: Compared) -> list[float]:
        """How much better than a guess, on every fresh seed."""
        sign = 1 if self.goal == "maximize" else -1
        return [max(sign * (value - self.guess), 0.0) for value in arm.values]


NETWORKS = [
    Network(data, normalized, *told)
    for data, told in (
        (PICTURES, ("accuracy", "maximize", 0.1)),
        (SMALL_TEXT, ("test_loss", "minimize", math.log(VOCABULARY))),
    )
    for normalized in (False, True)
]


def main(options: Options) -> None:
    """On every network two studies of the same arms, at their own and at Adam's learning rate."""
    lines: list[str] = []
    verdicts: list[Verdict] = []
    figure = Figure(figsize=(11, 8), layout="constrained")
    for axes, network in zip(figure.subplots(2, 2).flat, NETWORKS, strict=True):
        own = study(options, network, "own", [{**arm, "learning_rates": rates(options, arm)} for arm in ARMS])
        shared_rate = own.arms[0].tuned.chosen
        shared = study(options, network, "shared", [{**arm, "learning_rates": [shared_rate]} for arm in ARMS])
        for reference in REFERENCES:
            verdicts.append(judged(reference, own))
            lines.append(
                f"{network.name}, {reference}: the best learning rate moves {move(reference, own):.3g}-fold:"
                f" {verdicts[-1].value}"
            )
        lines += compared(network, own, shared)
        plot(axes, network, own)
    CLAIM.conclude(options, "\n".join(lines), all_of(verdicts), figure)


def rates(options: Options, arm: dict[str, Any]) -> list[float]:
    """Half decades from 0.0001 to 0.3; without a reference by up to two decades higher."""
    start = -8 + (round(4 * (1 - 2 * arm["exponent"])) if arm.get("reference") == "none" else 0)
    return [float(f"{10 ** (half / 2):.0e}") for half in range(start, start + 8)][:: options.choose(3, 1)]


def study(options: Options, network: Network, name: str, arms: list[dict[str, Any]]) -> Analysis:
    """These arms on a network. Trials that an earlier study has run are not run again."""
    return run(
        options,
        name=f"i-{network.name.replace(' ', '-')}-{name}",
        task=task(options, network.data, normalized=network.normalized),
        metric=network.metric,
        goal=network.goal,
        epochs=epochs(options, network.data),
        seeds=options.choose(3, 6, 5),
        tuning_seeds=options.choose(1, 2, 1),
        learning_rates=arms[0]["learning_rates"],
        diverged=network.guess,
        arms=arms,
    )


def family(reference: str, own: Analysis) -> list[Compared]:
    """The arms with a reference, and Adam, from which they start."""
    return [arm for arm in own.arms if arm.name == "Adam" or arm.name.split()[0] == reference]


def move(reference: str, own: Analysis) -> float:
    """From the smallest to the largest of their best learning rates."""
    chosen = [arm.tuned.chosen for arm in family(reference, own)]
    return max(chosen) / min(chosen)


def judged(reference: str, own: Analysis) -> Verdict:
    """Small with a reference, large without."""
    if any(arm.tuned.at_edge for arm in family(reference, own)):
        return Verdict.INCONCLUSIVE
    found = move(reference, own)
    exactly = Interval(found, found, found)
    return judge(exactly, low=ONE_STEP) if reference == "none" else judge(exactly, high=ONE_STEP)


def compared(network: Network, own: Analysis, shared: Analysis) -> list[str]:
    """What the rule does not ask: how good every arm is, and what it loses at Adam's learning rate, on fresh seeds."""
    best = {arm.name: network.gains(arm) for arm in own.arms}
    lines: list[str] = []
    for arm, at_adams in zip(own.arms, shared.arms, strict=True):
        edge = " (an edge)" if arm.tuned.at_edge else ""
        line = f"{network.name}, {arm.name}: {network.metric} {arm.mean:.4f} at its best lr {arm.tuned.chosen:g}{edge}"
        if arm.name != "Adam":
            line += f"; Adam's costs {difference(best[arm.name], network.gains(at_adams))}"
            reference, exponent = arm.name.split()
            if reference != "none":
                line += f"; no reference is better by {difference(best[f'none {exponent}'], best[arm.name])}"
        lines.append(line)
    return lines


def difference(better: Sequence[float], worse: Sequence[float]) -> Interval:
    """The mean difference of two arms on the same seeds, positive where the first is larger."""
    return mean_interval([a - b for a, b in zip(better, worse, strict=True)])


def plot(axes: Axes, network: Network, own: Analysis) -> None:
    """The metric over the learning rate, one line per arm, on the tuning seeds."""
    styles = {"none": ":", "initial": "-"}
    for arm in own.arms:
        reference, _, exponent = arm.name.partition(" ")
        colour = f"C{round(8 * float(exponent or 0.5))}"
        axes.semilogx(arm.tuned.rates, arm.tuned.means, styles.get(reference, "-."), color=colour, marker=".", label=arm.name)
    if network.goal == "minimize":
        axes.set_ylim(top=network.guess, bottom=min(min(arm.tuned.means) for arm in own.arms) - 0.1)
    axes.set(title=network.name, xlabel="learning rate", ylabel=f"{network.metric}, tuning seeds")
    axes.legend(fontsize="xx-small", ncols=2)


if __name__ == "__main__":
    main(parse_options(__doc__))
