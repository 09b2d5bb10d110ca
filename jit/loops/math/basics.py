"""Formulas that only pick, compare and scale: no approximation is involved."""

from __future__ import annotations

import numpy as np

from jit.loops.math.notation import BIAS, INFINITY, MANTISSA, Notation, State, Value
from jit.types import float32

INVERTED = 2.0**-126, 2.0**126  # between these `inverse` is that of `divide`
MODERATE = 2.0**-60, 2.0**60  # between these a quotient is a product with the inverse, corrected
FIRST_OF_EQUALS = not np.signbit(np.nextafter(np.float16(0.0), np.float16(-0.0)))


def positive(w: Notation, x: Value) -> Value:
    """`x` itself."""
    return x


def square(w: Notation, x: Value) -> Value:
    """X * x."""
    return x * x


def divide(w: Notation, a: Value, b: Value) -> Value:
    """A / b; 1 / b is the machine's inverse where that does for it.

    With r = 1 / b, rounded, q = a r is wrong by a little, and q + (a - q b) r, where a - q b is
    exact, rounds as the quotient does, as long as no exponent is extreme.
    """
    if b.dtype != float32:
        return a / b
    if w.known(a) != 1.0:
        inverse = w.shared_inverse(b)
        if inverse is None or not w.counts_on(lambda: is_moderate(a)):
            return a / b
        about = a * inverse
        return w.fma(w.fma(-b, about, a), inverse, about)
    span, (low, high) = w.span(b), INVERTED

    def plain() -> Value:
        """Whether the exponent is neither of the least nor of the greatest, without the sign."""
        least, most = (2 * int(np.float32(x).view(np.uint32)) for x in INVERTED)
        return (b.pattern() << 1) - least < most - least

    surely = span is not None and low <= span[0] and span[1] < high
    return w.let("inverse", b) if surely or w.counts_on(plain) else a / b


def is_moderate(x: Value) -> Value:
    """Whether `x` is neither large nor small, nor NaN."""
    least, most = MODERATE
    return (abs(x) >= least) & (abs(x) <= most)


def reciprocal(w: Notation, x: Value) -> Value:
    """1 / x."""
    return 1.0 / x


def maximum(w: Notation, a: Value, b: Value) -> Value:
    """The greater one; NaN if one is NaN; `b` if they are equal (0.0 and -0.0 are)."""
    return w.where((a > b) | a.ne(a), a, b)


def minimum(w: Notation, a: Value, b: Value) -> Value:
    """The lesser one; NaN if one is NaN; `b` if they are equal (0.0 and -0.0 are)."""
    return w.where((a < b) | a.ne(a), a, b)


def sign(w: Notation, x: Value) -> Value:
    """-1, 0 or 1, never -0; NaN for NaN."""
    return w.where(x > 0.0, 1.0, w.where(x < 0.0, -1.0, x + 0.0))


def isnan(w: Notation, x: Value) -> Value:
    """Whether `x` is NaN."""
    return x.ne(x)


def isinf(w: Notation, x: Value) -> Value:
    """Whether `x` is infinite."""
    return abs(x).eq(float("inf"))


def isfinite(w: Notation, x: Value) -> Value:
    """Whether `x` is neither infinite nor NaN."""
    return abs(x) < float("inf")


def signbit(w: Notation, x: Value) -> Value:
    """Whether the sign is minus; of -0 and NaN too."""
    return x.bits() < 0


def logical_and(w: Notation, a: Value, b: Value) -> Value:
    """Whether both are not 0."""
    return a.ne(0) & b.ne(0)


def logical_or(w: Notation, a: Value, b: Value) -> Value:
    """Whether one is not 0."""
    return a.ne(0) | b.ne(0)


def logical_xor(w: Notation, a: Value, b: Value) -> Value:
    """Whether exactly one is not 0."""
    return a.ne(0) ^ b.ne(0)


def logical_not(w: Notation, x: Value) -> Value:
    """Whether `x` is 0."""
    return x.eq(0)


def nextafter(w: Notation, a: Value, b: Value) -> Value:
    """The number next to `a` on the way to `b`; `b` if they are equal. For every float dtype.

    Read as integers, numbers of one sign lie in order: the next one is one bit pattern away.
    """
    i, j = a.bits(), b.bits()
    sign, infinity = int(np.iinfo(i.dtype).min), INFINITY[a.dtype]
    x, y = i & ~sign, j & ~sign
    outwards = ((i ^ j) >= 0) & (x < y)
    found = i + w.where(outwards, w.number(1, i), -1)
    found = w.where(x.eq(0), (j & sign) | 1, found)
    found = w.where(i.eq(j) | (x | y).eq(0), j, found)
    invalid = (x > infinity) | (y > infinity)
    return w.where(invalid, infinity | infinity >> 1, found).bitcast(a.dtype)


# ----- halves, bit by bit -----


def half_abs(w: Notation, x: Value) -> Value:
    """Without the sign bit."""
    return (x.bits() & int(np.iinfo(np.int16).max)).bitcast(x.dtype)


def half_negative(w: Notation, x: Value) -> Value:
    """With the sign bit flipped."""
    return (x.bits() ^ int(np.iinfo(np.int16).min)).bitcast(x.dtype)


