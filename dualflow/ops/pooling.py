"""Pooling under PyTorch's names: the largest element or the mean of each window."""

from __future__ import annotations

import math
from typing import Any

from dualflow.core.convert import as_tensor
from dualflow.core.devices import placed
from dualflow.core.doors import meet
from dualflow.core.registry import api
from dualflow.core.tensor import Tensor
from dualflow.ops.conv import spread
from dualflow.ops.create import arange, ones
from dualflow.ops.neural import each
from dualflow.ops.pool import pool
from dualflow.ops.shape import reshape
from jit.errors import ShapeError
from jit.types import format_shape

Pairs = tuple[tuple[Any, Any], ...]


def settings(
    name: str,
    rank: int,
    x: Tensor,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: bool,  # noqa: FBT001
) -> dict[str, Any]:
    """The attrs of a pool, checked.

    Raises:
        ShapeError: The number of dimensions is another, or the padding is too wide.
    """
    if x.ndim not in (rank + 1, rank + 2):
        raise ShapeError(
            f"{name}: a tensor of shape {format_shape(x.shape)}",
            f"(batch, channels, {rank} extents), or without the batch",
            "check the number of dimensions",
        )
    window, pads = each(name, kernel_size, rank), each(name, padding, rank)
    if any(2 * p > k for p, k in zip(pads, window)):
        raise ShapeError(
            f"{name}: padding {padding} for a window of {kernel_size}",
            "at most half of the window",
            "df.pad",
        )
    strides = window if stride is None else each(name, stride, rank)
    dilations = each(name, dilation, rank)
    extra = (0,) * rank
    if ceil_mode:
        extra = tuple(map(overhang, x.shape[x.ndim - rank :], window, strides, pads, dilations))
    return {
        "window": window,
        "stride": strides,
        "padding": tuple((p, p + more) for p, more in zip(pads, extra)),
        "dilation": dilations,
    }


def overhang(extent: Any, window: Any, stride: Any, padding: Any, dilation: Any) -> Any:
    """How far the last window reaches beyond the padding when places are rounded up.

    A window that would begin in the padding behind the input is none.
    """
    room = extent + 2 * padding - spread(window, dilation)
    last = -(-room // stride) * stride
    if last >= extent + padding:
        last -= stride
    return last - room if last > room else 0


POOL_DOC = """{what} of each window over {rank} spatial dimension{s}.

Args:
    x: Tensor of shape (N, C, {extents}), or without N.
    kernel_size: Extent of the window: an int, or one for each spatial dimension.
    stride: Step of the window; its extent when None.
    padding: {padding} on both sides, at most half of the window.
    {last}
    ceil_mode: Also take a last window that reaches beyond the edge.
    {more}

Returns:
    Tensor with other spatial extents.{ties}

Raises:
    ShapeError: The number of dimensions is another, or the window does not fit.

Example:
    >>> import dualflow as df
    >>> df.nn.functional.{name}(df.ones({x}), 2).shape
    {y}
"""


def documented(function: Any, name: str, rank: int, **words: str) -> Any:
    """Gives a function its name and docstring, and registers it."""
    function.__name__ = function.__qualname__ = name
    function.__doc__ = POOL_DOC.format(
        name=name,
        rank=rank,
        s="" if rank == 1 else "s",
        extents=", ".join("DHW"[3 - rank :]),
        x=(1, 2, *(8,) * rank),
        y=(1, 2, *(4,) * rank),
        **words,
    )
    return api(function)


# ----- the largest -----


@placed
def flat_places(x: Tensor, attrs: dict[str, Any]) -> Tensor:
    """Where in the spatial dimensions of `x`, taken as one, the largest elements stand."""
    rank = len(attrs["window"])
    inner = pool("argmax", x, **attrs)
    counts = inner.shape[inner.ndim - rank :]
    found: Any = 0
    for k in range(rank):
        size = math.prod(attrs["window"][k + 1 :])
        within = inner // size % attrs["window"][k]
        start = arange(counts[k]) * attrs["stride"][k] - attrs["padding"][k][0]
        place = reshape(start, (-1, *(1,) * (rank - 1 - k))) + within * attrs["dilation"][k]
        found = found * x.shape[x.ndim - rank + k] + place
    return found


def _max_pool_function(rank: int) -> Any:
    name = f"max_pool{rank}d"

    def largest(
        x: Any,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        *,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Any:
        x = as_tensor(x)
        attrs = settings(name, rank, x, kernel_size, stride, padding, dilation, ceil_mode)
        y = pool("max", x, **attrs)
        return (y, flat_places(x, attrs)) if return_indices else y

    return documented(
        largest,
        name,
        rank,
        what="The largest element",
        padding="How far windows reach beyond the edges",
        last="dilation: Distance between the elements of the window.",
        more="return_indices: Also return where they stand, the spatial dimensions taken as one.",
        ties=" Of several largest elements the first has the gradient.",
    )


# ----- the mean -----


def _avg_pool_function(rank: int) -> Any:
    name = f"avg_pool{rank}d"

    def average(
        x: Any,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        *,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> Tensor:
        (x,) = meet(name, (as_tensor(x),), "floating")
        attrs = settings(name, rank, x, kernel_size, stride, padding, 1, ceil_mode)
        total = pool("sum", x, **attrs)
        if divisor_override is not None:
            return total / divisor_override
        even = all(low == high for low, high in attrs["padding"])
        if count_include_pad and even:
            return total / math.prod(attrs["window"])
        return total / counted(x, attrs, count_include_pad)

    return documented(
        average,
        name,
        rank,
        what="The mean",
        padding="Zeros",
        last="count_include_pad: Whether the zeros of the padding count as elements.",
        more="divisor_override: What sums are divided by, instead of the number of elements.",
        ties="",
    )


@placed
def counted(x: Tensor, attrs: dict[str, Any], include_pad: bool) -> Tensor:  # noqa: FBT001
    """How many elements of each window count."""
    extents, pairs = x.shape[x.ndim - len(attrs["window"]) :], attrs["padding"]
    if include_pad:  # the padding counts, and what lies beyond it does not
        extents = tuple(n + 2 * low for n, (low, _) in zip(extents, pairs))
        pairs = tuple((0, high - low) for low, high in pairs)
    return pool("sum", ones(extents, dtype=x.dtype), **{**attrs, "padding": pairs})


max_pool1d, max_pool2d, max_pool3d = map(_max_pool_function, (1, 2, 3))
avg_pool1d, avg_pool2d, avg_pool3d = map(_avg_pool_function, (1, 2, 3))
