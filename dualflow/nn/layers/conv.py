"""Convolution layers in PyTorch's layouts: inputs (n, channels, ...), weights (out, in, ...)."""

from __future__ import annotations

from typing import Any

from dualflow.core.convert import as_tensor
from dualflow.core.tensor import Tensor
from dualflow.nn import functional as F  # noqa: N812
from dualflow.nn.layers.linear import draw
from dualflow.nn.module import Module, Parameter
from dualflow.ops.create import zeros
from dualflow.ops.neural import each

Extents = int | tuple[int, ...]


class _Convolution(Module):
    """What convolutions over any number of dimensions share, transposed or not."""

    rank: int
    in_channels: int
    out_channels: int
    kernel_size: tuple[int, ...]

    def check(
        self, in_channels: int, out_channels: int, kernel_size: Extents, groups: int
    ) -> tuple[int, ...]:
        """The extents of the window, one for each dimension.

        Raises:
            ValueError: They are not as many, or the channels do not make so many groups.
        """
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
        return window

    def learn(self, shape: tuple[int, ...], bias: bool, dtype: Any) -> None:  # noqa: FBT001
        """Makes the parameters and draws their initial values."""
        self.weight = Parameter(zeros(shape, dtype=dtype))
        self.bias = Parameter(zeros(self.out_channels, dtype=dtype)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws new initial values."""
        draw(self.weight, self.bias)

    def extra_repr(self) -> str:
        defaults: dict[str, Any] = {
            "stride": 1,
            "padding": 0,
            "output_padding": 0,
            "dilation": 1,
            "groups": 1,
        }
        defaults["padding_mode"] = "zeros"
        settings = [f"{k}={v}" for k, d in defaults.items() if (v := getattr(self, k, d)) != d]
        no_bias = ["bias=False"] if self.bias is None else []
        window = f"kernel_size={self.kernel_size}"
        return ", ".join([f"{self.in_channels}, {self.out_channels}", window, *settings, *no_bias])


class _Conv(_Convolution):
    """Convolution over any number of dimensions."""

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
        padding_mode: str = "zeros",
        *,
        dtype: Any = "float32",
    ) -> None:
        if padding_mode not in ("zeros", "reflect", "replicate", "circular"):
            raise ValueError(f"{type(self).__name__}: padding_mode={padding_mode!r}")
        self.kernel_size = self.check(in_channels, out_channels, kernel_size, groups)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups
        self.padding_mode = padding_mode
        self.learn((out_channels, in_channels // groups, *self.kernel_size), bias, dtype)

    def forward(self, x: Any) -> Tensor:
        """(n, in_channels, ...) -> (n, out_channels, ...)."""
        padding = self.padding
        if self.padding_mode != "zeros":
            x, padding = F.pad(x, self.frame(), self.padding_mode), 0
        convolve = (F.conv1d, F.conv2d, F.conv3d)[self.rank - 1]
        return convolve(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)

    def frame(self) -> list[int]:
        """(before, after) for each spatial dimension, from the last on."""
        if self.padding == "valid":
            return [0, 0] * self.rank
        if self.padding == "same":
            spread = each("Conv", self.dilation, self.rank)
            totals = [d * (k - 1) for d, k in zip(spread, self.kernel_size)]
            pairs = [(total // 2, total - total // 2) for total in totals]
        else:
            pairs = [(p, p) for p in each("Conv", self.padding, self.rank)]
        return [width for pair in reversed(pairs) for width in pair]


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
        padding_mode: What stands in the padding: "zeros", "reflect", "replicate" or "circular".
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


class _ConvTranspose(_Convolution):
    """Transposed convolution over any number of dimensions."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Extents,
        stride: Extents = 1,
        padding: Extents = 0,
        output_padding: Extents = 0,
        groups: int = 1,
        bias: bool = True,  # noqa: FBT001, FBT002 - PyTorch's position
        dilation: Extents = 1,
        *,
        dtype: Any = "float32",
    ) -> None:
        self.kernel_size = self.check(in_channels, out_channels, kernel_size, groups)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.stride, self.padding, self.output_padding = stride, padding, output_padding
        self.groups, self.dilation = groups, dilation
        self.learn((in_channels, out_channels // groups, *self.kernel_size), bias, dtype)

    def forward(self, x: Any, output_size: Any = None) -> Tensor:
        """(n, in_channels, ...) -> (n, out_channels, ...).

        Args:
            x: The input.
            output_size: The spatial extents of the output, where the stride leaves a choice.
        """
        extra = self.output_padding
        if output_size is not None:
            extra = self.choice(as_tensor(x).shape[-self.rank :], tuple(output_size)[-self.rank :])
        functions = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)
        return functions[self.rank - 1](
            x,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            extra,
            self.groups,
            self.dilation,
        )

    def choice(self, extents: tuple[Any, ...], wanted: tuple[Any, ...]) -> tuple[Any, ...]:
        """The output padding that makes the wanted extents.

        Raises:
            ValueError: There is none.
        """
        settings = (each("output_size", s, self.rank) for s in (self.stride, self.padding))
        spread = each("output_size", self.dilation, self.rank)
        extra = tuple(
            size - ((n - 1) * s - 2 * p + d * (k - 1) + 1)
            for size, n, s, p, d, k in zip(wanted, extents, *settings, spread, self.kernel_size)
        )
        steps = each("output_size", self.stride, self.rank)
        if not all(0 <= e < max(s, d) for e, s, d in zip(extra, steps, spread)):
            raise ValueError(f"{type(self).__name__}: no output has the extents {wanted}")
        return extra


class ConvTranspose1d(_ConvTranspose):
    """Transposed convolution over one dimension; arguments as in `ConvTranspose2d`."""

    rank = 1


class ConvTranspose2d(_ConvTranspose):
    """The transpose of a convolution over images: it makes them larger by its stride.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Extent of the window: a number, or one for each dimension.
        stride: Step of the window in the output.
        padding: What is cropped on each side of the output.
        output_padding: Rows and columns added at the end.
        groups: Parts of the channels that do not see each other.
        bias: Add a number to each output channel.
        dilation: Distance between elements of the window.
        dtype: Of the parameters.

    Attributes:
        weight: Shape (in_channels, out_channels / groups, height, width).
        bias: Shape (out_channels,), or None.

    Example:
        >>> import dualflow as df
        >>> df.nn.ConvTranspose2d(4, 2, 2, stride=2)(df.ones((1, 4, 8, 8))).shape
        (1, 2, 16, 16)
    """

    rank = 2


class ConvTranspose3d(_ConvTranspose):
    """Transposed convolution over volumes; arguments as in `ConvTranspose2d`."""

    rank = 3
