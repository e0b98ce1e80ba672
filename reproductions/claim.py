"""What every script here shares: the claim, an interval, a verdict by a rule that was written down beforehand, and a figure.

A script ``x_name.py`` has a ``CLAIM`` and a ``main(options)`` that ends in ``CLAIM.conclude(...)``; it runs alone
(``python -m reproductions.x_name --quick``) or with all others (``python -m reproductions --quick``).
"""

from __future__ import annotations

import argparse
import json
import math
import textwrap
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TypeVar

import torch
from matplotlib.figure import Figure
from scipy import stats

T = TypeVar("T")

CONFIDENCE = 0.95


class Verdict(Enum):
    """What the measurement says of the claim."""

    REPRODUCED = "reproduced"
    NOT_REPRODUCED = "not reproduced"
    INCONCLUSIVE = "inconclusive"


class Scale(Enum):
    """How much is computed."""

    QUICK = "quick"
    """Does everything run? Minutes for all claims; intervals are wide."""
    DEFAULT = "default"
    """What the documented verdicts come from: under an hour for all claims on two cores."""
    FULL = "full"
    """Models and data of the papers' size, for a GPU."""


@dataclass(frozen=True)
class Options:
    """How a script was called."""

    scale: Scale
    device: torch.device
    out: Path
    """The folder for figures and verdicts."""
    started: float = field(default_factory=time.monotonic)

    def choose(self, quick: T, default: T, full: T | None = None) -> T:
        """The value for this scale; without one for "full", that of "default"."""
        if self.scale is Scale.QUICK:
            return quick
        return full if self.scale is Scale.FULL and full is not None else default


@dataclass(frozen=True)
class Interval:
    """A number, and where it lies with a confidence of 95 %."""

    value: float
    low: float
    high: float

    def exponential(self) -> Interval:
        """The interval of e to the number, where its logarithm was measured."""
        return Interval(*(math.exp(min(end, 700.0)) for end in (self.value, self.low, self.high)))

    def __str__(self) -> str:
        return f"{self.value:.3g} [{self.low:.3g}, {self.high:.3g}]"


def mean_interval(values: Sequence[float]) -> Interval:
    """Student's t interval of the mean of independent values, one per seed; infinite for a single one."""
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return Interval(mean, -math.inf, math.inf)
    half = float(stats.sem(values) * stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1))
    return Interval(mean, mean - half, mean + half)


def judge(found: Interval, low: float = -math.inf, high: float = math.inf) -> Verdict:
    """Reproduced if the whole interval lies within [low, high], not reproduced if none of it does, else inconclusive."""
    if low <= found.low and found.high <= high:
        return Verdict.REPRODUCED
    if found.high < low or high < found.low:
        return Verdict.NOT_REPRODUCED
    return Verdict.INCONCLUSIVE


def all_of(verdicts: Sequence[Verdict]) -> Verdict:
    """The verdict on a claim of several parts: one part that fails, fails it; one that is inconclusive leaves it open."""
    assert verdicts
    for verdict in (Verdict.NOT_REPRODUCED, Verdict.INCONCLUSIVE):
        if verdict in verdicts:
            return verdict
    return Verdict.REPRODUCED


@dataclass(frozen=True)
class Claim:
    """One sentence of a paper, or of ours, that an experiment can contradict."""

    letter: str
    """a to i; also the name of its results."""
    statement: str
    source: str
    """Paper and section, or the name of the equation where it is ours (docs/equations.md)."""
    rule: str
    """What counts as reproduced, not reproduced and inconclusive, decided before measuring."""

    def conclude(self, options: Options, measurement: str, verdict: Verdict, figure: Figure) -> None:
        """Print claim, rule, measurement (lines, with intervals) and verdict; write ``<letter>.png`` and ``<letter>.json``."""
        seconds = time.monotonic() - options.started
        options.out.mkdir(parents=True, exist_ok=True)
        figure.savefig(options.out / f"{self.letter}.png", dpi=100)
        result = {
            "claim": self.letter,
            "statement": self.statement,
            "source": self.source,
            "rule": self.rule,
            "measurement": measurement,
            "verdict": verdict.value,
            "scale": options.scale.value,
            "seconds": round(seconds, 1),
        }
        (options.out / f"{self.letter}.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        for name, text in (("claim", f"({self.letter}) {self.statement}"), ("source", self.source), ("rule", self.rule)):
            print(textwrap.fill(text, 110, initial_indent=f"{name + ':':12}", subsequent_indent=" " * 12))
        print(textwrap.indent(measurement.strip(), " " * 12).replace(" " * 12, "measured:   ", 1))
        print(
            f"verdict:    {verdict.value}   ({options.scale.value} scale, {seconds:.0f} s, {options.out / self.letter}.png)\n"
        )


def parse_options(description: str | None = None, argv: Sequence[str] | None = None) -> Options:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_const", const="quick", dest="scale", help="the same as --scale quick")
    parser.add_argument("--scale", choices=[scale.value for scale in Scale], help='default: "default"')
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"), help='"cpu" (default) or "cuda"')
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder for figures and verdicts")
    given = parser.parse_args(argv)
    return Options(Scale(given.scale or "default"), given.device, given.out)
