"""Pooling by windows at random distances (Graham, 2014): extents shrink by any factor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dualflow.core.convert import as_tensor
from dualflow.core.devices import placed
from dualflow.core.doors import meet
from dualflow.core.tensor import Tensor
from dualflow.ops.arrange import concat
from dualflow.ops.basic import full
from dualflow.ops.create import arange
from dualflow.ops.elementwise import astype
from dualflow.ops.gather import take_along_axis
from dualflow.ops.neural import each
from dualflow.ops.random import uniform
from dualflow.ops.reduce import argmax
from dualflow.ops.shape import expand_dims, reshape, squeeze
from jit.errors import ShapeError
from jit.types import format_shape, int64, product


def _starts(sample: Tensor, extent: Any, count: int, window: int) -> Tensor:
    """Where windows begin along an axis, for numbers in [0, 1): one more axis, of `count` places.

    They are about `(extent - window) / (count - 1)` apart, and the last one ends at the edge.
    """
    last = full((*sample.shape, 1), extent - window, dtype=int64)
    if count == 1:
        return last
    apart = full((), extent - window, dtype=sample.dtype) / (count - 1)
    sample = expand_dims(sample, -1)
    whole = astype((astype(arange(count - 1), sample.dtype) + sample) * apart, int64)
    return concat([whole - astype(sample * apart, int64), last], axis=-1)


def _places(
    samples: Tensor, extents: Sequence[Any], sizes: Sequence[int], window: Sequence[int]
) -> Tensor:
    """The flat index of each element of each window: (N, C, windows, elements of a window)."""
    rank = len(extents)
    columns = range(rank) if rank == 3 else reversed(range(rank))  # as PyTorch takes them
    flat: Any = 0
    for axis, column in enumerate(columns):
        starts = _starts(samples[..., column], extents[axis], sizes[axis], window[axis])
        at = expand_dims(starts, -1) + arange(window[axis])
        shape = [1] * (2 * rank)
        shape[axis], shape[rank + axis] = sizes[axis], window[axis]
        flat = flat + reshape(at, (*at.shape[:2], *shape)) * product(extents[axis + 1 :])
    return reshape(flat, (*flat.shape[:2], product(sizes), product(window)))


def _counts(
    name: str, x: Tensor, window: Sequence[int], output_size: Any, output_ratio: Any
) -> tuple[int, ...]:
    """How many windows there are along each spatial dimension."""
    rank = len(window)
    extents = x.shape[x.ndim - rank :]
    if (output_size is None) == (output_ratio is None):
        raise ValueError(f"{name}: give output_size or output_ratio, one of them")
    if output_size is None:
        several = isinstance(output_ratio, tuple | list)
        ratios = output_ratio if several else [output_ratio] * rank
        output_size = tuple(int(n * ratio) for n, ratio in zip(extents, ratios, strict=True))
    counts = each(name, output_size, rank)
    fit = all(1 <= m <= n - k + 1 for n, m, k in zip(extents, counts, window))
    if x.ndim not in (rank + 1, rank + 2) or not fit:
        raise ShapeError(
            f"{name}: {counts} windows of {window} in a tensor of shape {format_shape(x.shape)}",
            f"(batch, channels, {rank} extents) that hold so many windows",
            "take smaller windows, or fewer",
        )
    return counts


def _largest(
    x: Tensor, window: Sequence[int], counts: Sequence[int], samples: Any
) -> tuple[Tensor, Tensor]:
    """The largest elements of a batch, and where they stand."""
    front, extents = x.shape[:2], x.shape[2:]
    shape = (*front, len(window))
    drawn = uniform(shape, dtype=x.dtype) if samples is None else as_tensor(samples)
    places = _places(drawn, extents, counts, window)
    flat = reshape(x, (*front, product(extents)))
    several = reshape(places, (*front, product(counts) * product(window)))
    parts = reshape(take_along_axis(flat, several, axis=-1), places.shape)
    best = argmax(parts, axis=-1, keepdims=True)
    y, at = (take_along_axis(t, best, axis=-1) for t in (parts, places))
    return reshape(y, (*front, *counts)), reshape(at, (*front, *counts))


def _fractional(rank: int) -> Callable[..., Any]:
    name = f"fractional_max_pool{rank}d"

    @placed
    def pooled(
        x: Any,
        kernel_size: Any,
        output_size: Any = None,
        output_ratio: Any = None,
        *,
        return_indices: bool = False,
        _random_samples: Any = None,
    ) -> Any:
        (x,) = meet(name, (as_tensor(x),), "floating")
        window = each(name, kernel_size, rank)
        counts = _counts(name, x, window, output_size, output_ratio)
        alone = x.ndim == rank + 1
        y, at = _largest(expand_dims(x, 0) if alone else x, window, counts, _random_samples)
        if alone:
            y, at = squeeze(y, 0), squeeze(at, 0)
        return (y, at) if return_indices else y

    pooled.__name__ = pooled.__qualname__ = name
    x, y = ((1, 2, *(n,) * rank) for n in (7, 3))
    pooled.__doc__ = DOC.format(rank=rank, name=name, x=x, y=y)
    return pooled


DOC = """The largest element of windows at random distances, in {rank} spatial dimensions.

Args:
    x: Tensor of shape (N, C, ...), or without N.
    kernel_size: Extent of the window.
    output_size: How many windows there are along each dimension.
    output_ratio: Or their share of the extents, below 1.
    return_indices: Also tell where the elements stood, as `max_pool{rank}d` does.
    _random_samples: Numbers in [0, 1) that the distances follow from, of shape (N, C, {rank});
        drawn from `df.random` when None.

Returns:
    Tensor with these spatial extents; with the indices when wanted.

Raises:
    ShapeError: So many windows do not fit.
    ValueError: Neither output_size nor output_ratio is given, or both.

Example:
    >>> import dualflow as df
    >>> df.nn.functional.{name}(df.ones({x}), 2, output_size=3).shape
    {y}
"""

fractional_max_pool2d, fractional_max_pool3d = map(_fractional, (2, 3))

__all__ = ["fractional_max_pool2d", "fractional_max_pool3d"]
