"""What a step costs, as a ratio to ``torch.optim.AdamW(fused=True)`` in the same run: ``make bench``.

The two take turns (A B A B ...), and the median of the ratios is printed: machines are noisy, their noise is shared.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table

import equipoise

BLOCK = [(768,), (768,), (768, 2304), (2304,), (768, 768), (768,), (768,), (768,), (768, 3072), (3072,), (3072, 768), (768,)]
WORKLOADS = {
    "25M x 1": [(25_000_000,)],
    "GPT-2 small, 148 tensors": [(50257, 768), (1024, 768), *(BLOCK * 12), (768,), (768,)],
    "500 x 1,000": [(1_000,)] * 500,
}
OPTIMIZERS = {
    "exponent 1/2": (equipoise.Equipoise, {}),
    "exponent 1/4": (equipoise.Equipoise, {"exponent": 0.25}),
    "exponent 0": (equipoise.Equipoise, {"exponent": 0.0}),
    "exponent 0.3": (equipoise.Equipoise, {"exponent": 0.3}),
    "SMES (1/4, reference)": (equipoise.SMES, {}),
    "2-Adam": (equipoise.KAdam, {}),
    "exponent 1/2, eager": (equipoise.Equipoise, {"kernel": "eager"}),
}


def make_step(cls: type[torch.optim.Optimizer], shapes: list[tuple[int, ...]], **arguments: object) -> Callable[[], object]:
    """The step of an optimizer on parameters of these shapes, all with gradients."""
    parameters = [torch.nn.Parameter(torch.randn(shape)) for shape in shapes]
    for parameter in parameters:
        parameter.grad = 0.1 * torch.randn_like(parameter)
    return cls(parameters, lr=1e-3, **arguments).step


def median_ratio(step: Callable[[], object], base: Callable[[], object], seconds: float) -> float:
    """The median of time(step) / time(base), in turns, for about that many seconds but at least 5 times."""
    ratios: list[float] = []
    step(), base(), step(), base()
    end = time.perf_counter() + seconds
    while len(ratios) < 5 or time.perf_counter() < end:
        first = time.perf_counter()
        base()
        second = time.perf_counter()
        step()
        ratios.append((time.perf_counter() - second) / (second - first))
    return statistics.median(ratios)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="per cell (default 3)")
    options = parser.parse_args()
    table = Table("time of a step / torch AdamW (fused)", *WORKLOADS, box=None)
    bases = {name: make_step(torch.optim.AdamW, shapes, fused=True) for name, shapes in WORKLOADS.items()}
    for label, (cls, arguments) in OPTIMIZERS.items():
        cells = [
            median_ratio(make_step(cls, shapes, **arguments), bases[name], options.seconds)
            for name, shapes in WORKLOADS.items()
        ]
        table.add_row(label, *(f"{cell:.2f}" for cell in cells))
    Console().print(table)


if __name__ == "__main__":
    main()
