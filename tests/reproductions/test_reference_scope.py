"""One reference scale for all tensors of a model, as the study of its scope has it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from equipoise import Equipoise
from reproductions.reference_scope import SharedReference

START = (torch.tensor([1.0, -2.0, 0.5]), torch.tensor([[0.01]]))
BETA2 = 0.999


def train(cls: type[Equipoise], start: tuple[torch.Tensor, ...], steps: int, reference: str) -> Equipoise:
    parameters = [nn.Parameter(tensor.clone()) for tensor in start]
    optimizer = cls(parameters, lr=0.01, exponent=0.125, reference=reference, reference_steps=3)
    for number in range(steps):
        for parameter in parameters:
            parameter.grad = (1 + number) * parameter.detach()
        optimizer.step()
    return optimizer


@pytest.mark.parametrize("reference", ["initial", "running"])
def test_for_one_tensor_it_is_the_scale_of_that_tensor(reference: str):
    (ours,), (expected,) = (train(cls, START[:1], 6, reference).state for cls in (SharedReference, Equipoise))
    torch.testing.assert_close(ours, expected)


def test_it_is_the_mean_of_the_second_moment_over_all_elements():
    state = train(SharedReference, START, 5, "running").state
    elements = torch.cat([each["exp_avg_sq"].flatten() for each in state.values()])
    for each in state.values():
        assert float(each["reference"]) == pytest.approx(float(elements.mean()) / (1 - BETA2**5), rel=1e-5)


def test_the_first_step_uses_it_already():
    """At p = 0 the update is then the gradient over one scale: tensors keep the ratio of their gradients."""
    parameters = [nn.Parameter(tensor.clone()) for tensor in START]
    optimizer = SharedReference(parameters, lr=0.01, exponent=0.0, eps=0.0, reference="initial")
    for parameter in parameters:
        parameter.grad = parameter.detach().clone()
    optimizer.step()
    for parameter, start in zip(parameters, START, strict=True):
        torch.testing.assert_close((start - parameter.detach()) / start, torch.full_like(start, 0.01 / (5.2501 / 4) ** 0.5))


def test_an_initial_scale_stays_to_the_last_bit():
    after_three, after_nine = (train(SharedReference, START, steps, "initial").state.values() for steps in (3, 9))
    for early, late in zip(after_three, after_nine, strict=True):
        assert torch.equal(early["reference"], late["reference"])
