"""Running folds along an axis: cumulative sums and products."""

from __future__ import annotations

from typing import Any, Never

from dualflow.core.axes import canonical_axis
from dualflow.core.batching import along_axes
from dualflow.core.convert import as_tensor
from dualflow.core.define import conjugated
from dualflow.core.devices import placed
from dualflow.core.op import Op, bind
from dualflow.core.precision import in_full
from dualflow.core.registry import api, functions, refused
from dualflow.core.tensor import Tensor
from dualflow.ops.elementwise import astype
from jit.errors import AxisError
from jit.types import as_dtype, dtypes, format_shape, int64, kind


def accumulator(dtype: Any) -> Any:
    """The dtype that sums and products of `dtype` are in."""
    if kind(dtype) in ("bool", "integer"):
        return dtypes["uint64"] if dtype.kind == "u" else int64
    return dtype


def _evaluate(name: str, neutral: int) -> Any:
    def evaluate(xp: Any, x: Any, *, axis: int, exclusive: bool, reverse: bool) -> Any:
        along = xp.moveaxis(x, axis, 0)
        along = along[::-1] if reverse else along
        out = getattr(xp, name)(along, axis=0, dtype=x.dtype)
        if exclusive and len(out):
            out = xp.concatenate((xp.full_like(out[:1], neutral), out[:-1]))
        return xp.moveaxis(out[::-1] if reverse else out, 0, axis)

    return evaluate


def _scan(name: str, numpy: str, neutral: int, combine: str, **rules: Any) -> Op:
    return Op(
        name=name,
        evaluate=_evaluate(numpy, neutral),
        infer=lambda x, *, axis, exclusive, reverse: x,
        lower=lambda form, x, *, axis, exclusive, reverse: form.scan(
            combine, x, axis, reverse=reverse, exclusive=exclusive
        ),
        batch=along_axes,
        **rules,
    )


# ----- sum -----
_running_sum = _scan(
    "cumulative_sum",
    "cumsum",
    0,
    "sum",
    vjps=(
        lambda g, y, x, *, axis, exclusive, reverse: running_sum(
            g, axis, exclusive=exclusive, reverse=not reverse
        ),
    ),
    jvp="linear",
)


def running_sum(x: Tensor, axis: int, *, exclusive: bool = False, reverse: bool = False) -> Tensor:
    """The sum up to each element; without it when `exclusive`, from the end when `reverse`."""
    return bind(_running_sum, (x,), {"axis": axis, "exclusive": exclusive, "reverse": reverse})


# ----- product -----


def _product_vjp(g: Any, y: Any, x: Any, *, axis: int, exclusive: bool, reverse: bool) -> Any:
    """Without dividing by `x`, which may be 0.

    The cotangent of x[i] is the product of all before it times s[i], where s[i] sums over k >= i
    the g[k] times the product of x[i+1] ... x[k]; hence s[i] = g[i] + x[i+1] s[i+1].
    """
    before = running_product(x, axis, exclusive=True, reverse=reverse)
    if exclusive:  # what comes out at k is what the inclusive product has before it
        g = shifted(g, axis, 1, 0, reverse=reverse)
    rest = linear_recurrence(
        shifted(conjugated(x), axis, 1, 0, reverse=reverse), g, axis, reverse=reverse
    )
    return conjugated(before) * rest


def linear_recurrence(a: Tensor, b: Tensor, axis: int, *, reverse: bool) -> Tensor:
    """The s with s[i] = b[i] + a[i] s[i+1], in log2(n) rounds; each composes maps twice as far."""
    distance = 1
    while distance < a.shape[axis]:
        b = b + a * shifted(b, axis, distance, 0, reverse=reverse)
        a = a * shifted(a, axis, distance, 0, reverse=reverse)
        distance *= 2
    return b


@placed
def shifted(x: Tensor, axis: int, distance: int, fill: float, *, reverse: bool) -> Tensor:
    """x[i + distance] at i, and `fill` where there is none; x[i - distance] when `reverse`."""
    extent = x.shape[axis]
    edge = functions["full"]((*x.shape[:axis], distance, *x.shape[axis + 1 :]), fill, dtype=x.dtype)
    where = (slice(None),) * axis
    if reverse:
        return functions["concat"]([edge, x[(*where, slice(0, extent - distance))]], axis=axis)
    return functions["concat"]([x[(*where, slice(distance, None))], edge], axis=axis)


