"""Tensors joined, taken apart, turned round: concat, stack, split, flip, roll; differences."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, Never

from dualflow.core.axes import canonical_axes, canonical_axis, canonical_shape
from dualflow.core.backend import gives_views
from dualflow.core.batching import along_axes
from dualflow.core.context import context
from dualflow.core.convert import as_tensor
from dualflow.core.doors import meet
from dualflow.core.op import Op, bind
from dualflow.core.registry import api, refused
from dualflow.core.tensor import Tensor
from dualflow.ops.create import zeros_like
from dualflow.ops.elementwise import subtract
from dualflow.ops.shape import expand_dims, ordered_axes, reshape
from dualflow.ops.slicing import Cut, cuts, part, pieces, region, taken
from jit.dims import Dim
from jit.errors import DTypeError, ShapeError
from jit.types import TensorType, format_extent, format_shape, int64

# ----- concat -----

TOGETHER = 8  # arrays that one loop joins


def offsets(extents: Sequence[Any]) -> list[Any]:
    """Where each of several pieces begins, and where the last one ends."""
    ends: list[Any] = [0]
    for extent in extents:
        ends.append(ends[-1] + extent)
    return ends


def _concat_type(*xs: TensorType, axis: int) -> TensorType:
    first = xs[0]
    for x in xs[1:]:
        if x.dtype != first.dtype:
            raise DTypeError(
                f"concat: does not take {first.dtype} and {x.dtype}", "one dtype", "x.astype(...)"
            )
        others = [(a, b) for k, (a, b) in enumerate(zip(x.shape, first.shape)) if k != axis]
        if x.ndim != first.ndim or any(a != b for a, b in others):
            raise ShapeError(
                f"concat: shapes {format_shape(first.shape)} and {format_shape(x.shape)} "
                f"along axis {axis}",
                f"shapes that agree but for axis {axis}",
                "df.stack makes a new axis",
            )
    total = offsets([x.shape[axis] for x in xs])[-1]
    return first.with_shape([total if k == axis else d for k, d in enumerate(first.shape)])


def _concat_lower(form: Any, *xs: Any, axis: int) -> Any:
    while len(xs) > TOGETHER:
        groups = [xs[k : k + TOGETHER] for k in range(0, len(xs), TOGETHER)]
        xs = tuple([_kept(form, _joined(form, group, axis)) for group in groups])
    return _joined(form, xs, axis)


def _joined(form: Any, xs: Sequence[Any], axis: int) -> Any:
    """Each element asks to which array it belongs; loops are divided where one ends."""
    ends = offsets([x.shape[axis] for x in xs])
    shape = tuple(ends[-1] if k == axis else d for k, d in enumerate(xs[0].shape))
    found = None
    for x, start, end in reversed(list(zip(xs, ends, ends[1:]))):
        y = form.view(x, shape, lambda *at, by=start: _moved(at, axis, by), fill=0)
        if found is not None:
            left = form.index(shape, lambda *at, end=end: at[axis] - end, int64)
            y = form.pointwise(
                "where", form.pointwise("less", left, form.constant(0, int64)), y, found
            )
        found = y
    return found


def _moved(at: Sequence[Any], axis: int, by: Any) -> tuple[Any, ...]:
    return tuple(i - by if k == axis else i for k, i in enumerate(at))


def _kept(form: Any, x: Any) -> Any:
    """`x` in memory: nobody computes it again."""
    return form.scatter("set", form.constant(0, x.dtype, tuple(x.shape)), x, lambda *at: at)


def _concat_pullback(g: Any, y: Any, args: Any, attrs: Any, needed: Any) -> list[Any]:
    axis = attrs["axis"]
    ends = offsets([x.shape[axis] for x in args])
    return [
        part(g, axis, start, x.shape[axis]) if flag else None
        for x, start, flag in zip(args, ends, needed)
    ]


def _concat_jvp(tangents: Any, y: Any, *xs: Any, axis: int) -> Tensor:
    parts = [zeros_like(x) if t is None else t for x, t in zip(xs, tangents)]
    return concat(parts, axis=axis)


_concat = Op(
    name="concat",
    evaluate=lambda xp, *xs, axis: xp.concatenate(xs, axis),
    infer=_concat_type,
    lower=_concat_lower,
    pullback=_concat_pullback,
    jvp=_concat_jvp,
    batch=along_axes,
    joins=True,
)


def as_list(name: str, arrays: Any) -> list[Tensor]:
    """A sequence of tensors, or one tensor's rows, in their common dtype."""
    tensors = [as_tensor(x) for x in arrays]
    if not tensors:
        raise ShapeError(f"{name}: no tensors", "at least one", "df.zeros makes an empty tensor")
    return list(meet(name, tuple(tensors), "any"))


