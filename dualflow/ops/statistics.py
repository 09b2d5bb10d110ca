"""What follows from sums: means, variances, counts, and the logarithm of a sum of exponentials."""

from __future__ import annotations

import builtins
import math
from typing import Any, Never

import numpy as np

from dualflow.core.axes import canonical_axes
from dualflow.core.batching import along_axes
from dualflow.core.convert import as_tensor
from dualflow.core.define import composite, conjugated
from dualflow.core.op import Op, bind
from dualflow.core.precision import in_full, regions
from dualflow.core.registry import api, refused
from dualflow.core.tensor import Tensor
from dualflow.ops.basic import stop_gradient
from dualflow.ops.choice import where
from dualflow.ops.elementwise import astype, isfinite, real
from dualflow.ops.power import sqrt, square
from dualflow.ops.reduce import Axis, kept, max, sum
from dualflow.ops.special import exp, log
from jit.types import bool_, dtypes, float32, int64, kind, product


def _inexact(x: Any) -> Tensor:
    """`x` as a floating or complex tensor."""
    x = as_tensor(x)
    if regions:
        x = in_full(x)
    return astype(x, float32) if kind(x.dtype) in ("bool", "integer") else x


def _count(x: Tensor, axis: Axis, name: str) -> Any:
    """How many elements are folded into one."""
    if axis is None:
        return x.size
    return product([x.shape[k] for k in canonical_axes(name, axis, x.ndim)])


@api
def mean(x: Any, /, axis: Axis = None, *, keepdims: bool = False, **foreign: Never) -> Tensor:
    """Arithmetic mean over `axis`.

    Args:
        x: Tensor of any shape; integers become float32.
        axis: One axis, a tuple of them, or None for all.
        keepdims: Keep reduced dimensions with extent 1.

    Returns:
        Tensor without the reduced dimensions; NaN where there is no element. Half precision is
        summed in float32.

    Raises:
        AxisError: An axis is outside of the dimensions of `x`.

    Example:
        >>> import dualflow as df
        >>> df.mean(df.asarray([1.0, 2.0, 6.0])).item()
        3.0
    """
    if foreign:
        raise refused("mean", foreign)
    x = _inexact(x)
    n = _count(x, axis, "mean")
    if x.dtype.itemsize == 2:
        return astype(sum(astype(x, float32), axis=axis, keepdims=keepdims) / n, x.dtype)
    return sum(x, axis=axis, keepdims=keepdims) / n


@api
def var(
    x: Any,
    /,
    axis: Axis = None,
    *,
    correction: float = 0.0,
    keepdims: bool = False,
    **foreign: Never,
) -> Tensor:
    """Variance over `axis`: the mean square of the distance from the mean.

    Args:
        x: Tensor of any shape; integers become float32.
        axis: One axis, a tuple of them, or None for all.
        correction: The sum of squares is divided by the number of elements less this; 1 makes the
            estimate from a sample unbiased.
        keepdims: Keep reduced dimensions with extent 1.

    Returns:
        Tensor of real numbers without the reduced dimensions.

    Raises:
        AxisError: An axis is outside of the dimensions of `x`.

    Example:
        >>> import dualflow as df
        >>> df.var(df.asarray([1.0, 3.0])).item()
        1.0
    """
    if foreign:
        raise refused("var", foreign)
    x = _inexact(x)
    if x.dtype.itemsize == 2:
        wide = var(astype(x, float32), axis, correction=correction, keepdims=keepdims)
        return astype(wide, x.dtype)
    axes = canonical_axes("var", axis, x.ndim)
    freedom = _freedom(_count(x, axes, "var"), correction)
    return squared_distances(x, axes=axes, keepdims=keepdims) / freedom


@composite(accepts=None, public=False)
def squared_distances(x: Tensor, *, axes: Any, keepdims: bool) -> Tensor:
    """The sum of the squares of distances from the mean."""
    rest = x - mean(x, axes, keepdims=True)
    squares = real(rest * conjugated(rest)) if kind(x.dtype) == "complex" else square(rest)
    return sum(squares, axis=axes, keepdims=keepdims)


def _freedom(n: Any, correction: float) -> Any:
    """`n - correction`, not below 0."""
    whole = int(correction) if correction == int(correction) else correction
    if isinstance(n, int):
        return builtins.max(n - whole, 0)
    return n - whole if isinstance(whole, int) else as_tensor(n) - whole


