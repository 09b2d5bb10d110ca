"""VGG (Simonyan and Zisserman, 2015), under torchvision's names."""

from __future__ import annotations

from typing import Any

from dualflow.core.convert import as_tensor
from dualflow.core.tensor import Tensor
from dualflow.models.weights import TORCHVISION, filled
from dualflow.nn import Conv2d, Dropout, Linear, MaxPool2d, Module, ReLU, Sequential, init
from dualflow.ops.arrange import stack
from dualflow.ops.shape import reshape

# Channels of each convolution; 0 is a pooling layer.
PLANS = {
    11: (64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0),
    13: (64, 64, 0, 128, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0),
    16: (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0),
    19: (64, 64, 0, 128, 128, 0, *(256,) * 4, 0, *(512,) * 4, 0, *(512,) * 4, 0),
}
GRID = 7


class VGG(Module):
    """Convolutions of 3 x 3 with pooling between, then three dense layers.

    Args:
        depth: 11, 13, 16 or 19 layers with weights.
        num_classes: Scores of an image.
        dropout: Share that is dropped between dense layers in training.
    """

    def __init__(self, depth: int, num_classes: int = 1000, dropout: float = 0.5) -> None:
        layers: list[Module] = []
        channels = 3
        for width in PLANS[depth]:
            if width == 0:
                layers.append(MaxPool2d(2, 2))
                continue
            convolution = Conv2d(channels, width, 3, padding=1)
            init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
            assert convolution.bias is not None
            init.zeros_(convolution.bias)
            layers += [convolution, ReLU()]
            channels = width
        self.features = Sequential(*layers)
        self.classifier = Sequential(
            Linear(512 * GRID * GRID, 4096),
            ReLU(),
            Dropout(dropout),
            Linear(4096, 4096),
            ReLU(),
            Dropout(dropout),
            Linear(4096, num_classes),
        )

    def forward(self, x: Any) -> Tensor:
        """(n, 3, height, width) -> (n, num_classes); at least 32 x 32."""
        y = averaged(self.features(as_tensor(x)), GRID)
        return self.classifier(reshape(y, (y.shape[0], 512 * GRID * GRID)))


def averaged(x: Tensor, size: int) -> Tensor:
    """Images as grids of `size` x `size` means, over windows of about equal extents."""
    for axis in (2, 3):
        extent = int(x.shape[axis])
        if extent == size:
            continue
        bounds = [(k * extent // size, -((k + 1) * extent // -size)) for k in range(size)]
        cut = (slice(None),) * axis
        x = stack([x[(*cut, slice(a, b))].mean(axis=axis) for a, b in bounds], axis=axis)
    return x


def _vgg(depth: int, weights: Any, num_classes: int) -> VGG:
    return filled(VGG(depth, num_classes), weights, TORCHVISION.format(f"vgg{depth}"))


def vgg11(weights: Any = None, num_classes: int = 1000) -> VGG:
    """VGG of 11 layers; see `vgg16`."""
    return _vgg(11, weights, num_classes)


def vgg13(weights: Any = None, num_classes: int = 1000) -> VGG:
    """VGG of 13 layers; see `vgg16`."""
    return _vgg(13, weights, num_classes)


def vgg16(weights: Any = None, num_classes: int = 1000) -> VGG:
    """VGG of 16 layers.

    Args:
        weights: The path of torchvision's weights, or names and arrays; random ones when None.
        num_classes: Scores of an image.

    Raises:
        FileNotFoundError: There is no such file; the message says where such files come from.
        ShapeError: The weights are another net's.
    """
    return _vgg(16, weights, num_classes)


def vgg19(weights: Any = None, num_classes: int = 1000) -> VGG:
    """VGG of 19 layers; see `vgg16`."""
    return _vgg(19, weights, num_classes)
