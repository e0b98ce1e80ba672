"""Sharded training is training in one process: DDP, FSDP2, tensor-parallel parameters, checkpoints, telemetry."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    get_state_dict,
    set_optimizer_state_dict,
    set_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.debug import CommDebugMode
from torch.nn.parallel import DistributedDataParallel

from equipoise import SMES, Equipoise, KAdam
from equipoise.errors import ArgumentError, GradientError, StateDictError
from equipoise.migrate import convert_optimizer
from equipoise.optim._telemetry import Telemetry
from tests.conformance.table import CASES, OptimizerCase
from tests.conformance.training import tensors

from .world import folder, run, world

STEPS = 20
BATCH = 8
ROWS = [case for case in CASES if case.name in ("adam", "two-stage-initial", "smes", "kadam")]

close = partial(torch.testing.assert_close, rtol=0, atol=1e-6)
same = partial(torch.testing.assert_close, rtol=0, atol=0)


class Model(nn.Module):
    """Rows that 2 and 4 processes share unevenly, or of which some get none, and a parameter that stays whole."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(3, 5), nn.LayerNorm(5), nn.Tanh(), nn.Linear(5, 1))
        self.scale = nn.Parameter(torch.tensor([1.5, -0.5, 0.7]))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x * self.scale)


def whole(tensor: Tensor) -> Tensor:
    """What all processes have of a tensor."""
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).detach().clone()


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: range, rank: int = 0, size: int = 1) -> None:
    """Steps on this process's part of the batch."""
    for number in steps:
        inputs = torch.randn(BATCH, 3, generator=torch.Generator().manual_seed(number))
        part = inputs[rank::size]
        (model(part).squeeze(1) - part.sin().sum(1)).square().mean().backward()
        if size > 1 and isinstance(model, Model):  # nobody else adds up the gradients of what is not sharded
            dist.all_reduce(model.scale.grad)
            model.scale.grad /= size
        optimizer.step()
        optimizer.zero_grad()


def sharded(mesh=None) -> Model:
    model = Model()
    fully_shard(model.layers, mesh=mesh or init_device_mesh("cpu", (dist.get_world_size(),)))
    return model


def assert_equal_training(model, optimizer, case, **arguments) -> None:
    """The same as in one process: parameters, and references, which are the same to the last bit on all processes."""
    alone = Model()
    expected = case.make(alone.parameters(), **arguments)
    train(alone, expected, range(STEPS))
    train(model, optimizer, range(STEPS), dist.get_rank(), dist.get_world_size())
    for own, other in zip(model.parameters(), alone.parameters(), strict=True):
        close(whole(own), other.detach())
        for key, value in tensors(optimizer.state[own]).items():
            close(whole(value), expected.state[other][key])
            if key.startswith("reference"):
                everywhere = [torch.empty_like(value) for _ in range(dist.get_world_size())]
                dist.all_gather(everywhere, value)
                assert all(torch.equal(each, value) for each in everywhere)
                assert value[-1] > 0


@world(2, ROWS)
def test_ddp_is_training_in_one_process_on_the_whole_batch(case):
    model = DistributedDataParallel(Model())
    assert_equal_training(model, case.make(model.parameters()), case)


@world(2, ROWS)
def test_fully_sharded_training_with_a_plain_parameter_beside_is_training_in_one_process(case):
    model = sharded()
    assert_equal_training(model, case.make(model.parameters()), case)


@world(2, ROWS)
def test_so_it_is_with_the_eager_kernel(case):
    model = sharded()
    assert_equal_training(model, case.make(model.parameters(), kernel="eager"), case, kernel="eager")


@world(4, ROWS)
def test_on_four_processes_of_which_some_have_nothing_of_a_parameter(case):
    model = sharded()
    here = [each.to_local().numel() for each in model.layers.parameters()]
    assert (0 in here) == (dist.get_rank() > 0)
    assert_equal_training(model, case.make(model.parameters()), case)


@world(4, ROWS)
def test_shards_that_are_replicated_count_once(case):
    model = sharded(init_device_mesh("cpu", (2, 2), mesh_dim_names=("replicate", "shard")))
    assert_equal_training(model, case.make(model.parameters()), case)


