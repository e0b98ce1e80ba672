"""Muon is for the matrices between layers, AdamW for all else, and both are one optimizer."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from equipoise.errors import ArgumentError
from equipoise.study._arms.muon import Muon
from equipoise.study._arms.roles import roles
from equipoise.study._tasks.digits import convolutional
from equipoise.study._tasks.transformer import Size, Transformer


def found(model: nn.Module) -> dict[str, str]:
    return {each.name: each.role for each in roles(model) if each.role != "vector"}


def test_a_transformers_tables_and_head_are_no_matrices():
    model = found(Transformer(Size(width=8, depth=1, heads=2, context=8, batch=1)))
    assert {name: role for name, role in model.items() if role != "matrix"} == {
        "token.weight": "embedding",
        "position.weight": "embedding",
        "head.weight": "head",
    }
    assert sum(role == "matrix" for role in model.values()) == 6


def test_kernels_are_matrices_and_the_last_layer_of_a_network_without_names_is_its_head():
    assert found(convolutional(nn.BatchNorm2d)) == {"0.weight": "kernel", "3.weight": "kernel", "8.weight": "head"}


def test_a_head_is_found_by_its_name_where_it_is_not_last():
    model = nn.ModuleDict({"classifier": nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 4)), "body": nn.Linear(8, 8)})
    assert found(model) == {"classifier.0.weight": "matrix", "classifier.1.weight": "head", "body.weight": "matrix"}


@pytest.mark.parametrize("name", ["lm_head", "last"])
def test_an_embedding_that_also_makes_the_output_is_an_embedding(name):
    model = nn.ModuleDict({"wte": nn.Embedding(10, 8), "body": nn.Linear(8, 8), name: nn.Linear(8, 10, bias=False)})
    model[name].weight = model["wte"].weight
    assert found(model) == {"wte.weight": "embedding", "body.weight": "matrix"}


def test_a_model_of_transformers_names_its_head_itself():
    class Language(nn.Module):
        def __init__(self):
            super().__init__()
            self.out, self.wte, self.block = nn.Linear(8, 10), nn.Embedding(10, 8), nn.Linear(8, 8)

        def get_output_embeddings(self):
            return self.out

    assert found(Language()) == {"out.weight": "head", "wte.weight": "embedding", "block.weight": "matrix"}


def test_what_is_neither_a_matrix_nor_a_kernel_is_left_to_adamw():
    class Experts(nn.Module):
        def __init__(self):
            super().__init__()
            self.weights, self.body, self.head = nn.Parameter(torch.zeros(2, 8, 8)), nn.Linear(8, 8), nn.Linear(8, 2)

    assert found(Experts()) == {"weights": "other", "body.weight": "matrix", "head.weight": "head"}


def step(model: nn.Module, optimizer: torch.optim.Optimizer, inputs: Tensor) -> None:
    model.zero_grad()
    model(inputs).square().mean().backward()
    optimizer.step()


def test_each_part_steps_as_torchs_own_optimizer():
    model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 2))
    twin = copy.deepcopy(model)
    matrices = [twin[0].weight, twin[1].weight]
    rest = [parameter for parameter in twin.parameters() if not any(parameter is each for each in matrices)]
    own = Muon(model, lr=0.01, weight_decay=0.2)
    muon = torch.optim.Muon(matrices, lr=0.01, weight_decay=0.2, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW(rest, lr=0.01, weight_decay=0.2)
    for _ in range(5):
        inputs = torch.randn(16, 4)
        step(model, own, inputs)
        step(twin, adamw, inputs)
        muon.step()
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), twin.parameters(), strict=True))


def test_a_kernel_steps_as_the_matrix_of_its_output_channels_by_all_else():
    kernel = nn.Sequential(nn.Conv2d(3, 5, 2, bias=False), nn.Flatten(), nn.Linear(5, 2))
    matrix = nn.Sequential(nn.Flatten(), nn.Linear(12, 5, bias=False), nn.Linear(5, 2))
    with torch.no_grad():
        matrix[1].weight.copy_(kernel[0].weight.flatten(1))
        matrix[2].load_state_dict(kernel[2].state_dict())
    optimizers = [Muon(model, lr=0.1) for model in (kernel, matrix)]
    for _ in range(3):
        inputs = torch.randn(16, 3, 2, 2)
        for model, optimizer in zip((kernel, matrix), optimizers, strict=True):
            step(model, optimizer, inputs)
    torch.testing.assert_close(kernel[0].weight.flatten(1), matrix[1].weight)


def test_schedulers_move_both_parts_and_a_state_dict_continues():
    model = convolutional(nn.Identity)
    optimizer = Muon(model, lr=0.01)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
    images = torch.randn(4, 1, 8, 8)
    step(model, optimizer, images)
    scheduler.step()
    assert [group["lr"] for group in optimizer.param_groups] == [0.005, 0.005]
    other = copy.deepcopy(model)
    continued = Muon(other, lr=0.01)
    continued.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for _ in range(2):
        step(model, optimizer, images)
        step(other, continued, images)
    assert all(torch.equal(one, two) for one, two in zip(model.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (nn.Linear(2, 2).parameters(), r"params = 'generator' is not accepted: params must be the model itself"),
        (nn.Linear(2, 2), r"a model with a matrix between .*; this one has weight \(head\), bias \(vector\)"),
    ],
)
def test_what_has_no_roles_or_no_matrix_is_refused(given, said):
    with pytest.raises(ArgumentError, match=said):
        Muon(given)
