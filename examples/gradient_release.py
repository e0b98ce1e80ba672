"""Gradient release: every parameter takes its step as soon as its gradient arrives, and the gradient is freed at once.

The backward pass then never holds more than one gradient, where an ordinary loop holds all of them at its end. Each parameter
has an optimizer of its own, stepped in a hook. The updates are the same to the last bit, because this rule looks at one
parameter at a time. What cannot be done any more is whatever needs all gradients before the first step: clipping by
their global norm, accumulating them over several backward passes, skipping a step in which one is infinite.

Run it: ``python examples/gradient_release.py``. It trains the same model both ways, each in a fresh process, and prints by how
much its memory rose at most (Linux).
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ProcessPoolExecutor
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from equipoise import SMES

LAYERS, WIDTH, STEPS = 12, 1024, 3


class Outcome(NamedTuple):
    parameters: str
    """SHA-256 of all of them after training."""
    peak: int
    """Bytes that the process had at most, above what it had before the training."""
    gradients: int
    """Bytes of gradients that were alive at once, at most."""


def release_gradients(model: nn.Module) -> None:
    """From now on, the backward pass itself trains the model."""
    optimizers = {parameter: SMES([parameter], lr=1e-3) for parameter in model.parameters()}

    def step(parameter: Tensor) -> None:
        optimizers[parameter].step()
        parameter.grad = None

    for parameter in optimizers:
        parameter.register_post_accumulate_grad_hook(step)


def memory(line: str) -> int:
    """Bytes: "VmRSS", what the process has now; "VmHWM", the most that it ever had."""
    status = dict(each.split(":", 1) for each in Path("/proc/self/status").read_text().splitlines())
    return int(status[line].split()[0]) * 1024


def train(release: bool, width: int = WIDTH) -> Outcome:
    torch.manual_seed(0)
    torch.set_num_threads(1)  # the order of sums, and so the last bit, would depend on it
    model = nn.Sequential(*[nn.Linear(width, width, bias=False) for _ in range(LAYERS)])
    alive = 0

    def count(_: Tensor) -> None:
        nonlocal alive
        gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        alive = max(alive, sum(gradient.nbytes for gradient in gradients))

    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(count)
    optimizer = None
    if release:
        release_gradients(model)
    else:
        optimizer = SMES(model.parameters(), lr=1e-3)

    before = memory("VmRSS")
    for _ in range(STEPS):
        inputs = torch.randn(4, width)
        (model(inputs) - inputs.roll(1)).square().mean().backward()
        if optimizer is not None:
            optimizer.step()
            optimizer.zero_grad()
    digest = sha256()
    for parameter in model.parameters():
        digest.update(parameter.detach().numpy())
    return Outcome(digest.hexdigest(), memory("VmHWM") - before, alive)


def measure(release: bool) -> Outcome:
    """Training in a process that has trained before: what torch loads at its first steps does not count."""
    train(release, width=8)
    return train(release)


def compare() -> tuple[Outcome, Outcome]:
    """The ordinary loop and gradient release, each in a process of its own."""
    # Large blocks go back to the system when they are freed. Otherwise glibc keeps some, more or fewer, for later.
    os.environ["MALLOC_MMAP_THRESHOLD_"] = "65536"
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as processes:
        ordinary, released = processes.map(measure, [False, True])
    return ordinary, released


def main() -> None:
    ordinary, released = compare()
    count = LAYERS * WIDTH * WIDTH
    print(f"{count / 1e6:.1f} million parameters of {4 * count / 2**20:.0f} MiB; the optimizer's state is twice that")
    for name, outcome in (("ordinary loop", ordinary), ("gradient release", released)):
        print(f"{name:16}  peak +{outcome.peak / 2**20:4.0f} MiB   gradients at once {outcome.gradients / 2**20:3.0f} MiB")
    print("identical parameters" if ordinary.parameters == released.parameters else "DIFFERENT parameters")
    if ordinary.parameters != released.parameters:
        sys.exit(1)


if __name__ == "__main__":
    main()
