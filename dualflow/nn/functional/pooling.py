"""Pooling to given extents, by the p-norm, and the way back from largest elements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dualflow.core.convert import as_tensor
from dualflow.core.devices import placed
from dualflow.core.doors import meet
from dualflow.core.tensor import Tensor
from dualflow.ops.choice import maximum, minimum, where
from dualflow.ops.create import arange, zeros
from dualflow.ops.elementwise import abs, astype
from dualflow.ops.gather import take, take_along_axis
from dualflow.ops.neural import each
from dualflow.ops.pool import pool
from dualflow.ops.pooling import flat_places
from dualflow.ops.power import pow
from dualflow.ops.reduce import argmax, max, sum
from dualflow.ops.shape import broadcast_to, expand_dims, moveaxis, reshape
from jit.errors import ShapeError
from jit.types import format_shape, product

# ----- to given extents -----


def _spans(extent: Any, count: int) -> tuple[Tensor, Tensor]:
    """The indices of `count` stretches that cover `extent`, and which are in the stretch.

    Stretches overlap by one where `count` does not divide `extent`; all are given the length of
    the longest, with its last index again instead of what lies behind.
    """
    k = arange(count)
    start, stop = k * extent // count, -(-(k + 1) * extent // count)
    longest = 1 if extent == 0 else -(-extent // count) + (1 if extent % count else 0)
    at = expand_dims(start, 1) + arange(longest)
    last = expand_dims(stop - 1, 1)
    return minimum(at, last), at <= last


def _even(x: Tensor, sizes: tuple[int, ...]) -> dict[str, Any] | None:
    """The attrs of a pool with these results, where all extents are multiples of them."""
    extents = x.shape[x.ndim - len(sizes) :]
    if any(n % size for n, size in zip(extents, sizes)):
        return None
    window = tuple(n // size for n, size in zip(extents, sizes))
    rank = len(sizes)
    return {
        "window": window,
        "stride": window,
        "padding": ((0, 0),) * rank,
        "dilation": (1,) * rank,
    }


def _sizes(name: str, rank: int, x: Tensor, output_size: Any) -> tuple[int, ...]:
    """The wanted extents; None keeps one."""
    if x.ndim not in (rank + 1, rank + 2):
        raise ShapeError(
            f"{name}: a tensor of shape {format_shape(x.shape)}",
            f"(batch, channels, {rank} extents), or without the batch",
            "check the number of dimensions",
        )
    several = isinstance(output_size, tuple | list)
    wanted = tuple(output_size) if several else (output_size,) * rank
    kept = zip(wanted, x.shape[x.ndim - rank :])
    return positive(name, each(name, tuple(n if size is None else size for size, n in kept), rank))


def positive(name: str, extents: Any) -> Any:
    """The extents of a result, which holds something.

    Raises:
        ShapeError: It does not.
    """
    if any(extent < 1 for extent in extents):
        raise ShapeError(f"{name}: a result of extents {format_shape(extents)}", "1 or more", "")
    return extents


ADAPTIVE_DOC = """The {word} of as many stretches as wanted, in {rank} spatial dimensions.

Args:
    x: Tensor of shape (N, C, ...), or without N.
    output_size: The wanted extents: a number, or one for each spatial dimension; None keeps
        an extent.{more}

Returns:
    Tensor with these spatial extents.

Raises:
    ShapeError: The number of dimensions is another.

Example:
    >>> import dualflow as df
    >>> df.nn.functional.{name}(df.ones({x}), 3).shape
    {y}
"""
INDICES = "\n    return_indices: Also return where they stand, the spatial dimensions taken as one."


def _described(function: Any, rank: int, what: str, word: str, more: str = "") -> Any:
    """Gives a function its name and docstring."""
    name = function.__name__ = function.__qualname__ = f"adaptive_{what}_pool{rank}d"
    sizes = {"x": (1, 2, *(7,) * rank), "y": (1, 2, *(3,) * rank)}
    function.__doc__ = ADAPTIVE_DOC.format(name=name, rank=rank, word=word, more=more, **sizes)
    return function


def _adaptive_avg(rank: int) -> Any:
    def pooled(x: Any, output_size: Any) -> Tensor:
        (x,) = meet(pooled.__name__, (as_tensor(x),), "floating")
        return adaptive_mean(x, _sizes(pooled.__name__, rank, x, output_size))

    return _described(pooled, rank, "avg", "mean")


def _adaptive_max(rank: int) -> Any:
    def pooled(x: Any, output_size: Any, *, return_indices: bool = False) -> Any:
        (x,) = meet(pooled.__name__, (as_tensor(x),), "floating")
        sizes = _sizes(pooled.__name__, rank, x, output_size)
        return adaptive_largest(x, sizes, return_indices=return_indices)

    return _described(pooled, rank, "max", "largest element", INDICES)


def adaptive_mean(x: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """The mean of stretches of the last dimensions: means of means are means, axis by axis."""
    if (attrs := _even(x, sizes)) is not None:
        return pool("sum", x, **attrs) / product(attrs["window"])
    for axis, size in zip(range(-len(sizes), 0), sizes):
        if x.shape[axis] != size:
            parts, inside = _stretches(x, axis, size)
            total = sum(where(inside, parts, 0), axis=-1)
            x = moveaxis(total / sum(astype(inside, x.dtype), axis=-1), -1, axis)
    return x


def adaptive_largest(x: Tensor, sizes: tuple[int, ...], *, return_indices: bool = False) -> Any:
    """The largest elements of stretches of the last dimensions, and where they stand."""
    if (attrs := _even(x, sizes)) is not None:
        y = pool("max", x, **attrs)
        return (y, flat_places(x, attrs)) if return_indices else y
    return _largest_placed(x, sizes) if return_indices else _largest(x, sizes)


def _largest(x: Tensor, sizes: tuple[int, ...]) -> Tensor:
    for axis, size in zip(range(-len(sizes), 0), sizes):
        if x.shape[axis] != size:
            x = moveaxis(max(_stretches(x, axis, size)[0], axis=-1), -1, axis)
    return x


@placed
def _largest_placed(x: Tensor, sizes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Axis by axis from the last one, so that the first of equal elements is taken."""
    extents = x.shape[x.ndim - len(sizes) :]
    places = broadcast_to(reshape(arange(product(extents)), extents), x.shape)
    for axis in range(-1, -len(sizes) - 1, -1):
        parts, at = (_stretches(part, axis, sizes[axis])[0] for part in (x, places))
        best = argmax(parts, axis=-1, keepdims=True)
        x, places = (moveaxis(take_along_axis(p, best)[..., 0], -1, axis) for p in (parts, at))
    return x, places


