"""Samplers that draw out of several: choice, multinomial, dirichlet."""

from __future__ import annotations

from typing import Any

import numpy as np

from dualflow.core.axes import canonical_axis, canonical_shape
from dualflow.core.convert import as_tensor
from dualflow.core.define import broadcast, creation
from dualflow.core.registry import functions
from dualflow.core.tensor import Tensor
from dualflow.ops.arrange import concat
from dualflow.ops.basic import stop_gradient
from dualflow.ops.choice import minimum
from dualflow.ops.create import zeros
from dualflow.ops.distributions import permutation
from dualflow.ops.elementwise import astype
from dualflow.ops.gather import take
from dualflow.ops.random import Generator, bits_of, floating_dtype, randint
from dualflow.ops.rejection import gamma_parts, parameter, wide_of
from dualflow.ops.scan import running_sum
from dualflow.ops.shape import broadcast_to, reshape
from dualflow.ops.sort import searchsorted, top_k
from dualflow.ops.special import log
from dualflow.ops.words import unit64
from jit.errors import ShapeError
from jit.types import as_dtype, float32, float64, format_shape, int64, product


def weights(name: str, p: Any) -> Tensor:
    """Weights as float64, of which the last dimension is that of classes.

    Raises:
        ShapeError: There is no class.
        ValueError: A weight is negative or not finite, or all are 0.
    """
    p = stop_gradient(astype(as_tensor(p), float64))
    if p.ndim == 0 or p.shape[-1] == 0:
        raise ShapeError(f"{name}: p of shape {format_shape(p.shape)}", "(..., classes)", "")
    if isinstance(p.raw, np.ndarray):
        total = p.raw.sum(axis=-1)
        if (p.raw < 0).any() or not (np.isfinite(total) & (total > 0)).all():
            raise ValueError(f"{name}: p has weights that are negative, not finite or all 0")
    return p


def shares_up_to(p: Tensor) -> Tensor:
    """The sum of shares up to each class; the last one is 1."""
    total = running_sum(p, p.ndim - 1)
    return total / total[..., -1:]


@creation
def choice(
    a: Any,
    shape: Any = (),
    replace: bool = True,  # noqa: FBT001, FBT002 - NumPy's position
    p: Any = None,
    *,
    axis: int = 0,
    generator: Generator | None = None,
) -> Tensor:
    """Elements of a tensor, or numbers from 0 on, drawn by chance.

    Args:
        a: What is drawn from: a tensor, or how many numbers there are.
        shape: Of the result.
        replace: Whether an element may come again.
        p: The weight of each element, which need not sum to 1; all are equally likely when None.
        axis: Along which axis of `a` elements stand.
        generator: The default one when None.

    Returns:
        Tensor of that shape, of int64 for a number; for a tensor `shape` stands in the place of
        `axis`. Without replacement and with weights, elements are drawn one after the other.

    Raises:
        ShapeError: There are fewer elements than are drawn, or other weights than elements.
        ValueError: Weights are negative or all 0, or fewer than are drawn are not 0.

    Example:
        >>> import dualflow as df
        >>> df.random.choice(df.asarray([5.0, 7.0]), 3, p=[0.0, 1.0]).tolist()
        [7.0, 7.0, 7.0]
    """
    rows = as_tensor(a) if not isinstance(a, int) else None
    if rows is not None and rows.ndim == 0:
        rows, a = None, int(rows)
    axis = 0 if rows is None else canonical_axis("choice", axis, rows.ndim)
    count = a if rows is None else rows.shape[axis]
    extents = canonical_shape("choice", shape)
    p = None if p is None else weights("choice", p)
    if p is not None and p.shape != (count,):
        raise ShapeError(f"choice: {count} elements, p of shape {format_shape(p.shape)}", "(n,)")
    drawn = _again if replace else _once
    places = reshape(drawn(generator, count, product(extents), p), extents)
    return places if rows is None else take(rows, places, axis=axis)


def _again(generator: Generator | None, count: Any, size: Any, p: Tensor | None) -> Tensor:
    """Numbers below `count`, which may come again."""
    if p is None:
        return randint((size,), 0, count, generator=generator)
    u = unit64(bits_of(generator, (size, 2)))
    return minimum(searchsorted(shares_up_to(p), u, side="right"), count - 1)


