"""Inverse trigonometric functions: all are the angle of a point, brought into an eighth of a turn.

In float64 points beyond 22.5 degrees are turned back by 45, so that a polynomial of the slope is
enough. In float32 one polynomial fits the whole eighth, and another half of the inverse sine.
"""

from __future__ import annotations

from jit.loops.math.doubled import Constants, Pair, fast_two_sum, ratio, two_sum
from jit.loops.math.notation import Notation, Value
from jit.types import float32, float64

# atan(x) = x + x**3 P(x**2) for x <= tan(pi / 8): relative error 2**-61.2.
ATAN = (
    -0.33333333333333326, 0.19999999999997103, -0.1428571428531845, 0.11111111083915785,
    -0.09090907993211747, 0.07692279389205385, -0.06666177722609325, 0.05876548299036003,
    -0.052153969279417824, 0.04491476587793733, -0.033196840182304024, 0.014916537596991072,
)  # fmt: skip
# The same for x <= 1, and asin(x) for x <= 1/2, in float32: 2**-28.5, 2**-27.6.
ATAN32 = (
    -0.33333298563957214, 0.1999853104352951, -0.14264051616191864, 0.10951174795627594,
    -0.08400475233793259, 0.05790654197335243, -0.03112698905169964, 0.010887345299124718,
    -0.0017875410849228501,
)  # fmt: skip
ASIN32 = (
    0.16666752099990845, 0.074953094124794, 0.04546915367245674, 0.02418474294245243,
    0.04215838760137558,
)  # fmt: skip
HALF_PI32: Constants = (1.5707963705062866, -4.371138828673793e-08)
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


def angle32(w: Notation, y: Value, x: Value) -> Value:
    """`angle` of float32."""
    size, left = abs(x), x < 0.0
    steep = y > size
    t = w.where(steep, size, y) / w.where(steep, y, size)
    z = t * t
    sign = w.where(steep ^ left, w.number(-1.0, x), 1.0)
    quarters = w.where(steep, 1.0, w.where(left, w.number(2.0, x), 0.0))
    return _turned(w, quarters, sign, (t, t * z * w.horner(z, ATAN32)))


def _turned(w: Notation, quarters: Value, factor: Value, angle: Pair) -> Value:
    """A pair of float32 times a factor, and so many quarter turns more."""
    high, low = HALF_PI32
    turned, lost = fast_two_sum(quarters * high, factor * angle[0])
    return turned + w.fma(quarters, low, w.fma(factor, angle[1], lost))


def _from(w: Notation, a: Pair, condition: Value, base: Constants, sign: Value) -> Pair:
    """Where the condition holds, base + sign * a."""
    high, low = fast_two_sum(base[0], a[0] * sign)
    low = low + w.fma(a[1], sign, base[1])
    return w.where(condition, high, a[0]), w.where(condition, low, a[1])


def atan2(w: Notation, y: Value, x: Value) -> Value:
    """The angle of the point (x, y), from -pi to pi; 0 and infinity have signs."""
    a, b = abs(y), abs(x)
    rise, run = a, b
    if y.dtype == float64:
        a, b = _scaled(w, a, b)
    infinity, one = float("inf"), w.constant(1.0, a)
    endless = a.eq(infinity) | b.eq(infinity)
    a = w.where(endless, w.where(a.eq(infinity), one, 0.0), a)
    b = w.where(endless, w.where(b.eq(infinity), one, 0.0), b)
    b = w.where(a.eq(0.0) & b.eq(0.0), 1.0, b)
    if y.dtype == float32:
        found = angle32(w, a, b.copysign(x))
    else:
        found = angle(w, a, b.copysign(x))
        # Scaled, the lesser of both may have vanished.
        found = w.where((rise < run * 2.0**-30) & (x > 0.0), rise / run, found)
    return w.where(y.ne(y) | x.ne(x), y + x, found.copysign(y))


def _scaled(w: Notation, a: Value, b: Value) -> Pair:
    """Both times a power of two, so that sums and products are in range."""
    great = w.where(a > b, a, b)
    scale = w.where(great > 2.0**500, w.constant(2.0**-600, a), 1.0)
    scale = w.where(great < 2.0**-500, 2.0**600, scale)
    return a * scale, b * scale


def atan(w: Notation, x: Value) -> Value:
    """The inverse tangent: the angle of (1, x)."""
    one = w.constant(1.0, x)
    if x.dtype == float32:
        return angle32(w, abs(x), one).copysign(x)
    return angle(w, w.at_most(abs(x), 2.0**60), one).copysign(x)


def asin(w: Notation, x: Value) -> Value:
    """The inverse sine: the angle of (sqrt(1 - x**2), x)."""
    size = abs(x)
    if x.dtype == float64:
        return angle(w, size, _cosine(w, size)).copysign(x)
    above, half = _asin32(w, size)
    quarters, factor = w.where(above, w.number(1.0, x), 0.0), w.where(above, w.number(-2.0, x), 1.0)
    return _turned(w, quarters, factor, half).copysign(x)


def acos(w: Notation, x: Value) -> Value:
    """The inverse cosine: the angle of (x, sqrt(1 - x**2))."""
    if x.dtype == float64:
        found = angle(w, _cosine(w, x), x)
    else:
        above, half = _asin32(w, abs(x))
        quarters = w.where(above, w.where(x < 0.0, w.number(2.0, x), 0.0), 1.0)
        factor = w.where(above, w.number(2.0, x), -1.0)
        found = _turned(w, quarters, w.where(x < 0.0, -factor, factor), half)
    return w.where(
        abs(x) <= 1.0, found, float("nan")
    )  # else two NaNs meet, and either is passed on


def _asin32(w: Notation, size: Value) -> tuple[Value, Pair]:
    """Whether x > 1/2, and asin(x), or there asin(sqrt((1 - x) / 2)), half of what is left."""
    above = size > 0.5
    half = w.fma(size, -0.5, 0.5)
    z = w.where(above, half, size * size)
    s = w.where(above, half.sqrt(), size)
    return above, (s, s * z * w.horner(z, ASIN32))


def _cosine(w: Notation, sine: Value) -> Value:
    return w.fma(-sine, sine, 1.0).sqrt()
