"""Elements by integer index tensors: `gather` reads them, `scatter` writes or folds into them.

Both take one index tensor for each of some axes; the indices broadcast together. Where those axes
are neighbours the indices' dimensions stand in their place, otherwise in front, as in NumPy.
Negative indices count from the end; one outside of its axis raises.
"""

from __future__ import annotations

import builtins
import math
from typing import Any, Never

import numpy as np

from dualflow.core.axes import canonical_axis
from dualflow.core.backend import by_host
from dualflow.core.batching import count, front_aligned, one_later, spread
from dualflow.core.convert import as_tensor
from dualflow.core.define import broadcast
from dualflow.core.devices import placed
from dualflow.core.op import Op, bind
from dualflow.core.registry import api, functions, refused
from dualflow.core.tensor import Tensor
from dualflow.ops.basic import full
from dualflow.ops.choice import where
from dualflow.ops.create import arange, ones_like, zeros_like
from dualflow.ops.elementwise import astype
from dualflow.ops.shape import moveaxis, reshape
from jit.dims import hint
from jit.errors import AxisError, DTypeError, IndexError, ShapeError, TraceError
from jit.types import TensorType, dtypes, format_shape, int64, kind, same_shape

Axes = tuple[int, ...]


def index_place(axes: Axes) -> int:
    """Where the dimensions of the indices stand in the result."""
    return axes[0] if axes == tuple(range(axes[0], axes[0] + len(axes))) else 0


def gathered_shape(name: str, x: Any, indices: Any, axes: Axes) -> tuple[Any, ...]:
    """The shape of `x[indices]`, after checking the indices' dtypes."""
    for index in indices:
        if kind(index.dtype) != "integer":
            raise DTypeError(
                f"{name}: an index of dtype {index.dtype}", "integers", "i.astype(df.int64)"
            )
    shape = broadcast(name, *(tuple(index.shape) for index in indices))
    rest = [d for k, d in enumerate(x.shape) if k not in axes]
    place = index_place(axes)
    return (*rest[:place], *shape, *rest[place:])


def key_of(indices: Any, axes: Axes) -> tuple[Any, ...]:
    """The index expression for NumPy."""
    key: list[Any] = [slice(None)] * (axes[-1] + 1)
    for axis, index in zip(axes, indices):
        key[axis] = index
    return tuple(key)


def check_bounds(xp: Any, shape: tuple[int, ...], indices: Any, axes: Axes) -> None:
    """Raises IndexError for the first index that lies outside of its axis."""
    for axis, index in zip(axes, indices):
        extent = shape[axis]
        outside = (index < -extent) | (index >= extent)
        if xp.any(outside):
            raise out_of_bounds(int(index[outside][0] if index.ndim else index), axis, extent)


def out_of_bounds(index: Any, axis: int, extent: Any) -> IndexError:
    """The error of every index, static or computed, that is not within its axis."""
    extent = shown(extent)
    return IndexError(
        f"index {index} is out of bounds for axis {axis} with extent {extent}",
        f"-{extent} to {extent - 1}" if extent != 0 else "none: the axis is empty",
        "check x.shape",
    )


def shown(extent: Any) -> Any:
    """An extent as errors tell it: its number, as eager would, where a call has told it."""
    try:
        return hint(extent)
    except TraceError:
        return extent


def load_map(form: Any, extents: Any, indices: Any, axes: Axes) -> Any:
    """The index map of a gather or a scatter: positions read from the index tensors."""
    tables = [from_start(form, index, extents[axis]) for axis, index in zip(axes, indices)]
    ndim = max(len(index.shape) for index in indices)
    place = index_place(axes)

    def index_map(*at: Any) -> tuple[Any, ...]:
        inner, others = at[place : place + ndim], iter((*at[:place], *at[place + ndim :]))
        loads = {
            axis: form.load(table, *stretched(table.shape, inner))
            for axis, table in zip(axes, tables)
        }
        return tuple(loads[k] if k in loads else next(others) for k in range(len(extents)))

    return index_map