def distributed(tensor: Tensor, mesh, placements) -> nn.Parameter:
    return nn.Parameter(distribute_tensor(tensor, mesh, placements))


def rows_of(size: int) -> Tensor:
    return torch.randn(7, size, generator=torch.Generator().manual_seed(size))


def follow(mesh, placements, gradients, dtype=torch.float32, **arguments):
    """Two tensors, distributed and whole, after the same steps: pairs of parameters, both optimizers, and their telemetry."""
    starts = [rows_of(size).to(dtype) for size in (3, 4)]
    parts = [distributed(start, mesh, placements) for start in starts]
    wholes = [nn.Parameter(start.clone()) for start in starts]
    optimizers = Equipoise(parts, lr=0.01, **arguments), Equipoise(wholes, lr=0.01, **arguments)
    telemetries = [Telemetry(optimizer) for optimizer in optimizers]
    for scale in gradients:
        for part, full, start in zip(parts, wholes, starts, strict=True):
            full.grad = (start + full.detach()) * scale[:, None].to(dtype)
            part.grad = distribute_tensor(full.grad, mesh, placements)
        for optimizer in optimizers:
            optimizer.step()
    return list(zip(parts, wholes, strict=True)), *optimizers, *telemetries


@world(4)
def test_a_reference_is_of_the_whole_tensor_however_it_is_cut():
    """Gradients that begin late, in the last row alone, end, and are not finite in one place."""
    nothing, last, all_rows = torch.zeros(7), torch.arange(7) // 6.0, torch.linspace(0.5, 2, 7)
    spoilt = all_rows.clone()
    spoilt[3] = torch.inf
    gradients = [nothing, last, last, all_rows, nothing, all_rows, spoilt, all_rows]
    square = init_device_mesh("cpu", (2, 2))
    for mesh, placements in (
        (init_device_mesh("cpu", (4,)), [Shard(0)]),
        (init_device_mesh("cpu", (4,)), [Shard(1)]),
        (square, [Shard(0), Shard(1)]),
        (square, [Shard(0), Shard(0)]),
        (square, [Replicate(), Shard(1)]),
        (square, [Replicate(), Replicate()]),
    ):
        arguments = {"betas": (0.0, 0.0), "stages": 2, "exponent": 0.125, "reference": "initial"}
        for kernel in ("fused", "eager"):
            pairs, own, other, *telemetries = follow(mesh, placements, gradients, kernel=kernel, **arguments)
            for part, full in pairs:
                torch.testing.assert_close(whole(part), full.detach(), equal_nan=True)
                for key in ("reference", "reference_2"):
                    torch.testing.assert_close(own.state[part][key], other.state[full][key], rtol=1e-6, atol=0)
            for measured, expected in zip(*(each.read().values() for each in telemetries), strict=True):
                assert measured == pytest.approx(expected, rel=1e-6, nan_ok=True)


@world(4)
def test_telemetry_is_of_the_whole_tensor_on_every_process_and_keeps_a_nan():
    mesh = init_device_mesh("cpu", (4,))
    spoiled = torch.ones(7)
    spoiled[2] = torch.nan
    for gradients in ([torch.linspace(-1, 1, 7)], [spoiled]):
        pairs, _, _, *telemetries = follow(mesh, [Shard(0)], gradients)
        found, expected = (each.read() for each in telemetries)
        for part, full in pairs:
            assert found[part].elements == full.numel()
            assert found[part] == pytest.approx(expected[full], rel=1e-6, nan_ok=True)


@world(2)
def test_all_tensors_agree_in_one_collective():
    mesh = init_device_mesh("cpu", (2,))
    _, own, _, telemetry, _ = follow(mesh, [Shard(0)], [torch.ones(7)] * 19, stages=2, reference="initial")

    def collectives(action):
        with CommDebugMode() as mode:
            action()
        return mode.get_total_counts()

    assert collectives(own.step) == 2  # one for each stage
    assert collectives(telemetry.read) == 1
    assert collectives(own.step) == 0  # after 20 steps the references stay what they are


