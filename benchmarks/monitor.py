"""What a monitor adds to a training step: ratios in one run, the loops taking turns.

    python benchmarks/monitor.py [--device cuda] [--batch 1] [--length 64] [--rounds 10] [--threads 1] [--small]
                                   [--optimizer smes]

The model has the 148 tensors of GPT-2 small (124 million parameters), with --small a sixteenth as wide, and does its forward
and backward passes on random tokens. The monitor judges every reading and writes it to a file. On a GPU the passes are under
autocast to bfloat16. Of SMES, the kernel measures in passing; of AdamW, the monitor reads the state after the step; of Lion,
it copies the parameters before the step. Steps are timed ten at a time, unmonitored, read at every tenth, and read at every
one, in an order that turns from round to round; the median of the ratios within a round is printed, with the quartiles. Times
are of the processor, so that other programs on the machine count less; with --device cuda of the clock.

Where a training step takes seconds, a reading is such a small part of it that these ratios are noise on a busy machine. So the
last lines time what a monitor adds to a step of the optimizer alone, one step at a time, relative to a whole training step.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

import torch
from pytorch_optimizer import Lion
from torch import Tensor, nn

from equipoise import SMES
from equipoise.monitor import JsonLines, Monitor

OPTIMIZERS = {"smes": SMES, "adamw": partial(torch.optim.AdamW, fused=True), "lion": Lion}
STEPS = 10
"""Timed at a time."""


class Block(nn.Module):
    """Attention and a feed-forward layer, as in GPT-2."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention, self.projection = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (batch, length, width)."""
        split = self.attention(self.before(x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(*split.unbind(), is_causal=True)
        x = x + self.projection(mixed.transpose(1, 2).flatten(2))
        return x + self.down(nn.functional.gelu(self.up(self.after(x))))


class Transformer(nn.Module):
    """The shapes of GPT-2 small at a width of 768."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(50257, width), nn.Embedding(1024, width)
        self.blocks = nn.Sequential(*(Block(width, 12) for _ in range(12)))
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """The loss of predicting each token from those before it; shape (batch, length) to a scalar."""
        x = self.tokens(tokens) + self.places.weight[: tokens.shape[1]]
        logits = nn.functional.linear(self.norm(self.blocks(x)), self.tokens.weight)
        return nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())


def seconds(work: Callable[[], object], device: torch.device, steps: int = STEPS) -> float:
    """For so many times the work."""
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    start = clock()
    for _ in range(steps):
        work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return clock() - start


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--optimizer", choices=OPTIMIZERS, default="smes")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    device = torch.device(given.device)
    model = Transformer(48 if given.small else 768).to(device)
    optimizer = OPTIMIZERS[given.optimizer](model.parameters(), lr=1e-5)
    tokens = torch.randint(50257, (given.batch, given.length), device=device)

    def step() -> Tensor:
        with torch.autocast("cuda", dtype=torch.bfloat16) if device.type == "cuda" else nullcontext():
            loss = model(tokens)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    def loop(every: int | None) -> float:
        if every is None:
            return seconds(step, device)
        with (
            tempfile.TemporaryDirectory() as folder,
            Monitor(optimizer, model, every=every, sinks=[JsonLines(folder)]) as monitor,
        ):
            return seconds(lambda: monitor.step(loss=step()), device)

    for _ in range(3):
        step()
    ways = [None, 10, 1]
    found: dict[int | None, list[float]] = {way: [] for way in ways}
    for number in range(given.rounds):
        turn = number % len(ways)
        for way in (*ways[turn:], *ways[:turn]):
            found[way].append(loop(way))
    whole = 1e3 * statistics.median(found[None]) / STEPS
    print(f"unmonitored: {whole:.1f} ms per step\n")
    print("| every | overhead | quartiles |\n|---|---|---|")
    for every in (10, 1):
        ratios = [100 * (own / plain - 1) for own, plain in zip(found[every], found[None], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(f"| {every} | {middle:.2f} % | {low:.2f} % to {high:.2f} % |")
    added(model, optimizer, device, whole)


def added(model: Transformer, optimizer: torch.optim.Optimizer, device: torch.device, whole: float) -> None:
    """What a monitor adds to a step of the optimizer, with the same gradients in every step."""
    for parameter in model.parameters():
        parameter.grad = 1e-3 * torch.randn_like(parameter)
    alone = 1e3 * statistics.median(seconds(optimizer.step, device, 1) for _ in range(20))
    print(f"\na step of the optimizer alone: {alone:.2f} ms\n")
    print("| | ms more | of a training step at every=1 | at every=10 |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name, sinks in (("a reading, judged and written to a file", [JsonLines(folder)]), ("a reading, judged", [])):
            with Monitor(optimizer, model, every=1, sinks=sinks) as monitor:

                def work(monitor: Monitor = monitor) -> None:
                    optimizer.step()
                    monitor.step(loss=1.0)

                seconds(work, device, 100)  # so that verdicts have a past to look at
                times: dict[int, list[float]] = {1: [], 10**9: []}
                for _ in range(40):
                    for monitor.every, own in times.items():
                        own.append(1e3 * seconds(work, device, 1))
            cost = statistics.median(read - not_read for read, not_read in zip(*times.values(), strict=True))
            print(f"| {name} | {cost:.2f} | {100 * cost / whole:.2f} % | {100 * cost / whole / 10:.2f} % |")


if __name__ == "__main__":
    main()
