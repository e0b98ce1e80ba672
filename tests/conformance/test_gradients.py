"""Gradients: only read, whatever their layout; absent, zero and sparse ones."""

import copy

import pytest
import torch
from torch.nn import Parameter

from equipoise import Equipoise
from equipoise.errors import GradientError

from .table import every_case, every_class, every_dtype
from .training import copies, gradients, parameters, same, tensors, train


@every_case
@every_dtype
def test_a_gradient_is_neither_written_to_nor_replaced(case, dtype):
    params = parameters(dtype)
    optimizer = case.make(params)
    for number in range(3):
        given = gradients(params, number)
        kept = [gradient.clone() for gradient in given]
        for parameter, gradient in zip(params, given, strict=True):
            parameter.grad = gradient
        optimizer.step()
        assert all(parameter.grad is gradient for parameter, gradient in zip(params, given, strict=True))
        assert same(given, kept)
        assert all(gradient._version == 0 for gradient in given)


@every_case
def test_a_parameter_without_a_gradient_does_not_move_and_has_no_state(case):
    params = parameters()
    optimizer = case.make(params)
    params[0].grad = torch.ones_like(params[0])
    optimizer.step()
    assert same(params[1:], parameters()[1:])
    assert list(optimizer.state) == [params[0]]
    assert list(optimizer.state_dict()["state"]) == [0]


@every_case
def test_a_step_without_a_gradient_leaves_an_existing_state_alone(case):
    optimizer = case.make(parameters())
    train(optimizer, 2)
    before = copy.deepcopy((optimizer.state_dict(), optimizer.param_groups[0]["params"]))
    optimizer.zero_grad()
    optimizer.step()
    assert same((optimizer.state_dict(), optimizer.param_groups[0]["params"]), before)


@every_case
@pytest.mark.parametrize("set_to_none", [True, False])
def test_zero_grad_does_what_it_does_in_torch(case, set_to_none):
    optimizer = case.make(parameters())
    train(optimizer, 1)
    optimizer.zero_grad(set_to_none=set_to_none)
    for parameter in optimizer.param_groups[0]["params"]:
        assert (parameter.grad is None) if set_to_none else (not parameter.grad.any())


EXPONENTS = (-1.0, -0.25, 0.0, 0.125, 0.3, 0.5)


@pytest.mark.parametrize("stages", [1, 2])
@pytest.mark.parametrize("reference", ["none", "initial"])
@pytest.mark.parametrize("eps", [1e-8, 0.0])
@pytest.mark.parametrize("exponent", EXPONENTS)
def test_zero_gradients_move_nothing_without_decay_and_shrink_by_it_alone(exponent, eps, reference, stages):
    for weight_decay in (0.0, 0.1):
        params = parameters()
        optimizer = Equipoise(
            params, 0.5, eps=eps, exponent=exponent, reference=reference, stages=stages, weight_decay=weight_decay
        )
        expected = copies(params)
        for _ in range(3):
            for parameter, unmoved in zip(params, expected, strict=True):
                parameter.grad = torch.zeros_like(parameter)
                unmoved.data *= 1 - 0.5 * weight_decay
            optimizer.step()
        assert same(params, expected)


@pytest.mark.parametrize("reference", ["none", "initial"])
@pytest.mark.parametrize("eps", [1e-8, 0.0])
@pytest.mark.parametrize("exponent", EXPONENTS)
def test_one_silent_element_stays_where_it_is_while_the_others_move(exponent, eps, reference):
    parameter = Parameter(torch.ones(4))
    optimizer = Equipoise([parameter], 0.1, eps=eps, exponent=exponent, reference=reference)
    for _ in range(3):
        parameter.grad = torch.tensor([0.0, 1.0, -2.0, 3.0])
        optimizer.step()
    assert (parameter.detach() != 1).tolist() == [False, True, True, True]
    assert parameter.isfinite().all()


@every_case
@every_dtype
def test_a_learning_rate_of_zero_moves_nothing_but_remembers(case, dtype):
    optimizer = case.make(parameters(dtype), lr=0.0)
    train(optimizer, 3)
    assert same(optimizer.param_groups[0]["params"], parameters(dtype))
    assert all(state["exp_avg"].abs().sum() > 0 for state in optimizer.state.values())


