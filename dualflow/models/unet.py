"""U-Net (Ronneberger et al., 2015): a class for each pixel."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from dualflow.core.convert import as_tensor
from dualflow.core.tensor import Tensor
from dualflow.nn import BatchNorm2d, Conv2d, MaxPool2d, Module, ReLU, Sequential
from dualflow.ops.arrange import concat
from dualflow.ops.repeating import repeat
from jit.errors import ShapeError
from jit.types import format_shape


def twice(inputs: int, outputs: int) -> Sequential:
    """Two convolutions of 3 x 3, each normalised and with ReLU."""
    return Sequential(
        Conv2d(inputs, outputs, 3, padding=1, bias=False),
        BatchNorm2d(outputs),
        ReLU(),
        Conv2d(outputs, outputs, 3, padding=1, bias=False),
        BatchNorm2d(outputs),
        ReLU(),
    )


class UNet(Module):
    """Down to small images with many channels, and up again beside what was there before.

    Args:
        in_channels: Of an image.
        num_classes: Scores of a pixel.
        width: Channels of the first level; each further one has twice as many.
        depth: How often images are halved.

    Example:
        >>> import dualflow as df
        >>> df.models.UNet(1, 2, width=4, depth=2)(df.ones((1, 1, 8, 8))).shape
        (1, 2, 8, 8)
    """

    def __init__(
        self, in_channels: int = 3, num_classes: int = 2, width: int = 64, depth: int = 4
    ) -> None:
        widths = [width * 2**k for k in range(depth + 1)]
        self.depth = depth
        self.down = [twice(a, b) for a, b in zip([in_channels, *widths[:-1]], widths, strict=True)]
        self.narrow = [Conv2d(b, a, 1) for a, b in pairwise(widths)]  # of what was made larger
        self.up = [twice(2 * a, a) for a in widths[:-1]]
        self.pool = MaxPool2d(2)
        self.head = Conv2d(width, num_classes, 1)

    def forward(self, x: Any) -> Tensor:
        """(n, in_channels, height, width) -> (n, num_classes, height, width).

        Raises:
            ShapeError: An extent cannot be halved so often.
        """
        x = as_tensor(x)
        if any(int(extent) % 2**self.depth for extent in x.shape[2:]):
            raise ShapeError(
                f"UNet: an image of shape {format_shape(x.shape[2:])}",
                f"extents that are multiples of {2**self.depth}",
                "pad or crop the images",
            )
        kept = []
        for level in self.down[:-1]:
            x = level(x)
            kept.append(x)
            x = self.pool(x)
        x = self.down[-1](x)
        for before, narrow, level in reversed(list(zip(kept, self.narrow, self.up, strict=True))):
            larger = repeat(repeat(x, 2, axis=2), 2, axis=3)
            x = level(concat([before, narrow(larger)], axis=1))
        return self.head(x)
