"""Reductions over axes: sum, product, extremes and their places, any, all."""

from __future__ import annotations

import builtins
from typing import Any, Never

import numpy as np

from dualflow.core import results
from dualflow.core.axes import canonical_axes, canonical_axis
from dualflow.core.backend import on_gpu
from dualflow.core.batching import along_axes
from dualflow.core.context import context
from dualflow.core.convert import as_tensor
from dualflow.core.define import conjugated
from dualflow.core.doors import DTYPES_OF
from dualflow.core.gpu_kernels import launched, quick
from dualflow.core.kernels import computed, spell, spelled, spellings
from dualflow.core.large import LARGE, computed_at_large
from dualflow.core.op import Op, bind, wrap
from dualflow.core.precision import in_full, regions
from dualflow.core.record import new_record
from dualflow.core.registry import api, functions, refused
from dualflow.core.tensor import Tensor
from dualflow.ops.choice import where
from dualflow.ops.elementwise import astype
from dualflow.ops.scan import accumulator, running_product
from dualflow.ops.shape import broadcast_to, permute_dims, reshape
from jit.config import scoped
from jit.errors import DTypeError, ShapeError
from jit.types import TensorType, bool_, dtypes, format_shape, int64, kind, product

Axis = int | tuple[int, ...] | None


def spread(g: Tensor, axes: tuple[int, ...], shape: tuple[Any, ...]) -> Tensor:
    """`g`, the result of a reduction, repeated along the reduced axes."""
    return broadcast_to(kept(g, axes, shape), shape)


def kept(y: Tensor, axes: tuple[int, ...], shape: tuple[Any, ...]) -> Tensor:
    """`y`, the result of a reduction, with extent 1 where it was reduced."""
    return reshape(y, tuple(1 if k in axes else d for k, d in enumerate(shape)))


# ----- sum and product -----
_sum = Op(
    name="sum",
    evaluate=lambda xp, x, *, axes, keepdims: xp.sum(
        x, axis=axes, dtype=x.dtype, keepdims=keepdims
    ),
    infer=lambda x, *, axes, keepdims: x.reduced(axes, keepdims),
    lower=lambda form, x, *, axes, keepdims: form.reduce("sum", x, axes, keepdims),
    vjps=(lambda g, y, x, *, axes, keepdims: spread(g, axes, x.shape),),
    jvp="linear",
    batch=along_axes,
)


@api
def sum(
    x: Any, /, axis: Axis = None, *, dtype: Any = None, keepdims: bool = False, **foreign: Never
) -> Tensor:
    """Sum of elements over `axis`.

    Args:
        x: Tensor of any shape; numbers or bools.
        axis: One axis, a tuple of them, or None for all.
        dtype: Of the sum; by default that of `x`, and int64 (uint64) for narrower integers and
            bools.
        keepdims: Keep reduced dimensions with extent 1.

    Returns:
        Tensor without the reduced dimensions. The sum of nothing is 0.

    Raises:
        AxisError: An axis is outside of the dimensions of `x`.

    Example:
        >>> import dualflow as df
        >>> df.sum(df.asarray([[1, 2], [3, 4]]), axis=0).tolist()
        [4, 6]
    """
    if foreign:
        raise refused("sum", foreign)
    return fold(_sum, np.add, _in_accumulator(x, dtype), axis, keepdims=keepdims)


def _in_accumulator(x: Any, dtype: Any) -> Tensor:
    x = as_tensor(x)
    if dtype is not None:
        return astype(x, dtype)
    if x.dtype not in INEXACT:
        x = astype(x, accumulator(x.dtype))
    return in_full(x) if regions else x


def fold(op: Op, ufunc: Any, x: Tensor, axis: Axis, *, keepdims: bool) -> Tensor:
    """Applies a reduction; a concrete tensor goes straight to its kernel, or to NumPy."""
    data: Any = x.raw if context.trace is None else None
    written = None
    if data.__class__ is np.ndarray and (axis is None or axis.__class__ is int):  # not 1.0 or True
        known = spellings.get(written := (op, data.dtype, data.shape, axis, keepdims))
        if known is not None and scoped.get().target == "cpu":
            attrs, call = known
            if (found := call(data)) is not None:
                return results.result(op, (x,), attrs, found[0])
    if data.__class__ is np.ndarray and x.dtype in TAKEN[op.name]:
        axes = tuple(range(data.ndim)) if axis is None else canonical_axes(op.name, axis, data.ndim)
        attrs = {"axes": axes, "keepdims": keepdims}
        found = computed(op, (data,), attrs)
        if found is None and data.size >= LARGE:
            found = computed_at_large(op, (data,), attrs)
        try:
            y = wrap(
                context.run(ufunc.reduce, data, axes, RESULT.get(ufunc, data.dtype), None, keepdims)
                if found is None
                else found[0]
            )
        except ValueError:  # nothing to take an extreme of: told properly by `infer`
            return bind(op, (x,), attrs)
        if x.record is not None:
            y.record = new_record(op, (x,), attrs)
        if found is not None and written is not None:
            spell(written, op, (data,), attrs)
        return y
    attrs = {"axes": canonical_axes(op.name, axis, x.ndim), "keepdims": keepdims}
    if quick and data.__class__ in on_gpu and (made := launched(op, [data], spelled(attrs))):
        return results.result(op, (x,), attrs, made[0])
    return bind(op, (x,), attrs)


