"""Choices between values, element by element: where, maximum, minimum, clip."""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np

from dualflow.core.batching import aligned
from dualflow.core.context import context
from dualflow.core.convert import as_tensor
from dualflow.core.define import broadcast, elementwise
from dualflow.core.devices import beside
from dualflow.core.doors import DTYPES_OF, WEAK, fits, in_dtype, meet
from dualflow.core.kernels import computed
from dualflow.core.large import LARGE, computed_at_large
from dualflow.core.op import Op, bind, wrap
from dualflow.core.record import NO_ATTRS, new_record
from dualflow.core.registry import api
from dualflow.core.tensor import Tensor
from dualflow.ops.elementwise import add, astype, equal, greater, less
from jit.errors import DTypeError
from jit.types import TensorType, bool_, kind

# ----- by a condition -----


def _where_type(condition: TensorType, a: TensorType, b: TensorType) -> TensorType:
    if condition.dtype != bool_ or a.dtype != b.dtype:
        raise DTypeError(
            f"where: does not take {condition.dtype}, {a.dtype} and {b.dtype}",
            "a bool condition, and two values of one dtype",
            "x != 0 makes bools of numbers",
        )
    return TensorType(broadcast("where", condition.shape, a.shape, b.shape), a.dtype)


def _where_jvp(tangents: tuple[Any, ...], y: Any, condition: Any, a: Any, b: Any) -> Any:
    _, t1, t2 = tangents
    return where(condition, 0 if t1 is None else t1, 0 if t2 is None else t2)


_where = Op(
    name="where",
    evaluate=lambda xp, condition, a, b: xp.where(condition, a, b),
    infer=_where_type,
    lower=lambda form, condition, a, b: form.pointwise("where", condition, a, b),
    vjps=(
        None,
        lambda g, y, condition, a, b: where(condition, g, 0),
        lambda g, y, condition, a, b: where(condition, 0, g),
    ),
    jvp=_where_jvp,
    batch=aligned(),
)


@api
def where(condition: Any, x1: Any, x2: Any, /) -> Tensor:
    """Elements of `x1` where `condition` is true, of `x2` where it is not.

    Args:
        condition: Tensor of bools.
        x1: Tensor or number of any dtype.
        x2: Tensor or number; both are promoted to one dtype.

    Returns:
        Tensor of the broadcast shape. What was not chosen gets no gradient.

    Raises:
        DTypeError: `condition` does not hold bools.
        ShapeError: The three shapes do not broadcast.

    Example:
        >>> import dualflow as df
        >>> x = df.asarray([-1.0, 2.0])
        >>> df.where(x > 0, x, 0).tolist()
        [0.0, 2.0]
    """
    condition = as_tensor(condition)
    mask: Any = condition.raw if context.trace is None else None
    if mask.__class__ is np.ndarray and mask.dtype is bool_ and _plain(x1, x2):
        a, b = (x.raw if x.__class__ is Tensor else x for x in (x1, x2))
        found = computed_at_large(_where, (mask, a, b), NO_ATTRS) if mask.size >= LARGE else None
        try:
            y = wrap(context.run(np.where, mask, a, b) if found is None else found[0])
            y.record = new_record(_where, (condition, x1, x2), NO_ATTRS)
            return y
        except (ValueError, OverflowError):  # shapes that do not broadcast, too large numbers
            pass
    with beside(condition, x1, x2):
        return bind(_where, (condition, *meet("where", (x1, x2), "any")))


def _plain(x1: Any, x2: Any) -> bool:
    """Whether NumPy combines both as the promotion table says: one dtype, or a weak scalar."""
    if x1.__class__ is not Tensor:
        x1, x2 = x2, x1
    if x1.__class__ is not Tensor or x1.raw.__class__ is not np.ndarray:
        return False
    if x2.__class__ is Tensor:
        return x2.raw.__class__ is np.ndarray and x1.dtype is x2.dtype
    if x1.dtype not in WEAK.get(x2.__class__, ()):
        return False
    return x1.dtype.kind not in "iu" or fits(x2, x1.dtype)  # NumPy would let it wrap around


# ----- by size -----


def _share(y: Any, wins: Any, a: Any, b: Any) -> Any:
    """1 where `a` wins over `b`, 0 where it loses, a half for each where they are equal."""
    return where(equal(a, b), 0.5, astype(wins(a, b), y.dtype))


maximum = elementwise(
    "maximum",
    lambda y, a, b: _share(y, greater, a, b),
    lambda y, a, b: _share(y, greater, b, a),
    accepts="real",
    commutative=False,  # in which order decides between 0.0 and -0.0
    doc="The greater of `x1` and `x2`; NaN if one is. Where equal, each has half the gradient.",
    example="[1, 2, 3]; [3, 2, 1] -> [3, 2, 3]",
)
minimum = elementwise(
    "minimum",
    lambda y, a, b: _share(y, less, a, b),
    lambda y, a, b: _share(y, less, b, a),
    accepts="real",
    commutative=False,
    doc="The lesser of `x1` and `x2`; NaN if one is. Where equal, each has half the gradient.",
    example="[1, 2, 3]; [3, 2, 1] -> [1, 2, 1]",
)


