"""Tensors from nothing: constants, ranges, identity matrices, triangles, grids."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np

from dualflow.core.axes import canonical_shape
from dualflow.core.convert import as_tensor
from dualflow.core.define import creation, lower_definition
from dualflow.core.devices import beside, placed
from dualflow.core.op import Op, bind
from dualflow.core.registry import api
from dualflow.core.tensor import Tensor
from dualflow.ops.basic import full
from dualflow.ops.choice import where
from dualflow.ops.elementwise import astype, equal
from dualflow.ops.shape import broadcast_arrays, reshape
from jit.errors import ShapeError
from jit.types import (
    TensorType,
    as_dtype,
    dtypes,
    float32,
    float64,
    format_shape,
    int64,
)

# ----- constants -----


@api
@creation
def zeros(shape: Any, *, dtype: Any = float32) -> Tensor:
    """A tensor of zeros.

    Args:
        shape: Its shape, or the extent of its only dimension.
        dtype: Of the elements.

    Returns:
        Tensor of that shape.

    Example:
        >>> import dualflow as df
        >>> df.zeros((2, 2)).tolist()
        [[0.0, 0.0], [0.0, 0.0]]
    """
    return full(shape, 0, dtype=dtype or float32)


@api
@creation
def ones(shape: Any, *, dtype: Any = float32) -> Tensor:
    """A tensor of ones.

    Args:
        shape: Its shape, or the extent of its only dimension.
        dtype: Of the elements.

    Returns:
        Tensor of that shape.

    Example:
        >>> import dualflow as df
        >>> df.ones(3, dtype=df.int64).tolist()
        [1, 1, 1]
    """
    return full(shape, 1, dtype=dtype or float32)


@api
@creation
def empty(shape: Any, *, dtype: Any = float32) -> Tensor:
    """A tensor of zeros: tensors are immutable, so that nothing could fill an empty one.

    Args:
        shape: Its shape, or the extent of its only dimension.
        dtype: Of the elements.

    Returns:
        Tensor of that shape.

    Example:
        >>> import dualflow as df
        >>> df.empty(2).tolist()
        [0.0, 0.0]
    """
    return full(shape, 0, dtype=dtype or float32)


@api
@creation
def full_like(x: Any, /, fill_value: Any, *, dtype: Any = None) -> Tensor:
    """A tensor filled with one number, in the shape and dtype of another.

    Args:
        x: Tensor of any shape and dtype.
        fill_value: The number.
        dtype: Of the elements; that of `x` when None.

    Returns:
        Tensor of the shape of `x`.

    Example:
        >>> import dualflow as df
        >>> df.full_like(df.zeros(2), 5).tolist()
        [5.0, 5.0]
    """
    x = x if isinstance(x, Tensor) else as_tensor(x)
    with beside(x):
        return full(x.shape, fill_value, dtype=x.dtype if dtype is None else dtype)


@api
@creation
def zeros_like(x: Any, /, *, dtype: Any = None) -> Tensor:
    """Zeros in the shape and dtype of another tensor.

    Args:
        x: Tensor of any shape and dtype.
        dtype: Of the elements; that of `x` when None.

    Returns:
        Tensor of the shape of `x`.

    Example:
        >>> import dualflow as df
        >>> df.zeros_like(df.ones(2)).tolist()
        [0.0, 0.0]
    """
    return full_like(x, 0, dtype=dtype)


@api
@creation
def ones_like(x: Any, /, *, dtype: Any = None) -> Tensor:
    """Ones in the shape and dtype of another tensor.

    Args:
        x: Tensor of any shape and dtype.
        dtype: Of the elements; that of `x` when None.

    Returns:
        Tensor of the shape of `x`.

    Example:
        >>> import dualflow as df
        >>> df.ones_like(df.zeros(2)).tolist()
        [1.0, 1.0]
    """
    return full_like(x, 1, dtype=dtype)


@api
@creation
def empty_like(x: Any, /, *, dtype: Any = None) -> Tensor:
    """Zeros in the shape and dtype of another tensor, as `empty` gives them.

    Args:
        x: Tensor of any shape and dtype.
        dtype: Of the elements; that of `x` when None.

    Returns:
        Tensor of the shape of `x`.

    Example:
        >>> import dualflow as df
        >>> df.empty_like(df.ones(2)).tolist()
        [0.0, 0.0]
    """
    return full_like(x, 0, dtype=dtype)


# ----- ranges -----


def _arange_evaluate(xp: Any, *, start: Any, step: Any, extent: Any, dtype: Any) -> Any:
    if not isinstance(step, float) and _holds(dtype, start, start + step * extent, step * extent):
        return xp.arange(start, start + step * extent, step, dtype)
    numbers = xp.arange(extent, dtype=np.float64 if isinstance(step, float) else np.int64)
    if step != 1:
        numbers *= step
    if start != 0:
        numbers += start
    return numbers.astype(dtype, copy=False)


def _holds(dtype: Any, *numbers: int) -> bool:
    """Whether all whole numbers up to these are numbers of a dtype."""
    low, high = builtins.min(numbers), builtins.max(numbers)
    if dtype.kind in "iu":
        return np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max
    most = 2 ** (np.finfo(dtype).nmant + 1) if dtype.kind == "f" else -1
    return -most <= low and high <= most


def _arange_lower(form: Any, *, start: Any, step: Any, extent: Any, dtype: Any) -> Any:
    if not isinstance(step, float):
        numbers = form.index((extent,), lambda i: i * step + start, int64)
    else:
        index = form.index((extent,), lambda i: i, int64)
        scaled = form.pointwise(
            "multiply", form.pointwise("astype", index, dtype=float64), form.constant(step, float64)
        )
        numbers = form.pointwise("add", scaled, form.constant(start, float64))
    return numbers if numbers.dtype == dtype else form.pointwise("astype", numbers, dtype=dtype)


_arange = Op(
    name="arange",
    evaluate=_arange_evaluate,
    infer=lambda *, start, step, extent, dtype: TensorType((extent,), dtype),
    lower=_arange_lower,
)


@api
@creation
def arange(start: Any, /, stop: Any = None, step: Any = 1, *, dtype: Any = None) -> Tensor:
    """Evenly spaced numbers from `start` up to, and without, `stop`.

    Args:
        start: The first number; the end, when `stop` is None, and the first is then 0.
        stop: Where it ends.
        step: The distance, which may be negative.
        dtype: By default int64 for whole numbers, float32 if one of the three is a float. Numbers
            are computed in float64 then.

    Returns:
        Tensor of one dimension.

    Raises:
        ShapeError: `step` is 0.

    Example:
        >>> import dualflow as df
        >>> df.arange(2, 8, 3).tolist()
        [2, 5]
    """
    first, last = (0, start) if stop is None else (start, stop)
    first, last, step = map(plain_number, (first, last, step))
    if isinstance(step, int | float) and step == 0:
        raise ShapeError(
            "arange: step 0 never arrives", "a step that is not 0", "df.full(shape, start)"
        )
    floats = builtins.any(isinstance(x, float) for x in (first, last, step))
    if floats:
        extent: Any = builtins.max(0, int(np.ceil((last - first) / step)))
        first, step = float(first), float(step)
    else:
        extent = -((first - last) // step) if step != 1 else last - first
        extent = builtins.max(0, extent) if isinstance(extent, int) else extent
    target = (float32 if floats else int64) if dtype is None else as_dtype(dtype)
    return bind(_arange, (), {"start": first, "step": step, "extent": extent, "dtype": target})


def plain_number(x: Any) -> Any:
    """A Python number for one that is a tensor or NumPy's."""
    return x.item() if isinstance(x, Tensor | np.generic | np.ndarray) else x


