"""The probe finds what is scale-invariant and changes nothing; what it finds moves as the theory says."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations

import equipoise
from equipoise.errors import ArgumentError
from equipoise.monitor import ScaleVerdict, probe_scale_invariance
from equipoise.theory import autocorrelation, cross_term_factor, norm_motion, scale_degree

INVARIANT, OTHER, NONE = ScaleVerdict.INVARIANT, ScaleVerdict.NOT_INVARIANT, ScaleVerdict.NO_INFLUENCE


def digits(dtype=torch.float32):
    pixels, labels = load_digits(return_X_y=True)
    return torch.tensor(pixels, dtype=dtype) / 16, torch.tensor(labels)


def probe(model, dtype=torch.float32, shape=(64,), **options):
    """The verdict on each parameter, on 128 digits."""
    images, labels = digits(dtype)
    images = images[:128].reshape(-1, *shape)
    model = model.to(dtype)
    return probe_scale_invariance(model, lambda model: functional.cross_entropy(model(images), labels[:128]), **options)


def shifted(layer):
    """The layer with every bias at 1/2: at its initial 0 a bias can hide what a scale does."""
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if name.endswith("bias"):
                parameter.fill_(0.5)
    return layer


def network(norm, bias=True):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 16, bias=bias), norm, nn.ReLU(), nn.Linear(16, 10))


MODELS = {
    "BatchNorm": (
        lambda: network(shifted(nn.BatchNorm1d(16))),
        # BatchNorm subtracts the bias again, so that it neither matters nor breaks the invariance of the weight.
        {"0.weight": INVARIANT, "0.bias": NONE, "1.weight": OTHER, "1.bias": OTHER, "3.weight": OTHER, "3.bias": OTHER},
    ),
    "LayerNorm": (
        lambda: network(shifted(nn.LayerNorm(16)), bias=False),
        {"0.weight": INVARIANT, "1.weight": OTHER, "1.bias": OTHER, "3.weight": OTHER, "3.bias": OTHER},
    ),
    "LayerNorm after a bias": (
        lambda: network(shifted(nn.LayerNorm(16))),
        {"0.weight": OTHER, "0.bias": OTHER, "1.weight": OTHER, "1.bias": OTHER, "3.weight": OTHER, "3.bias": OTHER},
    ),
    "RMSNorm": (
        lambda: network(nn.RMSNorm(16), bias=False),
        {"0.weight": INVARIANT, "1.weight": OTHER, "3.weight": OTHER, "3.bias": OTHER},
    ),
    "weight norm": (
        lambda: nn.Sequential(parametrizations.weight_norm(nn.Linear(64, 16)), nn.ReLU(), nn.Linear(16, 10)),
        {
            "0.bias": OTHER,
            "0.parametrizations.weight.original0": OTHER,  # the length
            "0.parametrizations.weight.original1": INVARIANT,  # the direction
            "2.weight": OTHER,
            "2.bias": OTHER,
        },
    ),
    "none": (
        lambda: network(nn.Identity()),
        {"0.weight": OTHER, "0.bias": OTHER, "3.weight": OTHER, "3.bias": OTHER},
    ),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", MODELS)
def test_the_probe_finds_the_scale_invariant_parameters(name, dtype):
    torch.manual_seed(0)
    make, expected = MODELS[name]
    found = probe(make(), dtype)
    assert {name: result.verdict for name, result in found.items()} == expected
    for result in found.values():
        # The measures of both kinds lie far from the tolerance of 0.05, on either side.
        if result.verdict is INVARIANT:
            assert max(result.change, abs(result.cosine), result.gradient_change) < 0.01
        if result.verdict is OTHER:
            assert result.gradient_change > 0.15


def test_a_convolution_before_batchnorm_is_scale_invariant_in_bfloat16_too():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))
    found = probe(model, torch.bfloat16, shape=(1, 8, 8))
    assert found["0.weight"].verdict is INVARIANT
    assert found["4.weight"].verdict is OTHER


def test_only_the_eps_of_the_normalization_breaks_the_invariance():
    def error(eps):
        result = probe(network(nn.RMSNorm(16, eps=eps), bias=False), torch.float64)["0.weight"]
        return max(result.change, abs(result.cosine), result.gradient_change)

    assert error(1e-20) < 1e-12
    assert 1e-12 < error(1e-6) < 1e-3


def test_in_evaluation_mode_nothing_before_batchnorm_is_scale_invariant():
    model = network(shifted(nn.BatchNorm1d(16)))
    assert probe(model)["0.weight"].verdict is INVARIANT
    assert probe(model.eval())["0.weight"].verdict is OTHER


def test_a_layer_that_hardly_matters_is_told_from_one_that_is_scale_invariant_by_its_gradient():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(32, 4, 64, norm_first=True, batch_first=True, dropout=0.0)
    model = nn.Sequential(nn.Unflatten(1, (8, 8)), nn.Linear(8, 32), layer, nn.Flatten(), nn.Linear(256, 10))
    found = probe(model)["2.self_attn.in_proj_weight"]
    assert found.change < 0.05
    assert abs(found.cosine) < 0.05
    assert found.verdict is OTHER
    assert found.gradient_change > 0.2


def test_a_tied_parameter_is_scaled_wherever_it_is_used():
    torch.manual_seed(0)
    # Alone each use would be scale-invariant only together with the other: x + W x is not, W x + W x is.
    first, second = nn.Linear(64, 64, bias=False), nn.Linear(64, 64, bias=False)
    second.weight = first.weight

    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.norm = first, second, nn.LayerNorm(64)

        def forward(self, x):
            return self.norm(self.first(x) + self.second(x.flip(0)))

    found = probe(nn.Sequential(Both(), nn.Linear(64, 10)))
    assert found["0.first.weight"].verdict is INVARIANT
    assert "0.second.weight" not in found
    second.weight = nn.Parameter(torch.randn(64, 64) / 8)
    found = probe(nn.Sequential(Both(), nn.Linear(64, 10)))
    assert found["0.first.weight"].verdict is found["0.second.weight"].verdict is OTHER


def test_recurrent_sparse_and_unused_parameters_are_probed_too():
    torch.manual_seed(0)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(17, 16, sparse=True)
            self.norm = nn.RMSNorm(16)
            self.recurrent = nn.LSTM(16, 8, batch_first=True)
            self.unused = nn.Linear(3, 3)
            self.head = nn.Linear(8, 10)

        def forward(self, x):
            return self.head(self.recurrent(self.norm(self.embedding((16 * x).long())))[0][:, -1])

    found = probe(Model())
    assert found["embedding.weight"].verdict is INVARIANT
    assert found["recurrent.weight_hh_l0"].verdict is OTHER
    assert found["unused.weight"].verdict is NONE


def snapshot(model):
    return {
        "parameters": [(id(p), p.detach().clone(), p.requires_grad, p._version) for p in model.parameters()],
        "gradients": [None if p.grad is None else (id(p.grad), p.grad.clone()) for p in model.parameters()],
        "buffers": [(id(b), b.clone(), b._version) for b in model.buffers()],
        "flags": [module.training for module in model.modules()],
        "random": torch.get_rng_state(),
    }


@pytest.mark.parametrize("raises", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_the_model_is_left_as_it_was_even_when_the_loss_raises(raises, training):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(64, 16),
        nn.BatchNorm1d(16),
        nn.Dropout(0.5),
        parametrizations.spectral_norm(nn.Linear(16, 16)),
        nn.Linear(16, 10),
    )
    model[4].bias.requires_grad_(False)
    images, labels = digits()
    functional.cross_entropy(model(images), labels).backward()
    model.train(training)
    model[1].train()  # a flag of its own
    before, calls = snapshot(model), []

    def loss(model):
        calls.append(model.train())  # flags, buffers and random numbers all change
        if raises and len(calls) == 4:
            raise RuntimeError("out of data")
        return functional.cross_entropy(model(images), labels)

    if raises:
        with pytest.raises(RuntimeError, match="out of data"):
            probe_scale_invariance(model, loss)
    else:
        assert "4.bias" not in probe_scale_invariance(model, loss)
    torch.testing.assert_close(snapshot(model), before, rtol=0, atol=0)


def test_dropout_draws_the_same_masks_for_every_evaluation():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 32, bias=False), nn.LayerNorm(32), nn.Dropout(0.5), nn.Linear(32, 10))
    assert probe(model)["0.weight"].verdict is INVARIANT


def test_the_probe_works_where_gradients_are_off():
    with torch.no_grad():
        assert probe(network(nn.RMSNorm(16), bias=False))["0.weight"].verdict is INVARIANT


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda model: model(torch.ones(2, 3)), "loss = .* tensor of one element"),
        (lambda model: 1.0, "loss = .* tensor of one element, with a gradient"),
        (lambda model: torch.tensor(1.0), "loss = .* with a gradient"),
        (lambda model: 0 * model(torch.ones(2, 3)).square().sum(), r"loss = .* other than 0 \(here it returned 0\.0\)"),
        (lambda model: model(torch.full((2, 3), torch.nan)).sum(), "loss = .* finite .* returned nan"),
        (lambda model: model(random.random() * torch.ones(2, 3)).sum(), "loss = .* random state"),
    ],
)
def test_a_loss_that_cannot_be_probed_is_an_error(loss, message):
    torch.manual_seed(0)
    random.seed(0)
    with pytest.raises(ArgumentError, match=message):
        probe_scale_invariance(nn.Linear(3, 3), loss)


def test_a_tolerance_that_is_no_share_is_an_error():
    with pytest.raises(ArgumentError, match="tolerance = nan"):
        probe(network(nn.Identity()), tolerance=float("nan"))


@pytest.mark.parametrize(
    ("make", "exponent", "stages"),
    [
        pytest.param(lambda p: equipoise.KAdam(p, lr=3e-3, betas=(0.9, 0.99), weight_decay=0.1, k=1), 0.5, 1, id="AdamW"),
        pytest.param(lambda p: equipoise.SMES(p, lr=3e-3, weight_decay=0.1), 0.25, 1, id="SMES"),
        pytest.param(lambda p: equipoise.KAdam(p, lr=1e-3, betas=(0.9, 0.99), weight_decay=0.3), 0.5, 2, id="2-Adam"),
    ],
)
def test_from_the_first_third_of_a_real_run_the_norm_in_the_rest_is_predicted_to_5_percent(make, exponent, stages):
    torch.manual_seed(0)
    images, labels = digits()
    images = (images - images.mean(0)) / (images.std(0) + 0.1)
    model = network(nn.BatchNorm1d(16), bias=False)
    optimizer = make(model.parameters())
    group = optimizer.param_groups[0]
    lr, decay = group["lr"], group["lr"] * group["weight_decay"]
    found = probe_scale_invariance(model, lambda model: functional.cross_entropy(model(images), labels))
    (name,) = (name for name, result in found.items() if result.verdict is INVARIANT)
    weight = model.get_parameter(name)

    steps, measured = 3000, 1000
    weights = [weight.detach().clone()]
    for _ in range(steps):
        batch = torch.randint(len(images), (32,))
        noisy = images[batch] + torch.randn(32, 64)  # as augmentation
        optimizer.zero_grad()
        functional.cross_entropy(model(noisy), labels[batch]).backward()
        optimizer.step()
        weights.append(weight.detach().clone())
    W = torch.stack(weights).double().flatten(1).numpy()
    squared = (W**2).sum(axis=1)

    first = slice(measured // 2, measured)
    updates = ((1 - decay) * W[:-1] - W[1:])[first] / lr
    degree = scale_degree(exponent)
    scale_free = ((updates**2).sum(axis=1) * squared[first] ** degree).mean()  # |u|^2 where |W| is 1
    norm = squared[measured] ** 0.5
    lags = autocorrelation(updates, lags=250)
    factors = {
        "momentum": cross_term_factor(group["betas"], stages, decay=decay, autocorrelation=lags),
        "paper": 1.0,
        "every autocorrelation": 1 + 2 * lags.sum(),
    }
    errors = {}
    for label, factor in factors.items():
        motion = norm_motion(
            norm,
            (scale_free / norm ** (2 * degree)) ** 0.5,
            steps - measured,
            lr=lr,
            weight_decay=group["weight_decay"],
            factor=factor,
            degree=degree,
        )
        errors[label] = np.abs(motion.squared_norm / squared[measured:] - 1).max()
    assert errors["momentum"] < 0.05
    assert errors["paper"] > 0.5
    assert errors["every autocorrelation"] > 0.2
