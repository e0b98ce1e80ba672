"""ResNet-18 for pictures of 32 x 32 pixels, with the normalization as a value.

Source: He et al., arXiv 1512.03385, with the usual stem for small pictures: one 3 x 3 convolution and no pooling. Without
normalization torch's initial weights keep the residual branches small, so the network trains from the same ones.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

Normalization = Callable[[int], nn.Module]
"""From a number of channels to a layer: ``nn.BatchNorm2d``, or ``nn.Identity`` for none."""


class Block(nn.Module):
    """Two convolutions and a way around them."""

    def __init__(self, inputs: int, outputs: int, stride: int, normalization: Normalization) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, padding=1),
            normalization(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1),
            normalization(outputs),
        )
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride), normalization(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """From (batch, inputs, height, width) to (batch, outputs, height / stride, width / stride)."""
        return nn.functional.relu(self.branch(x) + self.shortcut(x))


def resnet18(classes: int, normalization: Normalization = nn.BatchNorm2d, width: int = 64) -> nn.Module:
    """From pictures (batch, 3, 32, 32) to scores (batch, classes).

    Args:
        classes: how many.
        normalization: made once per convolution.
        width: channels of the first of four groups; each group has twice as many as the one before. 64 is ResNet-18.
    """
    layers = [nn.Conv2d(3, width, 3, padding=1), normalization(width), nn.ReLU()]
    inputs = width
    for group in range(4):
        outputs = width * 2**group
        layers += [Block(inputs, outputs, 1 if group == 0 else 2, normalization), Block(outputs, outputs, 1, normalization)]
        inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes))
