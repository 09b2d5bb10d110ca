"""Inverse trigonometric functions: all are the angle of a point, brought into an eighth of a turn.

Points beyond 22.5 degrees are turned back by 45, so that a polynomial of the slope is enough.
"""

from __future__ import annotations

from jit.loops.math.doubled import Constants, Pair, fast_two_sum, ratio, two_sum
from jit.loops.math.notation import Notation, Value
from jit.types import float64

# atan(x) = x + x**3 P(x**2) for x <= tan(pi / 8): relative error 2**-61.2.
ATAN = (
    -0.33333333333333326, 0.19999999999997103, -0.1428571428531845, 0.11111111083915785,
    -0.09090907993211747, 0.07692279389205385, -0.06666177722609325, 0.05876548299036003,
    -0.052153969279417824, 0.04491476587793733, -0.033196840182304024, 0.014916537596991072,
)  # fmt: skip
TAN_EIGHTH = 0.41421356237309503
PI: Constants = (3.141592653589793, 1.2246467991473532e-16)
HALF_PI: Constants = (1.5707963267948966, 6.123233995736766e-17)
QUARTER_PI: Constants = (0.7853981633974483, 3.061616997868383e-17)


def angle(w: Notation, y: Value, x: Value) -> Value:
    """The angle of a point (x, y), y >= 0, both float64 and not both 0: from 0 to pi."""
    size = abs(x)
    steep = y > size
    low, high = w.where(steep, size, y), w.where(steep, y, size)
    beyond = low > high * TAN_EIGHTH
    difference, lost1 = two_sum(low, -high)
    total, lost2 = two_sum(high, low)
    above = (w.where(beyond, difference, low), w.where(beyond, lost1, 0.0))
    below = (w.where(beyond, total, high), w.where(beyond, lost2, 0.0))
    t, rest = ratio(w, above, below)
    z = t * t
    found = (t, w.fma(t * z, w.horner(z, ATAN), rest))
    one = w.constant(1.0, x)
    found = _from(w, found, beyond, QUARTER_PI, one)
    found = _from(w, found, steep, HALF_PI, -one)
    found = _from(w, found, x < 0.0, PI, -one)
    return found[0] + found[1]


def _from(w: Notation, a: Pair, condition: Value, base: Constants, sign: Value) -> Pair:
    """Where the condition holds, base + sign * a."""
    high, low = fast_two_sum(base[0], a[0] * sign)
    low = low + w.fma(a[1], sign, base[1])
    return w.where(condition, high, a[0]), w.where(condition, low, a[1])


def atan2(w: Notation, y: Value, x: Value) -> Value:
    """The angle of the point (x, y), from -pi to pi; 0 and infinity have signs."""
    a, b = abs(y.astype(float64)), abs(x.astype(float64))
    rise, run = a, b
    if y.dtype == float64:
        a, b = _scaled(w, a, b)
    infinity, one = float("inf"), w.constant(1.0, a)
    endless = a.eq(infinity) | b.eq(infinity)
    a = w.where(endless, w.where(a.eq(infinity), one, 0.0), a)
    b = w.where(endless, w.where(b.eq(infinity), one, 0.0), b)
    b = w.where(a.eq(0.0) & b.eq(0.0), 1.0, b)
    found = angle(w, a, b.copysign(x.astype(float64)))
    if y.dtype == float64:  # scaled, the lesser of both may have vanished
        found = w.where((rise < run * 2.0**-30) & (x > 0.0), rise / run, found)
    found = found.astype(y.dtype).copysign(y)
    return w.where(y.ne(y) | x.ne(x), y + x, found)


def _scaled(w: Notation, a: Value, b: Value) -> Pair:
    """Both times a power of two, so that sums and products are in range."""
    great = w.where(a > b, a, b)
    scale = w.where(great > 2.0**500, w.constant(2.0**-600, a), 1.0)
    scale = w.where(great < 2.0**-500, 2.0**600, scale)
    return a * scale, b * scale


def atan(w: Notation, x: Value) -> Value:
    """The inverse tangent: the angle of (1, x)."""
    size = w.at_most(abs(x.astype(float64)), 2.0**60)
    return angle(w, size, w.constant(1.0, size)).astype(x.dtype).copysign(x)


def asin(w: Notation, x: Value) -> Value:
    """The inverse sine: the angle of (sqrt(1 - x**2), x)."""
    size = abs(x.astype(float64))
    return angle(w, size, _cosine(w, size)).astype(x.dtype).copysign(x)


def acos(w: Notation, x: Value) -> Value:
    """The inverse cosine: the angle of (x, sqrt(1 - x**2))."""
    wide = x.astype(float64)
    found = angle(w, _cosine(w, wide), wide).astype(x.dtype)
    return w.where(
        abs(x) <= 1.0, found, float("nan")
    )  # else two NaNs meet, and either is passed on


def _cosine(w: Notation, sine: Value) -> Value:
    return w.fma(-sine, sine, 1.0).sqrt()
