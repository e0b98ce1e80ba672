"""The rule under torch.compile: the same steps, and one compilation for every number that changes in training."""

from __future__ import annotations

import pytest
import torch
from torch.nn import Parameter

from equipoise import Equipoise
from equipoise.optim._kernels import compiled, eager
from equipoise.optim._telemetry import Telemetry
from tests.marks import needs_inductor


def optimizers(kernel: str, shapes: list[tuple[int, ...]], **arguments) -> Equipoise:
    generator = torch.Generator().manual_seed(0)
    return Equipoise([Parameter(torch.randn(shape, generator=generator)) for shape in shapes], kernel=kernel, **arguments)


def train(optimizer: Equipoise, steps: int) -> list[torch.Tensor]:
    """With a learning rate, exponent, betas, eps and decay of their own in every step."""
    params = optimizer.param_groups[0]["params"]
    generator = torch.Generator().manual_seed(1)
    for number in range(steps):
        optimizer.param_groups[0] |= {
            "lr": 0.01 / (number + 1),
            "exponent": 0.4 - 0.1 * number,  # becomes negative
            "betas": (0.9 - 0.1 * number, 0.999 - 0.01 * number),
            "eps": 1e-8 * number,
            "weight_decay": 0.01 * number,
        }
        for parameter in params:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()
    return [parameter.detach() for parameter in params]


def test_it_compiles_once_whatever_changes_from_step_to_step_and_from_shape_to_shape(monkeypatch):
    graphs = []

    def count(graph, _inputs):
        graphs.append(graph)
        return graph

    torch.compiler.reset()
    apply = torch.compile(eager.apply, dynamic=True, fullgraph=True, backend=count)
    monkeypatch.setattr(compiled, "compiled_apply", lambda: apply)
    shapes = [(5,), (2, 3), (7, 2, 2), (4096,)]
    arguments = {"reference": "initial", "stages": 2}
    train(optimizers("compiled", shapes, **arguments), 7)
    assert len(graphs) == 2  # one more for exponents below 0, whose powers are computed in double
    train(optimizers("compiled", [(), (1, 1)], **arguments), 3)
    assert len(graphs) == 3  # one element, which torch specialises


@needs_inductor
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # inside of torch's own compiler
def test_generated_code_takes_the_steps_of_the_eager_kernel():
    torch.compiler.reset()
    arguments = {"reference": "initial", "stages": 2, "state_dtype": torch.bfloat16}
    found, measures = {}, {}
    for kernel in ("compiled", "eager"):
        optimizer = optimizers(kernel, [(5,), (300, 7)], **arguments)
        telemetry = Telemetry(optimizer)
        found[kernel] = train(optimizer, 6)
        measures[kernel] = list(telemetry.read().values())
    for own, expected in zip(found["compiled"], found["eager"], strict=True):
        torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-5)  # one ulp moves a rounding at random of the state
    for own, expected in zip(measures["compiled"], measures["eager"], strict=True):
        assert list(own) == pytest.approx(list(expected), rel=1e-2)
