"""`torch.topk`, `torch.chunk` and others of which words or results are PyTorch's."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import dualflow as df


def full_like(input: Any, fill_value: Any, **options: Any) -> Any:
    """A tensor of the same shape and dtype, filled with one number."""
    return df.full_like(input, fill_value, **options)


def randn_like(input: Any) -> Any:
    """Standard normal numbers in the shape of `input`."""
    return df.random.normal(input.shape, dtype=input.dtype)


def rand_like(input: Any) -> Any:
    """Uniform numbers between 0 and 1 in the shape of `input`."""
    return df.random.uniform(input.shape, dtype=input.dtype)


def split(
    tensor: Any, split_size_or_sections: int | Sequence[int], dim: int = 0
) -> tuple[Any, ...]:
    """Parts of one extent, of which the last may be smaller; or of these extents."""
    size = split_size_or_sections
    if isinstance(size, int):
        return tuple(df.split(tensor, list(range(size, tensor.shape[dim], size)), axis=dim))
    return tuple(df.split(tensor, list(accumulate(size))[:-1], axis=dim))


def chunk(input: Any, chunks: int, dim: int = 0) -> tuple[Any, ...]:
    """At most so many parts of one extent, of which the last may be smaller."""
    return split(input, -(-input.shape[dim] // chunks), dim)


def topk(input: Any, k: int, dim: int = -1, *, largest: bool = True) -> tuple[Any, Any]:
    """The largest or smallest numbers along a dimension, and where they are."""
    mode = "largest" if largest else "smallest"
    values, indices = df.top_k(input, k, axis=dim, mode=mode)
    return values, indices


def sort(input: Any, dim: int = -1, *, descending: bool = False) -> tuple[Any, Any]:
    """The numbers in order along a dimension, and where they were."""
    order = df.argsort(input, axis=dim, descending=descending)
    return df.take_along_axis(input, order, axis=dim), order


def gather(input: Any, dim: int, index: Any) -> Any:
    """The elements at `index` along a dimension, one for each element of `index`."""
    return df.take_along_axis(input, index, axis=dim)


def index_select(input: Any, dim: int, index: Any) -> Any:
    """The slices at `index` along a dimension."""
    return df.take(input, index, axis=dim)


def cumsum(input: Any, dim: int) -> Any:
    """Running sums."""
    return df.cumulative_sum(input, axis=dim)


def flip(input: Any, dims: Any) -> Any:
    """Elements in the opposite order along some dimensions."""
    return df.flip(input, axis=dims if isinstance(dims, int) else tuple(dims))


def norm(input: Any, p: float = 2, dim: Any = None, *, keepdim: bool = False) -> Any:
    """The norm of vectors along a dimension, of all elements by default."""
    return df.linalg.vector_norm(input, ord=p, axis=dim, keepdims=keepdim)


def dot(input: Any, tensor: Any) -> Any:
    """The product of two vectors."""
    return df.sum(df.multiply(input, tensor))


def outer(input: Any, vec2: Any) -> Any:
    """All products of elements of two vectors."""
    return df.expand_dims(input, axis=1) * vec2


def allclose(input: Any, other: Any, rtol: float = 1e-5, atol: float = 1e-8) -> bool:
    """Whether all numbers are near to each other."""
    return bool(df.all(df.abs(input - other) <= atol + rtol * df.abs(other)))


def numel(input: Any) -> Any:
    """The number of elements."""
    return input.size
