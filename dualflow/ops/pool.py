"""Pooling: sums and maxima over sliding windows of the trailing dimensions.

`windows` lays out every window of a tensor as a view, and `fold` adds windows back where they came
from; each is the other's transpose, and the gradients of pooling are written with the two.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from dualflow.core.batching import leading
from dualflow.core.op import Op, bind
from dualflow.core.tensor import Tensor
from dualflow.ops.choice import where
from dualflow.ops.conv import Extents, Pairs, dilated, window_counts, windows_map
from dualflow.ops.create import arange
from dualflow.ops.reduce import sum
from dualflow.ops.shape import broadcast_to, reshape
from jit.errors import DTypeError, ShapeError
from jit.types import TensorType, format_shape, int64, kind


def counts_of(
    name: str, x: Any, window: Extents, stride: Extents, padding: Pairs, dilation: Extents
) -> Extents:
    """How many windows there are in each of the trailing dimensions of `x`."""
    if len(x.shape) < len(window):
        raise ShapeError(
            f"{name}: a tensor of shape {format_shape(x.shape)}",
            f"{len(window)} spatial dimensions behind those of batch and channels",
            "x[None] adds a dimension",
        )
    ones = (1,) * len(window)
    return window_counts(name, x.shape[-len(window) :], window, stride, padding, dilation, ones)


def window_view(
    form: Any, x: Any, window: Extents, stride: Any, padding: Any, dilation: Any, fill: Any
) -> Any:
    """The windows of `x` as a form: (..., counts, window)."""
    rank = len(window)
    skip = len(x.shape) - rank
    counts = counts_of("windows", x, window, stride, padding, dilation)
    index_map, _ = windows_map(rank, stride, padding, dilation, (1,) * rank)
    shape = (*x.shape[:skip], *counts, *window)
    return form.view(x, shape, lambda *at: (*at[:skip], *index_map(*at[skip:])), fill=fill)


def elements(
    x: Any, window: Extents, stride: Extents, dilation: Extents, counts: Extents
) -> Iterator[tuple[tuple[int, ...], Any]]:
    """Each position within a window, and a view of what stands there in all windows."""
    for at in np.ndindex(*window):
        cut = tuple(
            slice(k * d, k * d + (count - 1) * s + 1 if count else 0, s)
            for k, d, count, s in zip(at, dilation, counts, stride)
        )
        yield at, x[(..., *cut)]


def framed(xp: Any, x: Any, padding: Pairs, fill: Any) -> Any:
    """`x` with `fill` around its trailing dimensions."""
    if all(pair == (0, 0) for pair in padding):
        return x
    if fill == 0:
        return dilated(xp, x, padding, (1,) * len(padding))
    return xp.pad(x, ((0, 0),) * (x.ndim - len(padding)) + tuple(padding), constant_values=fill)


def lowest(dtype: Any) -> Any:
    """The value that no maximum is below."""
    return -math.inf if kind(dtype) == "floating" else int(np.iinfo(dtype).min)


# ----- windows and fold -----


def _windows_type(
    x: TensorType, *, window: Any, stride: Any, padding: Any, dilation: Any, fill: Any
) -> TensorType:
    counts = counts_of("windows", x, window, stride, padding, dilation)
    return x.with_shape((*x.shape[: x.ndim - len(window)], *counts, *window))


def _windows_evaluate(
    xp: Any, x: Any, *, window: Any, stride: Any, padding: Any, dilation: Any, fill: Any
) -> Any:
    counts = counts_of("windows", x, window, stride, padding, dilation)
    padded = framed(xp, x, padding, fill)
    y = xp.empty((*x.shape[: x.ndim - len(window)], *counts, *window), x.dtype)
    for at, part in elements(padded, window, stride, dilation, counts):
        y[(..., *at)] = part
    return y


_windows = Op(
    name="windows",
    evaluate=_windows_evaluate,
    infer=_windows_type,
    lower=lambda form, x, *, window, stride, padding, dilation, fill: window_view(
        form, x, window, stride, padding, dilation, fill
    ),
    vjps=(
        lambda g, y, x, *, window, stride, padding, dilation, fill: fold(
            g, x.shape[x.ndim - len(window) :], window, stride, padding, dilation
        ),
    ),
    jvp=lambda tangents, y, x, *, window, stride, padding, dilation, fill: windows(
        tangents[0], window, stride, padding, dilation
    ),
    batch=leading,
)


def windows(
    x: Tensor, window: Any, stride: Any, padding: Any, dilation: Any, fill: Any = 0
) -> Tensor:
    """All windows of the trailing dimensions: (..., S) -> (..., counts, window)."""
    attrs = {
        "window": window,
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "fill": fill,
    }
    return bind(_windows, (x,), attrs)


def _fold_type(
    x: TensorType, *, shape: Any, window: Any, stride: Any, padding: Any, dilation: Any
) -> TensorType:
    whole = x.with_shape((*x.shape[: x.ndim - 2 * len(window)], *shape))
    counts = counts_of("fold", whole, window, stride, padding, dilation)
    if x.shape[x.ndim - 2 * len(window) :] != (*counts, *window):
        raise ShapeError(
            f"fold: windows of shape {format_shape(x.shape)}",
            f"(..., {', '.join(map(str, (*counts, *window)))})",
            "",
        )
    return whole


def _fold_evaluate(
    xp: Any, x: Any, *, shape: Any, window: Any, stride: Any, padding: Any, dilation: Any
) -> Any:
    front, counts = (
        x.shape[: x.ndim - 2 * len(window)],
        x.shape[x.ndim - 2 * len(window) : x.ndim - len(window)],
    )
    y = xp.zeros((*front, *(n + low + high for n, (low, high) in zip(shape, padding))), x.dtype)
    for at, part in elements(y, window, stride, dilation, counts):
        part += x[(..., *at)]
    return y[(..., *(slice(low, low + n) for n, (low, _) in zip(shape, padding)))]


def _fold_lower(
    form: Any, x: Any, *, shape: Any, window: Any, stride: Any, padding: Any, dilation: Any
) -> Any:
    rank = len(window)
    skip = len(x.shape) - 2 * rank
    index_map, _ = windows_map(rank, stride, padding, dilation, (1,) * rank)
    start = form.constant(0, x.dtype, (*x.shape[:skip], *shape))
    return form.scatter(
        "add", start, x, lambda *at: (*at[:skip], *index_map(*at[skip:])), dropped=True
    )


_fold = Op(
    name="fold",
    evaluate=_fold_evaluate,
    infer=_fold_type,
    lower=_fold_lower,
    vjps=(
        lambda g, y, x, *, shape, window, stride, padding, dilation: windows(
            g, window, stride, padding, dilation
        ),
    ),
    jvp="linear",
    batch=leading,
)


def fold(x: Tensor, shape: Any, window: Any, stride: Any, padding: Any, dilation: Any) -> Tensor:
    """Windows added up where they came from: (..., counts, window) -> (..., shape)."""
    attrs = {"window": window, "stride": stride, "padding": padding, "dilation": dilation}
    return bind(_fold, (x,), {"shape": tuple(shape), **attrs})


# ----- pool: a reduction of each window -----


def _pool_type(
    x: TensorType, *, combine: str, window: Any, stride: Any, padding: Any, dilation: Any
) -> TensorType:
    if kind(x.dtype) == "bool" or (combine != "sum" and kind(x.dtype) == "complex"):
        raise DTypeError(f"pool: does not take {x.dtype}", "real numbers", "x.astype(df.float32)")
    counts = counts_of("pool", x, window, stride, padding, dilation)
    dtype = int64 if combine == "argmax" else x.dtype
    return TensorType((*x.shape[: x.ndim - len(window)], *counts), dtype)


def _pool_evaluate(
    xp: Any, x: Any, *, combine: str, window: Any, stride: Any, padding: Any, dilation: Any
) -> Any:
    """One elementwise step for each position within the window, over all windows at once."""
    counts = counts_of("pool", x, window, stride, padding, dilation)
    padded = framed(xp, x, padding, 0 if combine == "sum" else lowest(x.dtype))
    parts = elements(padded, window, stride, dilation, counts)
    best = next(parts)[1].copy(order="K")
    if combine == "argmax":
        place = xp.zeros_like(best, np.int64)
        for number, (_, part) in enumerate(parts, start=1):
            better = (part > best) | ((part != part) & (best == best))  # a NaN is the maximum
            xp.copyto(best, part, where=better)
            xp.copyto(place, number, where=better)
        return place
    step = xp.add if combine == "sum" else xp.maximum
    for _, part in parts:
        step(best, part, out=best)
    return best


def _pool_lower(
    form: Any, x: Any, *, combine: str, window: Any, stride: Any, padding: Any, dilation: Any
) -> Any:
    fill = 0 if combine == "sum" else lowest(x.dtype)
    view = window_view(form, x, window, stride, padding, dilation, fill)
    rank = len(window)
    axes = tuple(range(len(x.shape), len(x.shape) + rank))
    if combine != "argmax":
        return form.reduce(combine, view, axes)
    inner = [math.prod(window[k + 1 :]) for k in range(rank)]
    number = form.index(
        view.shape, lambda *at: builtins.sum(i * n for i, n in zip(at[-rank:], inner)), int64
    )
    return form.reduce("argmax", (view, number), axes)[1]


def chosen(x: Tensor, **attrs: Any) -> Tensor:
    """Whether an element is the first maximum of its window: bools, (..., counts, window)."""
    window = attrs["window"]
    place = bind(_pool, (x,), {**attrs, "combine": "argmax"})
    place = reshape(place, (*place.shape, *(1,) * len(window)))
    return place == reshape(arange(math.prod(window)), window)


def _pool_vjp(g: Tensor, y: Any, x: Tensor, *, combine: str, **attrs: Any) -> Tensor | None:
    window = attrs["window"]
    spread_g = reshape(g, (*g.shape, *(1,) * len(window)))
    if combine == "sum":
        parts = broadcast_to(spread_g, (*g.shape, *window))
    elif combine == "max":
        parts = where(chosen(x, **attrs), spread_g, 0)
    else:
        return None
    return fold(parts, x.shape[x.ndim - len(window) :], **attrs)


def _pool_jvp(tangents: Any, y: Any, x: Tensor, *, combine: str, **attrs: Any) -> Tensor:
    if combine == "sum":
        return pool("sum", tangents[0], **attrs)
    axes = tuple(range(x.ndim, x.ndim + len(attrs["window"])))
    return sum(where(chosen(x, **attrs), windows(tangents[0], **attrs), 0), axis=axes)


_pool = Op(
    name="pool",
    evaluate=_pool_evaluate,
    infer=_pool_type,
    lower=_pool_lower,
    vjps=(_pool_vjp,),
    jvp=_pool_jvp,
    batch=leading,
)


def pool(combine: str, x: Tensor, window: Any, stride: Any, padding: Any, dilation: Any) -> Tensor:
    """The sum or max of every window, or the argmax: the number of its first largest element."""
    attrs = {"window": window, "stride": stride, "padding": padding, "dilation": dilation}
    return bind(_pool, (x,), {"combine": combine, **attrs})
