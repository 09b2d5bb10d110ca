"""Axes and shapes as users give them, in canonical form: sorted, not negative, checked."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from dualflow.core.number import extent_of
from jit.dims import Dim
from jit.errors import AxisError, ShapeError
from jit.types import format_extent, format_shape, product


def canonical_axis(name: str, axis: Any, ndim: int) -> int:
    """`axis` counted from the left.

    Raises:
        AxisError: It is outside of the tensor's dimensions.
    """
    k = operator.index(axis)
    if not -ndim <= k < ndim:
        span = f"-{ndim} to {ndim - 1}" if ndim else "none: the tensor has no dimensions"
        raise AxisError(
            f"{name}: axis {k} of a tensor with {ndim} dimensions", span, "check x.shape"
        )
    return k % ndim


def canonical_axes(name: str, axis: Any, ndim: int) -> tuple[int, ...]:
    """All axes meant by `axis` (None: every one), sorted.

    Raises:
        AxisError: One is outside of the tensor's dimensions, or is named twice.
    """
    if axis is None:
        return tuple(range(ndim))
    given = axis if isinstance(axis, tuple | list) else (axis,)
    axes = [canonical_axis(name, k, ndim) for k in given]
    if len(set(axes)) != len(axes):
        raise AxisError(
            f"{name}: axis {tuple(given)} names a dimension twice", "each axis once", "drop one"
        )
    return tuple(sorted(axes))


def canonical_shape(name: str, shape: Any) -> tuple[int | Dim, ...]:
    """A shape as a tuple of ints and Dims, none negative."""
    given: Sequence[Any] = shape if isinstance(shape, tuple | list) else (shape,)
    extents = tuple(map(_extent, given))
    if any(isinstance(d, int) and d < 0 for d in extents):
        raise ShapeError(
            f"{name}: shape {format_shape(extents)} has a negative extent", "extents >= 0", ""
        )
    return extents


def fill_in(name: str, old: tuple[int | Dim, ...], new: Any) -> tuple[int | Dim, ...]:
    """The shape `new` with its -1 replaced by what the elements of `old` leave for it.

    Raises:
        ShapeError: The numbers of elements differ, or there are two -1.
    """
    given: Sequence[Any] = new if isinstance(new, tuple | list) else (new,)
    extents = list(map(_extent, given))
    size = product(old)
    if {*map(type, extents)} == {int} and min(extents) >= 0 and product(extents) == size:
        return tuple(extents)
    unknown = [k for k, d in enumerate(extents) if isinstance(d, int) and d == -1]
    known = product([d for k, d in enumerate(extents) if k not in unknown])
    if len(unknown) == 1 and not (isinstance(known, int) and known == 0) and size % known == 0:
        extents[unknown[0]] = size // known
        return tuple(extents)
    if unknown or known != size or any(isinstance(d, int) and d < 0 for d in extents):
        raise ShapeError(
            f"{name}: {format_shape(old)} has {format_extent(size)} elements, "
            f"which do not fill {format_shape(tuple(given))}",
            "a shape with as many elements, at most one extent -1",
            "check x.shape",
        )
    return tuple(extents)


def canonical_pairs(name: str, widths: Any, count: int) -> tuple[tuple[Any, Any], ...]:
    """`(before, after)` for each of `count` axes, from one number, one pair, or a pair for each.

    Raises:
        ShapeError: The nesting or the number of pairs is another.
    """
    if not isinstance(widths, tuple | list):
        return ((_extent(widths),) * 2,) * count  # type: ignore[return-value]
    pairs = [tuple(map(_extent, w)) if isinstance(w, tuple | list) else _extent(w) for w in widths]
    if len(pairs) == 2 and not any(isinstance(p, tuple) for p in pairs):
        return ((pairs[0], pairs[1]),) * count
    if len(pairs) == 1 and count != 1 and isinstance(pairs[0], tuple):
        pairs = pairs * count
    if len(pairs) != count or not all(isinstance(p, tuple) and len(p) == 2 for p in pairs):
        raise ShapeError(
            f"{name}: {widths} does not give a width before and after each of {count} axes",
            "a number, a pair, or a pair for each axis",
            "((before, after), ...)",
        )
    return tuple(pairs)  # type: ignore[arg-type]


def _extent(d: Any) -> int | Dim:
    return d if isinstance(d, Dim) else extent_of(d)
