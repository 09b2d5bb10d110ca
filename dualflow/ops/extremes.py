"""Running extremes along an axis, as NumPy's `maximum.accumulate` has them."""

from __future__ import annotations

from typing import Any, Never

import numpy as np

from dualflow.core.axes import canonical_axis
from dualflow.core.backend import by_host
from dualflow.core.batching import along_axes
from dualflow.core.convert import as_tensor
from dualflow.core.op import Op, bind
from dualflow.core.registry import api, refused
from dualflow.core.tensor import Tensor
from dualflow.ops.choice import where
from dualflow.ops.create import arange, zeros_like
from dualflow.ops.elementwise import isnan
from dualflow.ops.gather import along_axis, gather, scatter
from dualflow.ops.reduce import check_ordered
from dualflow.ops.scan import shifted
from dualflow.ops.shape import reshape
from jit.errors import AxisError
from jit.types import TensorType, format_shape, kind


def _places(y: Tensor, x: Tensor, axis: int, name: str) -> Any:
    """Indices of the elements of `x` that its running extremes `y` are: of equal ones the first."""
    before = shifted(y, axis, 1, 0, reverse=True)
    new = x > before if name == "cumulative_max" else x < before
    if kind(x.dtype) == "floating":
        new = new | (isnan(x) & ~isnan(before))
    extent = x.shape[axis]
    line = reshape(arange(extent), [extent if k == axis else 1 for k in range(x.ndim)])
    found = _running("cumulative_max", where(new, line, 0), axis)
    return along_axis(name, x, found, axis)


def _type(name: str) -> Any:
    def infer(x: TensorType, *, axis: int) -> TensorType:
        check_ordered(name, x, ())
        return x

    return infer


def _op(name: str, numpy: str, combine: str) -> Op:
    return Op(
        name=name,
        evaluate=by_host(
            lambda xp, x, *, axis: getattr(np, numpy).accumulate(x, axis=axis, dtype=x.dtype)
        ),
        infer=_type(name),
        lower=lambda form, x, *, axis: form.scan(combine, x, axis),
        vjps=(
            lambda g, y, x, *, axis: scatter("add", zeros_like(x), g, *_places(y, x, axis, name)),
        ),
        jvp=lambda tangents, y, x, *, axis: gather(tangents[0], *_places(y, x, axis, name)),
        batch=along_axes,
    )


_ops = {
    "cumulative_max": _op("cumulative_max", "maximum", "max"),
    "cumulative_min": _op("cumulative_min", "minimum", "min"),
}


def _running(name: str, x: Any, axis: int | None) -> Tensor:
    x = as_tensor(x)
    if axis is None and x.ndim != 1:
        raise AxisError(
            f"{name}: a tensor of shape {format_shape(x.shape)} needs an axis",
            "axis=, unless there is one dimension",
            f"df.{name}(x, axis=-1)",
        )
    k = canonical_axis(name, 0 if axis is None else axis, x.ndim)
    return bind(_ops[name], (x,), {"axis": k})


@api
def cumulative_max(x: Any, /, *, axis: int | None = None, **foreign: Never) -> Tensor:
    """The largest of all elements up to each, along `axis`; NaN from the first NaN on.

    Args:
        x: Tensor of one dimension or more; integers or floating numbers.
        axis: The axis; may be left out for one dimension.

    Returns:
        Tensor of the shape of `x`. The gradient goes to the first of equal largest elements.

    Raises:
        AxisError: The axis is outside of the dimensions of `x`, or is missing.
        DTypeError: Numbers that have no order.

    Example:
        >>> import dualflow as df
        >>> df.cumulative_max(df.asarray([1, 3, 2, 5])).tolist()
        [1, 3, 3, 5]
    """
    if foreign:
        raise refused("cumulative_max", foreign)
    return _running("cumulative_max", x, axis)


@api
def cumulative_min(x: Any, /, *, axis: int | None = None, **foreign: Never) -> Tensor:
    """The smallest of all elements up to each, along `axis`; NaN from the first NaN on.

    Args:
        x: Tensor of one dimension or more; integers or floating numbers.
        axis: The axis; may be left out for one dimension.

    Returns:
        Tensor of the shape of `x`. The gradient goes to the first of equal smallest elements.

    Raises:
        AxisError: The axis is outside of the dimensions of `x`, or is missing.
        DTypeError: Numbers that have no order.

    Example:
        >>> import dualflow as df
        >>> df.cumulative_min(df.asarray([4, 3, 5, 1])).tolist()
        [4, 3, 3, 1]
    """
    if foreign:
        raise refused("cumulative_min", foreign)
    return _running("cumulative_min", x, axis)