@world(2, ["fused", "eager"])
def test_random_numbers_are_those_of_the_whole_tensor(kernel):
    for placements in ([Shard(0)], [Replicate()]):
        pairs, own, other, *_ = follow(
            init_device_mesh("cpu", (2,)),
            placements,
            [torch.linspace(-1, 1, 7)] * 5,
            torch.bfloat16,
            kernel=kernel,
            rounding="stochastic",
            state_dtype=torch.bfloat16,
        )
        for part, full in pairs:
            same(whole(part), full.detach())
            same(whole(own.state[part]["exp_avg_sq"]), other.state[full]["exp_avg_sq"])


@world(4)
def test_no_two_shards_use_the_same_random_numbers():
    def drawn(placements):
        """What is left of a value between two neighbours, by element, after it was rounded."""
        part = distributed(torch.ones(64, 64, dtype=torch.bfloat16), init_device_mesh("cpu", (2, 2)), placements)
        optimizer = Equipoise([part], lr=0.002, rounding="stochastic")
        part.grad = distribute_tensor(torch.ones_like(whole(part)), part.device_mesh, placements)
        optimizer.step()
        return whole(part).float()

    for placements in ([Shard(0), Shard(1)], [Replicate(), Shard(1)]):
        blocks = torch.stack([block for rows in drawn(placements).chunk(2) for block in rows.chunk(2, 1)]).flatten(1)
        spectra = torch.fft.fft((blocks - blocks.mean(1, keepdim=True)) / blocks.std(1, keepdim=True))
        # Correlations of all pairs at all shifts. Of 1,024 elements one standard deviation is 0.03.
        correlations = torch.fft.ifft(spectra[:, None] * spectra[None].conj()).real / blocks.shape[1]
        assert correlations[~torch.eye(4, dtype=torch.bool)].abs().max() < 0.2


@world(2)
def test_a_partial_parameter_is_refused_and_a_partial_gradient_is_summed():
    mesh = init_device_mesh("cpu", (2,))
    with pytest.raises(ArgumentError, match=r"Partial.* sharded or replicated"):
        Equipoise([nn.Parameter(DTensor.from_local(torch.ones(3), mesh, [Partial()]))])
    parameter = distributed(torch.zeros(3), mesh, [Replicate()])
    parameter.grad = DTensor.from_local(torch.tensor([1.0, 2.0, 3.0]) * (1, -3)[dist.get_rank()], mesh, [Partial()])
    optimizer = Equipoise([parameter], lr=1.0, exponent=0.0, eps=0.0)
    optimizer.step()
    close(parameter.to_local().detach(), torch.tensor([2.0, 4.0, 6.0]))


@world(2)
def test_a_gradient_or_a_state_that_is_whole_beside_a_sharded_parameter_is_refused():
    mesh = init_device_mesh("cpu", (2,))
    parameter, plain = distributed(torch.zeros(4), mesh, [Shard(0)]), nn.Parameter(torch.zeros(4))
    for own, gradient in ((parameter, plain.detach()), (plain, parameter.detach())):
        optimizer = Equipoise([own])
        own.grad = gradient
        with pytest.raises(GradientError, match="both must be sharded or neither"):
            optimizer.step()
    optimizer, other = Equipoise([plain]), Equipoise([parameter])
    plain.grad = torch.ones(4)
    optimizer.step()
    with pytest.raises(StateDictError, match="exp_avg is a Tensor and its parameter a DTensor"):
        other.load_state_dict(optimizer.state_dict())


@world(2)
def test_an_optimizer_that_was_built_before_the_model_was_sharded_says_so():
    model = Model().layers
    optimizer = Equipoise(model.parameters())
    fully_shard(model, mesh=init_device_mesh("cpu", (2,)))
    model(torch.ones(1, 3)).sum().backward()
    with pytest.raises(GradientError, match="build it from those of the sharded model"):
        optimizer.step()


@world(2)
def test_a_step_on_new_gradients_keeps_its_plan():
    model = sharded()
    optimizer = SMES(model.parameters())
    train(model, optimizer, range(1), dist.get_rank(), 2)
    plan = optimizer._plan
    train(model, optimizer, range(3), dist.get_rank(), 2)
    assert optimizer._plan is plan