RESULT = {np.logical_or: bool_, np.logical_and: bool_}  # of others that of the elements
# Dtypes that NumPy folds as the op does, so that nothing needs to be asked.
INEXACT = DTYPES_OF["inexact"]
TAKEN = {
    "sum": DTYPES_OF["numeric"],
    "prod": DTYPES_OF["numeric"],
    "max": DTYPES_OF["real"] | DTYPES_OF["bool"],
    "min": DTYPES_OF["real"] | DTYPES_OF["bool"],
    "any": DTYPES_OF["any"],
    "all": DTYPES_OF["any"],
}


def _prod_vjp(g: Any, y: Any, x: Any, *, axes: tuple[int, ...], keepdims: bool) -> Any:
    """The product of all others, without dividing: of those before times those behind."""
    order = (*(k for k in range(x.ndim) if k not in axes), *axes)
    moved = permute_dims(x, order)
    line = reshape(moved, (*moved.shape[: x.ndim - len(axes)], product([x.shape[k] for k in axes])))
    before = running_product(line, line.ndim - 1, exclusive=True)
    behind = running_product(line, line.ndim - 1, exclusive=True, reverse=True)
    others = permute_dims(
        reshape(before * behind, moved.shape), tuple(map(order.index, range(x.ndim)))
    )
    return kept(g, axes, x.shape) * conjugated(others)


def _prod_jvp(tangents: tuple[Any, ...], y: Any, x: Any, *, axes: Any, keepdims: bool) -> Any:
    ones = functions["ones_like"](kept(y, axes, x.shape))
    others = conjugated(_prod_vjp(ones, y, x, axes=axes, keepdims=keepdims))
    return sum(others * tangents[0], axis=axes, keepdims=keepdims)


_prod = Op(
    name="prod",
    evaluate=lambda xp, x, *, axes, keepdims: xp.prod(
        x, axis=axes, dtype=x.dtype, keepdims=keepdims
    ),
    infer=lambda x, *, axes, keepdims: x.reduced(axes, keepdims),
    lower=lambda form, x, *, axes, keepdims: form.reduce("prod", x, axes, keepdims),
    vjps=(_prod_vjp,),
    jvp=_prod_jvp,
    batch=along_axes,
)


@api
def prod(
    x: Any, /, axis: Axis = None, *, dtype: Any = None, keepdims: bool = False, **foreign: Never
) -> Tensor:
    """Product of elements over `axis`.

    Args:
        x: Tensor of any shape; numbers or bools.
        axis: One axis, a tuple of them, or None for all.
        dtype: Of the product; by default that of `x`, and int64 (uint64) for narrower integers.
        keepdims: Keep reduced dimensions with extent 1.

    Returns:
        Tensor without the reduced dimensions. The product of nothing is 1. Gradients are right
        where elements are 0.

    Raises:
        AxisError: An axis is outside of the dimensions of `x`.

    Example:
        >>> import dualflow as df
        >>> df.prod(df.asarray([1.0, 2.0, 4.0])).item()
        8.0
    """
    if foreign:
        raise refused("prod", foreign)
    return fold(_prod, np.multiply, _in_accumulator(x, dtype), axis, keepdims=keepdims)


# ----- extremes -----


def _extreme_type(name: str) -> Any:
    def infer(x: TensorType, *, axes: tuple[int, ...], keepdims: bool) -> TensorType:
        check_ordered(name, as_bytes(x), axes)
        return x.reduced(axes, keepdims)

    return infer


def as_bytes(x: TensorType) -> TensorType:
    """The type in which bools are ordered, True above False; other types as they are."""
    return x.with_dtype(dtypes["uint8"]) if x.dtype == bool_ else x


def _in_bytes(form: Any, x: Any) -> Any:
    return form.pointwise("astype", x, dtype=dtypes["uint8"]) if x.dtype == bool_ else x