def _once(generator: Generator | None, count: Any, size: Any, p: Tensor | None) -> Tensor:
    """Different numbers below `count`.

    With weights those with the shortest waiting times, at rates that are the weights (Efraimidis
    and Spirakis, 2006).
    """
    if size > count:
        raise ShapeError(f"choice: {size} of {count} elements, each once", "at most as many", "")
    if p is None:
        return permutation(count, generator=generator)[:size]
    if isinstance(p.raw, np.ndarray) and np.count_nonzero(p.raw) < size:
        raise ValueError(f"choice: {size} elements, of which {np.count_nonzero(p.raw)} have weight")
    u = unit64(bits_of(generator, (count, 2))) + 2.0**-54
    return top_k(log(p) - log(-log(u)), size).indices


@creation
def multinomial(
    shape: Any, n: int, p: Any, *, dtype: Any = int64, generator: Generator | None = None
) -> Tensor:
    """How often each class comes in `n` draws.

    Args:
        shape: Of the result without its last dimension; that of `p` likewise when None.
        n: How many draws.
        p: Tensor of shape (..., classes): the weight of each class, which need not sum to 1. All
            dimensions but the last broadcast with `shape`.
        dtype: Of the result.
        generator: The default one when None.

    Returns:
        Tensor of shape (*shape, classes), whose last dimension sums to `n`. No gradient flows.

    Raises:
        ShapeError: `p` does not suit `shape`, or there is no class.
        ValueError: Weights are negative or all 0, or `n` is negative.

    Example:
        >>> import dualflow as df
        >>> df.random.multinomial((), 5, [0.0, 1.0]).tolist()
        [0, 5]
    """
    if n < 0:
        raise ValueError(f"multinomial: n={n} is negative")
    limits = shares_up_to(weights("multinomial", p))
    extents, classes = _rows("multinomial", shape, limits), limits.shape[-1]
    limits = broadcast_to(limits, (*extents, classes))
    u = unit64(bits_of(generator, (*extents, n, 2)))
    below = functions["sum"](astype(u[..., None] < limits[..., None, :-1], int64), axis=-2)
    whole = functions["full"]((*extents, 1), n)
    edges = concat([zeros((*extents, 1), dtype=int64), below, whole], axis=-1)
    return astype(edges[..., 1:] - edges[..., :-1], as_dtype(dtype))


@creation
def dirichlet(
    shape: Any, alpha: Any, *, dtype: Any = float32, generator: Generator | None = None
) -> Tensor:
    """Shares of a whole: gamma distributed numbers, divided by their sum.

    Args:
        shape: Of the result without its last dimension; that of `alpha` likewise when None.
        alpha: Tensor of shape (..., classes), positive: the larger they are, the closer are shares
            to their means, `alpha / sum(alpha)`. No gradient flows to it.
        dtype: A floating dtype.
        generator: The default one when None.

    Returns:
        Tensor of shape (*shape, classes), whose last dimension sums to 1; as exact as `gamma`.

    Raises:
        ShapeError: `alpha` does not suit `shape`, or there is no class.

    Example:
        >>> import dualflow as df
        >>> abs(df.random.dirichlet((), [1.0, 2.0, 3.0]).sum().item() - 1.0) < 1e-6
        True
    """
    target, alpha = floating_dtype("dirichlet", dtype), as_tensor(alpha)
    if alpha.ndim == 0 or alpha.shape[-1] == 0:
        raise ShapeError(
            f"dirichlet: alpha of shape {format_shape(alpha.shape)}", "(..., classes)", ""
        )
    full = (*_rows("dirichlet", shape, alpha), alpha.shape[-1])
    found, far = gamma_parts(
        generator, parameter("dirichlet", "alpha", alpha, full, wide_of(target))
    )
    return astype(functions["softmax"](log(found) + far), target)


def _rows(name: str, shape: Any, p: Tensor) -> tuple[Any, ...]:
    """The shape of a result but for its classes.

    Raises:
        ShapeError: The classes' tensor does not suit the shape that was asked for.
    """
    batch = p.shape[:-1]
    extents = batch if shape is None else canonical_shape(name, shape)
    if broadcast(name, batch, extents) != extents:
        raise ShapeError(
            f"{name}: {format_shape(p.shape)} for {format_shape(extents)}",
            f"{format_shape((*extents, p.shape[-1]))}, or what broadcasts to it",
            "leave out shape",
        )
    return extents
