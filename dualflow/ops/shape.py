"""Ops that move data and compute nothing: reshape, broadcast, transpose, and their kin."""

from __future__ import annotations

from typing import Any, Never

import numpy as np

from dualflow.core import results
from dualflow.core.axes import canonical_axes, canonical_axis, canonical_shape, fill_in
from dualflow.core.backend import CUDA, has_one_gpu
from dualflow.core.batching import front_aligned, of_shapes, one_later
from dualflow.core.context import context
from dualflow.core.convert import as_tensor
from dualflow.core.define import broadcast
from dualflow.core.op import Op, bind
from dualflow.core.registry import api, functions, refused
from dualflow.core.tensor import Tensor
from jit.dims import Dim
from jit.errors import AxisError, ShapeError
from jit.types import format_extent, format_shape, same_shape

# ----- the same elements in another shape -----


_reshape = Op(
    name="reshape",
    evaluate=lambda xp, x, *, shape: xp.reshape(x, shape),
    infer=lambda x, *, shape: x.with_shape(fill_in("reshape", x.shape, shape)),
    lower=lambda form, x, *, shape: form.reshape(x, shape),
    vjps=(lambda g, y, x, *, shape: reshape(g, x.shape),),
    jvp="linear",
    batch=of_shapes,
    reshapes=True,
)


def is_at_hand(array: Any) -> bool:
    """Whether a plain array takes another shape by itself; a copy belongs on the active GPU."""
    if array.__class__ is np.ndarray:
        return True
    return hasattr(array.__class__, CUDA) and (array.flags.c_contiguous or has_one_gpu())


@api
def reshape(x: Any, /, shape: Any, *, copy: bool | None = None) -> Tensor:
    """The elements of `x`, in row-major order, in another shape.

    Args:
        x: Tensor of any shape.
        shape: The new shape; one extent may be -1 and follows from the others.
        copy: Accepted for the array API's sake; tensors are immutable.

    Returns:
        Tensor of that shape.

    Raises:
        ShapeError: The numbers of elements differ.

    Example:
        >>> import dualflow as df
        >>> df.reshape(df.arange(6), (2, -1)).shape
        (2, 3)
    """
    x = as_tensor(x)
    if context.trace is None and shape.__class__ is tuple and is_at_hand(x.raw):
        try:
            array = x.raw.reshape(shape)
        except (ValueError, TypeError, MemoryError):
            pass  # what follows says what is wrong
        else:
            return results.result(_reshape, (x,), {"shape": array.shape}, array)
    return bind(_reshape, (x,), {"shape": fill_in("reshape", x.shape, shape)})


@api
def expand_dims(x: Any, /, axis: int | tuple[int, ...] = 0, **foreign: Never) -> Tensor:
    """`x` with dimensions of extent 1 inserted.

    Args:
        x: Tensor of any shape.
        axis: Where they stand in the result: one axis, or a tuple of them.

    Returns:
        Tensor of the same elements.

    Raises:
        AxisError: An axis is outside of the result's dimensions, or is named twice.

    Example:
        >>> import dualflow as df
        >>> df.expand_dims(df.ones((2, 3)), -1).shape
        (2, 3, 1)
    """
    if foreign:
        raise refused("expand_dims", foreign)
    x = as_tensor(x)
    ndim = x.ndim + (len(axis) if isinstance(axis, tuple | list) else 1)
    axes = canonical_axes("expand_dims", axis, ndim)
    extents = iter(x.shape)
    return reshape(x, tuple(1 if k in axes else next(extents) for k in range(ndim)))


@api
def squeeze(x: Any, /, axis: int | tuple[int, ...] | None = None, **foreign: Never) -> Tensor:
    """`x` without some dimensions of extent 1.

    Args:
        x: Tensor of any shape.
        axis: Which: one axis, a tuple of them, or None for all that have extent 1.

    Returns:
        Tensor of the same elements.

    Raises:
        AxisError: An axis is outside of the dimensions of `x`.
        ShapeError: Its extent is not 1.

    Example:
        >>> import dualflow as df
        >>> df.squeeze(df.ones((1, 3, 1)), 0).shape
        (3, 1)
    """
    if foreign:
        raise refused("squeeze", foreign)
    x = as_tensor(x)
    if axis is None:
        axis = tuple(k for k, d in enumerate(x.shape) if isinstance(d, int) and d == 1)
    axes = canonical_axes("squeeze", axis, x.ndim)
    for k in axes:
        if x.shape[k] != 1:
            raise ShapeError(
                f"squeeze: axis {k} of {format_shape(x.shape)} has extent "
                f"{format_extent(x.shape[k])}",
                "an axis of extent 1",
                "x[..., 0] takes one element of an axis",
            )
    return reshape(x, tuple(d for k, d in enumerate(x.shape) if k not in axes))