def half_copysign(w: Notation, a: Value, b: Value) -> Value:
    """The sign bit of `b`, the others of `a`."""
    sign = int(np.iinfo(np.int16).min)
    return ((a.bits() & ~sign) | (b.bits() & sign)).bitcast(a.dtype)


def half_where(w: Notation, condition: Value, a: Value, b: Value) -> Value:
    """The bits of one."""
    return w.where(condition, a.bits(), b.bits()).bitcast(a.dtype)


def float16_maximum(w: Notation, a: Value, b: Value) -> Value:
    """The greater one; NaN if one is NaN; `a` if they are equal, as NumPy does it for float16."""
    x, y = a.astype("float32"), b.astype("float32")
    return half_where(w, (x >= y) | x.ne(x), a, b)


def float16_minimum(w: Notation, a: Value, b: Value) -> Value:
    """The lesser one; NaN if one is NaN; `a` if they are equal, as NumPy does it for float16."""
    x, y = a.astype("float32"), b.astype("float32")
    return half_where(w, (x <= y) | x.ne(x), a, b)


def float16_nextafter(w: Notation, a: Value, b: Value) -> Value:
    """`nextafter`; for equal numbers `a` where NumPy has it so for float16: before 2.5."""
    if not FIRST_OF_EQUALS:
        return nextafter(w, a, b)
    equal = a.astype("float32").eq(b.astype("float32"))
    return half_where(w, equal, a, nextafter(w, a, b))


def bfloat16_sign(w: Notation, x: Value) -> Value:
    """-1 or 1 by the sign, or `x` itself if it is 0, -0 or NaN, as ml_dtypes does it."""
    size = x.bits() & int(np.iinfo(np.int16).max)
    one = w.number(BIAS[x.dtype] << MANTISSA[x.dtype], size).bitcast(x.dtype)
    plain = size.eq(0) | (size > INFINITY[x.dtype])
    return half_where(w, plain, x, half_copysign(w, one, x))


# ----- float division that rounds down -----


def floor_divide(w: Notation, a: Value, b: Value) -> Value:
    """A / b rounded down, computed as NumPy does: from the exact remainder."""
    rest = fmod(w, a, b)
    quotient = (a - rest) / b
    quotient = w.where(rest.ne(0.0) & ((b < 0.0) ^ (rest < 0.0)), quotient - 1.0, quotient)
    down = quotient.floor()
    down = w.where(quotient - down > 0.5, down + 1.0, down)
    down = w.where(quotient.eq(0.0), w.constant(0.0, a).copysign(a / b), down)
    return w.where(b.eq(0.0), a / b, down)


def remainder(w: Notation, a: Value, b: Value) -> Value:
    """What `floor_divide` leaves; it has the sign of `b`."""
    rest = fmod(w, a, b)
    fixed = w.where((b < 0.0) ^ (rest < 0.0), rest + b, rest)
    return w.where(rest.eq(0.0), w.constant(0.0, a).copysign(b), fixed)


def fmod(w: Notation, a: Value, b: Value) -> Value:
    """The exact remainder of a / b rounded towards zero; it has the sign of `a`.

    One fused multiply-add gives it while the quotient is an integer that a float can tell from its
    neighbours. For a greater one `b` is doubled until it is not, and steps of long division follow.
    """
    x, y = (abs(v.astype("float64")) for v in (a, b))
    steps = _float32_steps if a.dtype == float32 else _float64_steps
    far = (x >= y * 2.0**52) & (x < float("inf")) & (y > 0.0)
    (x,) = w.rarely(far, (x,), (x, y), lambda x, y: (steps(w, x, y),))
    rest = _divided(w, x, y)
    rest = w.where(y.eq(float("inf")) & (x < y), x, rest)
    invalid = x.eq(float("inf")) | y.eq(0.0)
    rest = w.where(invalid, float("nan"), rest)
    return rest.astype(a.dtype).copysign(a)


def _divided(w: Notation, x: Value, y: Value) -> Value:
    """What is left of x >= 0 when y > 0 is taken away as often as it fits, at most 2**52 times."""
    rest = w.fma(-(x / y).trunc(), y, x)
    return w.where(rest < 0.0, rest + y, rest)


def _float32_steps(w: Notation, x: Value, y: Value) -> Value:
    for shift in (250, 200, 150, 100, 50):  # float64 holds all of these multiples of float32s
        x = _divided(w, x, y * 2.0**shift)
    return x


def _float64_steps(w: Notation, x: Value, y: Value) -> Value:
    """Each step takes 51 bits off the quotient, which has up to 2098."""

    def step(x: Value) -> State:
        ahead = exponent(w, x) - exponent(w, y)
        up = w.where(ahead > 51, ahead - 51, w.number(0, ahead))
        half = up >> 1
        scaled = y * w.power_of_two(half, y) * w.power_of_two(up - half, y)
        return (w.where(y > 0.0, _divided(w, x, scaled), x),)

    return w.repeat(42, (x,), step)[0]


def exponent(w: Notation, x: Value) -> Value:
    """The e with 2**e <= x < 2**(e + 1), an integer; of x > 0."""
    dtype = x.dtype
    shift = MANTISSA[dtype] + 1
    small = x < float(np.finfo(dtype).tiny)
    found = w.where(small, x * 2.0**shift, x).bits() >> MANTISSA[dtype]
    return w.where(small, found - (BIAS[dtype] + shift), found - BIAS[dtype])
