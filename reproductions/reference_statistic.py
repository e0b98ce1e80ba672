"""From which statistic of the first mean squares the reference scale is taken.

No claim and no verdict on a paper: a choice, by a rule that was written before the runs. A statistic is fit if

- a step of 1000-fold gradients, the first or a later one of the 20, changes R from the next step on by less than 1.5, and
- on every network of claim (i) the best learning rates of the exponents 0, 1/4 and 1/2 lie at most one step of the grid apart.

Of those that are fit the one with the best mean outcome at its own best learning rate is taken, and where the intervals of the
differences contain 0 on every network, the simplest. The mean, as it was before, is the arm that changes nothing; others that
a spike changes are not trained. The transformer without normalization layers comes first, and what is not fit there goes no
further.
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
    """The lower median."""
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


def without_the_largest(squares: Sequence[float]) -> float:
    """The mean of all but the largest."""
    return mean(sorted(squares)[:-1] or squares)


def below_the_largest_quarter(squares: Sequence[float]) -> Sequence[float]:
    """All but the largest quarter, of at least one, ascending; a single one stays."""
    return sorted(squares)[: len(squares) - max(len(squares) // 4, 1)] or squares


def without_a_quarter(squares: Sequence[float]) -> float:
    """The mean of all but the largest quarter, of at least one: what the package does."""
    return mean(below_the_largest_quarter(squares))


def winsorized(squares: Sequence[float]) -> float:
    """The mean, in which the largest quarter, of at least one, counts as the largest below it."""
    return mean([min(square, upper_quartile(squares)) for square in squares])


def upper_quartile(squares: Sequence[float]) -> float:
    """The largest below the largest quarter, of at least one."""
    return below_the_largest_quarter(squares)[-1]


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


class WithoutTheLargest(_Statistic):
    """R is the mean of all but the largest."""

    statistic = staticmethod(without_the_largest)


class WithoutAQuarter(_Statistic):
    """R is the mean of all but the largest quarter."""

    statistic = staticmethod(without_a_quarter)


class Winsorized(_Statistic):
    """R is the mean with a bound on the largest quarter."""

    statistic = staticmethod(winsorized)


class UpperQuartile(_Statistic):
    """R is the largest below the largest quarter."""

    statistic = staticmethod(upper_quartile)


class Median(_Statistic):
    """R is the lower median."""

    statistic = staticmethod(median)


CLASSES: list[type[_Statistic]] = [Mean, WithoutTheLargest, WithoutAQuarter, Winsorized, UpperQuartile, Median]


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
    for statistic in (mean, geometric_mean, bounded_growth, *(cls.statistic for cls in CLASSES[1:])):
        worst = spiked(statistic)
        print(f"{statistic.__name__}: a spike changes R by up to {worst:.3g}: {'fit' if worst < FIT else 'not fit'}")
    tried = CLASSES
    for network in (NETWORKS[2], NETWORKS[3], NETWORKS[0], NETWORKS[1]):
        arms = [
            {
                "name": f"{cls.__name__} {exponent:g}",
                "optimizer": f"reproductions.reference_statistic.{cls.__name__}",
                "exponent": exponent,
                "reference": "initial",
            }
            for exponent in EXPONENTS
            for cls in tried
        ]
        own = study(options, network, "statistic", [{**arm, "learning_rates": rates(options, arm)} for arm in (ADAM, *arms)])
        found = {arm.name: arm for arm in own.arms}
        fit = [cls for cls in tried if moved(cls.__name__, own) < ONE_STEP]
        for cls in tried:
            name = cls.__name__
            verdict = "fit" if cls in fit else "not fit"
            print(f"{network.name}, {name}: the best learning rate moves {moved(name, own):.3g}-fold: {verdict}")
            for exponent in EXPONENTS:
                arm, before = found[f"{name} {exponent:g}"], found[f"Mean {exponent:g}"]
                better = difference(network.gains(arm), network.gains(before))
                edge = " (an edge)" if arm.tuned.at_edge else ""
                print(
                    f"{network.name}, {arm.name}: {network.metric} {arm.mean:.4f} at lr {arm.tuned.chosen:g}{edge},"
                    f" better than the mean by {better}"
                )
        tried = [cls for cls in tried if cls is Mean or cls in fit]


if __name__ == "__main__":
    main(parse_options(__doc__))