@api
def concat(arrays: Any, /, axis: int | None = 0, **foreign: Never) -> Tensor:
    """Tensors joined along an axis that they have.

    Args:
        arrays: Sequence of tensors whose shapes agree but for `axis`; brought to one dtype.
        axis: The axis to join along; None joins the flattened tensors.

    Returns:
        Tensor whose extent along `axis` is the sum of theirs.

    Raises:
        ShapeError: Other extents differ, or there are no tensors.
        AxisError: They have no such axis.

    Example:
        >>> import dualflow as df
        >>> df.concat([df.ones((2, 3)), df.zeros((1, 3))]).shape
        (3, 3)
    """
    if foreign:
        raise refused("concat", foreign)
    tensors = as_list("concat", arrays)
    if axis is None:
        tensors, axis = [reshape(x, (-1,)) for x in tensors], 0
    axis = canonical_axis("concat", axis, tensors[0].ndim)
    return bind(_concat, tuple(tensors), {"axis": axis})


@api
def stack(arrays: Any, /, axis: int = 0, **foreign: Never) -> Tensor:
    """Tensors of one shape joined along a new axis.

    Args:
        arrays: Sequence of tensors of one shape; they are brought to one dtype.
        axis: Where the new axis stands in the result.

    Returns:
        Tensor with one dimension more.

    Raises:
        ShapeError: The shapes differ, or there are no tensors.
        AxisError: The result has no such axis.

    Example:
        >>> import dualflow as df
        >>> df.stack([df.ones(3), df.zeros(3)], axis=1).shape
        (3, 2)
    """
    if foreign:
        raise refused("stack", foreign)
    tensors = as_list("stack", arrays)
    for x in tensors[1:]:
        if x.shape != tensors[0].shape:
            raise ShapeError(
                f"stack: shapes {format_shape(tensors[0].shape)} and {format_shape(x.shape)}",
                "tensors of one shape",
                "df.concat joins along an axis that is there",
            )
    axis = canonical_axis("stack", axis, tensors[0].ndim + 1)
    return bind(_concat, tuple(expand_dims(x, axis) for x in tensors), {"axis": axis})


# ----- taking apart -----


@api
def unstack(x: Any, /, axis: int = 0, **foreign: Never) -> tuple[Tensor, ...]:
    """The slices of `x` along an axis, which the slices no longer have.

    Args:
        x: Tensor with one dimension or more.
        axis: The axis to take apart.

    Returns:
        Tuple of as many tensors as the extent of that axis.

    Raises:
        AxisError: `x` has no such axis.

    Example:
        >>> import dualflow as df
        >>> [row.tolist() for row in df.unstack(df.asarray([[1, 2], [3, 4]]))]
        [[1, 2], [3, 4]]
    """
    if foreign:
        raise refused("unstack", foreign)
    x = as_tensor(x)
    axis = canonical_axis("unstack", axis, x.ndim)
    rest = (*x.shape[:axis], *x.shape[axis + 1 :])
    return tuple(reshape(part(x, axis, k, 1), rest) for k in range(int(x.shape[axis])))


@api
def split(x: Any, indices_or_sections: Any, axis: int = 0, **foreign: Never) -> tuple[Tensor, ...]:
    """`x` cut into pieces along an axis, as `numpy.split` cuts it.

    Args:
        x: Tensor with one dimension or more.
        indices_or_sections: How many pieces of equal extent, or the positions to cut at.
        axis: The axis to cut.

    Returns:
        Tuple of tensors; together they hold every element of `x` once.

    Raises:
        ShapeError: The extent is no multiple of the number of pieces, or the positions do not rise.
        AxisError: `x` has no such axis.

    Example:
        >>> import dualflow as df
        >>> [piece.shape for piece in df.split(df.ones((6, 2)), [1, 3])]
        [(1, 2), (2, 2), (3, 2)]
    """
    if foreign:
        raise refused("split", foreign)
    x = as_tensor(x)
    number = indices_or_sections.__class__ is axis.__class__ is int
    array: Any = x.raw if number and context.trace is None else None
    if gives_views(array):
        return taken(x, equal_cuts(array.shape, indices_or_sections, axis))
    axis = canonical_axis("split", axis, x.ndim)
    return pieces(x, axis, positions(x.shape[axis], indices_or_sections))


@lru_cache(maxsize=1024)
def equal_cuts(shape: tuple[int, ...], count: int, axis: int) -> list[Cut | None]:
    """The regions of `count` equal pieces."""
    axis = canonical_axis("split", axis, len(shape))
    return cuts(shape, axis, positions(shape[axis], count))


