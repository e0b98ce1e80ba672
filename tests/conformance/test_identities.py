"""Special cases of the update rule: over 200 steps in float64, members of the family that have a name are that optimizer."""

import pytest
import torch
from torch.nn import Parameter

from equipoise import SMES, Equipoise, KAdam

from .training import gradients, parameters, train

STEPS = 200
BETAS = [(0.9, 0.999), (0.8, 0.95), (0.0, 0.9)]

every_betas = pytest.mark.parametrize("betas", BETAS)
both_directions = pytest.mark.parametrize("maximize", [False, True])


def assert_equal_parameters(left, right):
    for a, b in zip(left, right, strict=True):
        # The same formula in another order of operations: roundings of 1e-16 add up over the steps.
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-11)


def assert_same_path(left, right, before_step=lambda number: None):
    """Both optimizers, each on the gradients of its own parameters, stay together."""
    for number in range(STEPS):
        before_step(number)
        train(left, 1, start=number)
        train(right, 1, start=number)
    assert_equal_parameters(left.param_groups[0]["params"], right.param_groups[0]["params"])


def double():
    return parameters(torch.float64)


FAMILY = {
    "Equipoise": Equipoise,
    "SMES": lambda params, **arguments: SMES(params, exponent=0.5, **arguments),
    "KAdam": lambda params, **arguments: KAdam(params, k=1, **arguments),
}
every_member = pytest.mark.parametrize("member", FAMILY)


@every_member
@every_betas
@both_directions
@pytest.mark.parametrize("eps", [1e-8, 1e-2])
def test_one_stage_with_exponent_one_half_is_adamw(member, betas, maximize, eps):
    arguments = {"lr": 0.01, "betas": betas, "eps": eps, "weight_decay": 0.1, "maximize": maximize}
    assert_same_path(FAMILY[member](double(), **arguments), torch.optim.AdamW(double(), **arguments))


@every_member
@every_betas
@both_directions
def test_without_weight_decay_it_is_adam(member, betas, maximize):
    arguments = {"lr": 0.01, "betas": betas, "maximize": maximize}
    assert_same_path(FAMILY[member](double(), **arguments), torch.optim.Adam(double(), **arguments))


@pytest.mark.parametrize("beta2", [0.9, 0.99])
def test_without_a_first_moment_it_is_adam_without_one(beta2):
    arguments = {"lr": 0.01, "betas": (0.0, beta2)}
    assert_same_path(Equipoise(double(), **arguments), torch.optim.Adam(double(), **arguments))


@pytest.mark.parametrize("beta2", [0.9, 0.99])
def test_without_a_first_moment_it_is_rmsprop_with_the_bias_of_its_average_corrected(beta2):
    """RMSprop divides by sqrt(v) + eps and Adam by sqrt(v / c) + eps: lr and eps times sqrt(c) make the one the other."""
    lr, eps = 0.01, 1e-3
    ours = Equipoise(double(), lr, (0.0, beta2), eps)
    theirs = torch.optim.RMSprop(double(), lr, alpha=beta2, eps=eps)

    def correct(number):
        root = (1 - beta2 ** (number + 1)) ** 0.5
        theirs.param_groups[0].update(lr=lr * root, eps=eps * root)

    assert_same_path(ours, theirs, before_step=correct)


@pytest.mark.parametrize("eps", [1e-8, 0.25])
@pytest.mark.parametrize("beta1", [0.0, 0.9])
def test_exponent_zero_is_sgd_on_the_corrected_average_of_gradients_divided_by_one_plus_eps(beta1, eps):
    lr, weight_decay = 0.05, 0.1
    ours, theirs = Equipoise(double(), lr, (beta1, 0.99), eps, weight_decay, exponent=0.0), double()
    sgd = torch.optim.SGD(theirs, lr / (1 + eps))
    averages = [torch.zeros_like(parameter) for parameter in theirs]
    for number in range(STEPS):
        train(ours, 1, start=number)
        for parameter, average, gradient in zip(theirs, averages, gradients(theirs, number), strict=True):
            average.lerp_(gradient, 1 - beta1)
            parameter.grad = average / (1 - beta1 ** (number + 1))
            parameter.data *= 1 - lr * weight_decay
        sgd.step()
    assert_equal_parameters(ours.param_groups[0]["params"], theirs)


def test_exponent_zero_with_a_beta_of_zero_is_plain_sgd():
    assert_same_path(Equipoise(double(), 0.05, (0.0, 0.9), 0.0, exponent=0.0), torch.optim.SGD(double(), 0.05))


def adam_normalization(betas, eps):
    """What Adam makes of a stream of inputs: read off torch's Adam, at lr = 1, on a parameter that is put back to 0."""
    held: list[tuple[list[Parameter], torch.optim.Adam]] = []

    def normalize(inputs):
        if not held:
            zeros = [Parameter(torch.zeros_like(x)) for x in inputs]
            held.append((zeros, torch.optim.Adam(zeros, lr=1.0, betas=betas, eps=eps)))
        zeros, adam = held[0]
        for zero, x in zip(zeros, inputs, strict=True):
            zero.data.zero_()
            zero.grad = x
        adam.step()
        return [-zero.detach() for zero in zeros]

    return normalize


@pytest.mark.parametrize("stage_betas", [((0.9, 0.999),) * 2, ((0.9, 0.99), (0.5, 0.95)), ((0.8, 0.9),) * 3])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_k_stages_are_k_independent_normalizations_of_adam_one_after_the_other(stage_betas, weight_decay):
    lr, eps = 0.01, 1e-3
    ours = KAdam(double(), lr, stage_betas, eps, weight_decay, k=len(stage_betas))
    theirs = double()
    normalizations = [adam_normalization(betas, eps) for betas in stage_betas]
    for number in range(STEPS):
        train(ours, 1, start=number)
        x = gradients(theirs, number)
        for normalize in normalizations:
            x = normalize(x)
        for parameter, update in zip(theirs, x, strict=True):
            parameter.data.mul_(1 - lr * weight_decay).sub_(lr * update)
    assert_equal_parameters(ours.param_groups[0]["params"], theirs)


@pytest.mark.parametrize("reference", ["none", "initial"])
def test_a_reference_changes_nothing_at_exponent_one_half(reference):
    ours = Equipoise(double(), 0.01, reference=reference)
    assert_same_path(ours, torch.optim.Adam(double(), 0.01))
