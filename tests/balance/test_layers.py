"""Parameter groups by layer: who claims what, what is left, and the presets."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from equipoise import SMES, Equipoise, KAdam
from equipoise.balance import Constant, Cosine, Match, Scheduler, layerwise, presets
from equipoise.errors import ArgumentError, StateDictError


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2)
        self.norm = nn.LayerNorm(8)
        self.recurrent = nn.LSTM(8, 8)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, 8)
        self.pos_embed = nn.Parameter(torch.zeros(5, 8))
        self.blocks = nn.ModuleList([Block(), Block()])
        self.frozen = nn.Linear(8, 8).requires_grad_(False)
        self.head = nn.Linear(8, 11, bias=False)
        self.head.weight = self.embedding.weight


class RMSNormOfSomebody(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(8))


class PreNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.inner = RMSNormOfSomebody(), nn.Linear(8, 8)


def names(groups):
    return {group["name"]: [name for name, _ in group["params"]] for group in groups}


MATCHES = (
    Match(nn.LayerNorm, weight_decay=0.0),
    Match(r"bias"),
    Match(Block, exponent=0.25),
    Match(r"^blocks\.1"),
    Match((nn.Embedding, "embed")),
    Match(nn.Linear),
    Match(nn.LSTM),
)


@settings(max_examples=60, deadline=None)
@given(matches=st.lists(st.sampled_from(MATCHES), unique=True, max_size=5))
def test_every_parameter_is_claimed_exactly_once_or_the_matches_are_refused(matches):
    model = Model()
    try:
        groups = layerwise(model, [*matches, Match("")])
    except ArgumentError as error:
        assert "claims none" in str(error)  # noqa: PT017
        return
    claimed = [entry for group in groups for entry in group["params"]]
    assert {name: id(parameter) for name, parameter in claimed} == {
        name: id(parameter) for name, parameter in model.named_parameters()
    }
    assert len(claimed) == len(dict(claimed))


def test_the_first_rule_that_matches_claims():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    assert names(layerwise(model, [Match("^1"), Match("bias"), Match("")])) == {
        "^1": ["1.weight", "1.bias"],
        "bias": ["0.bias"],
        "all others": ["0.weight"],
    }


def test_a_type_claims_at_any_depth_and_so_do_its_subclasses():
    found = names(layerwise(Model(), [Match(nn.RNNBase), Match(Block), Match("")]))
    assert all("recurrent" in name for name in found["RNNBase"])
    assert {name.split(".")[2] for name in found["Block"]} == {"attention", "norm"}


def test_a_shared_parameter_is_claimed_by_any_of_its_names_and_modules_under_its_first_name():
    for claims in ("^head", nn.Linear, r"^embedding", nn.Embedding):
        groups = layerwise(Model(), [Match(claims), Match("")])
        assert "embedding.weight" in [name for name, _ in groups[0]["params"]]
        assert not any(name.startswith("head") for group in groups for name, _ in group["params"])


def test_every_name_of_a_shared_module_and_of_a_parameter_with_two_names_in_one_module_counts():
    shared = nn.Linear(2, 2, bias=False)
    shared.second = shared.weight
    model = nn.ModuleDict({"encoder": shared, "decoder": shared, "other": nn.Linear(2, 2)})
    for claims in ("^encoder", "^decoder", "second"):
        assert names(layerwise(model, [Match(claims), Match("")]))[claims] == ["encoder.weight"]


def test_the_values_of_a_rule_become_those_of_its_group_and_the_rest_are_the_optimizers():
    model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2), nn.Linear(2, 2))
    matches = [
        Match("^0", exponent=(0.25, 0.5), stages=2, betas=((0.8, 0.99), (0.7, 0.97)), lr_scale=0.5, weight_decay=0.3),
        Match(nn.LayerNorm, exponent=0.5, lr_scale=0.0),
        Match(""),
    ]
    optimizer = Equipoise(layerwise(model, matches, lr=0.02), lr=1.0, exponent=0.125, weight_decay=0.1)
    keys = ("exponent", "stages", "betas", "lr", "weight_decay", "name")
    assert [[group[key] for key in keys] for group in optimizer.param_groups] == [
        [(0.25, 0.5), 2, ((0.8, 0.99), (0.7, 0.97)), 0.01, 0.3, "^0"],
        [0.5, 1, (0.9, 0.999), 0.0, 0.1, "LayerNorm"],
        [0.125, 1, (0.9, 0.999), 0.02, 0.1, "all others"],
    ]


def test_without_a_learning_rate_groups_have_the_optimizers():
    optimizer = SMES(layerwise(nn.Linear(2, 2), [Match("weight"), Match("bias")]), lr=0.7)
    assert [group["lr"] for group in optimizer.param_groups] == [0.7, 0.7]


def test_a_grouped_model_trains_as_its_values_say():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3)), torch.randn(8, 3)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    matches = [Match(nn.LayerNorm, lr_scale=0.0), Match("")]
    optimizer = KAdam(layerwise(model, matches, lr=0.1))
    model(x).square().mean().backward()
    optimizer.step()
    moved = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert moved == {"0.weight", "0.bias"}


def test_groups_of_layers_may_have_their_own_schedules():
    model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
    optimizer = SMES(layerwise(model, presets(model)))
    scheduler = Scheduler(optimizer, exponent=[None, Constant(0.4), Cosine(0.5, 0.0, steps=4)])
    scheduler.step()
    scheduler.step()
    assert [(group["name"], round(group["exponent"], 12)) for group in optimizer.param_groups] == [
        ("LayerNorm", 0.5),
        ("bias[^.]*$", 0.4),
        ("all others", 0.25),
    ]


def test_the_presets_keep_decay_from_norms_biases_and_embeddings_and_give_them_an_exponent():
    model = nn.Sequential(Model(), PreNorm(), nn.BatchNorm2d(3), nn.GroupNorm(1, 4), nn.EmbeddingBag(3, 3))
    optimizer = SMES(layerwise(model, presets(model, exponent=0.375)), weight_decay=0.1)
    by_name = {name: group for group in optimizer.param_groups for name in group["param_names"]}
    special = {name for name, group in by_name.items() if (group["weight_decay"], group["exponent"]) == (0.0, 0.375)}
    plain = {name for name, group in by_name.items() if (group["weight_decay"], group["exponent"]) == (0.1, 0.25)}
    assert special | plain == {name for name, _ in model.named_parameters()}
    blocks = [f"0.blocks.{number}.{name}" for number in (0, 1) for name in (
        "attention.in_proj_weight", "attention.out_proj.weight", "recurrent.weight_ih_l0", "recurrent.weight_hh_l0"
    )]  # fmt: skip
    assert plain == {*blocks, "0.frozen.weight", "1.inner.weight"}
    assert {"0.embedding.weight", "0.pos_embed", "1.norm.scale", "0.blocks.0.recurrent.bias_ih_l0"} <= special


@pytest.mark.parametrize("model", [nn.Linear(2, 2, bias=False), nn.LayerNorm(2), nn.Embedding(2, 2), Model()])
def test_the_presets_of_any_model_leave_out_the_kinds_that_it_lacks(model):
    groups = layerwise(model, presets(model))
    assert all(group["params"] for group in groups)
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda m: layerwise(m, [Match(nn.LayerNorm)]),
            r"matches = \['LayerNorm'\] .* claim the rest: 0\.weight, 0\.bias, 2\.weight$",
        ),
        (lambda m: layerwise(m, []), r"matches = \[\] .* claim the rest: 0\.weight, 0\.bias, 1\.weight, 1\.bias, 2\.weight$"),
        (
            lambda m: layerwise(m, [Match("wieght"), Match("")]),
            r"matches = 'wieght' .* claims none: the model has 0\.weight, 0\.bias, 1\.weight, 1\.bias, 2\.weight$",
        ),
        (lambda m: layerwise(m, [Match(nn.Conv2d), Match("")]), "matches = 'Conv2d' .* claims none: the model has 0.weight"),
        (lambda m: layerwise(m, [Match(""), Match("bias")]), r"matches = 'bias' .* matches before it claim 0\.bias, 1\.bias$"),
        (lambda m: layerwise(nn.Sequential(m, nn.Linear(1, 1)), [Match("x"), Match("")]), r"0\.2\.weight and 2 more"),
        (lambda m: layerwise(nn.ReLU(), [Match("")]), "the model has no parameters"),
        (lambda m: layerwise(m, [Match("bias", lr_scale=0.1), Match("")]), "lr = None .* given where a match scales it"),
        (lambda m: Match("("), r"claims = '\(' .* a regular expression.*unterminated"),
        (lambda m: Match(()), r"claims = \(\) .* at least one of these"),
        (lambda m: Match(torch.Tensor), "claims = .* a type of torch.nn.Module"),
        (lambda m: Match(("bias", nn.ReLU())), r"claims = ReLU\(\) .* a type of torch.nn.Module"),
        (lambda m: Match("bias", lr_scale=-1.0), r"lr_scale = -1\.0 .* a finite number of at least 0"),
        (lambda m: Equipoise(layerwise(m, [Match("", exponent="half")])), "exponent = 'half' .* a finite number"),
    ],
)
def test_bad_input_is_refused_in_words(call, message):
    with pytest.raises(ArgumentError, match=message):
        call(nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2), nn.Linear(2, 2, bias=False)))


def test_the_checkpoint_of_another_model_is_refused():
    def start(model):
        optimizer = SMES(layerwise(model, presets(model)))
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        return optimizer

    saved = start(nn.Linear(4, 2)).state_dict()
    with pytest.raises(StateDictError, match=r"exp_avg has shape \(2,\) and its parameter \(3,\)"):
        start(nn.Linear(4, 3)).load_state_dict(saved)
    with pytest.raises(ValueError, match="parameter group"):
        start(nn.Sequential(nn.Linear(4, 2), nn.LayerNorm(2))).load_state_dict(saved)
