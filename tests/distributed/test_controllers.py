"""Controllers of sharded training decide what those of training in one process decide."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard

from equipoise import SMES
from equipoise.balance import Controller, HypergradientController, SpreadController

from .world import world


def decisions(cls: type[Controller], rank: int, size: int) -> list[tuple[float, ...]]:
    """The history of a controller over 12 steps, of which every process sees its part of the batch."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1))  # 5 rows for 2 processes, and 1
    if size > 1:
        fully_shard(model)
    optimizer = SMES(model.parameters(), lr=0.05, reference="initial" if cls is HypergradientController else "none")
    controller = cls(optimizer, every=2, **({"tolerance": 0.1} if cls is SpreadController else {}))
    for number in range(12):
        inputs = torch.randn(8, 3, generator=torch.Generator().manual_seed(number))[rank::size]
        (model(inputs).squeeze(1) - inputs.sin().sum(1)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return [(each.after, each.reading) for each in controller.history]


@world(2, cases=[SpreadController, HypergradientController])
def test_sharded_controllers_decide_as_in_one_process_and_the_same_everywhere(cls):
    alone = decisions(cls, 0, 1)
    found = decisions(cls, dist.get_rank(), dist.get_world_size())
    assert len(found) >= 5
    assert len({after for after, _ in found}) > 2
    for one, other in zip(found, alone, strict=True):
        assert one == pytest.approx(other, rel=1e-3, abs=1e-6)
    everywhere = [None, None]
    dist.all_gather_object(everywhere, found)
    assert everywhere[0] == everywhere[1]
