"""MobileNetV2 (Sandler et al., 2018), under torchvision's names."""

from __future__ import annotations

from typing import Any

from dualflow.core.convert import as_tensor
from dualflow.core.tensor import Tensor
from dualflow.models.weights import TORCHVISION, filled
from dualflow.nn import BatchNorm2d, Conv2d, Dropout, Linear, Module, Sequential
from dualflow.ops.choice import clip

# Expansion, channels, blocks, stride of the first one.
PLAN = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class ReLU6(Module):
    """Each element, brought between 0 and 6."""

    def forward(self, x: Any) -> Tensor:
        """The same shape."""
        return clip(as_tensor(x), 0.0, 6.0)


def convolved(inputs: int, outputs: int, size: int, stride: int = 1, groups: int = 1) -> Sequential:
    """Convolution, normalisation and ReLU6."""
    convolution = Conv2d(
        inputs, outputs, size, stride=stride, padding=size // 2, groups=groups, bias=False
    )
    return Sequential(convolution, BatchNorm2d(outputs), ReLU6())


class InvertedResidual(Module):
    """Wide within, narrow outside: 1 x 1 out, 3 x 3 for each channel by itself, 1 x 1 back.

    Args:
        inputs: Channels that come.
        outputs: Channels that go.
        stride: Of the middle convolution.
        expansion: How much wider it is within.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        width = inputs * expansion
        layers: list[Module] = [] if expansion == 1 else [convolved(inputs, width, 1)]
        layers += [
            convolved(width, width, 3, stride, groups=width),
            Conv2d(width, outputs, 1, bias=False),
            BatchNorm2d(outputs),
        ]
        self.conv = Sequential(*layers)
        self.goes_around = stride == 1 and inputs == outputs

    def forward(self, x: Any) -> Tensor:
        """(n, inputs, h, w) -> (n, outputs, h / stride, w / stride)."""
        y = self.conv(x)
        return x + y if self.goes_around else y


class MobileNetV2(Module):
    """Inverted residual blocks.

    Args:
        num_classes: Scores of an image.
        dropout: Share that is dropped before the last layer in training.
    """

    def __init__(self, num_classes: int = 1000, dropout: float = 0.2) -> None:
        layers: list[Module] = [convolved(3, 32, 3, 2)]
        channels = 32
        for expansion, width, blocks, stride in PLAN:
            for k in range(blocks):
                block = InvertedResidual(channels, width, 1 if k else stride, expansion)
                layers.append(block)
                channels = width
        self.features = Sequential(*layers, convolved(channels, 1280, 1))
        self.classifier = Sequential(Dropout(dropout), Linear(1280, num_classes))

    def forward(self, x: Any) -> Tensor:
        """(n, 3, height, width) -> (n, num_classes)."""
        return self.classifier(self.features(as_tensor(x)).mean(axis=(2, 3)))


def mobilenet_v2(weights: Any = None, num_classes: int = 1000) -> MobileNetV2:
    """MobileNetV2.

    Args:
        weights: The path of torchvision's weights, or names and arrays; random ones when None.
        num_classes: Scores of an image.

    Raises:
        FileNotFoundError: There is no such file; the message says where such files come from.
        ShapeError: The weights are another net's.
    """
    return filled(MobileNetV2(num_classes), weights, TORCHVISION.format("mobilenet_v2"))
