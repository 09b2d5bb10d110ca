"""Convolution in one to three spatial dimensions; its gradients are convolutions again.

The attrs, one entry for each spatial dimension: `stride` steps over the output, `padding` is a pair
of zeros before and after (negative: cropped), `lhs_dilation` spreads the input and `rhs_dilation`
the window by putting zeros between elements. Gradients flip the window or swap the batch with the
channels, and let stride and dilations trade places.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dualflow.core.batching import one_by_one
from dualflow.core.define import conjugated
from dualflow.core.op import Op, bind
from dualflow.core.tensor import Tensor
from dualflow.ops.arrange import flip
from dualflow.ops.linalg import matrix_product
from dualflow.ops.shape import permute_dims, reshape
from dualflow.ops.slicing import lands, position_within
from jit.errors import DTypeError, ShapeError
from jit.types import TensorType, format_shape

Pairs = tuple[tuple[Any, Any], ...]
Extents = tuple[Any, ...]


def spread(extent: Any, dilation: int) -> Any:
    """The extent of a dimension with `dilation - 1` zeros between neighbours."""
    return extent if isinstance(extent, int) and extent == 0 else (extent - 1) * dilation + 1


def check_steps(name: str, **given: Extents) -> None:
    """Raises ShapeError unless steps are positive."""
    for what, steps in given.items():
        if min(steps, default=1) < 1:
            raise ShapeError(f"{name}: {what} {format_shape(steps)}", "steps from 1 up", "")


def window_counts(
    name: str,
    extents: Extents,
    window: Extents,
    stride: Extents,
    padding: Pairs,
    dilation: Extents,
    base: Extents,
) -> Extents:
    """How many places a window has in each dimension of an input dilated by `base`, then padded.

    Raises:
        ShapeError: The window does not fit, or a step is not positive.
    """
    check_steps(name, stride=stride, dilation=dilation)
    counts = []
    for n, k, s, (low, high), d, b in zip(extents, window, stride, padding, dilation, base):
        room = spread(n, b) + low + high - spread(k, d)
        if room < 0:
            raise ShapeError(
                f"{name}: a window of {format_shape(window)} in an image of "
                f"{format_shape(extents)}, padding {padding}, dilation {dilation}",
                "a window no larger than the padded image",
                "a smaller window, or more padding",
            )
        counts.append(room // s + 1)
    return tuple(counts)


def conv_type(
    x: TensorType,
    w: TensorType,
    *,
    stride: Any,
    padding: Pairs,
    lhs_dilation: Any,
    rhs_dilation: Any,
    groups: int,
) -> TensorType:
    """(N, C, ...) and (O, C / groups, ...) -> (N, O, ...)."""
    if x.dtype != w.dtype:
        raise DTypeError(
            f"conv: does not take {x.dtype} and {w.dtype}", "one dtype", "x.astype(...)"
        )
    if x.ndim != w.ndim or not 3 <= x.ndim <= 5 or len(stride) != x.ndim - 2:
        raise ShapeError(
            f"conv: an input of shape {format_shape(x.shape)} and "
            f"weights of shape {format_shape(w.shape)}",
            "(N, C, ...) and (O, C / groups, ...) with as many spatial dimensions",
            "x[None] adds a batch",
        )
    if x.shape[1] != w.shape[1] * groups or w.shape[0] % groups != 0:
        raise ShapeError(
            f"conv: {x.shape[1]} channels in {groups} groups meet "
            f"weights of shape {format_shape(w.shape)}",
            f"weights of shape (O, {x.shape[1]} / groups, ...), O divisible by groups",
            "check in_channels, out_channels and groups",
        )
    counts = window_counts(
        "conv", x.shape[2:], w.shape[2:], stride, padding, rhs_dilation, lhs_dilation
    )
    return TensorType((x.shape[0], w.shape[0], *counts), x.dtype)


# ----- evaluation: windows as columns of a matrix, then one matrix product -----


def dilated(xp: Any, x: Any, padding: Pairs, dilation: Extents) -> Any:
    """`x` with zeros between and around the elements of its trailing dimensions, or cropped."""
    skip = x.ndim - len(padding)
    if all(pair == (0, 0) for pair in padding) and all(d == 1 for d in dilation):
        return x
    extents = [
        spread(n, d) + low + high for n, d, (low, high) in zip(x.shape[skip:], dilation, padding)
    ]
    y = xp.zeros_like(x, shape=(*x.shape[:skip], *(max(0, n) for n in extents)))
    into, out_of = [], []
    for n, d, (low, _), total in zip(x.shape[skip:], dilation, padding, extents):
        first = max(0, -(low // d))  # the first element that is not cropped
        last = min(n, (total - 1 - low) // d + 1)
        start = first * d + low
        into.append(slice(start, start + max(0, last - first - 1) * d + (last > first), d))
        out_of.append(slice(first, max(first, last)))
    y[(..., *into)] = x[(..., *out_of)]
    return y


def conv_evaluate(
    xp: Any,
    x: Any,
    w: Any,
    *,
    stride: Any,
    padding: Pairs,
    lhs_dilation: Any,
    rhs_dilation: Any,
    groups: int,
) -> Any:
    """Lays out all windows as columns and multiplies by the weights, one matrix for each group.

    The images stand innermost where a row of the output is shorter than the batch: copies and
    elementwise work then go along long rows. The result is a view of that order.
    """
    rank, window = x.ndim - 2, w.shape[2:]
    counts = window_counts("conv", x.shape[2:], window, stride, padding, rhs_dilation, lhs_dilation)
    n, o, c = x.shape[0], w.shape[0], w.shape[1]
    batch_last = n >= counts[-1]
    to_front = (1, *range(2, rank + 2), 0) if batch_last else (1, 0, *range(2, rank + 2))
    x = xp.transpose(x, to_front)
    if batch_last:
        padding, lhs_dilation = (*padding, (0, 0)), (*lhs_dilation, 1)
    x = dilated(xp, x, padding, lhs_dilation)
    first = 1 if batch_last else 2
    rows = (*counts, n) if batch_last else (n, *counts)
    columns = xp.empty((c * groups, *window, *rows), x.dtype)
    for at in np.ndindex(*window):
        cut = tuple(
            slice(k * d, k * d + (count - 1) * s + 1, s)
            for k, d, count, s in zip(at, rhs_dilation, counts, stride)
        )
        columns[(slice(None), *at)] = x[(slice(None),) * first + cut]
    if columns.size == 0:
        return xp.zeros((n, o, *counts), x.dtype)
    size = c * math.prod(window)
    product = matrix_product(
        xp, w.reshape(groups, o // groups, size), columns.reshape(groups, size, -1)
    )
    y = product.reshape(o, *rows)
    return xp.transpose(
        y, (rank + 1, *range(rank + 1)) if batch_last else (1, 0, *range(2, rank + 2))
    )


# ----- as forms -----


def windows_map(
    rank: int, stride: Any, padding: Pairs, dilation: Any, base: Any
) -> tuple[Any, Any]:
    """Where the elements of windows lie, by the window's place and the place in the window.

    Returns:
        The map into the input, and its conditions: an element of the window may meet a zero between
        two elements of an input dilated by `base`.
    """

    def padded(at: Any) -> list[Any]:
        return [i * s + j * d for i, j, s, d in zip(at[:rank], at[rank:], stride, dilation)]

    def index_map(*at: Any) -> tuple[Any, ...]:
        return tuple(
            position_within(i, low, b) for i, (low, _), b in zip(padded(at), padding, base)
        )

    def where(*at: Any) -> list[Any]:
        return [lands(i, low, b) for i, (low, _), b in zip(padded(at), padding, base) if b != 1]

    return index_map, where


def conv_lower(form: Any, x: Any, w: Any, **attrs: Any) -> Any:
    """A contraction of all windows with the weights, group by group."""
    groups = attrs["groups"]
    type_ = conv_type(
        TensorType(tuple(x.shape), x.dtype), TensorType(tuple(w.shape), w.dtype), **attrs
    )
    (n, o, *counts), (_, c, *window) = type_.shape, w.shape
    rank, per_group = len(counts), max(o // groups, 1)  # of no channel, too
    index_map, where = windows_map(
        rank, attrs["stride"], attrs["padding"], attrs["rhs_dilation"], attrs["lhs_dilation"]
    )
    places, inner = "pqr"[:rank], "uvw"[:rank]
    columns = form.view(
        x,
        (n, groups, c, *counts, *window),
        lambda n, g, k, *at: (n, g * c + k, *index_map(*at)),
        fill=0,
        where=lambda n, g, k, *at: where(*at),
    )
    weights = form.view(
        w, (groups, per_group, c, *window), lambda g, o, k, *at: (g * per_group + o, k, *at)
    )
    y = form.contract(f"ngc{places}{inner},goc{inner}->ngo{places}", columns, weights)
    return form.view(y, type_.shape, lambda n, o, *at: (n, o // per_group, o % per_group, *at))


# ----- gradients -----


def grouped(x: Tensor, axis: int, groups: int) -> Tensor:
    """`x` with `axis` split into (groups, rest)."""
    return reshape(x, (*x.shape[:axis], groups, x.shape[axis] // groups, *x.shape[axis + 1 :]))


def conv_vjp_x(
    g: Tensor,
    y: Any,
    x: Any,
    w: Any,
    *,
    stride: Any,
    padding: Pairs,
    lhs_dilation: Any,
    rhs_dilation: Any,
    groups: int,
) -> Tensor:
    """The output's cotangent, dilated by the stride, convolved with the flipped window."""
    spatial = tuple(range(2, w.ndim))
    pairs = []
    for n, p, k, s, (low, _), b, d in zip(
        x.shape[2:], g.shape[2:], w.shape[2:], stride, padding, lhs_dilation, rhs_dilation
    ):
        before = spread(k, d) - 1 - low
        pairs.append((before, spread(n, b) - 1 + spread(k, d) - spread(p, s) - before))
    turned = grouped(
        flip(conjugated(w), spatial), 0, groups
    )  # (groups, O / groups, C / groups, ...)
    turned = permute_dims(turned, (0, 2, 1, *range(3, turned.ndim)))
    turned = reshape(turned, (x.shape[1], w.shape[0] // groups, *w.shape[2:]))
    return conv(
        g,
        turned,
        stride=lhs_dilation,
        padding=tuple(pairs),
        lhs_dilation=stride,
        rhs_dilation=rhs_dilation,
        groups=groups,
    )


def conv_vjp_w(
    g: Tensor,
    y: Any,
    x: Any,
    w: Any,
    *,
    stride: Any,
    padding: Pairs,
    lhs_dilation: Any,
    rhs_dilation: Any,
    groups: int,
) -> Tensor:
    """The input convolved with the output's cotangent; batch and channels have changed places."""
    pairs = []
    for n, p, k, s, (low, _), b, d in zip(
        x.shape[2:], g.shape[2:], w.shape[2:], stride, padding, lhs_dilation, rhs_dilation
    ):
        pairs.append((low, spread(k, d) - 1 + spread(p, s) - spread(n, b) - low))
    rest = range(3, x.ndim + 1)
    turned = permute_dims(
        grouped(conjugated(x), 1, groups), (2, 1, 0, *rest)
    )  # (C / groups, groups, N, ...)
    turned = reshape(turned, (w.shape[1], groups * x.shape[0], *x.shape[2:]))
    dw = conv(
        turned,
        permute_dims(g, (1, 0, *range(2, g.ndim))),
        stride=rhs_dilation,
        padding=tuple(pairs),
        lhs_dilation=lhs_dilation,
        rhs_dilation=stride,
        groups=groups,
    )
    return permute_dims(dw, (1, 0, *range(2, dw.ndim)))


def _conv_batch(op: Op, args: Any, batched: Any, attrs: Any) -> Any:
    """Examples that share their weights are one long batch of images."""
    x, w = args
    if batched[1]:
        return one_by_one(op, args, batched, attrs)
    y = bind(op, (reshape(x, (x.shape[0] * x.shape[1], *x.shape[2:])), w), attrs)
    return reshape(y, (*x.shape[:2], *y.shape[1:]))


_conv = Op(
    name="conv",
    evaluate=conv_evaluate,
    infer=conv_type,
    lower=conv_lower,
    vjps=(conv_vjp_x, conv_vjp_w),
    jvp="bilinear",
    batch=_conv_batch,
    precision="low",
    convolves=True,
)


def conv(
    x: Tensor,
    w: Tensor,
    *,
    stride: Any,
    padding: Pairs,
    lhs_dilation: Any,
    rhs_dilation: Any,
    groups: int = 1,
) -> Tensor:
    """The general convolution: (N, C, ...) with windows (O, C / groups, ...) -> (N, O, ...)."""
    attrs = {
        "stride": tuple(stride),
        "padding": tuple(padding),
        "lhs_dilation": tuple(lhs_dilation),
        "rhs_dilation": tuple(rhs_dilation),
        "groups": groups,
    }
    return bind(_conv, (x, w), attrs)
