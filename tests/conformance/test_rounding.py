"""Stochastic rounding: unbiased, to a neighbour, the same from the same seed, and the same by every kernel."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import Parameter

from equipoise import SMES, Equipoise, KAdam
from equipoise.optim._kernels import cpu
from equipoise.optim._kernels.rounding import make_key, random_bits, stochastic

from .training import parameters, same, tensors, train

low = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
kernels = pytest.mark.parametrize("kernel", ["fused", "eager"])


def bits(count: int, seed: int = 0) -> torch.Tensor:
    return random_bits(make_key(seed, 0, 1, 0, 0), count, torch.device("cpu"))


@low
@kernels
@pytest.mark.parametrize(("start", "quanta"), [(1.0, 0.3), (1.0, 0.01), (-3.0, 0.75), (2**-14, 0.5)])
def test_the_mean_of_a_million_rounded_parameters_is_the_exact_value(kernel, dtype, start, quanta):
    count, sign = 1_000_000, math.copysign(1.0, start)
    start = torch.tensor(start, dtype=dtype)
    quantum = (torch.nextafter(start, start * math.inf) - start).abs().item()
    parameter = Parameter(start.repeat(count))
    parameter.grad = torch.full((count,), -sign, dtype=dtype)  # away from 0
    sgd = {"betas": (0.0, 0.0), "eps": 0.0, "exponent": 0.0}
    Equipoise([parameter], lr=quanta * quantum, rounding="stochastic", kernel=kernel, **sgd).step()
    ways = sign * (parameter.detach().double() - start.double()) / quantum
    assert set(ways.unique().tolist()) == {0.0, 1.0}
    assert ways.mean() == pytest.approx(quanta, abs=4.5 * math.sqrt(quanta * (1 - quanta) / count))


@low
@given(value=st.floats(width=32, allow_nan=False), seed=st.integers(0, 2**63 - 1))
def test_a_value_becomes_itself_or_one_of_its_two_neighbours(dtype, value, seed):
    exact = torch.full((64,), value)
    found = stochastic(exact, dtype, bits(64, seed)).float()
    if exact[0] == exact[0].to(dtype) or (dtype is torch.float16 and abs(value) > torch.finfo(dtype).max):
        assert torch.equal(found, exact.to(dtype).float())
        return
    near = exact[0].to(dtype)
    towards = torch.tensor(math.copysign(math.inf, value - near.item()), dtype=dtype)
    assert set(found.tolist()) <= {near.item(), torch.nextafter(near, towards).item()}


@low
def test_infinity_and_nan_stay_what_they_are(dtype):
    found = stochastic(torch.tensor([math.inf, -math.inf, math.nan]), dtype, bits(3))
    assert found[:2].tolist() == [math.inf, -math.inf]
    assert found[2].isnan()


@low
@pytest.mark.parametrize("scale", [1.0, 2.0**-16, 2.0**-24], ids=["normal", "denormal", "smallest"])
def test_the_fused_kernel_rounds_by_the_same_numbers_to_the_last_bit(dtype, scale):
    count = 2 * cpu.CHUNK + 5
    found = {}
    for kernel in ("fused", "eager"):
        parameter = Parameter((torch.arange(count) % 97 * scale).to(dtype))
        optimizer = Equipoise(
            [Parameter(torch.ones(3)), parameter],
            lr=scale * 2**-12,
            betas=(0.0, 0.0),
            eps=0.0,
            exponent=0.0,
            rounding="stochastic",
            state_dtype=torch.bfloat16,
            seed=2**40 + 3,
            kernel=kernel,
        )
        for number in range(3):
            # Whole multiples of powers of two: the same in any order of operations.
            parameter.grad = ((torch.arange(count) * 37 + number) % 61).to(dtype)
            optimizer.step()
        found[kernel] = [parameter.data, *optimizer.state[parameter].values()]
    assert same(found["fused"], found["eager"])


@pytest.mark.parametrize("cls", [Equipoise, SMES, KAdam])
@kernels
def test_a_run_is_reproduced_by_its_seed_and_resumed_to_the_last_bit(cls, kernel):
    arguments = {"lr": 0.01, "rounding": "stochastic", "state_dtype": torch.bfloat16, "kernel": kernel}

    def run(seed):
        optimizer = cls(parameters(torch.bfloat16), seed=seed, **arguments)
        train(optimizer, 4)
        return optimizer

    whole, again, other = run(1), run(1), run(2)
    assert same(whole.param_groups[0]["params"], again.param_groups[0]["params"])
    assert same(whole.state_dict(), again.state_dict())
    assert not same(whole.state_dict()["state"], other.state_dict()["state"])

    resumed = cls([Parameter(p.detach().clone()) for p in whole.param_groups[0]["params"]], **arguments)
    resumed.load_state_dict(copy.deepcopy(whole.state_dict()))
    for optimizer in (whole, resumed):
        train(optimizer, 3, start=4)
    assert same(resumed.param_groups[0]["params"], whole.param_groups[0]["params"])
    assert same(resumed.state_dict(), whole.state_dict())


@kernels
def test_a_second_moment_in_bfloat16_decays_as_it_should(kernel):
    """Rounded to nearest it would stay: 1.0 * 0.999 is nearer to 1.0 than to the next lower number."""
    count = 20_000
    assert (torch.tensor(1.0) * 0.999).bfloat16() == 1.0
    parameter = Parameter(torch.zeros(count))
    optimizer = Equipoise([parameter], betas=(0.0, 0.999), state_dtype=torch.bfloat16, kernel=kernel)
    parameter.grad = torch.full((count,), 1000**0.5)
    optimizer.step()
    parameter.grad = torch.zeros(count)
    for _ in range(100):
        optimizer.step()
    start, now = 1.0, optimizer.state[parameter]["exp_avg_sq"].double()
    assert now.mean() == pytest.approx(start * 0.999**100, rel=1e-3)


@pytest.mark.parametrize(("cls", "stages"), [(Equipoise, 1), (KAdam, 2)])
@pytest.mark.parametrize(("state_dtype", "size"), [(None, 8), (torch.bfloat16, 4)])
def test_state_takes_exactly_eight_bytes_per_parameter_and_stage_or_four(cls, stages, state_dtype, size):
    parameter = Parameter(torch.ones(1000))
    optimizer = cls([{"params": [parameter], "state_dtype": state_dtype}])
    train(optimizer, 1)
    moments = [value.nbytes for key, value in tensors(optimizer.state[parameter]).items() if key != "step"]
    assert sum(moments) == size * stages * 1000


@kernels
def test_moments_in_bfloat16_train_about_as_well_as_those_in_float32(kernel):
    found = {}
    for state_dtype in (None, torch.bfloat16):
        generator = torch.Generator().manual_seed(0)
        weight, target = Parameter(torch.zeros(300)), torch.randn(300, generator=generator)
        optimizer = Equipoise([weight], lr=0.02, state_dtype=state_dtype, kernel=kernel)
        for _ in range(200):
            weight.grad = weight.detach() - target + 0.1 * torch.randn(300, generator=generator)
            optimizer.step()
        found[state_dtype] = (weight.detach() - target).square().mean().item()
    assert found[torch.bfloat16] == pytest.approx(found[None], rel=0.1)


def test_random_bits_are_even_and_independent_of_their_neighbours_in_element_step_and_stream():
    count = 100_000
    device = torch.device("cpu")
    base = random_bits(make_key(0, 3, 5, 0, 0), count, device)
    for shift in range(32):
        assert ((base >> shift) & 1).double().mean() == pytest.approx(0.5, abs=4.5 * 0.5 / math.sqrt(count))
    others = [
        random_bits(make_key(*words, 0), count, device) for words in ((1, 3, 5, 0), (0, 4, 5, 0), (0, 3, 6, 0), (0, 3, 5, 1))
    ]
    for other in (*others, base.roll(1), base.roll(cpu.CHUNK), base >> 16):
        pair = torch.stack([(base & 0xFFFF).double(), (other & 0xFFFF).double()])
        assert torch.corrcoef(pair)[0, 1].abs() < 4.5 / math.sqrt(count)


def test_the_numbers_of_a_shard_are_those_of_its_place_in_the_whole():
    whole = random_bits(make_key(9, 1, 2, 0, 0), 100, torch.device("cpu"))
    assert torch.equal(random_bits(make_key(9, 1, 2, 0, 40), 60, torch.device("cpu")), whole[40:])