# Checkpoints: two processes save after 10 of 20 steps, and go on; whoever loads arrives where they did.

HALF = range(STEPS // 2)
REST = range(STEPS // 2, STEPS)
MIGRATED = OptimizerCase("migrated", KAdam, {"lr": 0.01}, stages=2)


def save_and_finish(model, optimizer, name) -> dict[str, dict[str, object]]:
    """The state by parameter that was saved after the first half."""
    state = dict(zip(("model", "optimizer"), get_state_dict(model, optimizer), strict=True))
    dcp.save(state, checkpoint_id=folder() / name)
    train(model, optimizer, REST, dist.get_rank(), 2)
    parameters = [whole(parameter) for parameter in model.parameters()]
    if dist.get_rank() == 0:
        torch.save(parameters, folder() / f"{name}.pt")
    dist.barrier()
    return state["optimizer"]["state"]


@world(2, ROWS)
def test_a_run_on_two_processes_is_saved(case):
    model = sharded()
    optimizer = case.make(model.parameters())
    train(model, optimizer, HALF, dist.get_rank(), 2)
    for name, saved in save_and_finish(model, optimizer, case.name).items():
        whole_here = {key for key, value in saved.items() if not isinstance(value, DTensor)}
        assert whole_here == {key for key in saved if name == "scale" or not key.startswith("exp_avg")}


@world(2)
def test_a_run_that_was_migrated_on_the_way_is_saved_with_the_ages_of_its_averages():
    model = sharded()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    train(model, optimizer, HALF[:4], dist.get_rank(), 2)
    optimizer = convert_optimizer(optimizer, to=KAdam, k=2)
    train(model, optimizer, HALF[4:], dist.get_rank(), 2)
    for saved in save_and_finish(model, optimizer, MIGRATED.name).values():
        assert (saved["born_exp_avg_2"], saved["born_exp_avg_sq_2"]) == (4, 4)


def assert_continues(model, case, rank, size) -> None:
    optimizer = case.make(model.parameters())
    state = dict(zip(("model", "optimizer"), get_state_dict(model, optimizer), strict=True))
    dcp.load(state, checkpoint_id=folder() / case.name)
    set_state_dict(model, optimizer, model_state_dict=state["model"], optim_state_dict=state["optimizer"])
    assert all(saved["step"] == len(HALF) for saved in optimizer.state.values())
    train(model, optimizer, REST, rank, size)
    for own, expected in zip(model.parameters(), torch.load(folder() / f"{case.name}.pt"), strict=True):
        close(whole(own), expected)


@world(4, [*ROWS, MIGRATED], after=2)
def test_and_continued_on_four(case):
    assert_continues(sharded(), case, dist.get_rank(), 4)


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
@pytest.mark.parametrize("case", [*ROWS, MIGRATED], ids=str)
def test_and_continued_on_one(case):
    run(__name__, 2)
    assert_continues(Model(), case, 0, 1)


@world(2, [0.01, torch.tensor(0.01)])
def test_a_state_that_torch_makes_to_load_into_changes_nothing(lr):
    source = sharded()
    optimizer = SMES(source.parameters(), lr=lr, weight_decay=0.1)
    train(source, optimizer, HALF, dist.get_rank(), 2)
    model = sharded()
    before = [whole(parameter) for parameter in model.parameters()]
    fresh = SMES(model.parameters(), lr=lr, weight_decay=0.1)
    made = copy.deepcopy(get_optimizer_state_dict(model, fresh))  # torch steps with lr = 0 and gradients of 0
    assert all(not whole(made["state"][name][key]).any() for name in made["state"] for key in ("exp_avg", "reference"))
    same([whole(parameter) for parameter in model.parameters()], before)
    assert fresh.param_groups[0]["lr"] is lr
    for options in (StateDictOptions(), StateDictOptions(full_state_dict=True)):
        set_optimizer_state_dict(model, fresh, get_optimizer_state_dict(source, optimizer, options=options), options=options)
        for one, other in zip(optimizer.state.values(), fresh.state.values(), strict=True):
            same({key: whole(value) for key, value in one.items()}, {key: whole(value) for key, value in other.items()})
