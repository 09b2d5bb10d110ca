"""Powers and roots."""

from __future__ import annotations

from typing import Any

import numpy as np

from dualflow.core.define import attach, elementwise
from dualflow.core.registry import api, functions
from dualflow.core.tensor import Tensor
from dualflow.ops.choice import where
from dualflow.ops.special import log
from jit.errors import DTypeError
from jit.types import int64, kind

square = elementwise(
    "square",
    lambda y, x: x * 2,
    doc="Each element times itself.",
    example="[4.0, 9.0] -> [16.0, 81.0]",
)
sqrt = elementwise(
    "sqrt",
    lambda y, x: 0.5 / y,
    accepts="inexact",
    doc="Square root of each element.",
    example="[4.0, 9.0] -> [2.0, 3.0]",
)
reciprocal = elementwise(
    "reciprocal",
    lambda y, x: -square(y),
    accepts="inexact",
    doc="1 divided by each element.",
    example="[2.0, 4.0] -> [0.5, 0.25]",
)


def _power(xp: Any, a: Any, b: Any) -> Any:
    dtype = a.dtype if hasattr(a, "dtype") else b.dtype
    if kind(dtype) == "integer" and np.any(b < 0):
        raise negative_exponent(b)
    return xp.pow(a, b)


def negative_exponent(exponent: Any) -> DTypeError:
    """The error of an integer to the power of a negative one."""
    return DTypeError(
        f"pow: integers to the power of {exponent!r} are no integers",
        "exponents >= 0 for integers",
        "x.astype(df.float32) ** exponent",
    )


def _by_base(y: Any, a: Any, b: Any) -> Any:
    if isinstance(b, Tensor):
        singular = (a == 0) & (b == 0)  # 0 * 0 ** -1 would be NaN
        return b * _pow(a, where(singular, 1, b) - 1)
    if b == 0:
        return functions["zeros_like"](y)
    return a * 2 if b == 2 else b * pow(a, b - 1)  # which squares where compiled code does


def _by_exponent(y: Any, a: Any, b: Any) -> Any:
    base = a if isinstance(a, Tensor) else functions["asarray"](a, dtype=y.dtype)
    zero = base == 0  # 0 ** b is constant around b > 0, where y * log(0) would be NaN
    if kind(y.dtype) != "complex":
        zero = zero & (b >= 0)
    return y * log(where(zero, 1, base))


def _pow_lower(form: Any, a: Any, b: Any) -> Any:
    """Loads from a table of one place check that integers have no negative exponent."""
    power = form.pointwise("pow", a, b)
    if b.dtype.kind != "i":
        return power
    low = form.pointwise("minimum", b, form.constant(0, b.dtype))
    place = form.pointwise("astype", low, dtype=int64)
    zero = form.constant(0, power.dtype, (1,))
    checked = form.view(zero, place.shape, lambda *at: (form.load(place, *at),))
    return form.pointwise("add", power, checked)


_pow = elementwise(
    "pow",
    _by_base,
    _by_exponent,
    evaluate=_power,
    lower=_pow_lower,
    doc="`x1` to the power of `x2`.",
    example="[2.0, 3.0]; [3.0, 2.0] -> [8.0, 9.0]",
)


@api
def pow(x1: Any, x2: Any, /) -> Tensor:
    """`x1` to the power of `x2`, element by element.

    Args:
        x1: Tensor of any shape, or a number.
        x2: Tensor or number; an exponent of 2 is computed as `square`. Anything to the power of 0
            is 1.

    Returns:
        Tensor of the broadcast shape, in the dtype in which both meet. Gradients are exact at 0:
        those of x**2, x**1 and x**0 are 0, 1 and 0 there.

    Raises:
        DTypeError: Integers to a negative power, or bools.

    Example:
        >>> import dualflow as df
        >>> (df.asarray([1.0, 2.0, 3.0]) ** 2).tolist()
        [1.0, 4.0, 9.0]
    """
    if (x2.__class__ is int or x2.__class__ is float) and isinstance(x1, Tensor):
        if x2 == 2 and kind(x1.dtype) in ("floating", "complex"):
            return square(x1)
        if x2 < 0 and kind(x1.dtype) == "integer" and x2.__class__ is int:
            raise negative_exponent(x2)
    return _pow(x1, x2)


attach("pow", pow, 2)
