"""More elements than 31 bits count: 18 GiB of memory and a minute, so apart from the rest (`make test-large`)."""

import pytest
import torch

from equipoise import Equipoise


@pytest.mark.large
def test_a_parameter_of_more_than_two_to_the_31_elements_is_updated_to_its_last_one():
    count = 2**31 + 5
    parameter = torch.nn.Parameter(torch.zeros(count, dtype=torch.bfloat16))
    parameter.grad = torch.zeros(count, dtype=torch.bfloat16)
    places = [0, 2**31 - 1, 2**31, count - 1]
    parameter.grad[places] = 1.0
    Equipoise([parameter], lr=0.5, state_dtype=torch.bfloat16, kernel="fused").step()
    assert parameter.detach()[places].tolist() == [-0.5] * 4
    total = sum(part.float().sum().item() for part in parameter.detach().split(2**28))
    assert total == -0.5 * 4