# ----- broadcasting -----


def _broadcast_type(x: Any, *, shape: tuple[int | Dim, ...]) -> Any:
    if len(shape) < x.ndim or broadcast("broadcast_to", x.shape, shape) != shape:
        raise ShapeError(
            f"broadcast_to: {format_shape(x.shape)} does not stretch to {format_shape(shape)}",
            "extents that are equal, or 1, counted from the right",
            "insert axes of extent 1 where it should stretch",
        )
    return x.with_shape(shape)


def _broadcast_lower(form: Any, x: Any, *, shape: tuple[int | Dim, ...]) -> Any:
    skipped = len(shape) - len(x.shape)

    def index_map(*loop: Any) -> tuple[Any, ...]:
        return tuple(0 if d == 1 else i for d, i in zip(x.shape, loop[skipped:], strict=True))

    return form.view(x, shape, index_map)


def _broadcast_batch(op: Op, args: Any, batched: Any, attrs: Any) -> Any:
    (x,), shape = args, attrs["shape"]
    return bind(op, (front_aligned(x, len(shape)),), {"shape": (x.shape[0], *shape)})


_broadcast_to = Op(
    name="broadcast_to",
    evaluate=lambda xp, x, *, shape: xp.broadcast_to(x, shape),
    infer=_broadcast_type,
    lower=_broadcast_lower,
    vjps=(lambda g, y, x, *, shape: g,),  # the sweep sums what was stretched
    jvp="linear",
    batch=_broadcast_batch,
)


@api
def broadcast_to(x: Any, /, shape: Any) -> Tensor:
    """`x` stretched to `shape` by the broadcasting rule.

    Args:
        x: Tensor whose extents, counted from the right, equal those of `shape` or are 1.
        shape: The shape wanted.

    Returns:
        Tensor of that shape.

    Raises:
        ShapeError: An extent is neither equal nor 1.

    Example:
        >>> import dualflow as df
        >>> df.broadcast_to(df.asarray([1, 2]), (2, 2)).tolist()
        [[1, 2], [1, 2]]
    """
    return bind(_broadcast_to, (as_tensor(x),), {"shape": canonical_shape("broadcast_to", shape)})


@api
def broadcast_arrays(*arrays: Any) -> tuple[Tensor, ...]:
    """All `arrays` stretched to their common shape.

    Args:
        *arrays: Tensors whose shapes broadcast; each keeps its dtype.

    Returns:
        Tuple of tensors of one shape.

    Raises:
        ShapeError: Two extents differ and neither is 1.

    Example:
        >>> import dualflow as df
        >>> a, b = df.broadcast_arrays(df.ones((2, 1)), df.ones(3))
        >>> a.shape, b.shape
        ((2, 3), (2, 3))
    """
    tensors = [as_tensor(x) for x in arrays]
    shape = broadcast("broadcast_arrays", *(x.shape for x in tensors)) if tensors else ()
    return tuple(x if same_shape(x.shape, shape) else broadcast_to(x, shape) for x in tensors)


# ----- the order of dimensions -----


def inverse(axes: tuple[int, ...]) -> tuple[int, ...]:
    """The permutation that undoes `axes`."""
    return tuple(sorted(range(len(axes)), key=axes.__getitem__))


_permute_dims = Op(
    name="permute_dims",
    evaluate=lambda xp, x, *, axes: xp.transpose(x, axes),
    infer=lambda x, *, axes: x.with_shape([x.shape[k] for k in axes]),
    lower=lambda form, x, *, axes: form.view(
        x, tuple(x.shape[k] for k in axes), lambda *loop: tuple(loop[k] for k in inverse(axes))
    ),
    vjps=(lambda g, y, x, *, axes: permute_dims(g, inverse(axes)),),
    jvp="linear",
    batch=lambda op, args, batched, attrs: bind(op, args, {"axes": (0, *one_later(attrs["axes"]))}),
    permutes=True,
)


