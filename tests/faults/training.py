"""A small real training run with all that has a state, and faults to put into single steps of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional

from equipoise import SMES
from equipoise.monitor import Guard, JsonLines, Monitor, Reading, Snapshots, Thresholds, Warn
from equipoise.monitor._guarding.policies import Policy
from equipoise.monitor._recording.run_file import FILE
from equipoise.monitor._recording.sinks import Sink
from equipoise.watch import records

STEPS = 12
SNAPSHOTS = "snapshots"

Fault = Callable[["Run"], AbstractContextManager[None]]


class Run:
    """Dropout, shuffled data, a schedule; a snapshot every other step, and a run file where a folder is given."""

    def __init__(
        self,
        policy: Policy,
        *,
        folder: Path | None = None,
        every: int = 1,
        snapshot_every: int = 2,
        micro_batches: int = 1,
        sinks: Iterable[Sink] = (),
        wrapped: Callable[[nn.Module], nn.Module] = lambda model: model,
    ) -> None:
        torch.manual_seed(0)
        self.model = wrapped(nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Dropout(0.2), nn.Linear(16, 1)))
        self.optimizer = SMES(self.model.parameters(), lr=0.02, exponent=0.25)
        self.rate = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, 100)
        self.data = Data()
        objects = {"model": self.model, "optimizer": self.optimizer, "rate": self.rate, "data": self.data}
        self.snapshots = Snapshots(objects, folder=folder and folder / SNAPSHOTS, every=snapshot_every, keep=2)
        # A learning rate that jumps is one of the faults, and what it does is to be seen, not that it does.
        self.guard = Guard(policy, snapshots=self.snapshots, thresholds=Thresholds(jump=1e300))
        given = [*([JsonLines(folder)] if folder else []), *sinks]
        self.monitor = Monitor(self.optimizer, self.model, every=every, sinks=given, guard=self.guard)
        self.micro_batches = micro_batches

    def train(
        self, until: int = STEPS, *, faults: Iterable[tuple[int, Fault]] = (), told: Callable[[int], object] = int
    ) -> Run:
        """Up to a position in the data.

        Args:
            until: the position.
            faults: what happens at which position. Each happens once; where a run comes by again, the next one is due.
            told: called with the number of every step when all of it is done.
        """
        due = list(faults)
        while self.data.position < until:
            self.data.position += 1
            fault = next((each for each in due if each[0] == self.data.position), None)
            if fault is not None:
                due.remove(fault)
            with fault[1](self) if fault else nullcontext():
                self.optimizer.zero_grad()
                for _ in range(self.micro_batches):
                    loss = self.data.loss(self.model)
                    (loss / self.micro_batches).backward()
                    self.monitor.micro_step(loss=loss)
                self.optimizer.step()
            self.rate.step()
            self.monitor.step()
            told(self.monitor.steps)
        return self

    def resume(self) -> Run:
        """Go back to the newest snapshot."""
        self.snapshots.restore()
        return self

    def state(self) -> tuple[list[torch.Tensor], object]:
        """All of it: what the next step depends on."""
        kept = [value for each in self.optimizer.state.values() for value in each.values()]
        tensors = [*self.model.state_dict().values(), *(each for each in kept if isinstance(each, torch.Tensor))]
        numbers = [each for each in kept if not isinstance(each, torch.Tensor)]
        rest = numbers, self.rate.state_dict(), self.data.position, self.monitor.steps
        return [tensor.clone() for tensor in (*tensors, torch.get_rng_state())], rest


class Data:
    """Shuffled examples, and how many batches have been taken from them."""

    def __init__(self) -> None:
        self.inputs = torch.randn(32, 4)
        self.targets = self.inputs.sum(1, keepdim=True).sin()
        self.position = 0
        self.part = dist.get_rank() if dist.is_initialized() else 0

    def loss(self, model: nn.Module) -> torch.Tensor:
        """Of the next batch."""
        chosen = torch.randperm(32)[8 * self.part : 8 * self.part + 8]
        return functional.mse_loss(model(self.inputs[chosen]), self.targets[chosen])

    def state_dict(self) -> dict[str, int]:
        return {"position": self.position}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self.position = state_dict["position"]


@cache
def unfaulted(micro_batches: int = 1) -> tuple[list[torch.Tensor], object]:
    """Where a run ends to which nothing happens."""
    return Run(Warn(), micro_batches=micro_batches).train().state()


def same(one: tuple[list[torch.Tensor], object], other: tuple[list[torch.Tensor], object]) -> bool:
    """To the last bit."""
    return one[1] == other[1] and len(one[0]) == len(other[0]) and all(map(torch.equal, one[0], other[0]))


def steps_read(folder: Path) -> list[int]:
    """The steps of all readings in a run file, of which every line is whole."""
    assert (folder / FILE).read_bytes().endswith(b"}\n")
    return [each.step for each in records(folder) if isinstance(each, Reading)]


def events(folder: Path, kind: str) -> list[dict[str, Any]]:
    """The lines of a run file that are verdicts, or actions."""
    return [each for each in records(folder) if isinstance(each, dict) and each["kind"] == kind]


def bad_batch(number: int = 0) -> Fault:
    """NaN in the inputs of one micro-batch: its loss is NaN, and all gradients of the step are."""

    @contextmanager
    def fault(run: Run):
        passes = iter(range(run.micro_batches))
        spoil = lambda _, given: (given[0] * math.nan,) if next(passes) == number else None  # noqa: E731
        handle = run.model.register_forward_pre_hook(spoil)
        yield
        handle.remove()

    return fault


@contextmanager
def bad_gradient(run: Run):
    """A backward pass that makes NaN of one element, in one layer; the loss and all other layers are fine."""

    def spoil(gradient: torch.Tensor) -> torch.Tensor:
        gradient = gradient.clone()
        gradient[0, 3] = math.nan
        return gradient

    handle = run.model[3].weight.register_hook(spoil)
    yield
    handle.remove()


@contextmanager
def _one_step_at(run: Run, rate: float):
    group = run.optimizer.param_groups[0]
    lr, group["lr"] = group["lr"], rate
    yield
    group["lr"] = lr


def overflowing_step(run: Run):
    """A learning rate for one step at which parameters overflow; the loss and all gradients of that step are finite."""
    return _one_step_at(run, 1e39)


def leap(run: Run):
    """A learning rate for one step that throws the parameters far away; all stays finite."""
    return _one_step_at(run, 50.0)


@contextmanager
def overflowing_moment(run: Run):
    """Finite gradients of one layer, whose squares are not."""
    handle = run.model[0].weight.register_hook(lambda gradient: gradient * 1e25)
    yield
    handle.remove()