def stretched(shape: Any, at: tuple[Any, ...]) -> tuple[Any, ...]:
    """Where a tensor of `shape` is read when the tensors it broadcasts with are read `at`."""
    return tuple(0 if d == 1 else i for d, i in zip(shape, at[len(at) - len(shape) :]))


def from_start(form: Any, index: Any, extent: Any) -> Any:
    """Indices with the negative ones counted from the start."""
    wide = form.pointwise("astype", index, dtype=int64)
    least, _ = wide.limits
    if least is not None and least >= 0:
        return wide
    below = form.pointwise("less", wide, form.constant(0, int64))
    shifted = form.pointwise("add", wide, form.index((), lambda: extent, int64))
    return form.pointwise("where", below, shifted, wide)


# ----- gather -----


def _gather_evaluate(xp: Any, x: Any, *indices: Any, axes: Axes) -> Any:
    if xp is not np:  # NumPy looks by itself
        check_bounds(xp, x.shape, indices, axes)
    try:
        if xp is np and len(axes) == 1:  # quicker than an index expression
            return x.take(indices[0].astype(np.intp, copy=False), axes[0])
        return x[key_of(indices, axes)]
    except builtins.IndexError:
        check_bounds(xp, x.shape, indices, axes)
        raise


def _gather_pullback(g: Any, y: Any, args: Any, attrs: Any, needed: Any) -> list[Any]:
    x, *indices = args
    flow = scatter("add", zeros_like(x), g, tuple(indices), attrs["axes"])
    return [flow] + [None] * len(indices)


def _gather_batch(op: Op, args: Any, batched: Any, attrs: Any) -> Any:
    x, *indices = args
    axes = attrs["axes"]
    if any(batched[1:]):
        return Indexed(args, batched, axes).read()
    y = gather(x, tuple(indices), one_later(axes))
    return moveaxis(y, rank_of(indices, batched[1:]), 0) if in_front(axes) else y


def in_front(axes: Axes) -> bool:
    """Whether indices of these axes of a batch are put in front, before the examples."""
    return axes != tuple(range(axes[0], axes[0] + len(axes)))


def rank_of(indices: Any, batched: Any) -> int:
    """How many dimensions the indices of an example have together."""
    return max(index.ndim - flag for index, flag in zip(indices, batched))


class Indexed:
    """A batch of tensors with a batch of indices: the number of the example is one index more.

    Args:
        args: The tensors, and indices for each of `axes`.
        batched: Which have the axis of examples in front; the tensors are repeated if they do not.
        axes: Axes of an example.
    """

    def __init__(self, args: Any, batched: Any, axes: Axes) -> None:
        x, *indices = args
        n = count(args, batched)
        self.x = spread(x, batched[0], n)
        self.rank = rank_of(indices, batched[1:])
        own = reshape(arange(n), (n, *(1,) * self.rank))
        pairs = zip(indices, batched[1:])
        self.indices = (own, *(front_aligned(i, self.rank) if flag else i for i, flag in pairs))
        self.axes = (0, *one_later(axes))
        self.place = index_place(axes)

    def read(self) -> Tensor:
        """The elements of each example at its indices."""
        y = gather(self.x, self.indices, self.axes)
        moved = tuple(range(1, 1 + self.rank))
        return moveaxis(y, moved, tuple(k + self.place for k in moved))

    def write(self, combine: str, v: Tensor) -> Tensor:
        """Each example with its updates."""
        moved = tuple(range(1, 1 + self.rank))
        v = moveaxis(v, tuple(k + self.place for k in moved), moved)
        return scatter(combine, self.x, v, self.indices, self.axes)


_gather = Op(
    name="gather",
    evaluate=_gather_evaluate,
    infer=lambda x, *indices, axes: x.with_shape(gathered_shape("gather", x, indices, axes)),
    lower=lambda form, x, *indices, axes: form.view(
        x, gathered_shape("gather", x, indices, axes), load_map(form, x.shape, indices, axes)
    ),
    pullback=_gather_pullback,
    jvp=lambda tangents, y, x, *indices, axes: gather(tangents[0], indices, axes),
    batch=_gather_batch,
)


