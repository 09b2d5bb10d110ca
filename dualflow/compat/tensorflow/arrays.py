"""`tf.split`, `tf.pad`, `tf.clip_by_norm` and others of which words or order are TensorFlow's."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import dualflow as df
from dualflow.core.registry import functions


def split(value: Any, num_or_size_splits: Any, axis: int = 0) -> list[Any]:
    """Parts along an axis: so many equal ones, or of these extents."""
    if isinstance(num_or_size_splits, int):
        return list(df.split(value, num_or_size_splits, axis=axis))
    ends = list(accumulate(num_or_size_splits))[:-1]
    return list(df.split(value, ends, axis=axis))


def unstack(value: Any, num: int | None = None, axis: int = 0) -> list[Any]:
    """The slices along an axis; `num` is not needed."""
    del num
    return list(df.unstack(value, axis=axis))


def slice(input_: Any, begin: Sequence[int], size: Sequence[int]) -> Any:
    """The part that begins at `begin` and has extents `size`; -1 is all that is left."""
    ends = [None if n == -1 else start + n for start, n in zip(begin, size, strict=True)]
    where = [builtins.slice(*pair) for pair in zip(begin, ends, strict=True)]
    return df.asarray(input_)[tuple(where)]


def pad(tensor: Any, paddings: Any, mode: str = "CONSTANT", constant_values: Any = 0) -> Any:
    """More elements around: "CONSTANT", "REFLECT" or "SYMMETRIC"."""
    if mode.lower() == "constant":
        return df.pad(tensor, paddings, constant_values=constant_values)
    return df.pad(tensor, paddings, mode.lower())


def reverse(tensor: Any, axis: Any) -> Any:
    """Elements in the opposite order along some axes."""
    return df.flip(tensor, axis=axis if isinstance(axis, int) else tuple(axis))


def cumsum(x: Any, axis: int = 0) -> Any:
    """Running sums."""
    return df.cumulative_sum(df.asarray(x), axis=axis)


def norm(tensor: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """The Euclidean norm, of all elements by default."""
    return df.sqrt(df.sum(df.square(tensor), axis=axis, keepdims=keepdims))


def rank(input: Any) -> int:
    """The number of dimensions."""
    return df.asarray(input).ndim


def size(input: Any) -> Any:
    """The number of elements."""
    return df.asarray(input).size


def identity(input: Any) -> Any:
    """The same values, as a tensor."""
    return functions["identity"](input)


def rsqrt(x: Any) -> Any:
    """1 divided by the square root."""
    return 1.0 / df.sqrt(x)


def squared_difference(x: Any, y: Any) -> Any:
    """The square of a difference."""
    return df.square(df.subtract(x, y))


def add_n(inputs: Sequence[Any]) -> Any:
    """The sum of tensors of one shape."""
    total = inputs[0]
    for x in inputs[1:]:
        total = df.add(total, x)
    return total


def map_fn(fn: Any, elems: Any, **_: Any) -> Any:
    """`fn` of each row."""
    return df.map(fn, elems)


def global_norm(t_list: Sequence[Any]) -> Any:
    """The Euclidean norm of all tensors together; None is no tensor."""
    return df.sqrt(add_n([df.sum(df.square(t)) for t in t_list if t is not None]))


def clip_by_norm(t: Any, clip_norm: Any) -> Any:
    """A tensor that is shortened where its norm is larger."""
    length = norm(t)
    return t * (clip_norm / df.maximum(length, clip_norm))


def clip_by_global_norm(
    t_list: Sequence[Any], clip_norm: Any, use_norm: Any = None
) -> tuple[list[Any], Any]:
    """Tensors that are shortened together where their norm is larger, and this norm."""
    length = global_norm(t_list) if use_norm is None else use_norm
    factor = clip_norm / df.maximum(length, clip_norm)
    return [None if t is None else t * factor for t in t_list], length
