"""Strided regions of a tensor: read one, replace one, or put one into a filled tensor.

The ops `slice`, `put_slice` and `pad` are closed under transposition: each one's gradient is
written with the others. A region has per axis a start, an extent and a step; a negative step
counts down.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np

from dualflow.core import results
from dualflow.core.axes import canonical_pairs
from dualflow.core.backend import gives_views
from dualflow.core.batching import of_shapes
from dualflow.core.context import context
from dualflow.core.convert import SCALARS, as_tensor
from dualflow.core.devices import beside
from dualflow.core.doors import plain_scalar
from dualflow.core.op import Op, bind
from dualflow.core.registry import api, functions
from dualflow.core.tensor import Tensor
from dualflow.ops.create import zeros_like
from jit.dims import Dim
from jit.errors import DTypeError, ShapeError
from jit.types import TensorType, bool_, format_shape, weak_dtype

Extent = int | Dim
Extents = tuple[Extent, ...]
Slices = tuple[slice, ...]


def python_slices(starts: Extents, shape: Extents, steps: tuple[int, ...]) -> Slices:
    """The region as NumPy takes it; counting down past 0 is written with a stop of None."""
    out = []
    for start, extent, step in zip(starts, shape, steps):
        stop = start + (extent - 1) * step + (1 if step > 0 else -1) if extent else start
        out.append(slice(start, stop if stop >= 0 else None, step))
    return tuple(out)


def check_region(name: str, whole: Extents, starts: Extents, shape: Extents, steps: Any) -> None:
    """Raises ShapeError unless the region lies within a tensor of shape `whole`."""
    inside = len(whole) == len(starts) == len(shape) == len(steps)
    for extent, start, count, step in zip(whole, starts, shape, steps) if inside else ():
        last = start + (count - 1) * step
        inside = inside and (count == 0 or (0 <= start < extent and 0 <= last < extent))
    if not inside:
        raise ShapeError(
            f"{name}: the region {format_shape(shape)} from {format_shape(starts)} by steps "
            f"{format_shape(steps)} does not lie within {format_shape(whole)}",
            "a start and an end inside of each dimension",
            "check the extents",
        )


# ----- reading a region -----


def _slice_type(x: TensorType, *, starts: Extents, shape: Extents, steps: Any) -> TensorType:
    check_region("slice", x.shape, starts, shape, steps)
    return x.with_shape(shape)


def _slice_lower(form: Any, x: Any, *, starts: Extents, shape: Extents, steps: Any) -> Any:
    return form.view(
        x, shape, lambda *at: tuple(s + i * step for s, i, step in zip(starts, at, steps))
    )


_slice = Op(
    name="slice",
    evaluate=lambda xp, x, *, starts, shape, steps: x[python_slices(starts, shape, steps)],
    infer=_slice_type,
    lower=_slice_lower,
    vjps=(lambda g, y, x, *, starts, shape, steps: place(g, x.shape, starts, steps),),
    jvp="linear",
    batch=of_shapes,
)


def region(
    x: Tensor, starts: Extents, shape: Extents, steps: tuple[int, ...] | None = None
) -> Tensor:
    """The elements `x[starts + i * steps]`; `x` itself where that is all of it."""
    steps = (1,) * len(shape) if steps is None else steps
    if shape == x.shape and all(step == 1 for step in steps):
        return x
    return bind(_slice, (x,), {"starts": tuple(starts), "shape": tuple(shape), "steps": steps})


def part(x: Tensor, axis: int, start: Extent, extent: Extent) -> Tensor:
    """`extent` elements along `axis`, all of the others."""
    starts = tuple(start if k == axis else 0 for k in range(x.ndim))
    return region(x, starts, tuple(extent if k == axis else d for k, d in enumerate(x.shape)))


Cut = tuple[Slices, dict[str, Any]]  # for NumPy, and for records


@lru_cache(maxsize=1024)
def cuts(shape: tuple[int, ...], axis: int, ends: tuple[int, ...]) -> list[Cut | None]:
    """The regions between `ends` along an axis; None for one that is all of the tensor."""
    found: list[Cut | None] = []
    for low, high in pairwise(ends):
        starts = tuple(low if k == axis else 0 for k in range(len(shape)))
        extents = tuple(high - low if k == axis else d for k, d in enumerate(shape))
        steps = (1,) * len(shape)
        attrs = {"starts": starts, "shape": extents, "steps": steps}
        found.append(None if extents == shape else (python_slices(starts, extents, steps), attrs))
    return found


def pieces(x: Tensor, axis: int, ends: tuple[Extent, ...]) -> tuple[Tensor, ...]:
    """The parts of `x` between `ends` along an axis."""
    array: Any = x.raw if context.trace is None else None
    if not gives_views(array):
        return tuple(part(x, axis, low, high - low) for low, high in pairwise(ends))
    return taken(x, cuts(array.shape, axis, ends))


def taken(x: Tensor, regions: list[Cut | None]) -> tuple[Tensor, ...]:
    """The regions of a tensor that is here."""
    array, given, result = x.raw, (x,), results.result
    return tuple(
        [x if cut is None else result(_slice, given, cut[1], array[cut[0]]) for cut in regions]
    )


# ----- a region of an otherwise filled tensor -----


def position_within(i: Any, start: Extent, step: int) -> Any:
    """Which element of a region lies at `i`, provided that `lands` holds."""
    return (i - start) // step if step > 0 else (start - i) // -step


def lands(i: Any, start: Extent, step: int) -> tuple[Any, int]:
    """The condition of a form that an element of the region lies at `i`, not between two."""
    return (i - start) % abs(step), 1


def _pad_lower(
    form: Any, x: Any, *, shape: Extents, starts: Extents, steps: Any, value: Any
) -> Any:
    def where(*at: Any) -> list[Any]:
        return [lands(*each) for each in zip(at, starts, steps) if abs(each[-1]) != 1]

    return form.view(
        x,
        shape,
        lambda *at: tuple(map(position_within, at, starts, steps)),
        fill=value,
        where=where,
    )


def _pad_evaluate(
    xp: Any, x: Any, *, shape: Extents, starts: Extents, steps: Any, value: Any
) -> Any:
    nothing = value.__class__ is int and value == 0  # -0.0 is something
    y = xp.zeros(shape, x.dtype) if nothing else xp.full(shape, value, x.dtype)
    y[python_slices(starts, x.shape, steps)] = x
    return y


def _pad_type(
    x: TensorType, *, shape: Extents, starts: Extents, steps: Any, value: Any
) -> TensorType:
    check_region("pad", shape, starts, x.shape, steps)
    return x.with_shape(shape)


_pad = Op(
    name="pad",
    pads=True,
    evaluate=_pad_evaluate,
    infer=_pad_type,
    lower=_pad_lower,
    vjps=(lambda g, y, x, *, shape, starts, steps, value: region(g, starts, x.shape, steps),),
    jvp=lambda tangents, y, x, *, shape, starts, steps, value: place(
        tangents[0], shape, starts, steps
    ),
    batch=of_shapes,
)


def place(
    x: Tensor, shape: Extents, starts: Extents, steps: tuple[int, ...], value: Any = 0
) -> Tensor:
    """A tensor of `shape` that holds `x` in a region and `value` elsewhere."""
    return bind(
        _pad, (x,), {"shape": tuple(shape), "starts": starts, "steps": steps, "value": value}
    )


@api
def pad(x: Any, pad_width: Any, mode: str = "constant", *, constant_values: Any = 0) -> Tensor:
    """`x` with a frame around it, as `numpy.pad` makes it.

    Args:
        x: Tensor of any shape and dtype.
        pad_width: How many elements come before and after: one number for every axis, one pair
            for every axis, or a pair for each axis.
        mode: What the frame holds: "constant", one number; "edge", the outermost elements;
            "reflect" and "symmetric", the elements mirrored, without the outermost ones and with
            them; "wrap", the elements from the other end.
        constant_values: A Python number that `x`'s dtype can hold.

    Returns:
        Tensor whose extents are larger by the widths.

    Raises:
        ShapeError: A width is negative, there are not as many pairs as axes, or there are no
            elements to repeat.
        ValueError: There is no such mode.
        DTypeError: The number does not suit the dtype.

    Example:
        >>> import dualflow as df
        >>> df.pad(df.ones(2), (1, 2)).tolist()
        [0.0, 1.0, 1.0, 0.0, 0.0]
        >>> df.pad(df.asarray([1, 2, 3]), 2, mode="reflect").tolist()
        [3, 2, 1, 2, 3, 2, 1]
    """
    x = as_tensor(x)
    if mode not in MODES:
        raise ValueError(f"pad: mode={mode!r}, expected one of {', '.join(MODES)}")
    widths = canonical_pairs("pad", pad_width, x.ndim)
    if any(isinstance(w, int) and w < 0 for pair in widths for w in pair):
        raise ShapeError(
            f"pad: pad_width {pad_width} is negative", "widths of 0 or more", "x[1:-1]"
        )
    if mode != "constant":
        return _repeated(x, widths, mode)
    constant_values = plain_scalar(constant_values)
    if x.dtype == bool_ and constant_values in (0, 1):
        constant_values = bool(constant_values)
    number = isinstance(constant_values, SCALARS)
    if not number or weak_dtype(constant_values, x.dtype) != x.dtype:
        raise DTypeError(
            f"pad: {constant_values!r} into a tensor of dtype {x.dtype}",
            f"a number that {x.dtype} can hold",
            "x.astype(...)" if number else "df.pad once for each value",
        )
    shape = tuple(d + low + high for d, (low, high) in zip(x.shape, widths))
    return place(x, shape, tuple(low for low, _ in widths), (1,) * x.ndim, constant_values)


MODES = ("constant", "edge", "reflect", "symmetric", "wrap")


def _repeated(x: Tensor, widths: Any, mode: str) -> Tensor:
    """`x` with a frame of its own elements."""
    for axis, (low, high) in enumerate(widths):
        extent = x.shape[axis]
        if isinstance(low + high, int) and low + high == 0:
            continue
        if isinstance(extent, int) and extent == 0:
            raise ShapeError(
                f"pad: nothing to repeat along axis {axis} of {format_shape(x.shape)}",
                "elements, or width 0",
                'mode="constant"',
            )
        with beside(x):
            at = functions["arange"](-low, extent + high)
        x = functions["take"](x, _source(at, extent, mode), axis=axis)
    return x


def _source(at: Tensor, extent: Extent, mode: str) -> Tensor:
    """Which elements stand at the places `at`, counted from the first element."""
    if mode == "edge":
        return functions["clip"](at, 0, extent - 1)
    if mode == "wrap":
        return at % extent
    period = 2 * extent if mode == "symmetric" else 2 * extent - 2
    if isinstance(period, int) and period == 0:
        return at * 0
    at = at % period
    mirrored = (period - 1 if mode == "symmetric" else period) - at
    return functions["minimum"](at, mirrored)


# ----- replacing a region -----


def _put_type(x: TensorType, v: TensorType, *, starts: Extents, steps: Any) -> TensorType:
    check_region("put_slice", x.shape, starts, v.shape, steps)
    if x.dtype != v.dtype:
        raise DTypeError(f"put_slice: {v.dtype} into {x.dtype}", "one dtype", "v.astype(x.dtype)")
    return x


def _put_evaluate(xp: Any, x: Any, v: Any, *, starts: Extents, steps: Any) -> Any:
    y = x.copy()
    y[python_slices(starts, v.shape, steps)] = v
    return y


def _put_jvp(tangents: Any, y: Any, x: Any, v: Any, *, starts: Extents, steps: Any) -> Tensor:
    t_x, t_v = (zeros_like(p) if t is None else t for p, t in zip((x, v), tangents))
    return put_region(t_x, t_v, starts, steps)


_put_slice = Op(
    name="put_slice",
    evaluate=_put_evaluate,
    infer=_put_type,
    lower=lambda form, x, v, *, starts, steps: form.scatter(
        "set", x, v, lambda *at: tuple(s + i * step for s, i, step in zip(starts, at, steps))
    ),
    vjps=(
        lambda g, y, x, v, *, starts, steps: put_region(g, zeros_like(v), starts, steps),
        lambda g, y, x, v, *, starts, steps: region(g, starts, v.shape, steps),
    ),
    jvp=_put_jvp,
    batch=of_shapes,
)


def put_region(
    x: Tensor, v: Tensor, starts: Extents, steps: tuple[int, ...] | None = None
) -> Tensor:
    """`x` with `v` at `starts + i * steps`; `v` itself where that is all of it."""
    steps = (1,) * x.ndim if steps is None else steps
    if v.shape == x.shape and all(step == 1 for step in steps):
        return v
    return bind(_put_slice, (x, v), {"starts": starts, "steps": steps})


# ----- Python's slices -----


def resolve(bounds: slice, extent: Extent) -> tuple[Extent, Extent, int]:
    """Start, extent and step of `x[bounds]`, clamped as Python does; tensors may be bounds.

    Raises:
        TypeError: A bound, or the step, is no whole number.
        ValueError: The step is 0.
    """
    step = 1 if bounds.step is None else whole(bounds.step)
    if step == 0:
        raise ValueError("slice step cannot be zero")
    low, high = (0, extent) if step > 0 else (-1, extent - 1)
    first, end = (low, high) if step > 0 else (high, low)
    start = first if bounds.start is None else _clamped(bounds.start, extent, low, high)
    stop = end if bounds.stop is None else _clamped(bounds.stop, extent, low, high)
    distance = stop - start if step > 0 else start - stop
    if distance <= 0:
        return 0, 0, 1
    stride = abs(step)
    count = distance if stride == 1 else (distance + stride - 1) // stride
    return start, count, 1 if isinstance(count, int) and count == 1 else step


def _clamped(bound: Any, extent: Extent, low: Extent, high: Extent) -> Extent:
    value = bound if isinstance(bound, Dim) else whole(bound)
    if value < 0:
        value = value + extent
    return low if value < low else high if value > high else value


def whole(bound: Any) -> int:
    """A bound of a slice as an int, or the error of Python's own slices."""
    if not hasattr(type(bound), "__index__"):
        slice(bound).indices(0)  # which says what a bound must be
    return bound.__index__()


def is_plain(index: Any) -> bool:
    """Whether NumPy reads `index` as this module does: ints and slices, None and Ellipsis."""
    return PLAIN.issuperset(map(type, index)) if index.__class__ is tuple else type(index) in PLAIN


PLAIN = frozenset({int, slice, type(None), type(Ellipsis), np.int64})