def gather(x: Tensor, indices: tuple[Tensor, ...], axes: Axes) -> Tensor:
    """The elements of `x` at `indices` along `axes` (rising), which broadcast together."""
    return bind(_gather, (x, *indices), {"axes": axes})


# ----- scatter -----

FOLDS = {"add": "add", "min": "minimum", "max": "maximum"}


def _scatter_evaluate(xp: Any, x: Any, v: Any, *indices: Any, axes: Axes, combine: str) -> Any:
    looks = xp is np and combine == "set" and v.size > 0  # NumPy does so before it sets anything
    if not looks:
        check_bounds(xp, x.shape, indices, axes)
    if combine != "set":
        return _fold(xp, x, v, *indices, axes=axes, combine=combine)
    y = x.copy()
    try:
        y[key_of(indices, axes)] = v
    except builtins.IndexError:
        check_bounds(xp, x.shape, indices, axes)
        raise
    return y


@by_host  # CuPy folds in no fixed order, and few dtypes
def _fold(xp: Any, x: Any, v: Any, *indices: Any, axes: Axes, combine: str) -> Any:
    y = x.copy()
    # In one dimension NumPy folds several times faster, in the same order.
    flat = flat_positions(xp, x.shape, indices, axes)
    getattr(xp, FOLDS[combine]).at(y.reshape(-1), xp.ravel(flat), xp.ravel(v))
    return y


def flat_positions(xp: Any, shape: tuple[int, ...], indices: Any, axes: Axes) -> Any:
    """For each element that `gather` would read, where it lies in the flattened tensor."""
    strides = [math.prod(shape[k + 1 :]) for k in range(len(shape))]
    inner: Any = 0
    for axis, index in zip(axes, indices):
        wide = index.astype(np.int64)
        inner = inner + xp.where(wide < 0, wide + shape[axis], wide) * strides[axis]
    others = [k for k in range(len(shape)) if k not in axes]
    place = index_place(axes)
    flat = xp.reshape(inner, (1,) * place + inner.shape + (1,) * (len(others) - place))
    for n, k in enumerate(others):
        row = [1] * flat.ndim
        row[n if n < place else n + inner.ndim] = shape[k]
        flat = flat + (xp.arange(shape[k]) * strides[k]).reshape(row)
    return flat


def _scatter_type(
    x: TensorType, v: TensorType, *indices: TensorType, axes: Axes, combine: str
) -> TensorType:
    shape = gathered_shape("scatter", x, indices, axes)
    if not same_shape(v.shape, shape) or v.dtype != x.dtype:
        raise ShapeError(
            f"scatter: updates {v} for {x}", f"{x.dtype} of shape {format_shape(shape)}", ""
        )
    return x


def _winners(v: Any, indices: Any, axes: Axes, x: Any) -> Any:
    """Whether each update is the one that stays: of several to one place it is the last."""
    numbers = reshape(arange(v.size), v.shape)
    none = full(x.shape, -1, dtype=int64)
    return gather(scatter("set", none, numbers, indices, axes), indices, axes) == numbers


def _shares(y: Any, x: Any, v: Any, indices: Any, axes: Axes) -> tuple[Any, Any]:
    """Of a minimum or maximum: the part that `x` and each update have in the result; ties share."""
    own = astype(y == x, x.dtype)
    hits = astype(gather(y, indices, axes) == v, x.dtype)
    count = scatter("add", own, hits, indices, axes)
    count = where(count == 0, ones_like(count), count)  # a NaN equals nothing
    return own / count, hits / gather(count, indices, axes)


