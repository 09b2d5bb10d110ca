"""Powers, cube roots and lengths.

pow is exp(y log(x)), the logarithm and the product as pairs of floats, since exp makes of an error
in its argument a relative one that is as great.
"""

from __future__ import annotations

from jit.loops.math.doubled import two_product
from jit.loops.math.exponential import clamped, exp_pair, rounded, scaled
from jit.loops.math.logarithm import LOG2_E, TINY, log_pair, split, whole
from jit.loops.math.notation import BIAS, MANTISSA, Notation, Value
from jit.types import float32, float64

# x**(1/3) on [1, 2]: relative error 2**-16.7.
CBRT = (
    0.5069830964968028, 0.718143310933426, -0.3006003981226756, 0.08608624067917658,
    -0.010603037124264927,
)  # fmt: skip
# x**(-1/3) as a float32: this less a third of the bits, in units of 2**8, is 4 % off at most.
INVERSE_CBRT = 0x54A2FA8C >> 8
CBRT_2, CBRT_4 = 1.2599210498948732, 1.5874010519681996


# `ATANH` and `EXP2` of float64, as precise as a power of float32 needs: 2**-44.9, 2**-34.2.
ATANH_SHORT = (
    0.6666666667584755, 0.39999995604349486, 0.28572111173673786, 0.22176098150450374,
    0.1958554075297918,
)  # fmt: skip
EXP2_SHORT = (
    1.0, 0.6931471805599453, 0.2402265102119294, 0.05550410600821776, 0.009618043288088286,
    0.0013333820085158724, 0.00015465387140587136, 1.521360509989199e-05,
)  # fmt: skip


def power(w: Notation, x: Value, y: Value) -> Value:
    """`x` to the power of `y`, with the special cases of IEEE 754's pow."""
    size = abs(x.astype(float64))
    # Beyond 2**70 every power is 0, 1 or infinite.
    exponent = clamped(w, y.astype(float64), (-(2.0**70), 2.0**70))
    magnitude = _power32 if x.dtype == float32 else _power64
    found = magnitude(w, size, exponent).astype(x.dtype)
    infinity = float("inf")
    falls = w.where(y < 0.0, w.number(infinity, x), 0.0)
    found = w.where(x.eq(0.0), falls, found)
    grows = w.where(y < 0.0, w.number(0.0, x), infinity)
    found = w.where(abs(x).eq(infinity), grows, found)
    whole_y, half = y.trunc().eq(y), y * 0.5
    odd = whole_y & half.trunc().ne(half)
    found = w.where(odd, found.copysign(x), found)
    invalid = (x < 0.0) & ~whole_y & (x > -infinity)
    found = w.where(invalid | x.ne(x) | y.ne(y), float("nan"), found)
    return w.where(x.eq(1.0) | y.eq(0.0), 1.0, found)


def _power64(w: Notation, size: Value, y: Value) -> Value:
    small = size < TINY[float64]
    k, part = log_pair(w, (w.where(small, size * 2.0**54, size), w.constant(0.0, size)))
    k = w.where(small, k - 54.0, k)
    log = whole(w, k, part)
    high, low = two_product(w, log[0], y)
    low = w.fma(log[1], y, low)
    inside = clamped(w, high, (-746.0, 710.0))
    marked, found = exp_pair(w, inside, w.where(inside.eq(high), low, 0.0))
    return scaled(found[0] + found[1], marked)


def _power32(w: Notation, size: Value, y: Value) -> Value:
    """In float64, where one float for the logarithm is enough."""
    m, k, _ = split(w, size)
    f = m - 1.0
    s = f / (f + 2.0)
    z = s * s
    log = w.fma(s * z, w.horner(z, ATANH_SHORT), s * 2.0)
    bits = clamped(w, w.fma(log, LOG2_E[0], k) * y, (-300.0, 300.0))
    marked, n = rounded(w, bits, 1.0)
    r = bits - n
    scale = (marked.pattern() - BIAS[float64]) << MANTISSA[float64]  # float64 has room for it
    return w.paired(r, r * r, EXP2_SHORT) * scale.bitcast(float64)


