"""NumPy's folds: with `where=` and `initial=`, without NaN, and statistics of the order."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from dualflow.core.registry import functions
from jit.types import as_dtype, kind

Axis = Any  # an int, a tuple of them, or None


def flattened(x: Any, axis: Axis) -> Any:
    """The axes that a fold is over as one, the last."""
    if axis is None:
        return functions["reshape"](x, (-1,))
    axes = axis if isinstance(axis, tuple) else (axis,)
    x = functions["moveaxis"](x, axes, tuple(range(-len(axes), 0)))
    return functions["reshape"](
        x, (*x.shape[: x.ndim - len(axes)], math.prod(x.shape[-len(axes) :]))
    )


def holds_nan(x: Any) -> bool:
    """Whether elements may be NaN at all."""
    return kind(x.dtype) in ("floating", "complex")


# ----- with where and initial -----


def folded(name: str, neutral: Any, join: str | None) -> Callable[..., Any]:
    """A fold of ours with NumPy's words.

    Args:
        name: Ours.
        neutral: What stands for elements that `where` leaves out; None: `initial`, which NumPy
            wants then.
        join: What brings `initial` and the result together.
    """

    def fold(
        x: Any, axis: Axis = None, *, initial: Any = None, where: Any = None, **more: Any
    ) -> Any:
        if where is not None:
            rest = initial if neutral is None else neutral
            if rest is None:
                raise ValueError(f"np.{name} with where= needs initial=, which the others are")
            x = functions["where"](where, x, rest)
        y = functions[name](x, axis=axis, **more)
        return y if initial is None or join is None else functions[join](y, initial)

    return fold


def mean(
    x: Any, axis: Axis = None, dtype: Any = None, *, where: Any = None, keepdims: bool = False
) -> Any:
    """The mean of the elements that `where` chooses, computed in a dtype."""
    more = {"keepdims": keepdims}
    x = x if dtype is None else functions["astype"](x, dtype)
    if where is None:
        return functions["mean"](x, axis=axis, **more)
    chosen = functions["broadcast_to"](where, x.shape)
    count = functions["sum"](chosen, axis=axis, **more)
    return functions["sum"](functions["where"](chosen, x, 0), axis=axis, **more) / count


# ----- without NaN -----


def without_nan(name: str, neutral: float) -> Callable[..., Any]:
    """A fold or a running fold that leaves NaN out."""

    def fold(x: Any, axis: Any = None, **words: Any) -> Any:
        if holds_nan(x):
            x = functions["where"](functions["isnan"](x), neutral, x)
        return functions[name](x, axis=axis, **words)

    return fold


def running_without_nan(name: str, neutral: float) -> Callable[..., Any]:
    """A running fold that leaves NaN out, of all elements in a row by default."""
    fold = without_nan(name, neutral)
    return lambda x, axis=None, **words: (
        fold(functions["reshape"](x, (-1,)), axis=0, **words)
        if axis is None
        else fold(x, axis=axis, **words)
    )


def extreme_without_nan(name: str, neutral: float) -> Callable[..., Any]:
    """An extreme, or its place, that leaves NaN out; NaN, where there is nothing else."""
    places = name.startswith("arg")

    def fold(x: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
        y = without_nan(name, neutral)(x, axis=axis, keepdims=keepdims)
        if places or not holds_nan(x):
            return y
        nothing = functions["all"](functions["isnan"](x), axis=axis, keepdims=keepdims)
        return functions["where"](nothing, math.nan, y)

    return fold


def nanmean(x: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """The mean of what is not NaN."""
    if not holds_nan(x):
        return functions["mean"](x, axis=axis, keepdims=keepdims)
    known = functions["astype"](~functions["isnan"](x), x.dtype)
    count = functions["sum"](known, axis=axis, keepdims=keepdims)
    return without_nan("sum", 0.0)(x, axis=axis, keepdims=keepdims) / count


def nanvar(x: Any, axis: Any = None, *, correction: float = 0, keepdims: bool = False) -> Any:
    """The variance of what is not NaN."""
    if not holds_nan(x):
        return functions["var"](x, axis=axis, correction=correction, keepdims=keepdims)
    known = ~functions["isnan"](x)
    count = functions["sum"](known, axis=axis, keepdims=keepdims)
    apart = functions["square"](functions["abs"](x - nanmean(x, axis, keepdims=True)))
    total = functions["sum"](functions["where"](known, apart, 0), axis=axis, keepdims=keepdims)
    left = functions["astype"](count - correction, total.dtype)
    return functions["where"](left > 0, total / left, math.nan)


def nanstd(x: Any, axis: Any = None, *, correction: float = 0, keepdims: bool = False) -> Any:
    """The standard deviation of what is not NaN."""
    return functions["sqrt"](nanvar(x, axis, correction=correction, keepdims=keepdims))


# ----- order statistics -----


def ordered(x: Any, axis: Axis) -> Any:
    """The elements of each fold in order, as floating numbers; NaN come last."""
    x = flattened(x, axis)
    x = x if kind(x.dtype) == "floating" else functions["astype"](x, as_dtype("float32"))
    if isinstance(x.shape[-1], int) and x.shape[-1] == 0:
        x = functions["full"]((*x.shape[:-1], 1), math.nan, dtype=x.dtype)
    return functions["sort"](x)


def quantile(
    x: Any,
    q: Any,
    axis: Axis = None,
    *,
    method: str = "linear",
    keepdims: bool = False,
    nan: bool = False,
    scale: float = 1.0,
) -> Any:
    """The numbers below which given shares of the elements lie, between two of them by a line.

    Args:
        x: Real numbers.
        q: The shares, times `scale`.
        axis: Over which.
        method: Only NumPy's default is there.
        keepdims: Keep reduced dimensions with extent 1.
        nan: Leave NaN out; else they make the result NaN.
        scale: 100 for percentiles.
    """
    if method != "linear":
        raise TypeError(f"dualflow has np.quantile with method='linear' only, not {method!r}")
    rows = ordered(x, axis)
    n, isnan = rows.shape[-1], functions["isnan"]
    share = functions["astype"](functions["asarray"](q), rows.dtype) / scale
    shares = functions["reshape"](share, (*share.shape, *[1] * (rows.ndim - 1)))
    count = functions["sum"](~isnan(rows), axis=-1) if nan else functions["asarray"](n)
    most = functions["astype"](functions["maximum"](count - 1, 0), rows.dtype)
    at = shares * most
    low = functions["floor"](at)
    below, above = (
        picked(rows, functions["minimum"](functions["astype"](place, as_dtype("int64")), n - 1))
        for place in (low, functions["ceil"](at))
    )
    y = below + (above - below) * (at - low)
    y = functions["where"](below == above, below, y)  # infinities have no difference
    if not nan:
        y = functions["where"](isnan(rows[..., -1]), math.nan, y)
    if keepdims:
        axes = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
        y = functions["expand_dims"](y, tuple(share.ndim + k % x.ndim for k in axes))
    return y


def picked(rows: Any, at: Any) -> Any:
    """An element of each row, for each share."""
    rest = rows.shape[:-1]
    shares = at.shape[: at.ndim - len(rest)]
    at = functions["broadcast_to"](at, (*shares, *rest))
    at = functions["moveaxis"](functions["reshape"](at, (math.prod(shares), *rest)), 0, -1)
    found = functions["moveaxis"](functions["take_along_axis"](rows, at, axis=-1), -1, 0)
    return functions["reshape"](found, (*shares, *rest))


def quantiles(**fixed: Any) -> Callable[..., Any]:
    """`quantile` of shares or percentages, with NaN or without."""

    def of(x: Any, q: Any, axis: Axis = None, **words: Any) -> Any:
        return quantile(x, q, axis, **fixed, **words)

    return of


def medians(*, nan: bool) -> Callable[..., Any]:
    """`median` and `nanmedian`."""

    def of(x: Any, axis: Axis = None, *, keepdims: bool = False) -> Any:
        return quantile(x, 0.5, axis, keepdims=keepdims, nan=nan)

    return of


# ----- others -----


def ptp(x: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """The largest less the smallest."""
    largest, smallest = (functions[k](x, axis=axis, keepdims=keepdims) for k in ("max", "min"))
    return largest - smallest


def average(
    x: Any, axis: Any = None, weights: Any = None, *, returned: bool = False, keepdims: bool = False
) -> Any:
    """The mean, with weights: of all elements, or of the places along the axis."""
    if weights is None:
        weights = functions["ones_like"](x)
    weights = functions["asarray"](weights)
    if weights.ndim < x.ndim and isinstance(axis, int):
        weights = functions["reshape"](weights, (-1, *[1] * (x.ndim - 1 - axis % x.ndim)))
    weights = functions["broadcast_to"](weights, x.shape)
    total = functions["sum"](weights, axis=axis, keepdims=keepdims)
    y = functions["sum"](x * weights, axis=axis, keepdims=keepdims) / total
    return (y, total) if returned else y


def cov(x: Any, *, rowvar: bool = True, bias: bool = False, ddof: float | None = None) -> Any:
    """The covariances of variables, one in each row."""
    rows = functions["reshape"](x, (1, -1)) if x.ndim < 2 else x if rowvar else x.mT
    centred = rows - functions["mean"](rows, axis=-1, keepdims=True)
    fewer = (0 if bias else 1) if ddof is None else ddof
    found = functions["matmul"](centred, functions["conj"](centred).mT) / (rows.shape[-1] - fewer)
    return functions["squeeze"](found, axis=(0, 1)) if rows.shape[0] == 1 else found


def bincount(x: Any, weights: Any = None, minlength: int = 0) -> Any:
    """How often each whole number from 0 up occurs."""
    least = max(int(functions["max"](x)) + 1, minlength) if x.size else minlength
    if weights is None:
        weights = functions["ones_like"](x, dtype=as_dtype("int64"))
    start = functions["zeros"](least, dtype=functions["asarray"](weights).dtype)
    return start.at[x].add(weights)


def interp(x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None) -> Any:
    """Between points, which are in the order of `xp`, along lines."""
    x, xp, fp = (functions["asarray"](v) for v in (x, xp, fp))
    last = xp.shape[0] - 1
    at = functions["clip"](functions["searchsorted"](xp, x, side="right"), 1, last)
    low, high, below, above = xp[at - 1], xp[at], fp[at - 1], fp[at]
    share = functions["where"](high == low, 0, (x - low) / (high - low))
    y = below + functions["clip"](share, 0, 1) * (above - below)
    y = y if left is None else functions["where"](x < xp[0], left, y)
    return y if right is None else functions["where"](x > xp[last], right, y)


def digitize(x: Any, bins: Any, right: bool = False) -> Any:  # noqa: FBT001, FBT002
    """Between which of the bins, which rise or fall, elements lie."""
    bins, side = functions["asarray"](bins), "left" if right else "right"
    steps = bins[1:] - bins[:-1]
    if bool(functions["all"](steps >= 0)):
        return functions["searchsorted"](bins, x, side=side)
    if not bool(functions["all"](steps <= 0)):
        raise ValueError("np.digitize: bins that neither rise nor fall")
    rising = functions["flip"](bins, axis=0)
    return bins.shape[0] - functions["searchsorted"](rising, x, side=side)


FOLDS: dict[str, str | Callable[..., Any] | None] = {
    "sum": folded("sum", 0, "add"),
    "prod": folded("prod", 1, "multiply"),
    "max": folded("max", None, "maximum"),
    "amax": folded("max", None, "maximum"),
    "min": folded("min", None, "minimum"),
    "amin": folded("min", None, "minimum"),
    "any": folded("any", 0, None),
    "all": folded("all", 1, None),
    "mean": mean,
    "nansum": without_nan("sum", 0.0),
    "nanprod": without_nan("prod", 1.0),
    "nancumsum": running_without_nan("cumulative_sum", 0.0),
    "nancumprod": running_without_nan("cumulative_prod", 1.0),
    "nanmax": extreme_without_nan("max", -math.inf),
    "nanmin": extreme_without_nan("min", math.inf),
    "nanargmax": extreme_without_nan("argmax", -math.inf),
    "nanargmin": extreme_without_nan("argmin", math.inf),
    "nanmean": nanmean,
    "nanvar": nanvar,
    "nanstd": nanstd,
    "median": medians(nan=False),
    "nanmedian": medians(nan=True),
    "quantile": quantiles(),
    "nanquantile": quantiles(nan=True),
    "percentile": quantiles(scale=100.0),
    "nanpercentile": quantiles(scale=100.0, nan=True),
    "ptp": ptp,
    "average": average,
    "cov": cov,
    "bincount": bincount,
    "interp": interp,
    "digitize": digitize,
}