@api
def std(
    x: Any,
    /,
    axis: Axis = None,
    *,
    correction: float = 0.0,
    keepdims: bool = False,
    **foreign: Never,
) -> Tensor:
    """Standard deviation over `axis`: the square root of the variance.

    Args:
        x: Tensor of any shape; integers become float32.
        axis: One axis, a tuple of them, or None for all.
        correction: As for `var`.
        keepdims: Keep reduced dimensions with extent 1.

    Returns:
        Tensor of real numbers without the reduced dimensions. Its gradient is 0 where all are
        equal.

    Raises:
        AxisError: An axis is outside of the dimensions of `x`.

    Example:
        >>> import dualflow as df
        >>> df.std(df.asarray([1.0, 3.0])).item()
        1.0
    """
    if foreign:
        raise refused("std", foreign)
    variance = var(x, axis, correction=correction, keepdims=keepdims)
    constant = variance == 0
    return where(constant, 0, sqrt(where(constant, 1, variance)))


def _counted(xp: Any, x: Any, *, axes: tuple[int, ...], keepdims: bool) -> Any:
    """In one step where all are counted, which NumPy does quickest."""
    if len(axes) < x.ndim or keepdims:
        return xp.sum(x != 0, axis=axes, dtype=np.int64, keepdims=keepdims)
    return xp.asarray(xp.count_nonzero(x), dtype=np.int64)


def _count_lower(form: Any, x: Any, *, axes: tuple[int, ...], keepdims: bool) -> Any:
    hit = x if x.dtype == bool_ else form.pointwise("not_equal", x, form.constant(0, x.dtype))
    size = product([x.shape[k] for k in axes])
    narrow = isinstance(size, int) and size < 2**31  # then more of them fit into a register
    ones = form.pointwise("astype", hit, dtype=dtypes["int32"] if narrow else int64)
    count = form.reduce("sum", ones, axes, keepdims)
    return form.pointwise("astype", count, dtype=int64) if narrow else count


_count_nonzero = Op(
    name="count_nonzero",
    evaluate=_counted,
    infer=lambda x, *, axes, keepdims: x.reduced(axes, keepdims).with_dtype(int64),
    lower=_count_lower,
    batch=along_axes,
)


@api
def count_nonzero(
    x: Any, /, *, axis: Axis = None, keepdims: bool = False, **foreign: Never
) -> Tensor:
    """How many elements are not zero over `axis`.

    Args:
        x: Tensor of any dtype.
        axis: One axis, a tuple of them, or None for all.
        keepdims: Keep reduced dimensions with extent 1.

    Returns:
        Tensor of int64 without the reduced dimensions.

    Raises:
        AxisError: An axis is outside of the dimensions of `x`.

    Example:
        >>> import dualflow as df
        >>> df.count_nonzero(df.asarray([0, 7, 7])).item()
        2
    """
    if foreign:
        raise refused("count_nonzero", foreign)
    x = as_tensor(x)
    axes = canonical_axes("count_nonzero", axis, x.ndim)
    return bind(_count_nonzero, (x,), {"axes": axes, "keepdims": keepdims})


def _logsumexp_vjp(g: Any, y: Any, x: Any, *, axis: Axis, keepdims: bool) -> Any:
    axes = canonical_axes("logsumexp", axis, x.ndim)
    level = where(y == -math.inf, 0, y)  # -inf - -inf would be NaN
    return kept(g, axes, x.shape) * exp(x - kept(level, axes, x.shape))


@composite(accepts="floating", vjps=(_logsumexp_vjp,), precision="full")
def logsumexp(x: Any, /, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
    """log(sum(exp(x))) over `axis`, without overflow.

    Args:
        x: Tensor of any shape; integers become float32.
        axis: One axis, a tuple of them, or None for all.
        keepdims: Keep reduced dimensions with extent 1.

    Returns:
        Tensor without the reduced dimensions; -inf where all elements are -inf.

    Raises:
        AxisError: An axis is outside of the dimensions of `x`.
        ShapeError: There is no element.

    Example:
        >>> import dualflow as df
        >>> df.logsumexp(df.asarray([1000.0, 1000.0])).item()
        1000.6931762695312
    """
    axes = canonical_axes("logsumexp", axis, x.ndim)
    largest = stop_gradient(max(x, axis=axes, keepdims=True))
    largest = where(isfinite(largest), largest, 0)
    y = log(sum(exp(x - largest), axis=axes, keepdims=True)) + largest
    return y if keepdims else sum(y, axis=axes)
