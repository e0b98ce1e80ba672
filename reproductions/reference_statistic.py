"""From which statistic of the first gradients the reference scale is taken: the median, against others that were tried.

No claim and no verdict on a paper: a choice, by a rule that was written before the runs. A statistic is fit if

- a step of 1000-fold gradients, the first or a later one of the 20, changes R from the next step on by less than 1.5, and
- on every network of claim (i) the best learning rates of the exponents 0, 1/4 and 1/2 lie at most one step of the grid apart.

Of those that are fit the one with the best mean outcome at its own best learning rate is taken, and where the intervals of the
differences contain 0 on every network, the one that needs least. The mean, as it was before, is the arm that changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from equipoise import Equipoise, rules
from equipoise.study import Analysis
from reproductions.claim import Options, parse_options
from reproductions.i_one_learning_rate import ADAM, EXPONENTS, NETWORKS, ONE_STEP, difference, rates, study

FIT = 1.5
"""By so much a spike may change R."""


def median(squares: Sequence[float]) -> float:
    """The lower median: what the package does."""
    return sorted(squares)[(len(squares) - 1) // 2]


def mean(squares: Sequence[float]) -> float:
    """The mean, close to what the package did before."""
    return math.fsum(squares) / len(squares)


def geometric_mean(squares: Sequence[float]) -> float:
    """The mean of the logarithms."""
    return math.exp(math.fsum(map(math.log, squares)) / len(squares))


def bounded_growth(squares: Sequence[float]) -> float:
    """The mean of squares of which each counts at most as four times the mean before it."""
    found = squares[0]
    for count, square in enumerate(squares[1:], 2):
        found += (min(square, 4 * found) - found) / count
    return found


class _Statistic(Equipoise):
    """R is a statistic of the same numbers. For one stage; every parameter must have a gradient in every step."""

    statistic: ClassVar[Callable[[Sequence[float]], float]]

    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """A step of :class:`Equipoise`, whose kernels leave a reference alone that has all its squares."""
        assert closure is None
        for parameter in (each for group in self.param_groups for each in group["params"]):
            squares: list[float] = self.__dict__.setdefault("squares", {}).setdefault(parameter, [])
            square = float(rules.mean_square(*rules.finite_squares(parameter.grad)))
            if square > 0 and len(squares) < rules.REFERENCE_STEPS:
                squares.append(square)
                self._state_of(parameter)["reference"].fill_(type(self).statistic(squares))
        super().step()

    def _state_of(self, parameter: Tensor) -> dict[str, Any]:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state |= {key: torch.zeros_like(parameter) for key in ("exp_avg", "exp_avg_sq")}
            state["reference"] = torch.zeros(rules.REFERENCE_STEPS)
        return state


class Mean(_Statistic):
    """R is the mean."""

    statistic = staticmethod(mean)


class GeometricMean(_Statistic):
    """R is the geometric mean."""

    statistic = staticmethod(geometric_mean)


class BoundedGrowth(_Statistic):
    """R is the mean of squares that may not grow fast."""

    statistic = staticmethod(bounded_growth)


STATISTICS: dict[str, tuple[Callable[[Sequence[float]], float], str]] = {
    "median": (median, "equipoise.Equipoise"),
    "mean": (mean, "reproductions.reference_statistic.Mean"),
    "geometric mean": (geometric_mean, "reproductions.reference_statistic.GeometricMean"),
    "bounded growth": (bounded_growth, "reproductions.reference_statistic.BoundedGrowth"),
}


def spiked(statistic: Callable[[Sequence[float]], float]) -> float:
    """By how much a step of 1000-fold gradients changes R, from the step after it to the last, at worst."""
    found = 1.0
    for when in range(rules.REFERENCE_STEPS):
        squares = [1e6 if step == when else 1.0 for step in range(rules.REFERENCE_STEPS)]
        found = max([found, *(statistic(squares[: step + 1]) for step in range(when + 1, len(squares)))])
    return found


def moved(name: str, found: Analysis) -> float:
    """From the smallest to the largest best learning rate over the exponents from 0 to 1/2."""
    chosen = [arm.tuned.chosen for arm in found.arms if arm.name == "Adam" or arm.name.rsplit(" ", 1)[0] == name]
    return max(chosen) / min(chosen)


def main(options: Options) -> None:
    """The spikes first, then on every network every exponent with every statistic, at its own best learning rate."""
    for name, (statistic, _) in STATISTICS.items():
        worst = spiked(statistic)
        print(f"{name}: a spike changes R by up to {worst:.3g}: {'fit' if worst < FIT else 'not fit'}")
    for network in NETWORKS:
        arms = [
            {"name": f"{name} {exponent:g}", "optimizer": optimizer, "exponent": exponent, "reference": "initial"}
            for exponent in EXPONENTS
            for name, (_, optimizer) in STATISTICS.items()
        ]
        own = study(options, network, "statistic", [{**arm, "learning_rates": rates(options, arm)} for arm in (ADAM, *arms)])
        found = {arm.name: arm for arm in own.arms}
        for name in STATISTICS:
            move = moved(name, own)
            fit = "fit" if move < ONE_STEP else "not fit"
            print(f"{network.name}, {name}: the best learning rate moves {move:.3g}-fold: {fit}")
            for exponent in EXPONENTS:
                arm, before = found[f"{name} {exponent:g}"], found[f"mean {exponent:g}"]
                better = difference(network.gains(arm), network.gains(before))
                edge = " (an edge)" if arm.tuned.at_edge else ""
                print(
                    f"{network.name}, {arm.name}: {network.metric} {arm.mean:.4f} at lr {arm.tuned.chosen:g}{edge},"
                    f" better than the mean by {better}"
                )


if __name__ == "__main__":
    main(parse_options(__doc__))