LAYOUTS = {
    "sliced": lambda dense: torch.stack([dense, dense], dim=-1)[..., 0],
    "transposed": lambda dense: dense.transpose(0, 1).contiguous().transpose(0, 1),
    "channels last": lambda dense: dense.to(memory_format=torch.channels_last),
    "offset": lambda dense: torch.cat([dense.flatten()[:3], dense.flatten()])[3:].view(dense.shape),
}


@every_case
@pytest.mark.parametrize("gradient_layout", [*LAYOUTS, "dense"])
@pytest.mark.parametrize("layout", [*LAYOUTS, "dense"])
def test_strides_change_nothing(case, layout, gradient_layout):
    (dense,) = parameters(shapes=[(2, 3, 4, 5)])
    laid_out = Parameter(LAYOUTS[layout](dense.detach()) if layout in LAYOUTS else dense.detach().clone())
    strides = laid_out.stride()
    optimizers = case.make([dense]), case.make([laid_out])
    for number in range(2):
        (dense.grad,) = gradients([dense], number)
        laid_out.grad = LAYOUTS[gradient_layout](dense.grad) if gradient_layout in LAYOUTS else dense.grad
        for optimizer in optimizers:
            optimizer.step()
    # Which elements fall into a vectorised loop follows the strides, and with it the last bit of a power or of a mean.
    torch.testing.assert_close(laid_out, dense, rtol=1e-6, atol=0)
    assert laid_out.stride() == strides
    if layout != "sliced":  # whose strides leave gaps, which a state need not have
        assert optimizers[1].state[laid_out]["exp_avg"].stride() == strides


@every_case
def test_an_expanded_gradient_is_read_as_what_it_stands_for(case):
    expanded, full = parameters(), parameters()
    optimizers = case.make(expanded), case.make(full)
    for left, right in zip(expanded, full, strict=True):
        left.grad, right.grad = torch.tensor(2.0).expand(left.shape), torch.full_like(right, 2.0)
    for optimizer in optimizers:
        optimizer.step()
    assert same(expanded, full)


@every_case
def test_an_empty_parameter_counts_its_steps_and_stays_free_of_nan(case):
    params = parameters(shapes=[(0, 3), (2,)])
    optimizer = case.make(params)
    train(optimizer, 3)
    restored = case.make(copies(params))
    restored.load_state_dict(optimizer.state_dict())
    assert int(restored.state[restored.param_groups[0]["params"][0]]["step"]) == 3
    assert all(value.isfinite().all() for state in restored.state.values() for value in tensors(state).values())


@every_class
def test_a_frozen_parameter_is_skipped_and_one_frozen_later_stays(case):
    params = parameters()
    params[0].requires_grad_(False)
    optimizer = case.make(params)
    for freeze in (None, params[1]):
        if freeze is not None:
            freeze.requires_grad_(False)
            optimizer.zero_grad()
        before = copies(params)
        sum(parameter.square().sum() for parameter in params).backward()
        optimizer.step()
        moved = [not torch.equal(now, then) for now, then in zip(params, before, strict=True)]
        assert moved == [False, freeze is None, True]


@every_class
def test_a_sparse_gradient_is_refused_before_anything_is_updated(case):
    table = Parameter(torch.ones(5, 2))
    optimizer = case.make([{"params": parameters()}, {"params": [table]}])
    train(optimizer, 2)
    before = copy.deepcopy((optimizer.state_dict(), [group["params"] for group in optimizer.param_groups]))
    table.grad = None
    torch.nn.functional.embedding(torch.tensor([1, 3]), table, sparse=True).sum().backward()
    with pytest.raises(GradientError, match=rf"gradient has layout torch.sparse_coo: {case.cls.__name__} accepts dense"):
        optimizer.step()
    assert same((optimizer.state_dict(), [group["params"] for group in optimizer.param_groups]), before)


@every_class
def test_a_lazily_conjugated_gradient_is_the_conjugate(case):
    lazy, resolved = parameters(torch.complex64), parameters(torch.complex64)
    for params, resolve in ((lazy, False), (resolved, True)):
        optimizer = case.make(params)
        for parameter, gradient in zip(params, gradients(params, 0), strict=True):
            parameter.grad = gradient.conj().resolve_conj() if resolve else gradient.conj()
        optimizer.step()
    assert same(lazy, resolved)
