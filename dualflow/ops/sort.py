"""Order: argsort, and what follows from it: sort, top_k; searchsorted."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple, Never

import numpy as np

from dualflow.core.axes import canonical_axis
from dualflow.core.backend import by_host
from dualflow.core.batching import along_axes, one_by_one
from dualflow.core.convert import as_tensor
from dualflow.core.devices import placed
from dualflow.core.doors import meet_as_tensors
from dualflow.core.op import Op, bind
from dualflow.core.registry import api, refused
from dualflow.core.tensor import Tensor
from dualflow.ops.arrange import flip
from dualflow.ops.create import zeros_like
from dualflow.ops.gather import along_axis, scatter, take_along_axis
from dualflow.ops.stable import comparable, in_stable_order, stable_order
from jit.errors import DTypeError, ShapeError
from jit.types import TensorType, dtypes, format_shape, int64, kind


def _argsort_lower(form: Any, x: Any, *, axis: int) -> Any:
    type_ = TensorType(tuple(x.shape), int64)
    return form.extern("argsort", (x,), type_, partial(stable_order, np, axis=axis))


_argsort = Op(
    name="argsort",
    evaluate=stable_order,
    infer=lambda x, *, axis: x.with_dtype(int64),
    lower=_argsort_lower,
    batch=along_axes,
)


def _sort_lower(form: Any, x: Any, *, axis: int) -> Any:
    return form.extern("sort", (x,), x.type, partial(in_stable_order, np, axis=axis))


def _sort_vjp(g: Any, y: Any, x: Any, *, axis: int) -> Any:
    places, axes = along_axis("sort", x, argsorted(x, axis), axis)
    return scatter("add", zeros_like(g), g, places, axes)


def _sort_jvp(tangents: Any, y: Any, x: Any, *, axis: int) -> Any:
    return take_along_axis(tangents[0], argsorted(x, axis), axis)


_sort = Op(
    name="sort",
    evaluate=in_stable_order,
    infer=lambda x, *, axis: x,
    lower=_sort_lower,
    vjps=(_sort_vjp,),
    jvp=_sort_jvp,
    batch=along_axes,
)


def argsorted(x: Tensor, axis: int) -> Tensor:
    """The order of `x` along an axis; complex numbers by their real parts, then the others."""
    return bind(_argsort, (x,), {"axis": axis})


def without_order(name: str) -> DTypeError:
    """The error of complex numbers."""
    return DTypeError(
        f"{name}: complex numbers have no order", "real numbers or bools", "df.abs(x)"
    )


@api
def argsort(
    x: Any, /, axis: int = -1, *, descending: bool = False, stable: bool = True, **foreign: Never
) -> Tensor:
    """The indices that put `x` in order along an axis.

    Args:
        x: Tensor with one dimension or more; real numbers or bools. NaN counts as the largest.
        axis: The axis to sort along.
        descending: The largest first.
        stable: Accepted for the array API's sake; equal elements always keep their order.

    Returns:
        int64 tensor of the shape of `x`.

    Raises:
        AxisError: `x` has no such axis.
        DTypeError: `x` is complex.

    Example:
        >>> import dualflow as df
        >>> df.argsort(df.asarray([3, 1, 2])).tolist()
        [1, 2, 0]
    """
    if foreign:
        raise refused("argsort", foreign)
    x = as_tensor(x)
    axis = canonical_axis("argsort", axis, x.ndim)
    if kind(x.dtype) == "complex":
        raise without_order("argsort")
    if not descending:
        return argsorted(x, axis)
    backwards = argsorted(flip(x, axis), axis)
    return x.shape[axis] - 1 - flip(backwards, axis)


@api
def sort(
    x: Any, /, axis: int = -1, *, descending: bool = False, stable: bool = True, **foreign: Never
) -> Tensor:
    """`x` with its elements in order along an axis.

    Args:
        x: Tensor with one dimension or more; real numbers or bools. NaN counts as the largest.
        axis: The axis to sort along.
        descending: The largest first.
        stable: Accepted for the array API's sake; equal elements always keep their order.

    Returns:
        Tensor of the shape and dtype of `x`.

    Raises:
        AxisError: `x` has no such axis.
        DTypeError: `x` is complex.

    Example:
        >>> import dualflow as df
        >>> df.sort(df.asarray([3, 1, 2]), descending=True).tolist()
        [3, 2, 1]
    """
    if foreign:
        raise refused("sort", foreign)
    x = as_tensor(x)
    axis = canonical_axis("sort", axis, x.ndim)
    if kind(x.dtype) == "complex":
        raise without_order("sort")
    if descending:
        return flip(bind(_sort, (flip(x, axis),), {"axis": axis}), axis)
    return bind(_sort, (x,), {"axis": axis})


# ----- the first ones of an order -----

SELECTED = 1024  # elements of a row from which the first ones are selected before they are sorted
COLUMNS, COLUMNS_EACH = 1024, 8  # at least; for each element that is wanted


@by_host
def _top(xp: Any, x: Any, *, axis: int, k: int, largest: bool) -> Any:
    """The indices of the first `k` elements in falling (or rising) order; equal ones in theirs."""
    rows = np.moveaxis(comparable(x), axis, -1)
    n = rows.shape[-1]
    if n < SELECTED or not 0 < k <= n // 8:
        return np.moveaxis(_ordered(rows, largest=largest)[..., :k], -1, axis)
    found = np.empty((*rows.shape[:-1], k), np.int64)
    for at in np.ndindex(rows.shape[:-1]):
        found[at] = _selected(rows[at], k, largest=largest)
    return np.moveaxis(found, -1, axis)


def _ordered(rows: Any, *, largest: bool) -> Any:
    if not largest:
        return np.argsort(rows, axis=-1, kind="stable")
    turned = np.argsort(rows[..., ::-1], axis=-1, kind="stable")[..., ::-1]
    return rows.shape[-1] - 1 - turned


def _selected(row: Any, k: int, *, largest: bool) -> Any:
    """Of one row: what is not behind the last of the first `k` ones, in order."""
    last = _bound(row, k, largest=largest)
    if last != last:  # NaN is the largest
        chosen = row != row if largest else np.ones(row.shape, bool)
    elif not largest:
        chosen = row <= last
    else:
        chosen = row >= last
        if row.dtype.kind == "f" and (unequal := row != row).any():
            chosen |= unequal
    candidates = np.flatnonzero(chosen)
    return candidates[_ordered(row[candidates], largest=largest)[:k]]


def _bound(row: Any, k: int, *, largest: bool) -> Any:
    """A value that `k` elements reach at least, and few others.

    That is the last of the first `k` among the extremes of columns, if the row is laid in columns:
    each belongs to another element. NaN passes for the largest in either.
    """
    columns = max(COLUMNS, COLUMNS_EACH * k)
    if row.size >= 2 * columns:
        extreme = np.maximum if largest else np.fmin
        row = extreme.reduce(row[: row.size // columns * columns].reshape(-1, columns))
    place = row.size - k if largest else k - 1
    return np.partition(row, place)[place]


def _top_type(x: TensorType, *, axis: int, k: int, largest: bool) -> TensorType:
    return TensorType((*x.shape[:axis], k, *x.shape[axis + 1 :]), int64)


def _top_lower(form: Any, x: Any, **attrs: Any) -> Any:
    type_ = _top_type(TensorType(tuple(x.shape), x.dtype), **attrs)
    return form.extern("top_k", (x,), type_, partial(_top, np, **attrs))


_top_k = Op(name="top_k", evaluate=_top, infer=_top_type, lower=_top_lower, batch=along_axes)


class TopKResult(NamedTuple):
    """What `top_k` gives."""

    values: Tensor
    indices: Tensor


@api
def top_k(
    x: Any, k: int, /, axis: int = -1, *, mode: str = "largest", **foreign: Never
) -> TopKResult:
    """The largest or the smallest elements along an axis, in order, and where they stand.

    Args:
        x: Tensor with one dimension or more; real numbers or bools. NaN counts as the largest; of
            equal elements the first comes first.
        k: How many; at most the extent of the axis.
        axis: The axis to look along.
        mode: "largest", in falling order; or "smallest", in rising order.

    Returns:
        Named tuple of `values`, in the dtype of `x`, and `indices`, of int64; along the axis their
        extent is `k`.

    Raises:
        AxisError: `x` has no such axis.
        ShapeError: There are fewer than `k` elements.
        ValueError: There is no such mode.
        DTypeError: `x` is complex.

    Example:
        >>> import dualflow as df
        >>> df.top_k(df.asarray([3, 1, 2]), 2).indices.tolist()
        [0, 2]
    """
    if foreign:
        raise refused("top_k", foreign)
    if mode not in ("largest", "smallest"):
        raise ValueError(f'top_k: mode={mode!r}, which is neither "largest" nor "smallest"')
    x = as_tensor(x)
    axis = canonical_axis("top_k", axis, x.ndim)
    if not 0 <= k <= x.shape[axis]:
        raise ShapeError(
            f"top_k: {k} elements of {format_shape(x.shape)} along axis {axis}",
            f"0 to {x.shape[axis]}",
            f"min(k, x.shape[{axis}])",
        )
    if kind(x.dtype) == "complex":
        raise without_order("top_k")
    order = bind(_top_k, (x,), {"axis": axis, "k": k, "largest": mode == "largest"})
    return TopKResult(take_along_axis(x, order, axis), order)


# ----- searchsorted -----


def _searchsorted_type(x1: TensorType, x2: TensorType, *, side: str, bits: int) -> TensorType:
    del bits  # a bound of the extent, for code that serves many
    if x1.dtype != x2.dtype or kind(x1.dtype) == "complex":
        raise DTypeError(
            f"searchsorted: does not take {x1.dtype} and {x2.dtype}", "real numbers, all alike", ""
        )
    if x1.ndim != 1 or side not in ("left", "right"):
        raise ShapeError(
            f"searchsorted: sorted values of shape {format_shape(x1.shape)}, side {side!r}",
            'one dimension, side "left" or "right"',
            "x.flatten()",
        )
    return TensorType(x2.shape, int64)


def _searchsorted_lower(form: Any, x1: Any, x2: Any, *, side: str, bits: int) -> Any:
    """The sorted values that come before each value."""
    before = partial(_before, form, side=side)
    if isinstance(x1.shape[0], int):
        return place_among(form, x1, x2, before)
    return place_among_any(form, x1, x2, before, bits)


def place_among(form: Any, keys: Any, values: Any, before: Any) -> Any:
    """How many of the sorted keys come before each value.

    Those at the ends of stretches are counted, which all values read alike. The stretch in which a
    value belongs is halved. The last one reaches back so far that every key that is read exists.

    Args:
        form: The builder.
        keys: Of one dimension; their number is known.
        values: Of any shape.
        before: Keys and values in one shape to whether a key comes before.
    """
    (count,), shape = keys.shape, tuple(values.shape)
    stretch = 1
    while count // stretch > COUNTED:
        stretch *= 2
    place = form.constant(0, _int32, shape)
    for end in range(stretch - 1, count, stretch):
        key = form.view(keys, shape, lambda *at, end=end: (end,))
        ahead = form.pointwise("astype", before(key, values), dtype=_int32)
        place = form.pointwise("add", place, ahead)
    place = form.pointwise("astype", place, dtype=int64)
    if stretch > 1:
        place = form.pointwise("multiply", place, form.constant(stretch, int64))
        place = form.pointwise("minimum", place, form.constant(count - (stretch - 1), int64))
    while stretch > 1:
        stretch //= 2
        key = form.view(keys, shape, _key_at(form, place, stretch - 1), fill=0)
        further = form.pointwise("add", place, form.constant(stretch, int64))
        place = form.pointwise("where", before(key, values), further, place)
    return place


def place_among_any(form: Any, keys: Any, values: Any, before: Any, bits: int) -> Any:
    """The same for any number of keys: stretches that reach beyond the last one are left out.

    Args:
        form: The builder.
        keys: Of one dimension.
        values: Of any shape.
        before: As for `place_among`.
        bits: Of the number of keys.
    """
    (count,), shape = keys.shape, tuple(values.shape)
    end = form.index(shape, lambda *at: count, int64)
    place = form.constant(0, int64, shape)
    for stretch in [1 << k for k in reversed(range(bits))]:
        key = form.view(keys, shape, _key_at(form, place, stretch - 1), fill=0)
        further = form.pointwise("add", place, form.constant(stretch, int64))
        inside = form.pointwise("less_equal", further, end)
        ahead = form.pointwise("logical_and", inside, before(key, values))
        place = form.pointwise("where", ahead, further, place)
    return place


def _key_at(form: Any, place: Any, ahead: int) -> Any:
    return lambda *at: (form.load(place, *at) + ahead,)


def _before(form: Any, keys: Any, values: Any, side: str) -> Any:
    """Whether keys come before values; NaN comes last."""
    before = form.pointwise("less" if side == "left" else "less_equal", keys, values)
    if kind(keys.dtype) != "floating":
        return before
    nan_key, nan_value = form.pointwise("isnan", keys), form.pointwise("isnan", values)
    over = nan_value
    if side == "left":
        over = form.pointwise("logical_and", nan_value, form.pointwise("logical_not", nan_key))
    return form.pointwise("logical_or", before, over)


BITS = 36  # of the number of keys, where that varies: no memory holds more
COUNTED = 32  # keys that are counted sooner than a stretch of them is halved
_int32 = dtypes["int32"]
_searchsorted = Op(
    name="searchsorted",
    evaluate=lambda xp, x1, x2, *, side, bits: xp.searchsorted(
        comparable(x1), comparable(x2), side
    ),
    infer=_searchsorted_type,
    lower=_searchsorted_lower,
    batch=lambda op, args, batched, attrs: (
        one_by_one(op, args, batched, attrs) if batched[0] else bind(op, args, attrs)
    ),
)


@api
@placed
def searchsorted(x1: Any, x2: Any, /, side: str = "left", *, sorter: Any = None) -> Tensor:
    """Where to insert values into sorted ones so that they stay sorted.

    Args:
        x1: Tensor of one dimension, in rising order.
        x2: Tensor of any shape: the values to place; brought to one dtype with `x1`.
        side: "left": before equal elements; "right": after them.
        sorter: Indices that sort `x1`, if it is not sorted itself.

    Returns:
        int64 tensor of the shape of `x2`.

    Raises:
        ShapeError: `x1` has another number of dimensions.
        DTypeError: The values are complex.

    Example:
        >>> import dualflow as df
        >>> df.searchsorted(df.asarray([1, 3, 5]), df.asarray([3, 4])).tolist()
        [1, 2]
    """
    x1, x2 = meet_as_tensors("searchsorted", (x1, x2), "any")
    if sorter is not None:
        x1 = take_along_axis(x1, sorter)
    (count,) = x1.shape if x1.ndim == 1 else (0,)
    bits = count.bit_length() if isinstance(count, int) else BITS
    return bind(_searchsorted, (x1, x2), {"side": side, "bits": bits})