# ----- matrices -----


FALSE = False  # the weakest zero: any dtype takes it
FAR = 2**62  # a diagonal beyond all matrices
SHORT = 2**13  # extents below it are numbered by 16 bits, which takes a fourth of the time
INT16 = dtypes["int16"]


def _below(x: Tensor, k: int) -> Tensor:
    """Bools in the shape of the matrices: column - row <= k."""
    rows, columns = x.shape[-2:]
    of_rows, of_columns = numbered(rows, columns, k)
    return of_rows >= of_columns


def numbered(rows: Any, columns: Any, k: int) -> tuple[Tensor, Tensor]:
    """The numbers of rows, below each other, plus that of a diagonal; and those of columns."""
    small = isinstance(rows, int) and isinstance(columns, int) and rows < SHORT and columns < SHORT
    dtype, far = (INT16, SHORT) if small else (int64, FAR)
    k = builtins.max(-far, builtins.min(k, far))  # so that it can be added
    return reshape(arange(rows, dtype=dtype), (rows, 1)) + k, arange(columns, dtype=dtype)


def _diagonal(*, rows: Any, columns: Any, k: int, dtype: Any) -> Tensor:
    return astype(equal(*numbered(rows, columns, k)), dtype)


def _eye_evaluate(xp: Any, *, rows: int, columns: int, k: int, dtype: Any) -> Any:
    return xp.eye(rows, columns, builtins.max(-rows, builtins.min(k, columns)), dtype)


