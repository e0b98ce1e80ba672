"""Text that lies in the folder for data: Tiny Shakespeare, or text of one's own, byte by byte.

The first eight tenths are for training, the next for validation, the last for the test. A seed draws windows of them.
"""

from __future__ import annotations

import torch
from torch import nn

from equipoise.study._data import Text, load, require
from equipoise.study._tasks.source_files import Windows
from equipoise.study._tasks.training import Data, accuracy, cross_entropy, train
from equipoise.study._tasks.transformer import Size, Transformer
from equipoise.study._worker import Trial

SIZE = Size(width=128, depth=4, heads=4, context=64, batch=16)
"""0.9 million parameters."""
STEPS_PER_EPOCH = 100
EVALUATED_WINDOWS = 256
BYTES = 256


def tiny_shakespeare(trial: Trial) -> None:
    """The next byte, from a transformer without normalization layers; reports accuracy."""
    _predict(trial, "tiny-shakespeare", nn.Identity)


def tiny_shakespeare_layernorm(trial: Trial) -> None:
    """The same with LayerNorm; reports accuracy."""
    _predict(trial, "tiny-shakespeare", nn.LayerNorm)


def own_text(trial: Trial) -> None:
    """The same task on the text that was read as ``text``, without normalization layers; reports accuracy."""
    _predict(trial, "text", nn.Identity)


def own_text_layernorm(trial: Trial) -> None:
    """The same with LayerNorm; reports accuracy."""
    _predict(trial, "text", nn.LayerNorm)


def _predict(trial: Trial, name: str, norm: type[nn.Module]) -> None:
    text = torch.as_tensor(load(trial.data(require(name)), Text).text).long()
    tenth = len(text) // 10
    training, *others = text.tensor_split([8 * tenth, 9 * tenth])
    validation, test = (Windows(part, SIZE).draw(EVALUATED_WINDOWS) for part in others)
    data = Data(Windows(training, SIZE, STEPS_PER_EPOCH), validation, test)
    train(trial, Transformer(SIZE, norm, BYTES), data, cross_entropy, accuracy)
