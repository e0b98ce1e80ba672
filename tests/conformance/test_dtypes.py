"""Precision: the rule is computed in that of the state; complex numbers are pairs of real ones."""

import pytest
import torch
from torch.nn import Parameter

from .table import every_case
from .training import gradients, parameters, same, tensors, train

low = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])


@low
@every_case
def test_a_low_precision_step_is_the_float32_step_rounded_once(case, dtype):
    params = parameters(dtype)
    optimizer = case.make(params)
    for number in range(4):
        exact = [Parameter(parameter.detach().float()) for parameter in params]
        reference = case.make(exact)
        if number:
            reference.load_state_dict(optimizer.state_dict())
        for parameter, twin, gradient in zip(params, exact, gradients(params, number), strict=True):
            parameter.grad, twin.grad = gradient, gradient.float()
        optimizer.step()
        reference.step()
        assert same([parameter.data for parameter in params], [twin.data.to(dtype) for twin in exact])
        assert same(optimizer.state_dict()["state"], reference.state_dict()["state"])


@low
@every_case
def test_the_gradient_of_a_low_precision_parameter_is_not_rounded_in_the_moments(case, dtype):
    """The square of 3.140625 needs more digits than either type has."""
    (parameter,) = parameters(dtype, shapes=[(4,)])
    optimizer = case.make([parameter])
    parameter.grad = torch.full((4,), 3.140625, dtype=dtype)
    optimizer.step()
    beta2 = 0.999 if "betas" not in case.arguments else optimizer.state_dict()["param_groups"][0]["betas"]
    while isinstance(beta2, tuple):
        beta2 = beta2[-1] if isinstance(beta2[-1], float) else beta2[0]
    expected = torch.full((4,), (1 - beta2) * 3.140625**2)
    # One rounding of the square and one of its product with 1 - beta2, each of at most 2^-24.
    torch.testing.assert_close(optimizer.state[parameter]["exp_avg_sq"], expected, rtol=2**-23, atol=0)


@every_case
def test_parameters_of_several_dtypes_in_one_group_move_as_they_would_alone(case):
    dtypes = (torch.float32, torch.bfloat16, torch.float64, torch.float16, torch.complex64)
    apart = [case.make(parameters(dtype)) for dtype in dtypes]
    together = case.make([parameter for dtype in dtypes for parameter in parameters(dtype)])
    for number in range(3):
        for optimizer in apart:
            train(optimizer, 1, start=number)
        sources = [parameter for optimizer in apart for parameter in optimizer.param_groups[0]["params"]]
        for parameter, source in zip(together.param_groups[0]["params"], sources, strict=True):
            parameter.grad = source.grad
        together.step()
    assert same(together.param_groups[0]["params"], sources)


@every_case
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128], ids=["complex64", "complex128"])
def test_a_complex_parameter_moves_as_its_real_and_imaginary_parts_do(case, dtype):
    params = parameters(dtype)
    pairs = [Parameter(torch.view_as_real(parameter.detach()).clone()) for parameter in params]
    optimizers = case.make(params), case.make(pairs)
    for number in range(4):
        for parameter, pair, gradient in zip(params, pairs, gradients(params, number), strict=True):
            parameter.grad, pair.grad = gradient, torch.view_as_real(gradient)
        for optimizer in optimizers:
            optimizer.step()
    assert same([torch.view_as_real(parameter.data) for parameter in params], [pair.data for pair in pairs])
    for parameter, pair in zip(params, pairs, strict=True):
        for key, value in tensors(optimizers[1].state[pair]).items():
            ours = optimizers[0].state[parameter][key]
            assert same(torch.view_as_real(ours) if ours.is_complex() else ours, value)


@every_case
def test_a_real_gradient_of_a_complex_parameter_leaves_the_imaginary_part_alone(case):
    parameter = Parameter(torch.tensor([1 + 2j, 3 - 1j]))
    optimizer = case.make([parameter], weight_decay=0.0)
    for _ in range(3):
        parameter.grad = torch.tensor([2 + 0j, -1 + 0j])
        optimizer.step()
    assert parameter.imag.tolist() == [2.0, -1.0]
    assert all(parameter.real != torch.tensor([1.0, 3.0]))
