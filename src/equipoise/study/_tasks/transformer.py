"""A small GPT over characters, with its normalization layers on or off.

With LayerNorm it normalizes what enters each attention, each feed-forward layer and the output, and also queries and keys,
head by head; so the weights of queries and keys are scale-invariant. With ``norm=nn.Identity`` nothing is normalized.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

VOCABULARY = 128
"""By default tokens are ASCII codes."""


class Size(NamedTuple):
    """The size of a transformer, and of the batch that it trains on in one step."""

    width: int
    depth: int
    heads: int
    context: int
    batch: int


class Attention(nn.Module):
    """Causal self-attention."""

    def __init__(self, size: Size, norm: type[nn.Module]) -> None:
        super().__init__()
        self.heads = size.heads
        self.query, self.key, self.value, self.output = (nn.Linear(size.width, size.width, bias=False) for _ in range(4))
        self.query_norm, self.key_norm = norm(size.width // size.heads), norm(size.width // size.heads)

    def forward(self, x: Tensor) -> Tensor:
        """From and to (batch, context, width)."""
        q, k, v = (layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer in (self.query, self.key, self.value))
        mixed = functional.scaled_dot_product_attention(self.query_norm(q), self.key_norm(k), v, is_causal=True)
        return self.output(mixed.transpose(1, 2).flatten(-2))


class Block(nn.Module):
    """Attention and a feed-forward layer, each added to what entered it."""

    def __init__(self, size: Size, norm: type[nn.Module]) -> None:
        super().__init__()
        self.attention = nn.Sequential(norm(size.width), Attention(size, norm))
        self.feed_forward = nn.Sequential(
            norm(size.width),
            nn.Linear(size.width, 4 * size.width, bias=False),
            nn.GELU(),
            nn.Linear(4 * size.width, size.width, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """From and to (batch, context, width)."""
        x = x + self.attention(x)
        return x + self.feed_forward(x)


class Transformer(nn.Module):
    """From codes (batch, context) to the logits of the next character (batch, context, vocabulary).

    Args:
        size: see :class:`Size`.
        norm: ``nn.LayerNorm`` or ``nn.Identity``.
        vocabulary: how many codes there are.
    """

    def __init__(self, size: Size, norm: type[nn.Module] = nn.LayerNorm, vocabulary: int = VOCABULARY) -> None:
        super().__init__()
        self.token = nn.Embedding(vocabulary, size.width)
        self.position = nn.Embedding(size.context, size.width)
        self.blocks = nn.Sequential(*(Block(size, norm) for _ in range(size.depth)))
        self.norm = norm(size.width)
        self.head = nn.Linear(size.width, vocabulary, bias=False)
        for name, weight in self.named_parameters():
            if weight.ndim == 2:  # GPT-2's scheme, for any width: what is added to the stream shrinks with the depth
                into_stream = name.endswith(("output.weight", "feed_forward.3.weight"))
                nn.init.normal_(weight, std=0.5 / math.sqrt(size.width) / (math.sqrt(2 * size.depth) if into_stream else 1))

    def forward(self, codes: Tensor) -> Tensor:
        """The logits."""
        x = self.token(codes) + self.position(torch.arange(codes.shape[1], device=codes.device))
        return self.head(self.norm(self.blocks(x)))

    def loss(self, codes: Tensor, following: Tensor) -> Tensor:
        """Mean cross-entropy, in nats per character."""
        return functional.cross_entropy(self(codes).flatten(0, 1), following.flatten())
