"""Elements and whole tensors several times: repeat, tile."""

from __future__ import annotations

from typing import Any, Never

import numpy as np

from dualflow.core.axes import canonical_axis, canonical_shape
from dualflow.core.batching import along_axes
from dualflow.core.convert import as_tensor
from dualflow.core.devices import placed
from dualflow.core.op import Op, bind
from dualflow.core.registry import api, refused
from dualflow.core.tensor import Tensor
from dualflow.ops.create import arange
from dualflow.ops.elementwise import astype
from dualflow.ops.gather import as_index, take
from dualflow.ops.reduce import sum
from dualflow.ops.scan import running_sum
from dualflow.ops.shape import broadcast_to, reshape
from dualflow.ops.sort import searchsorted
from jit.dims import Dim
from jit.errors import ShapeError
from jit.types import TensorType, format_extent, format_shape, int64, product


def _repeat_type(x: TensorType, *, axis: int, count: Any) -> TensorType:
    return x.with_shape((*x.shape[:axis], x.shape[axis] * count, *x.shape[axis + 1 :]))


def _repeat_lower(form: Any, x: Any, *, axis: int, count: Any) -> Any:
    shape = (*x.shape[:axis], x.shape[axis] * count, *x.shape[axis + 1 :])
    size = count or 1  # where there is no copy, none is asked for
    return form.view(x, shape, lambda *at: (*at[:axis], at[axis] // size, *at[axis + 1 :]))


def _repeat_vjp(g: Any, y: Any, x: Any, *, axis: int, count: Any) -> Any:
    apart = (*x.shape[: axis + 1], count, *x.shape[axis + 1 :])
    return sum(reshape(g, apart), axis=axis + 1)


_repeat = Op(
    name="repeat",
    evaluate=lambda xp, x, *, axis, count: xp.repeat(x, count, axis),
    infer=_repeat_type,
    lower=_repeat_lower,
    vjps=(_repeat_vjp,),
    jvp="linear",
    batch=along_axes,
)


@api
@placed
def repeat(x: Any, repeats: Any, /, *, axis: int | None = None, **foreign: Never) -> Tensor:
    """Each element of `x`, several times in a row.

    Args:
        x: Tensor of any shape.
        repeats: How often, 0 or more; or a tensor of integers, one number for each element along
            the axis. The shape of the result depends on these: a recorded call guards on their sum.
        axis: The axis along which to repeat; None repeats the elements of the flattened tensor.

    Returns:
        Tensor whose extent along `axis` is `repeats` times as large, or their sum.

    Raises:
        AxisError: `x` has no such axis.
        ShapeError: One of `repeats` is negative, or there is not one for each element.

    Example:
        >>> import dualflow as df
        >>> df.repeat(df.asarray([1, 2]), 2).tolist()
        [1, 1, 2, 2]
    """
    if foreign:
        raise refused("repeat", foreign)
    x = as_tensor(x)
    if axis is None:
        x, axis = reshape(x, (-1,)), 0
    axis = canonical_axis("repeat", axis, x.ndim)
    if isinstance(repeats, tuple | list | np.ndarray | Tensor):
        return _repeat_each(x, as_index("repeat", repeats), axis)
    (count,) = canonical_shape("repeat", repeats)
    return bind(_repeat, (x,), {"axis": axis, "count": count})


def _repeat_each(x: Tensor, repeats: Tensor, axis: int) -> Tensor:
    """Each slice along an axis as often as its own number says."""
    extent = x.shape[axis]
    if repeats.ndim > 1 or (repeats.ndim == 1 and repeats.shape[0] not in (1, extent)):
        raise ShapeError(
            f"repeat: {format_shape(repeats.shape)} numbers for an extent of "
            f"{format_extent(extent)}",
            "a number for each element, or one",
            "check x.shape",
        )
    repeats = astype(broadcast_to(repeats, (extent,)), int64)
    if (repeats < 0).any():
        raise ShapeError("repeat: a negative number of repeats", "numbers >= 0", "")
    ends = running_sum(repeats, 0)
    total = sum(repeats).answer("the number of repeats", int)
    return take(x, searchsorted(ends, arange(total), side="right"), axis=axis)


@api
def tile(x: Any, repetitions: Any, /) -> Tensor:
    """Copies of `x` side by side.

    Args:
        x: Tensor of any shape.
        repetitions: How many copies along each axis, counted from the right; axes that are not
            there are put in front.

    Returns:
        Tensor whose extents are those of `x` times the repetitions.

    Raises:
        ShapeError: A number is negative.

    Example:
        >>> import dualflow as df
        >>> df.tile(df.asarray([1, 2]), (2, 2)).tolist()
        [[1, 2, 1, 2], [1, 2, 1, 2]]
    """
    x = as_tensor(x)
    counts: tuple[int | Dim, ...] = canonical_shape("tile", repetitions)
    ndim = max(x.ndim, len(counts))
    counts = (1,) * (ndim - len(counts)) + counts
    extents = (1,) * (ndim - x.ndim) + tuple(x.shape)
    pairs = list(zip(counts, extents))
    copies = broadcast_to(
        reshape(x, tuple(d for _, extent in pairs for d in (1, extent))),
        tuple(d for pair in pairs for d in pair),
    )
    return reshape(copies, tuple(product(pair) for pair in pairs))
