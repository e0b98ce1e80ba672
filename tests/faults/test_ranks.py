"""One process of two in trouble: both do the same about it, and nothing is lost on either."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from equipoise.monitor import Rollback, Skip, Warn
from tests.distributed.world import folder, world

from .test_disk import full
from .training import STEPS, Run, bad_batch, events, same, steps_read

pytestmark = pytest.mark.skipif(not dist.is_available(), reason="needs torch.distributed")


def everywhere(value):
    found = [None] * dist.get_world_size()
    dist.all_gather_object(found, value)
    return found


def here_only(fault):
    """On the second process alone."""
    return fault if dist.get_rank() == 1 else lambda _: nullcontext()


def run_of_two(policy, **options):
    return Run(policy, wrapped=DistributedDataParallel, **options)


@world(2)
def test_after_a_bad_batch_of_one_process_and_a_rollback_nothing_is_lost_on_both():
    place = folder() / "bad batch"
    run = run_of_two(Rollback(), folder=place)
    with run.monitor:
        run.train(faults=[(7, here_only(bad_batch()))])
    alone = run_of_two(Warn()).train()
    assert everywhere(same(run.state(), alone.state())) == [True, True]
    assert everywhere(run.guard.rollbacks) == [1, 1]
    dist.barrier()
    assert steps_read(place) == [*range(1, 8), *range(6, STEPS + 1)]
    assert [(action["action"], action["to_step"]) for action in events(place, "action")] == [("rollback", 5)]


@world(2)
def test_a_bad_batch_of_one_process_is_skipped_by_both():
    run = run_of_two(Skip()).train(faults=[(7, here_only(bad_batch()))])
    assert everywhere(run.guard.skipped) == [1, 1]
    one, other = everywhere([parameter.tolist() for parameter in run.model.parameters()])
    assert one == other


@world(2)
def test_a_disk_that_is_full_for_one_process_makes_both_go_on_from_the_last_snapshot_that_is_whole_on_both():
    place = folder() / "full"
    run = run_of_two(Warn(), folder=place).train(4)
    with full(5000) if dist.get_rank() == 1 else nullcontext():
        run.train(6)
    run.monitor.close()
    dist.barrier()
    again = run_of_two(Warn(), folder=place).resume()
    assert everywhere(again.monitor.steps) == [3, 3]
    again.train().monitor.close()
    assert everywhere(same(again.state(), run_of_two(Warn()).train().state())) == [True, True]