# ----- between bounds -----


def _clip_type(x: TensorType, low: TensorType, high: TensorType) -> TensorType:
    if not x.dtype == low.dtype == high.dtype or kind(x.dtype) not in ("integer", "floating"):
        raise DTypeError(
            f"clip: does not take {x.dtype} between {low.dtype} and {high.dtype}",
            "integers or floating numbers, all alike",
            "x.astype(...)",
        )
    return TensorType(broadcast("clip", x.shape, low.shape, high.shape), x.dtype)


def _clip_lower(form: Any, x: Any, low: Any, high: Any) -> Any:
    return form.pointwise("minimum", form.pointwise("maximum", x, low), high)


def _clip_parts(x: Any, low: Any, high: Any) -> tuple[Any, Any, Any]:
    """Where the result is `x`, `low`, `high`. A bound that `x` just reaches leaves it to `x`."""
    return (x >= low) & (x <= high), (x < low) & (low <= high), (x > high) | (low > high)


def _clip_jvp(tangents: tuple[Any, ...], y: Any, *args: Any) -> Any:
    parts = _clip_parts(*(as_tensor(a, y.dtype) for a in args))
    terms = [where(part, t, 0) for part, t in zip(parts, tangents, strict=True) if t is not None]
    return reduce(add, terms)


def _clip_vjp(k: int) -> Any:
    def vjp(g: Any, y: Any, *args: Any) -> Any:
        return where(_clip_parts(*(as_tensor(a, y.dtype) for a in args))[k], g, 0)

    return vjp


_clip = Op(
    name="clip",
    evaluate=lambda xp, x, low, high: xp.minimum(xp.maximum(x, low), high),
    infer=_clip_type,
    lower=_clip_lower,
    vjps=(_clip_vjp(0), _clip_vjp(1), _clip_vjp(2)),
    jvp=_clip_jvp,
    batch=aligned(),
    fused=True,
)


@api
def clip(x: Any, /, min: Any = None, max: Any = None) -> Tensor:
    """Each element, or the bound that it exceeds.

    Args:
        x: Tensor of any shape; integers or floating numbers.
        min: Lower bound, a number or a tensor that broadcasts with `x`; None for no bound.
        max: Upper bound likewise. Where it is below `min`, the result is `max`.

    Returns:
        Tensor of the broadcast shape, in the dtype in which `x` and the bounds meet. NaN stays NaN.
        An element on a bound keeps its gradient, as in PyTorch.

    Raises:
        DTypeError: Bools or complex numbers, or a bound that the dtype of `x` does not hold.

    Example:
        >>> import dualflow as df
        >>> df.clip(df.asarray([-1.0, 0.5, 2.0]), 0, 1).tolist()
        [0.0, 0.5, 1.0]
    """
    x = as_tensor(x)
    numbers = min.__class__ in NUMBERS and max.__class__ in NUMBERS
    if numbers and context.trace is None and x.raw.__class__ is np.ndarray and x.dtype in FLOATING:
        return _clip_plain(x, min, max)
    given = tuple(bound for bound in (min, max) if bound is not None)
    x, *bounds = meet("clip", (x, *given), "real")
    lowest, highest = extremes(x.dtype)
    low = bounds.pop(0) if min is not None else lowest
    high = bounds.pop(0) if max is not None else highest
    return bind(_clip, in_dtype("clip", (x, low, high), x.dtype))


MANY = 4096  # elements from which on a kernel is faster
NUMBERS = (int, float, type(None))
FLOATING = DTYPES_OF["floating"]


def _clip_plain(x: Tensor, low: float | None, high: float | None) -> Tensor:
    """`clip` between numbers, without asking what needs no asking."""
    lowest, highest = extremes(x.dtype)
    args = (x, lowest if low is None else low, highest if high is None else high)
    found = computed(_clip, (x.raw, *args[1:]), NO_ATTRS) if x.raw.size >= MANY else None
    y = wrap(_clip_small(x.raw, low, high) if found is None else found[0])
    if x.record is not None:
        y.record = new_record(_clip, args, NO_ATTRS)
    return y


def _clip_small(data: Any, low: float | None, high: float | None) -> Any:
    """`clip` in NumPy, which is called sooner than a kernel."""
    given = data
    if low is not None:
        data = context.run(np.maximum, data, low)
    if high is not None:
        own = data if data is not given and data.__class__ is np.ndarray else None
        data = context.run(np.minimum, data, high, out=own)
    return data


def extremes(dtype: Any) -> tuple[Any, Any]:
    """The least and the greatest value of `dtype`."""
    if kind(dtype) == "integer":
        return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    return -float("inf"), float("inf")