def cbrt(w: Notation, x: Value) -> Value:
    """The cube root."""
    found = (_cbrt32 if x.dtype == float32 else _cbrt64)(w, abs(x)).copysign(x)
    return w.where(x.eq(0.0) | ~(abs(x) < float("inf")), x, found)


def _cbrt32(w: Notation, size: Value) -> Value:
    """By the inverse root, which two steps of third order find without a division."""
    small, great = size < 2.0**-60, size > 2.0**60
    x = size * w.where(small, 2.0**66, w.where(great, w.number(2.0**-66, size), 1.0))
    third = w.fma((x.pattern() >> 8).astype(float32), -1 / 3, 2.0**23 + INVERSE_CBRT)
    inverse = (third.pattern() << 8).bitcast(float32)
    for _ in range(2):
        error = w.fma(inverse * inverse * inverse, -x, 1.0)
        inverse = w.fma(inverse * error, w.fma(error, 2 / 9, 1 / 3), inverse)
    square = inverse * inverse
    t = x * square
    power, lost = two_product(w, t, t)
    residual = w.fma(power, t, -x) + lost * t
    t = w.fma(residual * square, -1 / 3, t)
    return t * w.where(small, 2.0**-22, w.where(great, w.number(2.0**22, size), 1.0))


def _cbrt64(w: Notation, size: Value) -> Value:
    """A polynomial, a step of Halley's method, one of Newton's with exact residual.

    W. Kahan, "Computing a real cube root" (1991), with another start.
    """
    small = size < TINY[float64]
    m, k, _ = split(w, w.where(small, size * 2.0**54, size))
    low = m < 1.0  # split centres on 1; here the mantissa is within [1, 2)
    m, k = w.where(low, m * 2.0, m), w.where(low, k - 1.0, k)
    third = ((k + 0.25) * (1 / 3)).floor()
    rest = k - third * 3.0
    factor = w.where(rest.eq(0.0), w.number(1.0, size), CBRT_2)
    factor = w.where(rest.eq(2.0), CBRT_4, factor)
    target = w.where(rest.eq(0.0), m, w.where(rest.eq(1.0), m * 2.0, m * 4.0))
    t = w.horner(m, CBRT) * factor
    cube = t * t * t
    t = t * ((cube + target * 2.0) / (cube * 2.0 + target))
    square, lost = two_product(w, t, t)
    cube, lost_cube = two_product(w, square, t)
    residual = (cube - target) + w.fma(lost, t, lost_cube)
    t = t - residual / (square * 3.0)
    third = w.where(small, third - 18.0, third)
    marked, _ = rounded(w, third, 1.0)
    return scaled(t, marked)


def hypot(w: Notation, a: Value, b: Value) -> Value:
    """sqrt(a**2 + b**2), the sum as a pair, scaled out of the range of overflow and underflow."""
    x, y = abs(a.astype(float64)), abs(b.astype(float64))
    great, lesser = w.where(x > y, x, y), w.where(x > y, y, x)
    if a.dtype == float32:
        found = w.fma(great, great, lesser * lesser).sqrt()
    else:
        up, down = great < 2.0**-500, great > 2.0**500
        scale = w.where(up, 2.0**600, w.where(down, w.number(2.0**-600, x), 1.0))
        great, lesser = great * scale, lesser * scale
        (p, p_rest), (q, q_rest) = two_product(w, great, great), two_product(w, lesser, lesser)
        found = (p + ((p_rest + q_rest) + q)).sqrt()
        found = found * w.where(up, 2.0**-600, w.where(down, w.number(2.0**600, x), 1.0))
    infinite = x.eq(float("inf")) | y.eq(float("inf"))
    return w.where(infinite, float("inf"), found).astype(a.dtype)
