"""A monitor of several processes says what one of a single process says, on all of them, in one collective."""

from __future__ import annotations

import math

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor.debug import CommDebugMode
from torch.nn.parallel import DistributedDataParallel

from equipoise import SMES
from equipoise.monitor import Monitor, Reading

from .world import world

WAYS = ["ddp", "compiled-ddp", "fsdp", "mixed"]


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1))  # 5 rows for 2 processes, and 1


def wrapped(way: str) -> nn.Module:
    model = network()
    if way == "fsdp":
        fully_shard(model, mesh=init_device_mesh("cpu", (dist.get_world_size(),)))
    elif way == "mixed":  # only a part is sharded
        fully_shard(model[0], mesh=init_device_mesh("cpu", (dist.get_world_size(),)))
    elif way == "hybrid":
        fully_shard(model, mesh=init_device_mesh("cpu", (2, 2), mesh_dim_names=("replicate", "shard")))
    elif way != "alone":
        model = DistributedDataParallel(model)
        if way == "compiled-ddp":
            model = torch.compile(model, backend="eager")
    return model


def readings(way: str, rank: int = 0, size: int = 1, steps: int = 6, **arguments) -> list[Reading]:
    """Of training in which every process sees its part of the batch."""
    model = wrapped(way)
    optimizer = SMES(model.parameters(), lr=0.05)
    with Monitor(optimizer, model, every=2, **arguments) as monitor:
        for number in range(steps):
            inputs = torch.randn(8, 3, generator=torch.Generator().manual_seed(number))[rank::size]
            loss = (model(inputs).squeeze(1) - inputs.sin().sum(1)).square().mean()
            loss.backward()
            if way == "mixed":  # nobody else adds up the gradients of what is not sharded
                for parameter in model[2].parameters():
                    dist.all_reduce(parameter.grad)
                    parameter.grad /= size
            optimizer.step()
            optimizer.zero_grad()
            monitor.step(loss=loss)
    return list(monitor.history)


def assert_as_in_one_process(found: list[Reading]) -> None:
    for one, other in zip(found, readings("alone"), strict=True):
        assert (one.step, one.made) == (other.step, True)
        assert one.metrics == pytest.approx(other.metrics, rel=1e-5)
        assert list(one.tensors) == list(other.tensors) == ["0.weight", "0.bias", "2.weight", "2.bias"]
        for own, expected in zip(one.tensors.values(), other.tensors.values(), strict=True):
            for name in own.__slots__:
                assert getattr(own, name) == pytest.approx(getattr(expected, name), rel=1e-4, abs=1e-6, nan_ok=True)
        for own, expected in zip(one.groups, other.groups, strict=True):
            assert (own.lr, own.exponent, own.betas) == (expected.lr, expected.exponent, expected.betas)
            for name in ("margin", "margin_ahead", "gradient_spread", "update_spread"):
                assert getattr(own, name) == pytest.approx(getattr(expected, name), rel=1e-4)


def everywhere(value) -> list:
    found = [None] * dist.get_world_size()
    dist.all_gather_object(found, value)
    return found


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@world(2, WAYS)
def test_readings_are_those_of_one_process_and_the_same_everywhere(way):
    found = readings(way, dist.get_rank(), 2)
    assert_as_in_one_process(found)
    for own in everywhere([(each.metrics, each.tensors, each.groups) for each in found]):
        assert repr(own) == repr([(each.metrics, each.tensors, each.groups) for each in found])


@world(4, ["hybrid"])
def test_shards_that_are_replicated_are_read_once(way):
    assert_as_in_one_process(readings(way, dist.get_rank(), 4))


def prepared(way: str, every: int = 1):
    """A step of an optimizer with gradients, and a monitor of it."""
    model = wrapped(way)
    optimizer = SMES(model.parameters(), exponent=0.5, reference="none")
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    return optimizer, Monitor(optimizer, model, every=every)


def collectives(optimizer, monitor, **metrics) -> int:
    with CommDebugMode() as mode:
        optimizer.step()
        monitor.step(**metrics)
    return mode.get_total_counts()


@world(2, ["ddp", "fsdp", "mixed"])
def test_a_reading_is_one_collective_and_a_step_without_one_is_none(way):
    optimizer, monitor = prepared(way, every=2)
    assert collectives(optimizer, monitor, loss=torch.tensor(1.0)) == 0
    assert collectives(optimizer, monitor, loss=torch.tensor(1.0)) == 1
    assert monitor.last.made
    with CommDebugMode() as mode:  # also where no step was made
        monitor.step()
        monitor.step()
    assert mode.get_total_counts() == 1


@world(2, ["ddp", "fsdp"])
def test_a_nan_on_one_process_is_a_nan_on_all_and_all_judge_alike(way):
    optimizer, monitor = prepared(way)
    optimizer.step()
    reading = monitor.step(loss=math.nan if dist.get_rank() else 1.0, accuracy=torch.tensor(float(dist.get_rank())))
    assert math.isnan(reading.metrics["loss"])
    assert reading.metrics["accuracy"] == 0.5
    first, second = everywhere([(verdict.kind, verdict.message) for verdict in monitor.verdicts])
    assert first == second
    assert "nonfinite-loss" in {kind for kind, _ in first}


@world(2, ["ddp", "fsdp"])
def test_metrics_that_only_some_processes_have_or_that_are_many_cost_a_second_collective_and_stop_nobody(way):
    optimizer, monitor = prepared(way)
    own = {"loss": 1.0 + dist.get_rank()} | ({} if dist.get_rank() else {"validation_loss": 5.0})
    assert collectives(optimizer, monitor, **own) > 1
    assert monitor.last.metrics == {"loss": 1.5, "validation_loss": 5.0}
    many = {f"metric_{number}": number + dist.get_rank() for number in range(50)}
    assert collectives(optimizer, monitor, **many) > 1
    assert monitor.last.metrics == {name: int(name[7:]) + 0.5 for name in many}
    assert collectives(optimizer, monitor, loss=0.0) == 1


class Kept:
    def __init__(self) -> None:
        self.found = []

    def open(self, run) -> None:
        self.found.append(run)

    def write(self, record) -> None:
        self.found.append(record)

    def close(self) -> None:
        self.found.append(None)


@world(2)
def test_sinks_are_called_on_the_first_process_alone_and_are_told_of_whole_tensors():
    sink = Kept()
    found = readings("fsdp", dist.get_rank(), 2, sinks=[sink])
    if dist.get_rank():
        assert sink.found == []
    else:
        assert sink.found[0].shapes == ((5, 3), (5,), (1, 5), (1,))
        assert [each for each in sink.found if isinstance(each, Reading)] == found
