"""NumPy's functions of lines of samples: slopes, sliding products, polynomials, frames."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dualflow.core.axes import canonical_pairs
from dualflow.core.numpy_folds import FOLDS, cov
from dualflow.core.registry import functions
from jit.types import kind

# ----- slopes -----


def gradient(f: Any, *varargs: Any, axis: Any = None, edge_order: int = 1) -> Any:
    """Differences of neighbours on both sides, by distances or places; an array for each axis."""
    f = inexact(f)
    axes = range(f.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    steps = list(varargs) or [1.0]
    steps = steps * len(axes) if len(steps) == 1 else steps
    if len(steps) != len(axes):
        raise TypeError(f"gradient: {len(varargs)} distances for {len(axes)} axes")
    found = [
        functions["moveaxis"](slopes(functions["moveaxis"](f, k, -1), step, edge_order), -1, k)
        for k, step in zip(axes, steps, strict=True)
    ]
    return found[0] if len(found) == 1 else tuple(found)


def inexact(x: Any) -> Any:
    """`x`, with integers as float64."""
    x = functions["asarray"](x)
    return functions["astype"](x, "float64") if kind(x.dtype) in ("integer", "bool") else x


def slopes(f: Any, step: Any, edge_order: int) -> Any:
    """Slopes along the last axis: of second order inside, at the ends of the order wanted."""
    if edge_order not in (1, 2) or f.shape[-1] < edge_order + 1:
        raise ValueError(f"gradient: {f.shape[-1]} samples, edge_order={edge_order}")
    count = f.shape[-1] - 1
    if np.ndim(step) == 0:
        h = functions["full"]((count,), 1.0, dtype=f.dtype) * step
    else:
        h = functions["diff"](functions["astype"](functions["asarray"](step), f.dtype))
    d = functions["diff"](f, axis=-1) / h
    before, after = h[:-1], h[1:]
    inner = (d[..., :-1] * after + d[..., 1:] * before) / (before + after)
    first, last = d[..., :1], d[..., -1:]
    if edge_order == 2:
        first = first + (first - d[..., 1:2]) * h[:1] / (h[:1] + h[1:2])
        last = last + (last - d[..., -2:-1]) * h[-1:] / (h[-1:] + h[-2:-1])
    return functions["concat"]([first, inner, last], axis=-1)


# ----- sliding products -----


def convolve(a: Any, v: Any, mode: str = "full") -> Any:
    """Sums of products of one row with the other in reverse, at all shifts that `mode` keeps."""
    a, v = (functions["reshape"](functions["asarray"](x), (-1,)) for x in (a, v))
    if len(a) < len(v):
        a, v = v, a
    n, m = len(a), len(v)
    if mode not in ("full", "same", "valid") or not m:
        raise ValueError(f"convolve: mode={mode!r} for {n} and {m} elements")
    first, count = {"full": (0, n + m - 1), "same": ((m - 1) // 2, n), "valid": (m - 1, n - m + 1)}[
        mode
    ]
    wide = functions["pad"](a, ((m - 1, m - 1),))[first : first + count + m - 1]
    back = functions["flip"](v, axis=0)
    dtype = (a[:1] * v[:1]).dtype
    if kind(dtype) == "floating":
        rows = (
            functions["reshape"](functions["astype"](x, dtype), (1, 1, -1)) for x in (wide, back)
        )
        return functions["reshape"](functions["conv1d"](*rows), (count,))
    places = functions["arange"](count)[:, None] + functions["arange"](m)
    return functions["matmul"](functions["take"](wide, places, axis=0), back)


def correlate(a: Any, v: Any, mode: str = "valid") -> Any:
    """Sums of products of one row with the other, conjugated, at all shifts that `mode` keeps."""
    a, v = functions["asarray"](a), functions["asarray"](v)
    if len(a) < len(v):  # the shifts of the shorter one, the other way round
        return functions["flip"](functions["conj"](correlate(v, a, mode)), axis=0)
    return convolve(a, functions["flip"](functions["conj"](v), axis=0), mode)


def polyval(p: Any, x: Any) -> Any:
    """A polynomial's values, by Horner's rule; the coefficient of the highest power comes first."""
    p = functions["asarray"](p)
    y = functions["zeros_like"](functions["asarray"](x)) + p[0]
    for k in range(1, p.shape[0]):
        y = y * x + p[k]
    return y


def corrcoef(x: Any, *, rowvar: bool = True) -> Any:
    """Covariances divided by standard deviations: from -1 to 1."""
    c = cov(inexact(x), rowvar=rowvar)
    if c.ndim == 0:
        return c / c
    deviation = functions["sqrt"](functions["diagonal"](c))
    return functions["clip"](c / deviation[:, None] / deviation, -1.0, 1.0)


# ----- frames -----


def pad(
    x: Any,
    pad_width: Any,
    mode: str = "constant",
    *,
    constant_values: Any = 0,
    stat_length: Any = None,
    end_values: Any = 0,
) -> Any:
    """A frame as ours makes it, of one number of each line, or of a slope to an end value."""
    x = functions["asarray"](x)
    if mode == "empty":
        mode, constant_values = "constant", 0
    if mode not in (*OF_LINES, "linear_ramp"):
        return functions["pad"](x, pad_width, mode, constant_values=constant_values)
    widths = canonical_pairs("pad", pad_width, x.ndim)
    lengths = [(None, None)] * x.ndim
    if stat_length is not None:
        lengths = canonical_pairs("pad", stat_length, x.ndim)
    ends = per_axis(end_values, x.ndim)
    for axis in range(x.ndim):
        line = functions["moveaxis"](x, axis, -1)
        if mode == "linear_ramp":
            made = [
                ramp(line[..., at], *pair) for at, *pair in zip((0, -1), widths[axis], ends[axis])
            ]
            before, after = made[0], functions["flip"](made[1], axis=-1)
        else:
            before, after = (
                repeated(line, OF_LINES[mode], length, width, at_end=at_end)
                for at_end, (length, width) in enumerate(zip(lengths[axis], widths[axis]))
            )
        line = functions["concat"]([before, line, after], axis=-1)
        x = functions["moveaxis"](line, -1, axis)
    return x


OF_LINES: dict[str, str] = {
    "maximum": "max",
    "minimum": "min",
    "mean": "mean",
    "median": "median",
}


def repeated(line: Any, fold: str, length: Any, width: int, *, at_end: Any) -> Any:
    """One number of each line, or of so many elements at an end of it, as often as is wanted."""
    count = line.shape[-1]
    length = count if length is None else min(int(length), count)
    part = line[..., count - length :] if at_end else line[..., :length]
    found = (
        MEDIAN(part, axis=-1) if fold == "median" else functions[fold](inner(part, fold), axis=-1)
    )
    if kind(line.dtype) == "integer" and fold in ("mean", "median"):
        found = functions["round"](found)
    found = functions["astype"](found, line.dtype)[..., None]
    return functions["broadcast_to"](found, (*line.shape[:-1], width))


def inner(part: Any, fold: str) -> Any:
    """What is folded: the mean of whole numbers is one of floats."""
    return inexact(part) if fold == "mean" else part


def ramp(edge: Any, width: int, end: Any) -> Any:
    """From an end value up to, and without, the edge of each line."""
    edge = edge[..., None]
    share = functions["arange"](width, dtype=inexact(edge).dtype) / max(width, 1)
    found = end + (edge - end) * share
    return functions["astype"](found, edge.dtype)


def per_axis(values: Any, ndim: int) -> list[tuple[Any, Any]]:
    """A pair for each axis, from one number, a pair, or pairs."""
    return [tuple(pair) for pair in np.broadcast_to(np.asarray(values), (ndim, 2)).tolist()]


MEDIAN: Any = FOLDS["median"]
LINES: dict[str, Callable[..., Any]] = {
    "convolve": convolve,
    "corrcoef": corrcoef,
    "correlate": correlate,
    "gradient": gradient,
    "pad": pad,
    "polyval": polyval,
}
