"""Layers that learn the size of their input from the first one they see."""

from __future__ import annotations

from typing import Any

from dualflow.core.convert import as_tensor
from dualflow.nn.layers.conv import (
    Conv1d,
    Conv2d,
    Conv3d,
    ConvTranspose1d,
    ConvTranspose2d,
    ConvTranspose3d,
)
from dualflow.nn.layers.linear import Linear
from dualflow.nn.layers.norm import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    InstanceNorm1d,
    InstanceNorm2d,
    InstanceNorm3d,
)
from dualflow.nn.module import Module


class Lazy(Module):
    """Puts off the constructor of the class behind it until the first input comes.

    Before that it has no parameters: give an optimiser its parameters after a first call, of which
    `df.nn.summary` is one that computes nothing. The arguments are those of the layer, without the
    first one.
    """

    axis = 1  # along which the input's extent is what was left out

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.missing: tuple[Any, ...] | None = (args, kwargs)

    def forward(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Builds the layer when it is not there yet, and calls it."""
        if self.missing is not None:
            given, named = self.missing
            size = int(as_tensor(x).shape[self.axis])
            super().__init__(size, *given, **named)  # type: ignore[call-arg]
            self.missing = None
        return super().forward(x, *args, **kwargs)

    def extra_repr(self) -> str:
        return "not built yet" if self.missing is not None else super().extra_repr()


class LazyLinear(Lazy, Linear):
    """`Linear` without `in_features`.

    Example:
        >>> import dualflow as df
        >>> layer = df.nn.LazyLinear(2)
        >>> layer(df.ones((5, 3))).shape
        (5, 2)
        >>> layer.weight.shape
        (2, 3)
    """

    axis = -1


class LazyConv1d(Lazy, Conv1d):
    """`Conv1d` without `in_channels`."""


class LazyConv2d(Lazy, Conv2d):
    """`Conv2d` without `in_channels`."""


class LazyConv3d(Lazy, Conv3d):
    """`Conv3d` without `in_channels`."""


class LazyConvTranspose1d(Lazy, ConvTranspose1d):
    """`ConvTranspose1d` without `in_channels`."""


class LazyConvTranspose2d(Lazy, ConvTranspose2d):
    """`ConvTranspose2d` without `in_channels`."""


class LazyConvTranspose3d(Lazy, ConvTranspose3d):
    """`ConvTranspose3d` without `in_channels`."""


class LazyBatchNorm1d(Lazy, BatchNorm1d):
    """`BatchNorm1d` without `num_features`."""


class LazyBatchNorm2d(Lazy, BatchNorm2d):
    """`BatchNorm2d` without `num_features`."""


class LazyBatchNorm3d(Lazy, BatchNorm3d):
    """`BatchNorm3d` without `num_features`."""


class LazyInstanceNorm1d(Lazy, InstanceNorm1d):
    """`InstanceNorm1d` without `num_features`."""


class LazyInstanceNorm2d(Lazy, InstanceNorm2d):
    """`InstanceNorm2d` without `num_features`."""


class LazyInstanceNorm3d(Lazy, InstanceNorm3d):
    """`InstanceNorm3d` without `num_features`."""
