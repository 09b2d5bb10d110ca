"""Transposed convolution, and windows laid out as columns; convolution itself is an op."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dualflow.core.convert import as_tensor
from dualflow.core.doors import meet
from dualflow.core.precision import in_dtype_of
from dualflow.core.tensor import Tensor
from dualflow.ops.arrange import flip
from dualflow.ops.conv import check_steps, conv, grouped
from dualflow.ops.neural import check_extents, each
from dualflow.ops.pool import fold as add_windows
from dualflow.ops.pool import windows
from dualflow.ops.shape import permute_dims, reshape
from jit.errors import ShapeError
from jit.types import format_shape, product


def _convolved(
    name: str,
    rank: int,
    x: Any,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: int,
    dilation: Any,
) -> Tensor:
    """A convolution of the input, spread by the stride, with the turned window."""
    check_steps(name, stride=each(name, stride, rank), dilation=each(name, dilation, rank))
    x, weight = meet(name, (as_tensor(x), as_tensor(weight)), "numeric")
    if weight.ndim != rank + 2 or x.ndim not in (rank + 1, rank + 2):
        raise ShapeError(
            f"{name}: x of shape {format_shape(x.shape)} and "
            f"weight of shape {format_shape(weight.shape)}",
            f"(batch, in_channels, {rank} extents) and "
            f"(in_channels, out_channels / groups, {rank} extents)",
            "check the number of dimensions",
        )
    check_extents(name, "bias", bias, (weight.shape[1] * groups,))
    batched = x if x.ndim == rank + 2 else reshape(x, (1, *x.shape))
    dilations, extra = each(name, dilation, rank), each(name, output_padding, rank)
    sides = [
        d * (k - 1) - p for d, k, p in zip(dilations, weight.shape[2:], each(name, padding, rank))
    ]
    y = conv(
        batched,
        turned(weight, groups),
        stride=(1,) * rank,
        padding=tuple((side, side + more) for side, more in zip(sides, extra)),
        lhs_dilation=each(name, stride, rank),
        rhs_dilation=dilations,
        groups=groups,
    )
    y = y if bias is None else y + reshape(in_dtype_of(y, bias), (-1, *(1,) * rank))
    return y if batched is x else reshape(y, y.shape[1:])


TRANSPOSED_DOC = """The transpose of `conv{rank}d`: from its results' shape to its inputs'.

Args:
    x: Tensor of shape (N, in_channels, ...), or without N.
    weight: Tensor of shape (in_channels, out_channels / groups, ...).
    bias: Tensor of shape (out_channels,), or None.
    stride: Step of the window in the output.
    padding: What is cropped from both sides of each spatial dimension of the output.
    output_padding: What is added at the end of each, where the stride leaves a choice.
    groups: Channels are split into so many groups that do not meet.
    dilation: Distance between the elements of the window.

Returns:
    Tensor of shape (N, out_channels, ...).

Raises:
    ShapeError: The channels or the number of dimensions differ.

Example:
    >>> import dualflow as df
    >>> x, weight = df.ones({x}), df.ones({w})
    >>> df.nn.functional.conv_transpose{rank}d(x, weight, stride=2).shape
    {y}
