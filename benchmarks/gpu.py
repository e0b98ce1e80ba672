"""What a step costs on a GPU: ``make bench-gpu``.

Per cell the time as a ratio to ``torch.optim.AdamW(fused=True)`` in the same run, the two taking turns, and the bandwidth that
is achieved (the bytes that a step must move, over its time) as a part of that of a copy. In float32 one stage moves 28 bytes
per element: it reads the parameter, the gradient and two moments, and writes all but the gradient; a further stage moves 16.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections.abc import Callable
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from step import WORKLOADS

from equipoise import SMES, Equipoise, KAdam
from equipoise.optim._telemetry import Telemetry

Step = Callable[[], object]

OPTIMIZERS: dict[str, tuple[type[Equipoise], dict[str, Any], int]] = {
    "exponent 1/2": (Equipoise, {}, 28),
    "exponent 1/4": (Equipoise, {"exponent": 0.25}, 28),
    "exponent 0": (Equipoise, {"exponent": 0.0}, 28),
    "exponent 0.3": (Equipoise, {"exponent": 0.3}, 28),
    "SMES (1/4, reference)": (SMES, {}, 28),
    "2-Adam": (KAdam, {}, 44),
}
"""And the bytes per element."""


def make_optimizer(cls: type[Any], shapes: list[tuple[int, ...]], **arguments: object) -> Any:
    """On parameters of these shapes on the GPU, all with gradients."""
    parameters = [torch.nn.Parameter(torch.randn(shape, device="cuda")) for shape in shapes]
    for parameter in parameters:
        parameter.grad = 0.1 * torch.randn_like(parameter)
    return cls(parameters, lr=1e-3, **arguments)


def replay(optimizer: torch.optim.Optimizer) -> Step:
    """The step as a CUDA graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            optimizer.step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        optimizer.step()
    return graph.replay


def seconds(step: Step, repeats: int = 10) -> float:
    """The seconds of one step: of several in a row, from the first launch to the end of the last, divided by their number."""
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    start.record()
    for _ in range(repeats):
        step()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1000 / repeats


def compare(step: Step, base: Step, turns: int) -> tuple[float, float]:
    """The medians of time(step) / time(base), in turns, and of time(step)."""
    for _ in range(3):
        step(), base()
    pairs = [(seconds(step), seconds(base)) for _ in range(turns)]
    return statistics.median(own / other for own, other in pairs), statistics.median(own for own, _ in pairs)


def copy_bandwidth(turns: int) -> float:
    """Bytes per second, read and written, of a copy of 1 GiB."""
    source = torch.empty(2**28, device="cuda")
    target = torch.empty_like(source)
    target.copy_(source)
    return 2 * source.nbytes / statistics.median(seconds(lambda: target.copy_(source)) for _ in range(turns))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=20, help="per cell (default 20)")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("torch sees no GPU here, and this benchmark is about one; on the CPU: make bench")
    copied = copy_bandwidth(options.turns)
    title = f"time / torch AdamW (fused), bandwidth / copy ({copied / 1e9:,.0f} GB/s, {torch.cuda.get_device_name()})"
    table = Table(title, *WORKLOADS, box=None)
    rows: dict[str, list[str]] = {}
    for shapes in WORKLOADS.values():
        elements = sum(map(math.prod, shapes))

        def add(label: str, bytes_moved: int, step: Step, base: Step, elements: int = elements) -> None:
            ratio, time = compare(step, base, options.turns)
            rows.setdefault(label, []).append(f"{ratio:.2f}  {elements * bytes_moved / time / copied:4.0%}")

        base = make_optimizer(torch.optim.AdamW, shapes, fused=True).step
        for label, (cls, arguments, bytes_moved) in OPTIMIZERS.items():
            add(label, bytes_moved, make_optimizer(cls, shapes, kernel="fused", **arguments).step, base)
        watched = make_optimizer(Equipoise, shapes)
        Telemetry(watched)
        add("exponent 1/2, telemetry", 28, watched.step, base)
        base = replay(make_optimizer(torch.optim.AdamW, shapes, fused=True, capturable=True))
        add("exponent 1/2, both as CUDA graphs", 28, replay(make_optimizer(Equipoise, shapes)), base)
    for label, cells in rows.items():
        table.add_row(label, *cells)
    Console().print(table)


if __name__ == "__main__":
    main()