@api
def permute_dims(x: Any, /, axes: Any, **foreign: Never) -> Tensor:
    """The dimensions of `x` in another order.

    Args:
        x: Tensor of any shape.
        axes: Which dimension of `x` comes at each place; every one once.

    Returns:
        Tensor whose dimension `k` is dimension `axes[k]` of `x`.

    Raises:
        AxisError: `axes` is no permutation.

    Example:
        >>> import dualflow as df
        >>> df.permute_dims(df.ones((2, 3, 4)), (2, 0, 1)).shape
        (4, 2, 3)
    """
    if foreign:
        raise refused("permute_dims", foreign)
    x = as_tensor(x)
    ndim = x.ndim
    order = tuple([canonical_axis("permute_dims", k, ndim) for k in axes])
    if sorted(order) != list(range(ndim)):
        raise AxisError(
            f"permute_dims: axes {tuple(axes)} for a tensor with {ndim} dimensions",
            f"each of 0 to {ndim - 1} once",
            "x.mT swaps the last two",
        )
    return permuted(x, order)


def permuted(x: Tensor, order: tuple[int, ...]) -> Tensor:
    """`permute_dims` of a tensor and axes that are right."""
    attrs = {"axes": order}
    if context.trace is None:  # else nobody asks for the values, which may not be computed yet
        array = x.raw
        if array.__class__ is np.ndarray or hasattr(array.__class__, CUDA):
            return results.result(_permute_dims, (x,), attrs, array.transpose(order))
    return bind(_permute_dims, (x,), attrs)


@api
def moveaxis(x: Any, source: Any, destination: Any, /) -> Tensor:
    """`x` with some dimensions moved; the others keep their order.

    Args:
        x: Tensor of any shape.
        source: The axis to move, or a tuple of them.
        destination: Where each stands in the result; as many as in `source`.

    Returns:
        Tensor of the same elements.

    Raises:
        AxisError: An axis is outside of the dimensions, is named twice, or has no destination.

    Example:
        >>> import dualflow as df
        >>> df.moveaxis(df.ones((2, 3, 4)), 0, -1).shape
        (3, 4, 2)
    """
    x = as_tensor(x)
    origin, target = (
        ordered_axes("moveaxis", source, x.ndim),
        ordered_axes("moveaxis", destination, x.ndim),
    )
    if len(origin) != len(target):
        raise AxisError(
            f"moveaxis: {len(origin)} axes to {len(target)} places",
            "as many places as axes",
            "check both",
        )
    order = [k for k in range(x.ndim) if k not in origin]
    for place, k in sorted(zip(target, origin)):
        order.insert(place, k)
    return permute_dims(x, tuple(order))


def ordered_axes(name: str, axis: Any, ndim: int) -> tuple[int, ...]:
    """`axis` as a tuple in the user's order, none negative, none twice."""
    canonical_axes(name, axis, ndim)
    given = axis if isinstance(axis, tuple | list) else (axis,)
    return tuple(canonical_axis(name, k, ndim) for k in given)


@api
def matrix_transpose(x: Any, /) -> Tensor:
    """The last two dimensions of `x` swapped.

    Args:
        x: Tensor of shape (..., m, n).

    Returns:
        Tensor of shape (..., n, m).

    Raises:
        AxisError: `x` has fewer than two dimensions.

    Example:
        >>> import dualflow as df
        >>> df.matrix_transpose(df.asarray([[1, 2], [3, 4]])).tolist()
        [[1, 3], [2, 4]]
    """
    x = as_tensor(x)
    ndim = x.ndim
    if ndim < 2:
        raise AxisError(
            f"matrix_transpose: a tensor of shape {format_shape(x.shape)}",
            "two dimensions or more",
            "",
        )
    return permuted(x, (*range(ndim - 2), ndim - 1, ndim - 2))


def matrix_t(x: Any) -> Tensor:
    """The transpose of a matrix, for `x.T`."""
    if x.ndim != 2:
        raise AxisError(
            f".T of a tensor of shape {format_shape(x.shape)}",
            "a matrix",
            "x.mT, or df.permute_dims(x, axes)",
        )
    return permuted(as_tensor(x), (1, 0))


functions["matrix_T"] = matrix_t
