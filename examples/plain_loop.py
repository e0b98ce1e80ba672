"""Watch and guard a training loop of your own: six lines, marked below.

A small convolutional network learns to read handwritten digits (the 1,797 images that come with scikit-learn), with two
micro-batches per step, clipping, and a cosine schedule. Every reading has what the optimizer did to every tensor, and verdicts
say, in the log, what is wrong. In the middle a batch is NaN, as from a broken file, which would end the training, as
BatchNorm's averages never recover: the guard goes back to the last good state with half the learning rate.

Run it: ``python examples/plain_loop.py`` (about a minute), and meanwhile, elsewhere, ``equipoise watch runs/digits``.
Needs ``pip install 'equipoise[study]'`` for the images.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from equipoise import SMES
from equipoise.monitor import Guard, JsonLines, LowerRate, Monitor, Reading, Rollback, Snapshots

BATCH, MICRO_BATCHES = 32, 2


def data() -> tuple[Tensor, Tensor]:
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    return images[order], torch.tensor(digits.target)[order]


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(256, 10),
    )


def main(steps: int = 3000, folder: Path = Path("runs/digits")) -> Monitor:
    torch.manual_seed(0)
    images, labels = data()
    held_out, images = images[:360], images[360:]
    expected, labels = labels[:360], labels[360:]
    model = network()
    optimizer = SMES(model.parameters(), lr=3e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, 3e-5)
    good = Snapshots({"model": model, "optimizer": optimizer, "schedule": schedule})  # 1: what to go back to
    guard = Guard(Rollback((LowerRate(0.5),)), snapshots=good)  # 2: what to do about trouble
    monitor = Monitor(optimizer, model, sinks=[JsonLines(folder)], guard=guard)  # 3: what to watch, and where to write it

    for step in range(1, steps + 1):
        optimizer.zero_grad()
        for _ in range(MICRO_BATCHES):
            chosen = torch.randint(len(images), (BATCH,))
            batch = images[chosen] * (math.nan if step == steps // 2 else 1.0)
            loss = nn.functional.cross_entropy(model(batch), labels[chosen])
            (loss / MICRO_BATCHES).backward()
            monitor.micro_step(loss=loss)  # 4: a loss of the coming step
        norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % (steps // 10) == 0:
            model.eval()
            with torch.no_grad():
                logits = model(held_out)
            model.train()
            accuracy = (logits.argmax(1) == expected).float().mean()
            monitor.validation(loss=nn.functional.cross_entropy(logits, expected), accuracy=accuracy)
        reading = monitor.step(gradient_norm_before_clipping=norm)  # 5: the step has ended
        if reading is not None and "validation_loss" in reading.metrics:
            show(reading)
    monitor.close()  # 6
    show_tensors(monitor)
    print(f"\nAll readings are in {folder}: equipoise watch {folder}")
    return monitor


def show(reading: Reading) -> None:
    metrics, ratios = reading.metrics, [tensor.update_ratio for tensor in reading.tensors.values()]
    print(
        f"step {reading.step:5}: loss {metrics['loss']:.4f}, held out {metrics['validation_loss']:.4f}"
        f" ({metrics['validation_accuracy']:.1%} right), one step changes a tensor by {min(ratios):.1e} to {max(ratios):.1e}"
    )


def show_tensors(monitor: Monitor) -> None:
    assert monitor.last is not None
    print(f"\n{'tensor':10} {'gradient':>9} {'update':>9} {'max |u|':>9} {'at most':>9} {'change':>9}")
    for name, tensor in monitor.last.tensors.items():
        numbers = (tensor.gradient_rms, tensor.update_rms, tensor.largest_update, tensor.bound, tensor.update_ratio)
        print(f"{name:10} " + " ".join(f"{number:9.2e}" for number in numbers))
    group = monitor.last.groups[0]
    print(
        f"gradients differ by {group.gradient_spread:.1f} decades between tensors, updates by {group.update_spread:.1f};"
        f" margin of stability {group.margin:+.3f} nats per step"
    )


if __name__ == "__main__":
    main()
