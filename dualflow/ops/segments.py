"""Tensors changed, or added up, at places that other tensors name."""

from __future__ import annotations

from typing import Any, Never

from dualflow.core.convert import as_tensor
from dualflow.core.devices import placed
from dualflow.core.registry import api, refused
from dualflow.core.tensor import Tensor
from dualflow.ops.create import zeros
from dualflow.ops.gather import along_axis, as_index, gathered_shape, scatter
from dualflow.ops.index import suited
from dualflow.ops.shape import broadcast_to
from jit.errors import ShapeError
from jit.types import format_shape


@api
@placed
def put_along_axis(
    x: Any, indices: Any, values: Any, /, axis: int = -1, **foreign: Never
) -> Tensor:
    """A copy of `x` with a value set wherever `take_along_axis` would read it.

    Args:
        x: Tensor with one dimension or more.
        indices: Integers with as many dimensions as `x`; extents other than that of `axis`
            broadcast with those of `x`. Of several to one place the last counts.
        values: What to set; broadcasts with the broadcast `indices`.
        axis: The axis along which `indices` count.

    Returns:
        Tensor of the shape and dtype of `x`. NumPy's function changes `x` instead.

    Raises:
        ShapeError: The shapes do not suit each other.
        IndexError: An index is outside of the axis.
        DTypeError: The dtype of `x` does not hold the values.

    Example:
        >>> import dualflow as df
        >>> df.put_along_axis(df.zeros((2, 2)), [[1], [0]], 7.0).tolist()
        [[0.0, 7.0], [7.0, 0.0]]
    """
    if foreign:
        raise refused("put_along_axis", foreign)
    x = as_tensor(x)
    grids, axes = along_axis("put_along_axis", x, indices, axis)
    shape = gathered_shape("put_along_axis", x, grids, axes)
    return scatter("set", x, broadcast_to(suited(x, values), shape), grids, axes)


@api
@placed
def segment_sum(x: Any, segment_ids: Any, num_segments: int, /) -> Tensor:
    """The sums of the rows of `x` that have the same number.

    Rows are added in their order, so that the result is the same every time; for other folds there
    is `x.at[segment_ids].max(...)`.

    Args:
        x: Tensor of shape (n, ...); numbers.
        segment_ids: n integers, in any order: which sum each row belongs to.
        num_segments: How many sums there are.

    Returns:
        Tensor of shape (num_segments, ...), of the dtype of `x`; 0 where no row belongs.

    Raises:
        ShapeError: There are not as many numbers as rows.
        IndexError: A number is not below `num_segments`.

    Example:
        >>> import dualflow as df
        >>> df.nn.functional.segment_sum(df.asarray([1.0, 2.0, 4.0]), [0, 1, 0], 3).tolist()
        [5.0, 2.0, 0.0]
    """
    x, ids = as_tensor(x), as_index("segment_sum", segment_ids)
    if x.ndim == 0 or ids.ndim != 1 or ids.shape[0] != x.shape[0]:
        raise ShapeError(
            f"segment_sum: numbers {format_shape(ids.shape)} for {format_shape(x.shape)}",
            "(n,) and (n, ...)",
            "a number for each row",
        )
    sums = zeros((num_segments, *x.shape[1:]), dtype=x.dtype)
    return scatter("add", sums, x, (ids,), (0,))