def _scatter_pullback(g: Any, y: Any, args: Any, attrs: Any, needed: Any) -> list[Any]:
    x, v, *rest = args
    indices, axes, combine = tuple(rest), attrs["axes"], attrs["combine"]
    x_flow = v_flow = None
    if combine in ("min", "max"):
        x_share, v_share = _shares(y, x, v, indices, axes)
        x_flow, v_flow = g * x_share, gather(g, indices, axes) * v_share
    else:
        if needed[0]:
            zeros = zeros_like(v)
            x_flow = g if combine == "add" else scatter("set", g, zeros, indices, axes)
        if needed[1]:
            v_flow = gather(g, indices, axes)
            if combine == "set":
                v_flow = where(_winners(v, indices, axes, x), v_flow, zeros_like(v_flow))
    return [x_flow, v_flow] + [None] * len(rest)


def _scatter_jvp(
    tangents: Any, y: Any, x: Any, v: Any, *indices: Any, axes: Axes, combine: str
) -> Tensor:
    t_x, t_v = (zeros_like(p) if t is None else t for p, t in zip((x, v), tangents))
    if combine in ("min", "max"):
        x_share, v_share = _shares(y, x, v, indices, axes)
        return scatter("add", t_x * x_share, t_v * v_share, indices, axes)
    return scatter(combine, t_x, t_v, indices, axes)


def _scatter_batch(op: Op, args: Any, batched: Any, attrs: Any) -> Any:
    n, axes, combine = count(args, batched), attrs["axes"], attrs["combine"]
    (x, v, *indices), flags = args, batched[2:]
    v = spread(v, batched[1], n)
    if any(flags):
        return Indexed((x, *indices), (batched[0], *flags), axes).write(combine, v)
    v = moveaxis(v, 0, rank_of(indices, flags)) if in_front(axes) else v
    return scatter(combine, spread(x, batched[0], n), v, tuple(indices), one_later(axes))


_scatter = Op(
    name="scatter",
    evaluate=_scatter_evaluate,
    infer=_scatter_type,
    lower=lambda form, x, v, *indices, axes, combine: form.scatter(
        combine, x, v, load_map(form, x.shape, indices, axes)
    ),
    pullback=_scatter_pullback,
    jvp=_scatter_jvp,
    batch=_scatter_batch,
)


def scatter(combine: str, x: Tensor, v: Tensor, indices: tuple[Tensor, ...], axes: Axes) -> Tensor:
    """`x` with the updates `v` set at, or folded into, the places that `gather` would read.

    Updates are taken in row-major order, so that the result is the same every time.
    """
    return bind(_scatter, (x, v, *indices), {"axes": axes, "combine": combine})


# ----- take -----


@api
@placed
def take(x: Any, indices: Any, /, axis: int | None = None, **foreign: Never) -> Tensor:
    """The slices of `x` at `indices` along one axis.

    Args:
        x: Tensor with one dimension or more.
        indices: Integers of any shape; negative ones count from the end.
        axis: The axis to take from; may be left out for a tensor of one dimension.

    Returns:
        Tensor in which the dimensions of `indices` stand in place of `axis`.

    Raises:
        IndexError: An index is outside of the axis.
        AxisError: `x` has no such axis, or several and none was named.

    Example:
        >>> import dualflow as df
        >>> df.take(df.asarray([10, 20, 30]), [2, 0]).tolist()
        [30, 10]
    """
    if foreign:
        raise refused("take", foreign)
    x, indices = as_tensor(x), as_index("take", indices)
    if axis is None and x.ndim != 1:
        raise AxisError(
            f"take: a tensor of shape {format_shape(x.shape)} and no axis", "axis=...", "axis=0"
        )
    return gather(x, (indices,), (canonical_axis("take", axis or 0, x.ndim),))


