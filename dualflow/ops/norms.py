"""Norms of vectors and matrices, and the product across."""

from __future__ import annotations

import builtins
import math
from typing import Any, Never

from dualflow.core.axes import canonical_axes, canonical_axis
from dualflow.core.convert import as_tensor
from dualflow.core.define import composite, conjugated
from dualflow.core.doors import meet
from dualflow.core.op import Op, bind
from dualflow.core.registry import api, refused
from dualflow.core.tensor import Tensor
from dualflow.ops.arrange import roll
from dualflow.ops.choice import where
from dualflow.ops.elementwise import abs, astype, real
from dualflow.ops.matrices import check_matrices, matrices
from dualflow.ops.power import pow, sqrt, square
from dualflow.ops.reduce import Axis, kept, max, min, sum
from dualflow.ops.shape import expand_dims
from dualflow.ops.singular import svdvals
from jit.errors import ShapeError
from jit.types import format_shape, kind


def _squares(x: Tensor) -> Tensor:
    """The squared absolute value of each element."""
    return real(x * conjugated(x)) if kind(x.dtype) == "complex" else square(x)


def _length_flow(g: Any, y: Any, x: Any, *, axes: tuple[int, ...], keepdims: bool) -> Tensor:
    g, y = kept(g, axes, x.shape), kept(y, axes, x.shape)
    none = y == 0
    return x * where(none, 0, g / where(none, 1, y))


@composite(accepts="inexact", public=False, precision="full", vjps=(_length_flow,))
def length(x: Any, axes: tuple[int, ...], keepdims: bool) -> Tensor:  # noqa: FBT001 - an attr
    """The root of the sum of squares, whose gradient at 0 is 0."""
    total = sum(_squares(x), axis=axes, keepdims=keepdims)
    none = total == 0
    return where(none, 0, sqrt(where(none, 1, total)))


_length: Op = length.op  # type: ignore[attr-defined]


@api
def vector_norm(
    x: Any, /, *, axis: Axis = None, keepdims: bool = False, ord: float = 2, **foreign: Never
) -> Tensor:
    """The norm of vectors along an axis.

    Args:
        x: Tensor of floating or complex numbers; integers become float32.
        axis: The axis; several of them, or all when it is None, count as one vector.
        keepdims: Keep reduced dimensions with extent 1.
        ord: The power p in (sum of abs(x)**p) ** (1/p). `math.inf` is the largest absolute value,
            -math.inf the smallest, 0 how many elements are not 0.

    Returns:
        Tensor of real numbers without the reduced dimensions. The gradient at 0 is 0.

    Raises:
        AxisError: An axis is outside of the dimensions of `x`.
        ShapeError: The largest or smallest of nothing is asked for.

    Example:
        >>> import dualflow as df
        >>> df.linalg.vector_norm(df.asarray([3.0, 4.0])).item()
        5.0
    """
    if foreign:
        raise refused("vector_norm", foreign)
    (x,) = matrices("vector_norm", x)
    axes = canonical_axes("vector_norm", axis, x.ndim)
    if ord == 2:
        return bind(_length, (x,), {"axes": axes, "keepdims": keepdims})
    sizes = abs(x)
    if math.isinf(ord):
        return (max if ord > 0 else min)(sizes, axis=axes, keepdims=keepdims)
    if ord == 0:
        return sum(astype(sizes != 0, sizes.dtype), axis=axes, keepdims=keepdims)
    if ord == 1:
        return sum(sizes, axis=axes, keepdims=keepdims)
    total = sum(pow(sizes, ord), axis=axes, keepdims=keepdims)
    none = total == 0
    return where(none, 0, pow(where(none, 1, total), 1 / ord))


@api
def matrix_norm(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Tensor:
    """The norm of each matrix.

    Args:
        x: Tensor of shape (..., m, n); floating or complex numbers.
        keepdims: Keep the last two dimensions with extent 1.
        ord: "fro": the root of the sum of squares; "nuc": the sum of singular values; 2 and -2:
            the largest and the smallest of them; 1 and -1: the largest and the smallest sum of
            absolute values in a column; `math.inf` and -math.inf: in a row.

    Returns:
        Tensor of real numbers of shape (...).

    Raises:
        ShapeError: There are fewer than two dimensions.
        ValueError: There is no such norm.

    Example:
        >>> import dualflow as df
        >>> df.linalg.matrix_norm(df.asarray([[3.0, 0.0], [0.0, 4.0]])).item()
        5.0
    """
    (x,) = matrices("matrix_norm", x)
    check_matrices("matrix_norm", x.type)
    last = (x.ndim - 2, x.ndim - 1)
    if ord == "fro":
        return length(x, last, keepdims)
    if ord in ("nuc", 2, -2):
        values = svdvals(x)
        fold = sum if ord == "nuc" else max if ord == 2 else min
        norm = fold(values, axis=-1)
    elif ord in (1, -1, math.inf, -math.inf):
        sums = sum(abs(x), axis=last[builtins.abs(ord) != 1], keepdims=True)
        norm = (max if ord > 0 else min)(sums, axis=last)
    else:
        raise ValueError(f"matrix_norm: ord={ord!r}; known are fro, nuc, 1, -1, 2, -2, inf, -inf")
    return expand_dims(norm, (-2, -1)) if keepdims else norm


@composite(tensors=2, accepts=None, public=False, name="cross")
def _turned(x1: Any, x2: Any, axes: tuple[int, int]) -> Tensor:
    one, other = (
        [roll(x, -shift, k) for shift in (1, 2)] for x, k in zip((x1, x2), axes, strict=True)
    )
    return one[0] * other[1] - one[1] * other[0]


@api
def cross(x1: Any, x2: Any, /, *, axis: int = -1, **foreign: Never) -> Tensor:
    """The vectors that stand upright on pairs of vectors of three elements.

    Args:
        x1: Tensor of extent 3 along `axis`.
        x2: Tensor of extent 3 along `axis`; the other axes broadcast.
        axis: Counted from the end in both.

    Returns:
        Tensor of the broadcast shape.

    Raises:
        ShapeError: The extents along the axis are not 3, or the others do not broadcast.
        AxisError: There is no such axis.

    Example:
        >>> import dualflow as df
        >>> df.linalg.cross(df.asarray([1, 0, 0]), df.asarray([0, 1, 0])).tolist()
        [0, 0, 1]
    """
    if foreign:
        raise refused("cross", foreign)
    x1, x2 = meet("cross", (as_tensor(x1), as_tensor(x2)), "numeric")
    axes = [canonical_axis("cross", axis, x.ndim) for x in (x1, x2)]
    if x1.shape[axes[0]] != 3 or x2.shape[axes[1]] != 3:
        raise ShapeError(
            f"cross: shapes {format_shape(x1.shape)} and {format_shape(x2.shape)}, axis {axis}",
            "three elements along the axis",
            "check axis=",
        )
    return _turned(x1, x2, (axes[0], axes[1]))