def _product_jvp(
    tangents: tuple[Any, ...], y: Any, x: Any, *, axis: int, exclusive: bool, reverse: bool
) -> Any:
    """t[k] = x[k] t[k-1] + (the product of all before k) * the tangent of x[k]."""
    before = running_product(x, axis, exclusive=True, reverse=reverse)
    steps = before * tangents[0]
    t = linear_recurrence(x, steps, axis, reverse=not reverse)
    return shifted(t, axis, 1, 0, reverse=not reverse) if exclusive else t


_running_product = _scan(
    "cumulative_prod", "cumprod", 1, "prod", vjps=(_product_vjp,), jvp=_product_jvp
)


def running_product(
    x: Tensor, axis: int, *, exclusive: bool = False, reverse: bool = False
) -> Tensor:
    """The product of all elements up to each, like `running_sum`."""
    return bind(_running_product, (x,), {"axis": axis, "exclusive": exclusive, "reverse": reverse})


# ----- the public functions -----


@placed
def _cumulative(
    name: str,
    run: Any,
    neutral: int,
    x: Any,
    axis: int | None,
    dtype: Any,
    *,
    include_initial: bool,
) -> Tensor:
    x = as_tensor(x)
    if axis is None and x.ndim != 1:
        raise AxisError(
            f"{name}: a tensor of shape {format_shape(x.shape)} needs an axis",
            "axis=, unless there is one dimension",
            f"df.{name}(x, axis=-1)",
        )
    k = canonical_axis(name, 0 if axis is None else axis, x.ndim)
    x = in_full(astype(x, accumulator(x.dtype))) if dtype is None else astype(x, as_dtype(dtype))
    y = run(x, k)
    if not include_initial:
        return y
    first = functions["full"]((*x.shape[:k], 1, *x.shape[k + 1 :]), neutral, dtype=x.dtype)
    return functions["concat"]([first, y], axis=k)


@api
def cumulative_sum(
    x: Any,
    /,
    *,
    axis: int | None = None,
    dtype: Any = None,
    include_initial: bool = False,
    **foreign: Never,
) -> Tensor:
    """The sum of all elements up to each, along `axis`.

    Args:
        x: Tensor of one dimension or more; numbers or bools.
        axis: The axis; may be left out for one dimension.
        dtype: Of the sums; by default that of `x`, and int64 (uint64) for narrower integers and
            bools.
        include_initial: Begin with a 0, so that the axis is one longer.

    Returns:
        Tensor of the shape of `x`.

    Raises:
        AxisError: The axis is outside of the dimensions of `x`, or is missing.

    Example:
        >>> import dualflow as df
        >>> df.cumulative_sum(df.asarray([1, 2, 3])).tolist()
        [1, 3, 6]
    """
    if foreign:
        raise refused("cumulative_sum", foreign)
    return _cumulative(
        "cumulative_sum", running_sum, 0, x, axis, dtype, include_initial=include_initial
    )


@api
def cumulative_prod(
    x: Any,
    /,
    *,
    axis: int | None = None,
    dtype: Any = None,
    include_initial: bool = False,
    **foreign: Never,
) -> Tensor:
    """The product of all elements up to each, along `axis`.

    Args:
        x: Tensor of one dimension or more; numbers or bools.
        axis: The axis; may be left out for one dimension.
        dtype: Of the products; by default that of `x`, and int64 (uint64) for narrower integers.
        include_initial: Begin with a 1, so that the axis is one longer.

    Returns:
        Tensor of the shape of `x`. Gradients are right where elements are 0.

    Raises:
        AxisError: The axis is outside of the dimensions of `x`, or is missing.

    Example:
        >>> import dualflow as df
        >>> df.cumulative_prod(df.asarray([1, 2, 3])).tolist()
        [1, 2, 6]
    """
    if foreign:
        raise refused("cumulative_prod", foreign)
    return _cumulative(
        "cumulative_prod", running_product, 1, x, axis, dtype, include_initial=include_initial
    )