@api
@placed
def take_along_axis(x: Any, indices: Any, /, axis: int = -1, **foreign: Never) -> Tensor:
    """For each position of `indices` the element of `x` that it names along one axis.

    Args:
        x: Tensor with one dimension or more.
        indices: Integers with as many dimensions as `x`; extents other than that of `axis`
            broadcast with those of `x`.
        axis: The axis along which `indices` count.

    Returns:
        Tensor of the shape of `indices`, broadcast.

    Raises:
        ShapeError: The shapes do not suit each other.
        IndexError: An index is outside of the axis.
        AxisError: `x` has no such axis.

    Example:
        >>> import dualflow as df
        >>> df.take_along_axis(df.asarray([[1, 2], [3, 4]]), [[1], [0]]).tolist()
        [[2], [3]]
    """
    if foreign:
        raise refused("take_along_axis", foreign)
    x = as_tensor(x)
    return gather(x, *along_axis("take_along_axis", x, indices, axis))


def along_axis(name: str, x: Tensor, indices: Any, axis: int) -> tuple[tuple[Tensor, ...], Axes]:
    """Indices for each dimension of `x`, given those along one of them; and all its axes."""
    indices = as_index(name, indices)
    axis = canonical_axis(name, axis, x.ndim)
    if indices.ndim != x.ndim:
        raise ShapeError(
            f"{name}: indices {format_shape(indices.shape)} for {format_shape(x.shape)}",
            "as many dimensions",
            "df.expand_dims(indices, axis)",
        )
    grids = []
    for k, extent in enumerate(x.shape):
        row = tuple(extent if j == k else 1 for j in range(x.ndim))
        grids.append(indices if k == axis else reshape(arange(extent), row))
    return tuple(grids), tuple(range(x.ndim))


def as_index(name: str, indices: Any) -> Tensor:
    """Integers as a tensor; an empty list holds integers here."""
    index = as_tensor(indices)
    if kind(index.dtype) == "integer":
        return index
    if isinstance(indices, list | tuple) and isinstance(index.size, int) and index.size == 0:
        return astype(index, int64)
    raise DTypeError(f"{name}: indices of dtype {index.dtype}", "integers", "i.astype(df.int64)")


# ----- nonzero -----


def _nonzero_lower(form: Any, x: Any, *, count: Any) -> Any:
    """Each place is stored where the next that is not zero belongs, which comes last and stays.

    So no element asks whether it is stored, which no processor could foresee.
    """
    hit = form.pointwise("not_equal", x, form.constant(0, x.dtype))
    (size,) = x.shape
    narrow = isinstance(size, int) and size < 2**31  # half of what is written and read again
    ones = form.pointwise("astype", hit, dtype=dtypes["int32"] if narrow else int64)
    rank = form.scan("sum", ones, 0, exclusive=True)
    places = form.index(tuple(x.shape), lambda i: i, int64)
    start = form.constant(0, int64, (count,))
    return form.scatter("set", start, places, lambda i: (form.load(rank, i),), dropped=True)


_nonzero = Op(
    name="nonzero",
    evaluate=lambda xp, x, *, count: xp.flatnonzero(x),
    infer=lambda x, *, count: TensorType((count,), int64),
    lower=_nonzero_lower,
)


@api
def nonzero(x: Any, /) -> tuple[Tensor, ...]:
    """The positions of the elements that are not zero.

    How many there are depends on the values: a recorded call guards on their number.

    Args:
        x: Tensor with one dimension or more.

    Returns:
        Tuple with an int64 tensor for each dimension of `x`: the coordinates in row-major order.

    Raises:
        AxisError: `x` has no dimensions.

    Example:
        >>> import dualflow as df
        >>> [c.tolist() for c in df.nonzero(df.asarray([[0, 1], [2, 0]]))]
        [[0, 1], [1, 0]]
    """
    x = as_tensor(x)
    if x.ndim == 0:
        raise AxisError(
            "nonzero: a tensor with no dimensions", "one dimension or more", "x.reshape(1)"
        )
    flat = reshape(x, (-1,))
    count = functions["count_nonzero"](flat).answer("the number of nonzero elements", int)
    place = bind(_nonzero, (flat,), {"count": count})
    if x.ndim == 1:
        return (place,)
    extents = [math.prod(x.shape[k + 1 :]) for k in range(x.ndim)]
    return tuple(
        place // inner % d if k else place // inner
        for k, (inner, d) in enumerate(zip(extents, x.shape))
    )
