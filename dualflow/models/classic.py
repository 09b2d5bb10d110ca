"""Small nets to begin with: dense layers in a chain, and LeNet."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from dualflow.core.convert import as_tensor
from dualflow.core.tensor import Tensor
from dualflow.nn import Conv2d, Dropout, Flatten, Linear, MaxPool2d, Module, ReLU, Sequential
from dualflow.ops.shape import reshape


class MLP(Module):
    """Dense layers with ReLU between.

    Args:
        sizes: Widths from the input to the output.
        dropout: Share that is dropped after each hidden layer in training.

    Example:
        >>> import dualflow as df
        >>> df.models.MLP([64, 32, 10])(df.ones((5, 1, 8, 8))).shape
        (5, 10)
    """

    def __init__(self, sizes: Sequence[int], dropout: float = 0.0) -> None:
        if len(sizes) < 2:
            raise ValueError(f"MLP: sizes={list(sizes)}; at least an input and an output")
        layers: list[Module] = []
        for inputs, outputs in pairwise(sizes):
            layers += [Linear(inputs, outputs), ReLU()]
            if dropout:
                layers.append(Dropout(dropout))
        self.inputs = sizes[0]
        self.layers = Sequential(*layers[: -2 if dropout else -1])

    def forward(self, x: Any) -> Tensor:
        """(n, ...) with as many numbers as the first width -> (n, last width)."""
        x = as_tensor(x)
        return self.layers(reshape(x, (x.shape[0], self.inputs)))


class LeNet(Module):
    """LeNet-5 (LeCun et al., 1998), with ReLU and the largest of each window.

    Args:
        num_classes: Scores of an image.
        channels: Of an image.
        size: Height and width of an image, 28 or 32.

    Example:
        >>> import dualflow as df
        >>> df.models.LeNet()(df.ones((2, 1, 28, 28))).shape
        (2, 10)
    """

    def __init__(self, num_classes: int = 10, channels: int = 1, size: int = 28) -> None:
        if size not in (28, 32):
            raise ValueError(f"LeNet: size={size}; images of 28 or 32 pixels")
        self.features = Sequential(
            Conv2d(channels, 6, 5, padding=2 if size == 28 else 0),
            ReLU(),
            MaxPool2d(2),
            Conv2d(6, 16, 5),
            ReLU(),
            MaxPool2d(2),
            Flatten(),
        )
        self.classifier = Sequential(
            Linear(400, 120), ReLU(), Linear(120, 84), ReLU(), Linear(84, num_classes)
        )

    def forward(self, x: Any) -> Tensor:
        """(n, channels, size, size) -> (n, num_classes)."""
        return self.classifier(self.features(as_tensor(x)))
