"""What only moves values: padding, shuffling of pixels and channels, and other sizes of images."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from dualflow.core.convert import as_tensor
from dualflow.core.devices import placed
from dualflow.core.tensor import Tensor
from dualflow.nn.functional.pooling import adaptive_mean, positive
from dualflow.ops.choice import clip
from dualflow.ops.create import arange
from dualflow.ops.elementwise import abs, astype, floor
from dualflow.ops.gather import take
from dualflow.ops.neural import each
from dualflow.ops.repeating import repeat
from dualflow.ops.shape import moveaxis, permute_dims, reshape
from dualflow.ops.slicing import pad as frame
from jit.errors import ShapeError
from jit.types import float32, float64, format_shape, int64, kind

# ----- padding -----


@placed
def pad(x: Any, pad: Any, mode: str = "constant", value: float = 0.0) -> Tensor:
    """`x` with a frame around its last dimensions.

    Args:
        x: Tensor of any shape.
        pad: (before, after) of the last dimension, then of the one before it, and so on. Negative
            numbers crop.
        mode: "constant", "reflect" (without the edge), "replicate" (the edge), or "circular".
        value: What a constant frame holds.

    Returns:
        Tensor with other last extents.

    Raises:
        ShapeError: The numbers are not pairs, or a frame is wider than what it repeats.
        ValueError: `mode` is another word.

    Example:
        >>> import dualflow as df
        >>> df.nn.functional.pad(df.asarray([1.0, 2.0, 3.0]), (1, 1), "reflect").tolist()
        [2.0, 1.0, 2.0, 3.0, 2.0]
    """
    x = as_tensor(x)
    if mode not in ("constant", "reflect", "replicate", "circular"):
        raise ValueError(f"pad: mode={mode!r}: constant, reflect, replicate or circular")
    pairs = list(zip(pad[::2], pad[1::2]))
    if len(pad) % 2 or len(pairs) > x.ndim:
        raise ShapeError(
            f"pad: {tuple(pad)} for shape {format_shape(x.shape)}",
            "(before, after) for each dimension, from the last on",
            "",
        )
    if mode == "constant":
        return _constant(x, pairs, value)
    for back, (low, high) in enumerate(pairs, start=1):
        axis = x.ndim - back
        if low or high:
            x = take(x, _sources(x.shape[axis], low, high, mode), axis=axis)
    return x


def _constant(x: Tensor, pairs: list[tuple[int, int]], value: float) -> Tensor:
    """A constant frame; negative widths crop."""
    widths = [(0, 0)] * (x.ndim - len(pairs)) + pairs[::-1]
    if any(low < 0 or high < 0 for low, high in widths):
        x = x[
            tuple(slice(max(-low, 0), n - max(-high, 0)) for n, (low, high) in zip(x.shape, widths))
        ]
    wide = tuple((max(low, 0), max(high, 0)) for low, high in widths)
    number = value if kind(x.dtype) == "floating" else int(value)
    return frame(x, wide, constant_values=number)


def _sources(extent: Any, low: int, high: int, mode: str) -> Tensor:
    """Where the elements of a padded dimension come from."""
    limit = {"reflect": extent - 1, "circular": extent}.get(mode)
    if limit is not None and (low > limit or high > limit):
        raise ShapeError(
            f"pad: ({low}, {high}) around an extent of {extent}, mode {mode!r}",
            f"widths up to {limit}",
            'mode="replicate"',
        )
    at = arange(-low, extent + high)
    if mode == "replicate":
        return clip(at, 0, extent - 1)
    if mode == "circular":
        return at % extent
    return (extent - 1) - abs((extent - 1) - abs(at))


# ----- shuffling -----


def pixel_shuffle(x: Any, upscale_factor: int) -> Tensor:
    """(..., C r^2, H, W) -> (..., C, H r, W r): channels become pixels (Shi and others, 2016).

    Args:
        x: Tensor with three dimensions or more.
        upscale_factor: r.

    Returns:
        Tensor of shape (..., C, H r, W r).

    Raises:
        ShapeError: The channels are no multiple of r^2.

    Example:
        >>> import dualflow as df
        >>> df.nn.functional.pixel_shuffle(df.ones((1, 8, 2, 3)), 2).shape
        (1, 2, 4, 6)
    """
    x, r = as_tensor(x), upscale_factor
    if x.ndim < 3 or r < 1 or x.shape[-3] % (r * r):
        raise ShapeError(
            f"pixel_shuffle: shape {format_shape(x.shape)} with factor {r}",
            f"(..., C, H, W) with C divisible by {r * r}",
            "",
        )
    *batch, c, h, w = x.shape
    parts = reshape(x, (*batch, c // (r * r), r, r, h, w))
    k = len(batch)
    parts = permute_dims(parts, (*range(k), k, k + 3, k + 1, k + 4, k + 2))
    return reshape(parts, (*batch, c // (r * r), h * r, w * r))


def pixel_unshuffle(x: Any, downscale_factor: int) -> Tensor:
    """(..., C, H r, W r) -> (..., C r^2, H, W): the inverse of `pixel_shuffle`.

    Args:
        x: Tensor with three dimensions or more.
        downscale_factor: r.

    Returns:
        Tensor of shape (..., C r^2, H, W).

    Raises:
        ShapeError: Height or width is no multiple of r.

    Example:
        >>> import dualflow as df
        >>> df.nn.functional.pixel_unshuffle(df.ones((1, 2, 4, 6)), 2).shape
        (1, 8, 2, 3)
    """
    x, r = as_tensor(x), downscale_factor
    if x.ndim < 3 or r < 1 or x.shape[-1] % r or x.shape[-2] % r:
        raise ShapeError(
            f"pixel_unshuffle: shape {format_shape(x.shape)} with factor {r}",
            f"(..., C, H, W) with H and W divisible by {r}",
            "",
        )
    *batch, c, h, w = x.shape
    k = len(batch)
    parts = reshape(x, (*batch, c, h // r, r, w // r, r))
    parts = permute_dims(parts, (*range(k), k, k + 2, k + 4, k + 1, k + 3))
    return reshape(parts, (*batch, c * r * r, h // r, w // r))


def channel_shuffle(x: Any, groups: int) -> Tensor:
    """Channels of (N, C, ...) dealt out over groups in turn (Zhang and others, 2018).

    Args:
        x: Tensor of shape (N, C, ...).
        groups: How many groups the channels make.

    Returns:
        Tensor of the shape of `x`.

    Raises:
        ShapeError: The channels do not make so many groups.

    Example:
        >>> import dualflow as df
        >>> x = df.reshape(df.arange(4), (1, 4, 1))
        >>> df.nn.functional.channel_shuffle(x, 2).flatten().tolist()
        [0, 2, 1, 3]
    """
    x = as_tensor(x)
    if x.ndim < 3 or groups < 1 or x.shape[1] % groups:
        raise ShapeError(
            f"channel_shuffle: shape {format_shape(x.shape)} in {groups} groups",
            f"(N, C, ...) with C divisible by {groups}",
            "",
        )
    parts = reshape(x, (x.shape[0], groups, x.shape[1] // groups, *x.shape[2:]))
    return reshape(permute_dims(parts, (0, 2, 1, *range(3, parts.ndim))), x.shape)


# ----- other sizes -----

KINDS = {"nearest": None, "nearest-exact": None, "area": None}
KINDS |= {"linear": 1, "bilinear": 2, "bicubic": 2, "trilinear": 3}
SHARP = -0.75  # the slope of cubic interpolation one pixel away, as PyTorch and OpenCV have it


@placed
def interpolate(
    x: Any,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    *,
    align_corners: bool = False,
) -> Tensor:
    """Images of another size.

    Args:
        x: Tensor of shape (N, C, ...), with one to three spatial dimensions.
        size: Their new extents: a number, or one for each.
        scale_factor: Or the factors to multiply the old extents by.
        mode: "nearest" (as PyTorch rounds it), "nearest-exact", "area" (means of stretches, as
            `adaptive_avg_pool2d` takes them); "linear", "bilinear" and "trilinear" for one, two and
            three spatial dimensions; "bicubic" for two, which may overshoot.
        align_corners: Linear and cubic: the first and last pixels keep their places.

    Returns:
        Tensor with other spatial extents.

    Raises:
        ShapeError: An extent would not be positive.
        ValueError: Both or none of `size` and `scale_factor`, or a mode that does not suit.

    Example:
        >>> import dualflow as df
        >>> df.nn.functional.interpolate(df.asarray([[[1.0, 2.0]]]), scale_factor=2).tolist()
        [[[1.0, 1.0, 2.0, 2.0]]]
    """
    x = as_tensor(x)
    rank = x.ndim - 2
    if mode not in KINDS or KINDS[mode] not in (None, rank):
        raise ValueError(f"interpolate: mode={mode!r} for {rank} spatial dimensions")
    if (size is None) == (scale_factor is None):
        raise ValueError("interpolate: give either size or scale_factor")
    if size is None:
        several = isinstance(scale_factor, tuple | list)
        factors = tuple(scale_factor) if several else (scale_factor,) * rank
        extents = tuple(int(n * f) for n, f in zip(x.shape[2:], factors))
    else:
        factors, extents = (None,) * rank, each("interpolate", size, rank)
    positive("interpolate", extents)
    if mode == "area":
        return adaptive_mean(x, extents)
    smooth = _cubic if mode == "bicubic" else _linear
    for axis, (extent, factor) in enumerate(zip(extents, factors), start=2):
        step = x.shape[axis] / extent if factor is None else 1.0 / factor
        if mode.startswith("nearest"):
            x = _nearest(x, axis, extent, step, 0.5 if mode == "nearest-exact" else 0.0)
        else:
            x = smooth(x, axis, _places(x, axis, extent, step, align_corners))
    return x


def _nearest(x: Tensor, axis: int, extent: int, step: float, offset: float) -> Tensor:
    """Copies of old pixels along one axis; without a table where each comes equally often."""
    count = x.shape[axis]
    if isinstance(count, int) and isinstance(extent, int) and x.dtype in (float32, float64):
        copies, left_out = _regular(count, extent, step, offset, x.dtype)
        if copies:
            return repeat(x, copies, axis=axis)
        if left_out:
            return x[(slice(None),) * axis + (slice(None, None, left_out),)]
    at = floor((arange(extent, dtype=x.dtype) + offset) * step)
    return take(x, clip(astype(at, int64), 0, count - 1), axis=axis)


@lru_cache(maxsize=256)
def _regular(count: int, extent: int, step: float, offset: float, dtype: Any) -> tuple[int, int]:
    """How many copies there are of each pixel, or of how many one is left; 0 where that varies.

    Whether products that are rounded lie on the right side of whole numbers, only they can tell.
    """
    if not (count and extent and (extent % count == 0 or count % extent == 0)):
        return 0, 0
    at = np.floor((np.arange(extent, dtype=dtype) + dtype.type(offset)) * dtype.type(step))
    copies, left_out = extent // count, count // extent
    if copies and np.array_equal(at, np.arange(extent) // copies):
        return copies, 0
    if left_out and np.array_equal(at, np.arange(extent) * left_out):
        return 0, left_out
    return 0, 0


def _places(x: Tensor, axis: int, extent: int, step: float, align_corners: bool) -> Tensor:  # noqa: FBT001
    """Where new pixels lie between the old ones."""
    places = arange(extent, dtype=x.dtype)
    if align_corners:
        return places * ((x.shape[axis] - 1) / (extent - 1) if extent > 1 else 0.0)
    return (places + 0.5) * step - 0.5


def _linear(x: Tensor, axis: int, at: Tensor) -> Tensor:
    """Linear interpolation along one axis."""
    last = x.shape[axis] - 1
    at = clip(at, 0, None)
    low = clip(astype(floor(at), int64), 0, last)
    share = at - astype(low, x.dtype)
    x = moveaxis(x, axis, -1)
    y = take(x, low, axis=-1) * (1 - share) + take(x, clip(low + 1, 0, last), axis=-1) * share
    return moveaxis(y, -1, axis)


def _cubic(x: Tensor, axis: int, at: Tensor) -> Tensor:
    """Cubic interpolation along one axis, between four pixels; those at the edges come again.

    R. G. Keys, "Cubic convolution interpolation for digital image processing", 1981.
    """
    last = x.shape[axis] - 1
    first = astype(floor(at), int64)
    share = at - astype(first, x.dtype)
    x = moveaxis(x, axis, -1)
    y: Any = 0
    for step in range(-1, 3):
        distance = abs(share - step)
        y = y + take(x, clip(first + step, 0, last), axis=-1) * _weight(distance, step)
    return moveaxis(y, -1, axis)


def _weight(d: Tensor, step: int) -> Tensor:
    """What a pixel counts at a distance below 1, or from 1 to 2 for the outer two of four."""
    if step in (0, 1):
        return ((SHARP + 2) * d - (SHARP + 3)) * d * d + 1
    return ((SHARP * d - 5 * SHARP) * d + 8 * SHARP) * d - 4 * SHARP


__all__ = [
    "channel_shuffle",
    "interpolate",
    "pad",
    "pixel_shuffle",
    "pixel_unshuffle",
]