def positions(extent: Any, indices_or_sections: Any) -> tuple[Any, ...]:
    """Where `split` cuts, from 0 to `extent`."""
    if isinstance(indices_or_sections, tuple | list):
        ends = (0, *canonical_shape("split", indices_or_sections), extent)
    else:
        count = operator.index(indices_or_sections)
        if count < 1 or extent % count != 0:
            raise ShapeError(
                f"split: an extent of {format_extent(extent)} into {count} pieces",
                f"a divisor of {format_extent(extent)}",
                "a list of positions",
            )
        return tuple([extent // count * k for k in range(count + 1)])
    if any(low > high for low, high in pairwise(ends)):
        raise ShapeError(
            f"split: positions {indices_or_sections} in an extent of {format_extent(extent)}",
            f"rising positions from 0 to {format_extent(extent)}",
            "check x.shape",
        )
    return ends


# ----- the same elements in another order -----


@api
def flip(x: Any, /, axis: int | tuple[int, ...] | None = None, **foreign: Never) -> Tensor:
    """`x` with the elements along some axes in reverse.

    Args:
        x: Tensor of any shape.
        axis: One axis, a tuple of them, or None for all.

    Returns:
        Tensor of the shape of `x`.

    Raises:
        AxisError: An axis is outside of the dimensions of `x`.

    Example:
        >>> import dualflow as df
        >>> df.flip(df.asarray([1, 2, 3])).tolist()
        [3, 2, 1]
    """
    if foreign:
        raise refused("flip", foreign)
    x = as_tensor(x)
    axes = canonical_axes("flip", axis, x.ndim)
    starts = tuple(d - 1 if k in axes and d != 0 else 0 for k, d in enumerate(x.shape))
    return region(x, starts, x.shape, tuple(-1 if k in axes else 1 for k in range(x.ndim)))


@api
def roll(x: Any, /, shift: Any, axis: Any = None, **foreign: Never) -> Tensor:
    """`x` with elements moved along axes; what leaves at one end comes in at the other.

    Args:
        x: Tensor of any shape.
        shift: By how many places, or one number for each axis.
        axis: One axis, a tuple of them, or None: the flattened tensor is rolled.

    Returns:
        Tensor of the shape of `x`.

    Raises:
        AxisError: An axis is outside of the dimensions of `x`.
        ShapeError: There are not as many shifts as axes.

    Example:
        >>> import dualflow as df
        >>> df.roll(df.asarray([1, 2, 3]), 1).tolist()
        [3, 1, 2]
    """
    if foreign:
        raise refused("roll", foreign)
    x = as_tensor(x)
    if axis is None:
        return reshape(roll(reshape(x, (-1,)), shift, 0), x.shape)
    axes = ordered_axes("roll", axis, x.ndim)
    shifts = shift if isinstance(shift, tuple | list) else (shift,) * len(axes)
    if len(shifts) != len(axes):
        raise ShapeError(
            f"roll: {len(shifts)} shifts for {len(axes)} axes",
            "a shift for each axis",
            "one number",
        )
    for places, k in zip(shifts, axes):
        extent = x.shape[k]
        places = places if isinstance(places, Dim) else operator.index(places)
        cut = -places % extent if extent != 0 else 0
        if cut != 0:
            x = concat([part(x, k, cut, extent - cut), part(x, k, 0, cut)], axis=k)
    return x


# ----- differences -----


@api
def diff(
    x: Any,
    /,
    *,
    axis: int = -1,
    n: int = 1,
    prepend: Any = None,
    append: Any = None,
    **foreign: Never,
) -> Tensor:
    """The differences of neighbours along an axis.

    Args:
        x: Tensor with one dimension or more; numbers.
        axis: The axis.
        n: How many times differences are taken.
        prepend: Tensor that is put in front of `x` along the axis first.
        append: Tensor that is put behind it.

    Returns:
        Tensor whose extent along `axis` is `n` less, but not below 0.

    Raises:
        AxisError: `x` has no such axis.
        ShapeError: `n` is negative, or what is put in front or behind does not suit.

    Example:
        >>> import dualflow as df
        >>> df.diff(df.asarray([1, 4, 9])).tolist()
        [3, 5]
    """
    if foreign:
        raise refused("diff", foreign)
    x = as_tensor(x)
    axis = canonical_axis("diff", axis, x.ndim)
    (times,) = canonical_shape("diff", n)
    parts = [as_tensor(p) for p in (prepend, x, append) if p is not None]
    x = concat(parts, axis=axis) if len(parts) > 1 else x
    for _ in range(int(times)):
        count = x.shape[axis] - 1 if x.shape[axis] != 0 else 0
        start = 1 if x.shape[axis] != 0 else 0
        x = subtract(part(x, axis, start, count), part(x, axis, 0, count))
    return x
