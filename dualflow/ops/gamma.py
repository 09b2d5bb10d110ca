"""The gamma function's logarithm and all derivatives of it.

Higher derivatives are sums of powers, whose rest is the series of Euler and Maclaurin; negative
arguments are reflected: M. Abramowitz and I. A. Stegun, "Handbook of Mathematical Functions"
(1964), 6.4.10, 23.2.3 and 6.4.7. All of it in float64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from dualflow.core.backend import by_host
from dualflow.core.batching import aligned
from dualflow.core.define import (
    elementwise,
    evaluate_definition,
    infer_definition,
    lower_definition,
)
from dualflow.core.doors import meet
from dualflow.core.op import Op, bind
from dualflow.core.registry import api
from dualflow.core.tensor import Tensor
from dualflow.ops.choice import where
from dualflow.ops.elementwise import abs, astype, round
from dualflow.ops.special import sin
from jit.forms import special
from jit.types import float64

TERMS = 10  # that are added one by one before the rest is a series
# B(2k) / (2k)!, from Euler and Maclaurin.
SERIES = (
    1 / 12, -1 / 720, 1 / 30240, -1 / 1209600, 1 / 47900160, -691 / 1307674368000,
    1 / 74724249600, -3617 / 10670622842880000, 43867 / 5109094217170944000,
)  # fmt: skip
LARGEST = 150  # the factorials of higher orders leave float64


gammaln = elementwise(
    "gammaln",
    lambda y, x: digamma(x),
    accepts="floating",
    evaluate=by_host(lambda xp, x: special.lgamma(x)),
    instruction="lgamma",
    doc="log(abs(gamma(x))) of each element; infinite at 0, -1, -2 and so on.",
    example="[1.0, 4.0] -> [0.0, 1.7917...]",
)
digamma = elementwise(
    "digamma",
    lambda y, x: _polygamma(x, 1),
    accepts="floating",
    evaluate=by_host(lambda xp, x: special.digamma(x)),
    doc="The derivative of `gammaln` at each element.",
    example="[1.0, 2.0] -> [-0.5772..., 0.4227...]",
)


def _polynomial(factors: Sequence[float], x: Tensor) -> Tensor:
    """The sum of `factors[k] * x**k`, of two factors or more."""
    found = x * float(factors[-1]) + float(factors[-2])
    for factor in factors[-3::-1]:
        found = found * x + float(factor)
    return found


def _power(x: Tensor, n: int) -> Tensor:
    """`x**n` by products, for n >= 1."""
    if n == 1:
        return x
    half = _power(x, n // 2)
    return half * half * x if n % 2 else half * half


def _zeta(s: int, x: Tensor) -> Tensor:
    """The sum of (x + k)**-s over k = 0, 1, 2, ..., for x > 0."""
    total = 1.0 / _power(x, s)
    for k in range(1, TERMS):
        total = total + 1.0 / _power(x + float(k), s)
    end = x + float(TERMS)
    inverse = 1.0 / end
    square = inverse * inverse
    factors = [c * math.prod(range(s, s + 2 * k + 1)) for k, c in enumerate(SERIES)]
    rest = 1.0 / (s - 1) + inverse * (0.5 + inverse * _polynomial(factors, square))
    return total + rest / _power(end, s - 1)


def _slopes_of_cotangent(n: int, c: Tensor) -> Tensor:
    """The n-th derivative of cot(t), where that is `c`: a polynomial in it."""
    row = [0, 1]  # lowest power first; c' = -(1 + c**2)
    for _ in range(n):
        slopes = [k * a for k, a in enumerate(row)][1:]
        row = [0] * (len(slopes) + 2)
        for k, a in enumerate(slopes):
            row[k] -= a
            row[k + 2] -= a
    return _polynomial(row, c)


def _definition(x: Tensor, *, n: int) -> Tensor:
    wide = astype(x, float64)
    below = wide < 0
    sign = -1.0 if n % 2 == 0 else 1.0
    positive = _zeta(n + 1, where(below, 1 - wide, wide)) * (sign * math.factorial(n))
    rest = where(below, wide, 0.5) - round(where(below, wide, 0.5))
    cotangent = sin(math.pi * (0.5 - abs(rest))) / sin(math.pi * rest)
    turned = _slopes_of_cotangent(n, cotangent) * math.pi ** (n + 1)
    return astype(where(below, -sign * positive - turned, positive), x.dtype)


_op = Op(
    name="polygamma",
    evaluate=evaluate_definition(_definition),
    infer=infer_definition(_definition),
    lower=lower_definition(_definition),
    vjps=(lambda g, y, x, *, n: g * _polygamma(x, n + 1),),
    jvp=lambda tangents, y, x, *, n: tangents[0] * _polygamma(x, n + 1),
    definition=_definition,
    batch=aligned(),
    quiet=False,
)


def _polygamma(x: Tensor, n: int) -> Tensor:
    return bind(_op, (x,), {"n": n})


@api
def polygamma(n: int, x: Any, /) -> Tensor:
    """The n-th derivative of `digamma` at each element.

    Args:
        n: An integer from 0; at most 150.
        x: Tensor of any shape; floating numbers; integers become float32.

    Returns:
        Tensor of the shape of `x`.

    Raises:
        ValueError: There is no such derivative.
        DTypeError: It holds other values.

    Example:
        >>> import dualflow as df
        >>> bool(abs(df.polygamma(1, df.asarray(1.0)) - df.pi**2 / 6) < 1e-6)
        True
    """
    if n.__class__ is not int or not 0 <= n <= LARGEST:
        raise ValueError(f"polygamma: n={n!r}, expected an integer from 0 to {LARGEST}")
    (x,) = meet("polygamma", (x,), "floating")
    return digamma(x) if n == 0 else _polygamma(x, n)
