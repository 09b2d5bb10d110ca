"""Special functions that NumPy lacks, in NumPy: the values that generated code is held against.

Everything is computed in float64 and rounded once. Speed does not matter here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
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
    except ValueError:  # a pole: 0, -1, -2, ...
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


erf = _pointwise(math.erf)
erfc = _pointwise(math.erfc)
erfinv = _pointwise(_erfinv)
lgamma = _pointwise(_lgamma)
digamma = _pointwise(_digamma)
