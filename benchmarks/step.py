"""What a step costs on the CPU: ``make bench``.

Every time is a ratio to another in the same run, the two taking turns (A B A B ...), and the median of the ratios is printed:
machines are noisy, their noise is shared. The first table is against ``torch.optim.AdamW(fused=True)``. The floor is the
memory traffic of a step alone (``floor.c``). The second table holds what is asked for on top of a step to that step.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_optimizer import PAdam
from rich.console import Console
from rich.table import Table

import equipoise
from equipoise import SMES, Equipoise, KAdam
from equipoise.optim._telemetry import Telemetry

Shapes = list[tuple[int, ...]]
Step = Callable[[], object]

BLOCK = [(768,), (768,), (768, 2304), (2304,), (768, 768), (768,), (768,), (768,), (768, 3072), (3072,), (3072, 768), (768,)]


def resnet18() -> Shapes:
    """The 62 parameters of ResNet-18 for ImageNet."""
    shapes: Shapes = [(64, 3, 7, 7), (64,), (64,)]
    before = 64
    for width in (64, 128, 256, 512):
        for block in range(2):
            shapes += [(width, before, 3, 3), (width,), (width,), (width, width, 3, 3), (width,), (width,)]
            if block == 0 and width != before:
                shapes += [(width, before, 1, 1), (width,), (width,)]
            before = width
    return [*shapes, (1000, 512), (1000,)]


WORKLOADS: dict[str, Shapes] = {
    "25M x 1": [(25_000_000,)],
    "GPT-2 small (148)": [(50257, 768), (1024, 768), *(BLOCK * 12), (768,), (768,)],
    "ResNet-18 (62)": resnet18(),
    "500 x 1,000": [(1_000,)] * 500,
}
Made = tuple[Callable[..., torch.optim.Optimizer], dict[str, Any]]
OURS: dict[str, Made] = {
    "exponent 1/2": (Equipoise, {}),
    "exponent 1/4": (Equipoise, {"exponent": 0.25}),
    "exponent 1/8": (Equipoise, {"exponent": 0.125}),
    "exponent 0": (Equipoise, {"exponent": 0.0}),
    "exponent 0.3": (Equipoise, {"exponent": 0.3}),
    "SMES (1/4, reference)": (SMES, {}),
    "2-Adam": (KAdam, {}),
    "2 stages, exponent 0.3": (Equipoise, {"stages": 2, "exponent": 0.3}),
}
PEERS: dict[str, Made] = {
    "ours, eager": (Equipoise, {"kernel": "eager"}),
    "torch AdamW, foreach": (torch.optim.AdamW, {"foreach": True}),
    "torch AdamW, loop": (torch.optim.AdamW, {"foreach": False}),
    "torch SGD, fused": (torch.optim.SGD, {"fused": True, "momentum": 0.9}),
    "pytorch_optimizer PAdam(0.25)": (PAdam, {"partial": 0.25}),
}
BY_HAND = "\n## What a look at a study costs\n"
"""What stands on the page from here on was measured by another script, and stays."""

LOW: Made = (Equipoise, {"rounding": "stochastic"})


def make(made: Made, shapes: Shapes, dtype: torch.dtype = torch.float32, telemetry: bool = False) -> Step:
    """The step of an optimizer on parameters of these shapes, all with gradients."""
    cls, arguments = made
    parameters = [torch.nn.Parameter(torch.randn(shape).to(dtype)) for shape in shapes]
    for parameter in parameters:
        parameter.grad = (0.1 * torch.randn(parameter.shape)).to(dtype)
    optimizer = cls(parameters, lr=1e-3, **arguments)
    if telemetry:
        assert isinstance(optimizer, Equipoise)
        Telemetry(optimizer)
    return optimizer.step


def make_floor(folder: Path, shapes: Shapes, stages: int) -> Step:
    """The memory traffic of a step of so many stages."""
    library = folder / "floor.so"
    if not library.exists():
        source = Path(__file__).with_name("floor.c")
        subprocess.run(  # noqa: S603
            ["cc", "-O3", "-march=native", "-fopenmp", "-shared", "-fPIC", source, "-o", library],  # noqa: S607
            check=True,
        )
    call = ctypes.CDLL(str(library)).floor_step
    call.argtypes = [ctypes.c_void_p] + [ctypes.c_int64] * 4
    rows = [[torch.zeros(shape) for _ in range(6)] for shape in shapes]
    tensors = np.zeros((len(shapes), 8), np.int64)
    tensors[:, :6] = [[tensor.data_ptr() for tensor in row] for row in rows]
    tensors[:, 6] = [row[0].numel() for row in rows]
    chunks = -(-tensors[:, 6] // 2048)
    tensors[:, 7] = np.cumsum(chunks) - chunks

    def step(_: object = rows) -> None:  # which keeps the memory
        call(tensors.ctypes.data, len(shapes), int(chunks.sum()), stages, torch.get_num_threads())

    return step


def ratio(step: Step, base: Step, seconds: float) -> float:
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


def measure(shapes: Shapes, seconds: float, folder: Path) -> tuple[dict[str, float], dict[str, float]]:
    """The ratios to fused AdamW, and those to our own step and to the floor."""
    adamw = make((torch.optim.AdamW, {"fused": True}), shapes)
    found = {name: ratio(make(made, shapes), adamw, seconds) for name, made in {**OURS, **PEERS}.items()}
    floors = [make_floor(folder, shapes, stages) for stages in (1, 2)]
    found["memory floor, 1 stage"], found["memory floor, 2 stages"] = (ratio(floor, adamw, seconds) for floor in floors)
    low = torch.bfloat16
    own = make((Equipoise, {}), shapes)
    asked = {
        "telemetry": (make((Equipoise, {}), shapes, telemetry=True), own),
        "bfloat16 parameters, nearest": (make((Equipoise, {}), shapes, low), own),
        "bfloat16 parameters, stochastic": (make(LOW, shapes, low), own),
        "bfloat16 state": (make((Equipoise, {"state_dtype": low}), shapes), own),
        "bfloat16 parameters and state": (make((Equipoise, {"state_dtype": low, "rounding": "stochastic"}), shapes, low), own),
        "2-Adam / its floor": (make((KAdam, {}), shapes), floors[1]),
    }
    return found, {name: ratio(step, base, seconds) for name, (step, base) in asked.items()}


def markdown(table: dict[str, dict[str, float]]) -> str:
    """One row per optimizer, one column per workload."""
    labels = next(iter(table.values()))
    rows = [["", *WORKLOADS], ["---"] * (len(WORKLOADS) + 1)]
    rows += [[label, *(f"{table[name][label]:.2f}" for name in WORKLOADS)] for label in labels]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> None:
    """Measure, print two tables, and write them as JSON and as a page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="per cell (default 2)")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/step.json"), help="default benchmarks/step.json")
    parser.add_argument("--page", type=Path, default=Path("docs/benchmarks.md"), help="default docs/benchmarks.md")
    options = parser.parse_args()
    machine = {
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "load before": os.getloadavg()[0],
        "torch": torch.__version__,
        "equipoise": equipoise.__version__,
    }
    with tempfile.TemporaryDirectory() as folder:
        measured = {name: measure(shapes, options.seconds, Path(folder)) for name, shapes in WORKLOADS.items()}
    titles = ("Time of a step / torch AdamW (fused)", "Time of a step / the step of exponent 1/2 in float32")
    tables = dict(zip(titles, ({name: both[number] for name, both in measured.items()} for number in range(2)), strict=True))
    options.json.write_text(json.dumps({"machine": machine, **tables}, indent=1) + "\n")
    about = "# What a step costs\n\nWritten by `make bench`: medians of ratios, the two sides taking turns. "
    about += ", ".join(f"{name} {value}" for name, value in machine.items()) + "."
    kept = options.page.read_text().partition(BY_HAND)[1:] if options.page.exists() else ()
    page = "\n\n".join([about, *(f"## {t}\n\n{markdown(table)}" for t, table in tables.items())]) + "\n"
    options.page.write_text(page + "".join(kept))
    for title, table in tables.items():
        shown = Table(title, *WORKLOADS, box=None)
        for label in next(iter(table.values())):
            shown.add_row(label, *(f"{table[name][label]:.2f}" for name in WORKLOADS))
        Console(width=120).print(shown, "")


if __name__ == "__main__":
    main()
