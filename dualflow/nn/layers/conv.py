"""Convolution layers in PyTorch's layouts: inputs (n, channels, ...), weights (out, in, ...)."""

from __future__ import annotations

from typing import Any

from dualflow.core.tensor import Tensor
from dualflow.nn import functional as F  # noqa: N812
from dualflow.nn.layers.linear import draw
from dualflow.nn.module import Module, Parameter
from dualflow.ops.create import zeros

Extents = int | tuple[int, ...]


class _Conv(Module):
    """What convolutions over any number of dimensions share."""

    rank: int

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Extents,
        stride: Extents = 1,
        padding: Extents | str = 0,
        dilation: Extents = 1,
        groups: int = 1,
        bias: bool = True,  # noqa: FBT001, FBT002 - PyTorch's position
        *,
        dtype: Any = "float32",
    ) -> None:
        name = type(self).__name__
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"{name}: groups={groups} does not divide in_channels={in_channels} "
                f"and out_channels={out_channels}"
            )
        window = (kernel_size,) * self.rank if isinstance(kernel_size, int) else tuple(kernel_size)
        if len(window) != self.rank:
            raise ValueError(
                f"{name}: kernel_size={kernel_size} has {len(window)} extents, not {self.rank}"
            )
        self.in_channels, self.out_channels, self.kernel_size = in_channels, out_channels, window
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups
        self.weight = Parameter(zeros((out_channels, in_channels // groups, *window), dtype=dtype))
        self.bias = Parameter(zeros(out_channels, dtype=dtype)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws new initial values."""
        draw(self.weight, self.bias)

    def forward(self, x: Any) -> Tensor:
        """(n, in_channels, ...) -> (n, out_channels, ...)."""
        convolve = (F.conv1d, F.conv2d, F.conv3d)[self.rank - 1]
        return convolve(
            x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )

    def extra_repr(self) -> str:
        defaults = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}
        settings = [f"{k}={v}" for k, d in defaults.items() if (v := getattr(self, k)) != d]
        no_bias = ["bias=False"] if self.bias is None else []
        window = f"kernel_size={self.kernel_size}"
        return ", ".join([f"{self.in_channels}, {self.out_channels}", window, *settings, *no_bias])


class Conv1d(_Conv):
    """Convolution over one dimension; arguments as in `Conv2d`."""

    rank = 1


class Conv2d(_Conv):
    """Convolution over images.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Extent of the window: a number, or one for each dimension.
        stride: Step of the window.
        padding: Zeros added on each side, or "same", or "valid".
        dilation: Distance between elements of the window.
        groups: Parts of the channels that do not see each other.
        bias: Add a number to each output channel.
        dtype: Of the parameters.

    Attributes:
        weight: Shape (out_channels, in_channels / groups, height, width), uniform within
            `1 / sqrt(inputs of an output)`.
        bias: Shape (out_channels,), from the same distribution; or None.

    Example:
        >>> import dualflow as df
        >>> df.nn.Conv2d(1, 16, 3, padding=1)(df.ones((2, 1, 8, 8))).shape
        (2, 16, 8, 8)
    """

    rank = 2


class Conv3d(_Conv):
    """Convolution over volumes; arguments as in `Conv2d`."""

    rank = 3
