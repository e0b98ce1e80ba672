"""The transformer of the reproductions."""

import pytest
import torch
from torch import nn

from equipoise.monitor import ScaleVerdict, probe_scale_invariance
from equipoise.study._tasks.transformer import Size, Transformer
from reproductions import text
from reproductions.claim import Scale
from reproductions.sizes import SIZES

SMALL = Size(width=16, depth=2, heads=2, context=8, batch=4)


@pytest.fixture
def codes():
    return torch.randint(text.VOCABULARY, (4, 8), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("norm", [nn.LayerNorm, nn.Identity])
def test_a_prediction_does_not_depend_on_later_characters(codes, norm):
    torch.manual_seed(0)
    model = Transformer(SMALL, norm)
    changed = codes.clone()
    changed[:, 5:] = (changed[:, 5:] + 1) % text.VOCABULARY
    first, second = model(codes), model(changed)
    assert torch.equal(first[:, :5], second[:, :5])
    assert not torch.equal(first[:, 5:], second[:, 5:])


def test_without_normalization_there_are_only_matrices():
    assert all(weight.ndim == 2 for weight in Transformer(SMALL, nn.Identity).parameters())


def test_with_normalization_queries_and_keys_are_scale_invariant_and_without_nothing_is(codes):
    def invariant(norm):
        torch.manual_seed(0)
        probed = probe_scale_invariance(Transformer(SMALL, norm), lambda model: model.loss(codes[:, :-1], codes[:, 1:]))
        return {name for name, found in probed.items() if found.verdict is ScaleVerdict.INVARIANT}

    assert invariant(nn.LayerNorm) == {
        f"blocks.{block}.attention.1.{part}.weight" for block in (0, 1) for part in ("query", "key")
    }
    assert invariant(nn.Identity) == set()


def test_the_full_size_has_about_30_million_parameters():
    with torch.device("meta"):
        model = Transformer(SIZES[Scale.FULL.value])
    assert 28e6 < sum(weight.numel() for weight in model.parameters()) < 32e6


@pytest.mark.parametrize("norm", [nn.LayerNorm, nn.Identity])
def test_it_learns_the_text(norm):
    torch.manual_seed(0)
    model, size = Transformer(SIZES["quick"], norm), SIZES["quick"]
    source, generator = text.load(), torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(60):
        loss = model.loss(*text.windows(source.training, size.batch, size.context, generator))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        inputs, following = text.windows(source.validation, 100, size.context, generator)
        # Better than the frequencies of the characters alone.
        frequencies = torch.bincount(source.training, minlength=text.VOCABULARY).double() / len(source.training)
        entropy = -(frequencies * frequencies.clamp_min(1e-12).log()).sum()
        assert model.loss(inputs, following) < entropy