@placed
def _stretches(x: Tensor, axis: int, size: int) -> tuple[Tensor, Tensor]:
    """Stretches of one axis in rows at the end, and which of their elements count."""
    at, inside = _spans(x.shape[axis], size)
    return take(moveaxis(x, axis, -1), at, axis=-1), inside


adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d = map(_adaptive_avg, (1, 2, 3))
adaptive_max_pool1d, adaptive_max_pool2d, adaptive_max_pool3d = map(_adaptive_max, (1, 2, 3))

# ----- by the p-norm -----


def _lp_pool(rank: int) -> Callable[..., Tensor]:
    name = f"lp_pool{rank}d"

    def pooled(x: Any, norm_type: float, kernel_size: Any, stride: Any = None) -> Tensor:
        (x,) = meet(name, (as_tensor(x),), "floating")
        window = each(name, kernel_size, rank)
        step = window if stride is None else each(name, stride, rank)
        total = pool("sum", pow(x, norm_type), window, step, ((0, 0),) * rank, (1,) * rank)
        sign = where(total < 0, -1.0, 1.0)  # a negative sum has a root of 0, as in PyTorch
        return pow(maximum(astype(sign, x.dtype) * abs(total), 0), 1.0 / norm_type)

    pooled.__name__ = pooled.__qualname__ = name
    pooled.__doc__ = f"""The p-norm of each window over {rank} spatial dimensions.

    Args:
        x: Tensor of shape (N, C, ...).
        norm_type: The exponent p.
        kernel_size: Extent of the window.
        stride: Step of the window; its extent when None.

    Returns:
        Tensor with other spatial extents.

    Raises:
        ShapeError: A window is larger than the image.

    Example:
        >>> import dualflow as df
        >>> df.nn.functional.{name}(df.ones({(1, 2, *(8,) * rank)}), 2, 4).shape
        {(1, 2, *(2,) * rank)}
    """
    return pooled


lp_pool1d, lp_pool2d, lp_pool3d = map(_lp_pool, (1, 2, 3))

# ----- the way back -----


UNPOOL_DOC = """Largest elements back where they stood, in {rank} spatial dimensions.

Args:
    x: Tensor of shape (N, C, ...), or without N.
    indices: Where the elements stood, as `max_pool{rank}d(..., return_indices=True)` gives it.
    kernel_size: Extent of the window that was pooled.
    stride: Its step; its extent when None.
    padding: How far windows reached beyond the edges.
    output_size: The extents to return to; those that just hold the windows when None.

Returns:
    Tensor with zeros everywhere else.

Raises:
    IndexError: An element would stand outside.

Example:
    >>> import dualflow as df
    >>> x = df.reshape(df.arange({count}.0), {shape})
    >>> y, places = df.nn.functional.max_pool{rank}d(x, 2, return_indices=True)
    >>> df.nn.functional.{name}(y, places, 2).shape
    {shape}
"""


def _unpool(rank: int) -> Callable[..., Tensor]:
    name = f"max_unpool{rank}d"

    @placed
    def unpooled(
        x: Any,
        indices: Any,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        output_size: Any = None,
    ) -> Tensor:
        x, indices = as_tensor(x), as_tensor(indices)
        window, pads = each(name, kernel_size, rank), each(name, padding, rank)
        steps = window if stride is None else each(name, stride, rank)
        front, inner = x.shape[: x.ndim - rank], x.shape[x.ndim - rank :]
        shape = (
            tuple((n - 1) * s - 2 * p + k for n, s, p, k in zip(inner, steps, pads, window))
            if output_size is None
            else tuple(output_size)[-rank:]
        )
        rows = product(front)
        flat = zeros((rows, product(shape)), dtype=x.dtype)
        row = reshape(arange(rows), (rows, 1))
        at = reshape(indices, (rows, product(inner)))
        y = flat.at[row, at].set(reshape(x, (rows, product(inner))))
        return reshape(y, (*front, *shape))

    unpooled.__name__ = unpooled.__qualname__ = name
    unpooled.__doc__ = UNPOOL_DOC.format(
        rank=rank, name=name, count=4**rank, shape=(1, 1, *(4,) * rank)
    )
    return unpooled


max_unpool1d, max_unpool2d, max_unpool3d = map(_unpool, (1, 2, 3))

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "lp_pool1d",
    "lp_pool2d",
    "lp_pool3d",
    "max_unpool1d",
    "max_unpool2d",
    "max_unpool3d",
]