_eye = Op(
    name="eye",
    evaluate=_eye_evaluate,
    infer=lambda *, rows, columns, k, dtype: TensorType((rows, columns), dtype),
    lower=lower_definition(_diagonal),
)


@api
@creation
def eye(n_rows: Any, n_cols: Any = None, /, *, k: int = 0, dtype: Any = float32) -> Tensor:
    """Ones on a diagonal and zeros elsewhere.

    Args:
        n_rows: The number of rows.
        n_cols: The number of columns; as many when None.
        k: Which diagonal: 0 is the main one, 1 the one above.
        dtype: Of the elements.

    Returns:
        Tensor of shape (n_rows, n_cols).

    Example:
        >>> import dualflow as df
        >>> df.eye(2).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    rows, columns = canonical_shape("eye", (n_rows, n_rows if n_cols is None else n_cols))
    return bind(
        _eye, (), {"rows": rows, "columns": columns, "k": k, "dtype": as_dtype(dtype or float32)}
    )


@api
@placed
def tril(x: Any, /, *, k: int = 0) -> Tensor:
    """The lower triangle of matrices, with zeros above it.

    Args:
        x: Tensor of shape (..., m, n).
        k: The highest diagonal that stays: 0 is the main one, 1 the one above.

    Returns:
        Tensor of the shape of `x`.

    Raises:
        ShapeError: `x` has fewer than two dimensions.

    Example:
        >>> import dualflow as df
        >>> df.tril(df.ones((2, 2))).tolist()
        [[1.0, 0.0], [1.0, 1.0]]
    """
    x = _matrices("tril", x)
    return where(_below(x, k), x, FALSE)


@api
@placed
def triu(x: Any, /, *, k: int = 0) -> Tensor:
    """The upper triangle of matrices, with zeros below it.

    Args:
        x: Tensor of shape (..., m, n).
        k: The lowest diagonal that stays: 0 is the main one, 1 the one above.

    Returns:
        Tensor of the shape of `x`.

    Raises:
        ShapeError: `x` has fewer than two dimensions.

    Example:
        >>> import dualflow as df
        >>> df.triu(df.ones((2, 2))).tolist()
        [[1.0, 1.0], [0.0, 1.0]]
    """
    x = _matrices("triu", x)
    return where(_below(x, k - 1), FALSE, x)


def _matrices(name: str, x: Any) -> Tensor:
    x = as_tensor(x)
    if x.ndim < 2:
        raise ShapeError(
            f"{name}: a tensor of shape {format_shape(x.shape)}",
            "two dimensions or more",
            "x[None]",
        )
    return x


# ----- grids -----


@api
def meshgrid(*arrays: Any, indexing: str = "xy") -> tuple[Tensor, ...]:
    """The coordinates of a grid's points, one tensor for each axis.

    Args:
        *arrays: Tensors of one dimension: the places along each axis.
        indexing: "xy": the first axis runs along columns, as in pictures; "ij": along rows.

    Returns:
        As many tensors, all of the shape of the grid.

    Raises:
        ShapeError: One has not one dimension.

    Example:
        >>> import dualflow as df
        >>> x, y = df.meshgrid(df.arange(3), df.arange(2))
        >>> x.shape, y.tolist()
        ((2, 3), [[0, 0, 0], [1, 1, 1]])
    """
    if indexing not in ("xy", "ij"):
        raise ValueError(f'meshgrid: indexing={indexing!r}, which is neither "xy" nor "ij"')
    xs = [as_tensor(x) for x in arrays]
    if builtins.any(x.ndim != 1 for x in xs):
        shapes = " and ".join(format_shape(x.shape) for x in xs)
        raise ShapeError(
            f"meshgrid: shapes {shapes}", "tensors of one dimension", "df.reshape(x, -1)"
        )
    places = list(range(len(xs)))
    if indexing == "xy" and len(xs) > 1:
        places[:2] = 1, 0
    grid = [
        reshape(x, tuple(x.shape[0] if k == place else 1 for k in range(len(xs))))
        for x, place in zip(xs, places, strict=True)
    ]
    return broadcast_arrays(*grid)
