"""What one process sees, all act on alike: guards and snapshots in distributed training."""

from __future__ import annotations

import math

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from equipoise import SMES
from equipoise.monitor import Guard, LowerRate, Monitor, Rollback, Skip, Snapshots, Warn

from .world import folder, world


def everywhere(value):
    found = [None] * dist.get_world_size()
    dist.all_gather_object(found, value)
    return found


class Run:
    """Sharded training, or DDP, of which every process sees other inputs."""

    def __init__(self, policy, *, shard=True, on_disk=None):
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1))  # 5 rows for 2 processes, and 1
        if shard:
            fully_shard(self.model)
        else:
            self.model = DistributedDataParallel(self.model)
        self.optimizer = SMES(self.model.parameters(), lr=0.05)
        self.snapshots = Snapshots({"model": self.model, "optimizer": self.optimizer}, every=2, keep=2, folder=on_disk)
        self.guard = Guard(policy, snapshots=self.snapshots)
        self.monitor = Monitor(self.optimizer, self.model, every=1, guard=self.guard)

    def step(self, number, *, spoil=None):
        """One step; `spoil` is what is done to the loss and the gradients, on the second process alone."""
        rank = dist.get_rank()
        inputs = torch.randn(8, 3, generator=torch.Generator().manual_seed(10 * number + rank))
        loss = (self.model(inputs).squeeze(1) - inputs.sin().sum(1)).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        if rank == 1 and spoil == "gradient":
            gradient = self.model[0].weight.grad
            (gradient.to_local() if isinstance(gradient, DTensor) else gradient)[0, 0] = math.nan
        self.optimizer.step()
        self.monitor.step(loss=loss * (math.nan if rank == 1 and spoil == "loss" else 1.0))

    def parameters(self):
        """Whole, on every process."""
        return [
            (each.full_tensor() if isinstance(each, DTensor) else each).detach().flatten().tolist()
            for each in self.model.parameters()
        ]


@world(2)
def test_a_nan_in_a_gradient_of_one_process_makes_all_skip_the_step():
    run = Run(Skip())
    run.step(1)
    before = run.parameters()
    run.step(2, spoil="gradient")
    assert run.parameters() == before
    assert everywhere(run.guard.skipped) == [1, 1]
    assert not run.monitor.last.made
    run.step(3)
    assert run.parameters() != before
    assert all(math.isfinite(value) for values in run.parameters() for value in values)


@world(2, cases=[True, False])
def test_a_nan_in_the_loss_of_one_process_makes_all_go_back_to_the_same_state(shard):
    run = Run(Rollback(remedies=(LowerRate(),)), shard=shard)
    for number in range(1, 4):
        run.step(number)
    good = run.parameters()  # of step 3
    run.step(4)
    run.step(4, spoil="loss")
    assert everywhere((run.monitor.steps, run.guard.rollbacks, run.optimizer.param_groups[0]["lr"])) == [(3, 1, 0.025)] * 2
    assert run.parameters() == good
    run.step(4)
    assert everywhere(run.parameters())[0] == everywhere(run.parameters())[1]


@world(2)
def test_a_verdict_of_one_process_alone_is_one_of_all_and_says_whose_it_is():
    guard = Guard(Warn())
    run = Run(Warn())
    run.step(1)
    newest = run.monitor.last
    if dist.get_rank() == 1:
        newest.metrics["loss"] = math.nan
    verdicts, action = guard.consider([newest])
    assert [verdict.message for verdict in verdicts] == ["Process 1: loss is nan."]
    assert everywhere(action)[0] == action


@world(2)
def test_sharded_snapshots_come_back_from_disk_and_one_that_is_damaged_on_one_process_is_used_by_none():
    place = folder() / "snapshots"
    run = Run(Warn(), on_disk=place)
    states = []
    for number in range(1, 6):
        run.step(number)
        states.append(run.parameters())
    assert everywhere(run.snapshots.steps) == [[3, 5]] * 2
    dist.barrier()
    again = Run(Warn(), on_disk=place)
    assert again.snapshots.restore().step == 5
    assert again.parameters() == states[4]
    assert again.monitor.steps == 5
    dist.barrier()
    if dist.get_rank() == 1:
        damaged = place / "000000005.rank1.pt"
        damaged.write_bytes(damaged.read_bytes()[:-1])
    dist.barrier()
    again = Run(Warn(), on_disk=place)
    assert everywhere(again.snapshots.restore().step) == [3, 3]
    assert again.parameters() == states[2]
    for number in (4, 5):
        again.step(number)
    assert again.parameters() == states[4]  # to the last bit
