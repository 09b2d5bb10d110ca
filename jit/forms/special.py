"""Special functions that NumPy lacks, in NumPy: the values that generated code is held against.

Everything is computed in float64 and rounded once. Speed does not matter here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


def _pointwise(function: Callable[[float], float]) -> Callable[[Any], Array]:
    each = np.frompyfunc(function, 1, 1)

    def apply(x: Any) -> Array:
        x = np.asarray(x)
        with np.errstate(all="ignore"):
            return np.asarray(each(x.astype(np.float64)), np.float64).astype(x.dtype)

    return apply


def _lgamma(x: float) -> float:
    try:
        return math.lgamma(x)
    except (ValueError, OverflowError):  # a pole: 0, -1, -2, ...; or larger than any float
        return math.inf


def _digamma(x: float) -> float:
    """Recurrence up to 16, then the asymptotic series; reflection below 0.5.

    Abramowitz and Stegun, 6.3.5, 6.3.7 and 6.3.18.
    """
    if not math.isfinite(x):
        return x if x > 0 else math.nan
    if x <= 0 and x == math.floor(x):
        return math.nan if x < 0 else math.copysign(math.inf, -math.copysign(1.0, x))
    if x < 0.5:
        return _digamma(1 - x) - math.pi / math.tan(math.pi * math.fmod(x, 1))
    shift = 0.0
    while x < 16:
        shift -= 1 / x
        x += 1
    s = 1 / (x * x)
    series = s * (1 / 12 - s * (1 / 120 - s * (1 / 252 - s * (1 / 240 - s * (1 / 132)))))
    return shift + math.log(x) - 0.5 / x - series


def _erfinv(y: float) -> float:
    """Winitzki's closed form, then Newton's method on erf, or on erfc where erf is close to 1."""
    if not -1 < y < 1:
        return math.copysign(math.inf, y) if abs(y) == 1 else math.nan
    if y < 0:
        return -_erfinv(-y)
    log = math.log1p(-y * y)
    half = 2 / (math.pi * 0.147) + log / 2
    x = math.sqrt(max(math.sqrt(half * half - log / 0.147) - half, 0.0))
    for _ in range(4):
        error = math.erf(x) - y if y < 0.5 else (1 - y) - math.erfc(x)
        step = error * math.sqrt(math.pi) / 2 * math.exp(x * x)
        x -= step / (1 + x * step)
    return x if y else y


# W. J. Cody, "Rational Chebyshev approximations for the error function", Mathematics of Computation
# 23 (1969) 631-637: numerators and denominators, highest power first. Near 0 a function of x**2
# times x; further out a function of |x| times exp(-x**2), which is what erf lacks to 1.
NEAR = (
    (
        1.85777706184603153e-1,
        3.16112374387056560e00,
        1.13864154151050156e02,
        3.77485237685302021e02,
        3.20937758913846947e03,
    ),
    (
        1.0,
        2.36012909523441209e01,
        2.44024637934444173e02,
        1.28261652607737228e03,
        2.84423683343917062e03,
    ),
)
FAR = (
    (
        2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594e00,
        6.61191906371416295e01, 2.98635138197400131e02, 8.81952221241769090e02,
        1.71204761263407058e03, 2.05107837782607147e03, 1.23033935479799725e03,
    ),
    (
        1.0, 1.57449261107098347e01, 1.17693950891312499e02, 5.37181101862009858e02,
        1.62138957456669019e03, 3.29079923573345963e03, 4.36261909014324716e03,
        3.43936767414372164e03, 1.23033935480374942e03,
    ),
)  # fmt: skip


def ratio(coefficients: tuple[tuple[float, ...], tuple[float, ...]], x: Any) -> Any:
    """A rational function of `x`: numerator and denominator, highest power first."""
    above, below = (reduce(lambda sum_, c: sum_ * x + c, row) for row in coefficients)
    return above / below


def erf(x: Any) -> Any:
    """The error function, to 3 units in the last place; it is what eager execution computes too."""
    wide = x.astype(np.float64)
    size = np.minimum(np.abs(wide), 6.0)  # beyond 6 it is 1 to the last bit
    near = wide * ratio(NEAR, np.minimum(size, 0.5) ** 2)
    high = np.floor(size * 16) / 16  # exp(-x**2) as a product, since x**2 would be rounded
    rest = np.exp(-high * high) * np.exp(-(size - high) * (size + high))
    far = np.copysign(1 - rest * ratio(FAR, size), wide)
    return np.where(size < 0.5, near, far).astype(x.dtype)


def expm1(x: Any, xp: Any = np) -> Any:
    """exp(x) - 1; NumPy's of complex numbers gets infinities wrong.

    The special cases are those of C's exp: a real part of -inf is -1 whatever the other part is.

    Args:
        x: An array of `xp`.
        xp: NumPy, or what has its functions.
    """
    if x.dtype.kind != "c":
        return xp.expm1(x)
    a, b = x.real, x.imag
    bounded = xp.isfinite(b)
    real = xp.expm1(a) * xp.cos(b) - 2 * xp.sin(b / 2) ** 2
    real = xp.where((b == 0) | ~(bounded | xp.isfinite(a)), xp.expm1(a), real) + 0.0  # never -0
    imag = xp.where(b == 0, b, xp.exp(a) * xp.sin(b))
    imag = xp.where((a == -np.inf) & ~bounded, 0, imag)
    return xp.stack([real, imag], axis=-1).view(x.dtype)[..., 0]


erfc = _pointwise(math.erfc)
erfinv = _pointwise(_erfinv)
lgamma = _pointwise(_lgamma)
digamma = _pointwise(_digamma)
