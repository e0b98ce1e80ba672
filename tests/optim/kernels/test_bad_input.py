"""Tensors as they should not be: stepped on right, or refused by name, and never a crash."""

from __future__ import annotations

import pytest
import torch
from torch.nn import Parameter

from equipoise import Equipoise
from equipoise.errors import ArgumentError, StateDictError

kernels = pytest.mark.parametrize("kernel", ["fused", "eager"])
DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


@kernels
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("gradient_dtype", DTYPES, ids=str)
def test_a_gradient_of_another_dtype_is_a_gradient(kernel, dtype, gradient_dtype):
    parameter = Parameter(torch.ones(5, dtype=dtype))
    parameter.grad_dtype = None  # torch allows any from here on
    parameter.grad = torch.tensor([1.0, -2.0, 0.5, 0.0, 4.0], dtype=gradient_dtype)
    Equipoise([parameter], lr=0.25, betas=(0.0, 0.0), eps=0.0, exponent=0.0, kernel=kernel).step()
    assert parameter.tolist() == [0.75, 1.5, 0.875, 1.0, 0.0]


@kernels
def test_a_parameter_with_gaps_in_its_memory_leaves_what_lies_between_alone(kernel):
    base = torch.ones(3, 8)
    parameter = Parameter(base[:, ::2])
    parameter.grad = torch.full((3, 4), 2.0)
    Equipoise([parameter], lr=0.5, eps=0.0, kernel=kernel).step()
    assert base[:, ::2].eq(0.5).all()
    assert base[:, 1::2].eq(1.0).all()


@kernels
def test_a_parameter_whose_elements_share_memory_is_refused(kernel):
    parameter = Parameter(torch.zeros(3).expand(4, 3))
    parameter.grad = torch.ones(4, 3)
    with pytest.raises(ArgumentError, match=r"shape \(4, 3\) and strides \(0, 1\).* do not share memory"):
        Equipoise([parameter], kernel=kernel).step()


@kernels
@pytest.mark.parametrize(
    ("elsewhere", "message"),
    [(torch.zeros(3, device="meta"), "exp_avg has shape .* on meta and its parameter .* on cpu"), (torch.zeros(4), r"\(4,\)")],
    ids=["another device", "another shape"],
)
def test_state_that_was_moved_or_replaced_after_a_step_is_refused(kernel, elsewhere, message):
    parameter = Parameter(torch.zeros(3))
    parameter.grad = torch.ones(3)
    optimizer = Equipoise([parameter], kernel=kernel)
    optimizer.step()
    optimizer.state[parameter]["exp_avg"] = elsewhere
    with pytest.raises(StateDictError, match=message):
        optimizer.step()