def check_ordered(name: str, x: TensorType, axes: tuple[int, ...]) -> None:
    """Raises the error of taking the extreme of nothing, or of numbers that have no order."""
    if kind(x.dtype) not in ("integer", "floating"):
        raise DTypeError(
            f"{name}: does not take {x.dtype}",
            "integers or floating numbers",
            "x.astype(df.int8)" if x.dtype == bool_ else "df.abs(x)",
        )
    if builtins.any(isinstance(x.shape[k], int) and x.shape[k] == 0 for k in axes):
        raise ShapeError(
            f"{name}: a tensor of shape {format_shape(x.shape)} has no elements along axis {axes}",
            "at least one element",
            "check x.shape before",
        )


def _winners(y: Any, x: Any, axes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Which elements are the extreme, and among how many it is divided."""
    mask = x == kept(y, axes, x.shape)
    return mask, sum(astype(mask, y.dtype), axis=axes, keepdims=True)


def _extreme_vjp(g: Any, y: Any, x: Any, *, axes: tuple[int, ...], keepdims: bool) -> Any:
    mask, among = _winners(y, x, axes)
    return where(mask, kept(g, axes, x.shape) / among, 0)


def _extreme_jvp(tangents: Any, y: Any, x: Any, *, axes: tuple[int, ...], keepdims: bool) -> Any:
    mask, among = _winners(y, x, axes)
    return sum(where(mask, tangents[0] / among, 0), axis=axes, keepdims=keepdims)


def _extreme(name: str) -> Op:
    def lower(form: Any, x: Any, *, axes: tuple[int, ...], keepdims: bool) -> Any:
        y = form.reduce(name, _in_bytes(form, x), axes, keepdims)
        return y if y.dtype == x.dtype else form.pointwise("astype", y, dtype=x.dtype)

    return Op(
        name=name,
        evaluate=lambda xp, x, *, axes, keepdims: getattr(xp, name)(
            x, axis=axes, keepdims=keepdims
        ),
        infer=_extreme_type(name),
        lower=lower,
        vjps=(_extreme_vjp,),
        jvp=_extreme_jvp,
        batch=along_axes,
    )


_max, _min = _extreme("max"), _extreme("min")


@api
def max(x: Any, /, axis: Axis = None, *, keepdims: bool = False, **foreign: Never) -> Tensor:
    """Largest element over `axis`; NaN if one is among them.

    Args:
        x: Tensor of integers, floating numbers or bools.
        axis: One axis, a tuple of them, or None for all.
        keepdims: Keep reduced dimensions with extent 1.

    Returns:
        Tensor without the reduced dimensions. Equal largest elements share the gradient equally.

    Raises:
        AxisError: An axis is outside of the dimensions of `x`.
        ShapeError: There is no element to take.

    Example:
        >>> import dualflow as df
        >>> df.max(df.asarray([[1, 5], [7, 2]]), axis=1).tolist()
        [5, 7]
    """
    if foreign:
        raise refused("max", foreign)
    return fold(_max, np.maximum, as_tensor(x), axis, keepdims=keepdims)


@api
def min(x: Any, /, axis: Axis = None, *, keepdims: bool = False, **foreign: Never) -> Tensor:
    """Smallest element over `axis`; NaN if one is among them.

    Args:
        x: Tensor of integers, floating numbers or bools.
        axis: One axis, a tuple of them, or None for all.
        keepdims: Keep reduced dimensions with extent 1.

    Returns:
        Tensor without the reduced dimensions. Equal smallest elements share the gradient equally.

    Raises:
        AxisError: An axis is outside of the dimensions of `x`.
        ShapeError: There is no element to take.

    Example:
        >>> import dualflow as df
        >>> df.min(df.asarray([[1, 5], [7, 2]]), axis=1).tolist()
        [1, 2]
    """
    if foreign:
        raise refused("min", foreign)
    return fold(_min, np.minimum, as_tensor(x), axis, keepdims=keepdims)


# ----- places of extremes -----


def _place(name: str) -> Op:
    def infer(x: TensorType, *, axis: int, keepdims: bool) -> TensorType:
        check_ordered(name, as_bytes(x), (axis,))
        return x.reduced((axis,), keepdims).with_dtype(int64)

    def lower(form: Any, x: Any, *, axis: int, keepdims: bool) -> Any:
        places = form.index(x.shape, lambda *loop: loop[axis], int64)
        return form.reduce(name, (_in_bytes(form, x), places), (axis,), keepdims)[1]

    return Op(
        name=name,
        evaluate=lambda xp, x, *, axis, keepdims: getattr(xp, name)(
            x, axis=axis, keepdims=keepdims
        ),
        infer=infer,
        lower=lower,
        batch=along_axes,
    )


_argmax, _argmin = _place("argmax"), _place("argmin")


def _find(op: Op, x: Any, axis: int | None, *, keepdims: bool) -> Tensor:
    x = as_tensor(x)
    if axis is not None:
        return bind(op, (x,), {"axis": canonical_axis(op.name, axis, x.ndim), "keepdims": keepdims})
    place = bind(op, (reshape(x, (x.size,)),), {"axis": 0, "keepdims": False})
    return reshape(place, (1,) * x.ndim) if keepdims else place


@api
def argmax(
    x: Any, /, axis: int | None = None, *, keepdims: bool = False, **foreign: Never
) -> Tensor:
    """Index of the first largest element along `axis`, or of the first NaN.

    Args:
        x: Tensor of integers, floating numbers or bools.
        axis: The axis; None counts through all elements in row-major order.
        keepdims: Keep the reduced dimension with extent 1.

    Returns:
        Tensor of int64 without the reduced dimension.

    Raises:
        AxisError: The axis is outside of the dimensions of `x`.
        ShapeError: There is no element to take.

    Example:
        >>> import dualflow as df
        >>> df.argmax(df.asarray([3.0, 9.0, 9.0])).item()
        1
    """
    if foreign:
        raise refused("argmax", foreign)
    return _find(_argmax, x, axis, keepdims=keepdims)


@api
def argmin(
    x: Any, /, axis: int | None = None, *, keepdims: bool = False, **foreign: Never
) -> Tensor:
    """Index of the first smallest element along `axis`, or of the first NaN.

    Args:
        x: Tensor of integers, floating numbers or bools.
        axis: The axis; None counts through all elements in row-major order.
        keepdims: Keep the reduced dimension with extent 1.

    Returns:
        Tensor of int64 without the reduced dimension.

    Raises:
        AxisError: The axis is outside of the dimensions of `x`.
        ShapeError: There is no element to take.

    Example:
        >>> import dualflow as df
        >>> df.argmin(df.asarray([3.0, 1.0, 1.0])).item()
        1
    """
    if foreign:
        raise refused("argmin", foreign)
    return _find(_argmin, x, axis, keepdims=keepdims)


# ----- truth -----


def _truth(name: str, combine: str) -> Op:
    """An extreme of bytes: a fold of bools would have to make them bytes again after each step."""

    def lower(form: Any, x: Any, *, axes: tuple[int, ...], keepdims: bool) -> Any:
        if x.dtype != bool_:
            x = form.pointwise("not_equal", x, form.constant(0, x.dtype, x.shape))
        as_bytes = form.pointwise("astype", x, dtype=dtypes["uint8"])
        found = form.reduce(combine, as_bytes, axes, keepdims)
        return form.pointwise("astype", found, dtype=bool_)

    return Op(
        name=name,
        evaluate=lambda xp, x, *, axes, keepdims: getattr(xp, name)(
            x, axis=axes, keepdims=keepdims
        ),
        infer=lambda x, *, axes, keepdims: x.reduced(axes, keepdims).with_dtype(bool_),
        lower=lower,
        batch=along_axes,
    )


_any, _all = _truth("any", "max"), _truth("all", "min")


@api
def any(x: Any, /, axis: Axis = None, *, keepdims: bool = False, **foreign: Never) -> Tensor:
    """Whether an element is true (not zero) over `axis`.

    Args:
        x: Tensor of any dtype.
        axis: One axis, a tuple of them, or None for all.
        keepdims: Keep reduced dimensions with extent 1.

    Returns:
        Tensor of bools; False where there is no element.

    Raises:
        AxisError: An axis is outside of the dimensions of `x`.

    Example:
        >>> import dualflow as df
        >>> df.any(df.asarray([0, 0, 3])).item()
        True
    """
    if foreign:
        raise refused("any", foreign)
    return fold(_any, np.logical_or, as_tensor(x), axis, keepdims=keepdims)


@api
def all(x: Any, /, axis: Axis = None, *, keepdims: bool = False, **foreign: Never) -> Tensor:
    """Whether every element is true (not zero) over `axis`.

    Args:
        x: Tensor of any dtype.
        axis: One axis, a tuple of them, or None for all.
        keepdims: Keep reduced dimensions with extent 1.

    Returns:
        Tensor of bools; True where there is no element.

    Raises:
        AxisError: An axis is outside of the dimensions of `x`.

    Example:
        >>> import dualflow as df
        >>> df.all(df.asarray([0, 0, 3])).item()
        False
    """
    if foreign:
        raise refused("all", foreign)
    return fold(_all, np.logical_and, as_tensor(x), axis, keepdims=keepdims)
