"""Curves over seeds, and the range in which arms can be told apart although one of them went astray."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FENCE = 10.0
"""What lies farther from the middle of the arms than so many times their spread is outside of the useful range."""


@dataclass(frozen=True)
class Band:
    """One arm's curve: per epoch at which any seed reported a finite number, the lowest, the median and the highest of them."""

    epochs: tuple[int, ...]
    low: tuple[float, ...]
    median: tuple[float, ...]
    high: tuple[float, ...]

    @classmethod
    def of(cls, curves: Sequence[Mapping[int, float]]) -> Band:
        """From the curves of the seeds, epoch -> value.

        Example:
            >>> Band.of([{1: 0.5, 2: 0.7}, {1: 0.7, 2: 0.8}, {1: float("inf")}])
            Band(epochs=(1, 2), low=(0.5, 0.7), median=(0.6, 0.75), high=(0.7, 0.8))
        """
        epochs = np.array(sorted({epoch for curve in curves for epoch in curve}), dtype=int)
        values = np.full((len(curves), len(epochs)), np.nan)
        for row, curve in zip(values, curves, strict=True):
            row[np.searchsorted(epochs, list(curve))] = list(curve.values())
        values[~np.isfinite(values)] = np.nan
        seen = ~np.isnan(values).all(axis=0)
        values = values[:, seen]
        rows = (np.nanmin(values, axis=0), np.nanmedian(values, axis=0), np.nanmax(values, axis=0))
        low, median, high = (tuple(map(float, row)) for row in rows)
        return cls(tuple(map(int, epochs[seen])), low, median, high)


def useful_range(groups: Iterable[Sequence[float]]) -> tuple[float, float] | None:
    """The range of finite values, without those that are far from the middle of the groups; None if there are none.

    Each group is an arm. Far is more than ten times the larger of two spreads: that of the medians of the groups around their
    median, and the usual one within a group (both as median absolute deviations). So neither an arm that failed nor a seed that
    did makes the others look alike.

    Example:
        >>> useful_range([[0.96, 0.97], [0.95, 0.96, 0.1], [0.11, 0.1]])
        (0.95, 0.97)
    """
    finite = [np.array([value for value in group if np.isfinite(value)]) for group in groups]
    finite = [group for group in finite if group.size]
    if not finite:
        return None
    medians = np.array([np.median(group) for group in finite])
    middle = np.median(medians)
    within = np.median([_deviation(group, median) for group, median in zip(finite, medians, strict=True)])
    every = np.concatenate(finite)
    distances = _distances(every, middle)
    spread = max(_deviation(medians, middle), within) or min(distances[distances > 0], default=0.0)
    near = every[distances <= FENCE * spread]
    return float(near.min()), float(near.max())


def _deviation(values: NDArray[np.float64], middle: float) -> float:
    return float(np.median(_distances(values, middle)))


def _distances(values: NDArray[np.float64], middle: float) -> NDArray[np.float64]:
    with np.errstate(over="ignore"):  # between numbers near the largest ones it is infinite, which is right here
        return np.abs(values - middle)
