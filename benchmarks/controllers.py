"""What a controller adds to a step of the optimizer: ratios in one run, measured and amortised.

    python benchmarks/controllers.py [--steps 20] [--threads 1] [--small]

The tensors are those of GPT-2 small (124 million parameters), with --small a sixteenth of the width of its matrices. A training
step has a forward and a backward pass besides, so that the share of it is smaller. Times are of the processor, so that other
programs on the machine count less.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from equipoise import SMES
from equipoise.balance import HypergradientController, SpreadController


def shapes(width: int) -> list[tuple[int, ...]]:
    """The shapes of the parameters of GPT-2 at this width."""
    block = [(3 * width, width), (width, width), (4 * width, width), (width, 4 * width)]
    vectors = [(width,), (width,), (3 * width,), (width,), (width,), (width,), (4 * width,), (width,)]
    return [(50257, width), (1024, width), *12 * (block + vectors), (width,), (width,)]


def seconds(optimizer: SMES) -> float:
    """The processor time of one step, in seconds."""
    before = time.process_time()
    optimizer.step()
    return time.process_time() - before


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--small", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    params = [torch.nn.Parameter(torch.randn(shape)) for shape in shapes(48 if given.small else 768)]
    for parameter in params:
        parameter.grad = torch.randn_like(parameter)
    optimizer = SMES(params, lr=1e-6)
    for _ in range(3):
        optimizer.step()
    print("| controller | one measurement, in steps | every | share of an optimizer step |\n|---|---|---|---|")
    for cls in (SpreadController, HypergradientController):
        usual = cls(optimizer)
        usual.remove()
        extra: list[float] = []
        for _ in range(given.steps):
            plain = seconds(optimizer)
            controller = cls(optimizer, every=1)
            if cls is HypergradientController:
                seconds(optimizer)  # notes; the next one judges
            extra.append(seconds(optimizer) / plain - 1)
            controller.remove()
        cost = statistics.median(extra)
        print(f"| {cls.__name__} | {cost:.2f} | {usual.every} | {100 * cost / usual.every:.2f} % |", flush=True)


if __name__ == "__main__":
    main()