"""


def _transposed(rank: int) -> Callable[..., Tensor]:
    name = f"conv_transpose{rank}d"

    def convolve(
        x: Any,
        weight: Any,
        bias: Any = None,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        dilation: Any = 1,
    ) -> Tensor:
        return _convolved(
            name, rank, x, weight, bias, stride, padding, output_padding, groups, dilation
        )

    convolve.__name__ = convolve.__qualname__ = name
    convolve.__doc__ = TRANSPOSED_DOC.format(
        rank=rank, x=(1, 2, *(4,) * rank), w=(2, 3, *(2,) * rank), y=(1, 3, *(8,) * rank)
    )
    return convolve


def turned(weight: Tensor, groups: int) -> Tensor:
    """(in, out / groups, ...) as the weights of a convolution: flipped, (out, in / groups, ...)."""
    spatial = tuple(range(2, weight.ndim))
    parts = grouped(flip(weight, spatial), 0, groups)
    parts = permute_dims(parts, (0, 2, 1, *range(3, parts.ndim)))
    inputs, outputs, *window = weight.shape
    return reshape(parts, (outputs * groups, inputs // groups, *window))


conv_transpose1d, conv_transpose2d, conv_transpose3d = map(_transposed, (1, 2, 3))


def unfold(
    x: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Tensor:
    """The windows of images as columns.

    Args:
        x: Tensor of shape (N, C, H, W).
        kernel_size: Extent of the window: a number, or two.
        dilation: Distance between elements of the window.
        padding: Zeros on both sides.
        stride: Step of the window.

    Returns:
        Tensor of shape (N, C * window, windows).

    Raises:
        ShapeError: `x` has another number of dimensions, or a window is larger than an image.

    Example:
        >>> import dualflow as df
        >>> df.nn.functional.unfold(df.ones((1, 2, 4, 4)), 2, stride=2).shape
        (1, 8, 4)
    """
    x = as_tensor(x)
    if x.ndim != 4:
        raise ShapeError(
            f"unfold: a tensor of shape {format_shape(x.shape)}", "(N, C, H, W)", "x[None]"
        )
    attrs = window_settings("unfold", kernel_size, dilation, padding, stride)
    y = permute_dims(windows(x, **attrs), (0, 1, 4, 5, 2, 3))
    return reshape(y, (y.shape[0], product(y.shape[1:4]), product(y.shape[4:])))


def fold(
    x: Any,
    output_size: Any,
    kernel_size: Any,
    dilation: Any = 1,
    padding: Any = 0,
    stride: Any = 1,
) -> Tensor:
    """Columns added up as windows of images: the transpose of `unfold`.

    Args:
        x: Tensor of shape (N, C * window, windows).
        output_size: Height and width of the images.
        kernel_size: Extent of the window: a number, or two.
        dilation: Distance between elements of the window.
        padding: Zeros on both sides, which are cropped.
        stride: Step of the window.

    Returns:
        Tensor of shape (N, C, H, W).

    Raises:
        ShapeError: The columns are not those of such images.

    Example:
        >>> import dualflow as df
        >>> x = df.ones((1, 4, 4))
        >>> df.nn.functional.fold(x, (3, 3), 2).tolist()
        [[[[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]]]]
    """
    x = as_tensor(x)
    attrs = window_settings("fold", kernel_size, dilation, padding, stride)
    extents, window = each("fold", output_size, 2), attrs["window"]
    counts = tuple(
        (n + low + high - d * (k - 1) - 1) // s + 1
        for n, (low, high), d, k, s in zip(
            extents, attrs["padding"], attrs["dilation"], window, attrs["stride"]
        )
    )
    if x.ndim != 3 or x.shape[2] != product(counts) or x.shape[1] % product(window):
        raise ShapeError(
            f"fold: a tensor of shape {format_shape(x.shape)}",
            f"(N, a multiple of {product(window)}, {product(counts)})",
            "check output_size and kernel_size",
        )
    parts = reshape(x, (x.shape[0], x.shape[1] // product(window), *window, *counts))
    return add_windows(permute_dims(parts, (0, 1, 4, 5, 2, 3)), extents, **attrs)


def window_settings(
    name: str, kernel_size: Any, dilation: Any, padding: Any, stride: Any
) -> dict[str, Any]:
    """The settings of windows over two dimensions, one entry for each."""
    check_steps(name, stride=each(name, stride, 2), dilation=each(name, dilation, 2))
    return {
        "window": each(name, kernel_size, 2),
        "stride": each(name, stride, 2),
        "padding": tuple((p, p) for p in each(name, padding, 2)),
        "dilation": each(name, dilation, 2),
    }


__all__ = ["conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "fold", "unfold"]
