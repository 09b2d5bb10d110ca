"""Logarithms: an exponent, and the logarithm of a number between sqrt(1/2) and sqrt(2).

With s = f / (2 + f), log(1 + f) = 2 atanh(s): P. T. P. Tang, "Table-driven implementation of the
logarithm function", ACM Transactions on Mathematical Software 16 (1990) 378-400, and FDLIBM's
e_log.c, here without a table. Coefficients: weighted minimax fits.
"""

from __future__ import annotations

import numpy as np

from jit.loops.math.doubled import (
    Constants,
    Pair,
    fast_two_sum,
    product,
    ratio,
    root,
    two_product,
    two_sum,
)
from jit.loops.math.exponential import LN2, exp
from jit.loops.math.notation import BIAS, INFINITY, MANTISSA, Notation, Value
from jit.types import float32, float64

ROOT_HALF = {float32: 0x3F3504F3, float64: 0x3FE6A09E667F3BCD}  # the bits of sqrt(1/2)
TINY = {float32: 2.0**-126, float64: 2.0**-1022}

# log(1 + f) = f - f**2 / 2 + f**3 P(f): relative error 2**-30.3.
LOG32 = (
    0.3333331346511841, -0.25000008940696716, 0.2000207155942917, -0.16667990386486053,
    0.14220362901687622, -0.12406206130981445, 0.11883467435836792, -0.11670209467411041,
    0.06749594211578369,
)  # fmt: skip
# 2 atanh(s) = 2 s + s**3 P(s**2): relative error 2**-59.5.
ATANH = (
    0.6666666666666735, 0.3999999999940986, 0.285714287434815, 0.22222198457870304,
    0.18183570508151833, 0.15313887055712747, 0.14797642065436212,
)  # fmt: skip
# 2 atanh(s) = 2 s + s**3 (2/3 + s**2 P(s**2)): relative error 2**-71.8.
ATANH_TAIL = (
    0.3999999999999998, 0.2857142857144387, 0.22222222217779186, 0.18181818845643946,
    0.15384558297955858, 0.13336270054149246, 0.11675659375116275, 0.1198282215795821,
)  # fmt: skip
TWO_THIRDS: Constants = (0.6666666666666666, 3.700743415417188e-17)
LOG2_E: Constants = (1.4426950408889634, 2.0355273740931033e-17)
LOG10_E: Constants = (0.4342944819032518, 1.098319650216765e-17)
# log10(2) in two floats: an exponent times the first is exact.
LOG10_2: Constants = (0.301025390625, 4.605038981195214e-06)
# ln 2 in two: an exponent times the first is exact.
LN2_SHORT: Constants = (0.693147180559663, 2.8235290563031577e-13)


def split(w: Notation, x: Value) -> tuple[Value, Value, Value]:
    """m, k and 2**(1 - k), as floats: a normal x > 0 is m * 2**k, sqrt(1/2) <= m < sqrt(2).

    The power is 0 where it is below the normal range.
    """
    dtype = x.dtype
    width, bias, bits = MANTISSA[dtype], BIAS[dtype], x.pattern()
    raised = (bits + ((bias << width) - ROOT_HALF[dtype])) >> width  # k + bias
    mark = w.number(2.0**width, x).pattern()
    k = (raised | mark).bitcast(dtype) - (2.0**width + bias)
    shift = raised << width
    m = (bits - (shift - (bias << width))).bitcast(dtype)
    inverse = (w.number((2 * bias + 1) << width, shift) - shift).bitcast(dtype)
    return m, k, inverse


def _normal(w: Notation, x: Value) -> tuple[Value, Value]:
    """`x` out of the range of subnormal numbers, and what its exponent lacks by that."""
    up = MANTISSA[x.dtype] + 2
    small = x < TINY[x.dtype]
    return w.where(small, x * 2.0**up, x), w.where(small, w.number(-up, x), 0.0)


def _ends(w: Notation, x: Value, found: Value) -> Value:
    """`found` where the logarithm of `x` is finite."""
    infinity = float("inf")
    found = w.where(x < infinity, found, x)
    return w.where(x > 0.0, found, w.where(x.eq(0.0), w.number(-infinity, x), float("nan")))


def log(w: Notation, x: Value) -> Value:
    """The natural logarithm."""
    if w.counts_on(lambda: _is_normal(w, x)):
        m, k, _ = split(w, x)
        return _log_of_parts(w, m, k)
    normal, shift = _normal(w, x)
    m, k, _ = split(w, normal)
    return _ends(w, x, _log_of_parts(w, m, k + shift))


def _is_normal(w: Notation, x: Value) -> Value:
    """Whether a number is above 0, normal and finite."""
    least = 1 << MANTISSA[x.dtype]
    return x.pattern() - least < INFINITY[x.dtype] - least


def _log_of_parts(w: Notation, m: Value, k: Value) -> Value:
    """The natural logarithm of m * 2**k, as `split` gives it."""
    f = m - 1.0
    if m.dtype == float32:
        high, low = LN2[float32]
        square = f * f
        tail = w.fma(square * f, w.paired(f, square, LOG32), k * low)
        return w.fma(k, high, w.fma(square, -0.5, tail) + f)
    half, found = _log_mantissa(w, f)
    high, low = LN2_SHORT
    return w.fma(k, high, f - (half - w.fma(k, low, found)))


def _log_mantissa(w: Notation, f: Value) -> Pair:
    """A and b with log(1 + f) = f - (a - b), as in FDLIBM."""
    s = f / (f + 2.0)
    z = s * s
    half = f * f * 0.5
    return half, s * w.fma(z, w.horner(z, ATANH), half)


def log_pair(w: Notation, x: Pair) -> tuple[Value, Pair]:
    """K and a pair: log(x) = k log(2) + pair, 2**-64 off, for a normal float64 `x` > 0."""
    m, k, inverse = split(w, x[0])
    f, rest = m - 1.0, x[1] * (inverse * 0.5)
    below, below_rest = two_sum(f, 2.0)
    s, s_rest = ratio(w, (f, rest), (below, below_rest + rest))
    z, z_rest = two_product(w, s, s)
    z_rest = w.fma(s * 2.0, s_rest, z_rest)
    u, u_rest = fast_two_sum(TWO_THIRDS[0], z * w.horner(z, ATANH_TAIL))
    cubic = product(w, (s, s_rest), product(w, (z, z_rest), (u, u_rest + TWO_THIRDS[1])))
    high, low = fast_two_sum(s * 2.0, cubic[0])
    return k, fast_two_sum(high, low + w.fma(s_rest, 2.0, cubic[1]))


def whole(w: Notation, k: Value, part: Pair) -> Pair:
    """K log(2) + part."""
    high, low = fast_two_sum(k * LN2_SHORT[0], part[0])
    return fast_two_sum(high, low + w.fma(k, LN2_SHORT[1], part[1]))


def _log_of(w: Notation, x: Value) -> tuple[Value, Pair]:
    normal, shift = _normal(w, x)
    k, part = log_pair(w, (normal, w.constant(0.0, x)))
    return k + shift, part


def log2(w: Notation, x: Value) -> Value:
    """The logarithm to base 2; powers of two have an exact one."""
    if x.dtype == float32:
        return _log32(w, x, (1.0, 0.0), LOG2_E)
    normal, shift = _normal(w, x)
    m, k, _ = split(w, normal)
    f = m - 1.0
    half, found = _log_mantissa(w, f)
    high, low = fast_two_sum(f, -half)
    high, low = product(w, (high, low + found), LOG2_E)
    high, rest = fast_two_sum(k + shift, high)
    return _ends(w, x, high + (rest + low))


def log10(w: Notation, x: Value) -> Value:
    """The logarithm to base 10."""
    if x.dtype == float32:
        return _log32(w, x, LOG10_2, LOG10_E)
    high, low = product(w, whole(w, *_log_of(w, x)), LOG10_E)
    return _ends(w, x, high + low)


def _log32(w: Notation, x: Value, two: Constants, e: Constants) -> Value:
    """The logarithm of a float32 to a base, given those of 2 and e; the first is short."""
    normal, shift = _normal(w, x)
    m, k, _ = split(w, normal)
    k, f = k + shift, m - 1.0
    square = f * f
    tail = w.fma(square, -0.5, square * f * w.paired(f, square, LOG32))
    factor = float(np.float32(e[0]))
    high, low = two_product(w, f, factor)
    low = w.fma(tail, factor, w.fma(f, e[0] - factor, low))
    high, rest = fast_two_sum(k * two[0], high)
    return _ends(w, x, high + (rest + w.fma(k, two[1], low)))


def log1p(w: Notation, x: Value) -> Value:
    """log(1 + x): what rounding takes from 1 + x is put back."""
    total, lost = two_sum(x, 1.0)
    return _near_zero(w, x, _ends(w, total, _log_sum(w, (total, lost))))


def _log_sum(w: Notation, x: Pair) -> Value:
    """The logarithm of a pair whose sum is a normal number: the second part is small."""
    m, k, inverse = split(w, x[0])
    f, rest = m - 1.0, x[1] * (inverse * 0.5)
    rest = w.fma(-rest, f, rest)  # of log(1 + f + rest), to first order
    if x[0].dtype == float64:
        half, found = _log_mantissa(w, f)
        high, low = LN2_SHORT
        return w.fma(k, high, f - (half - (w.fma(k, low, found) + rest)))
    high, low = LN2[float32]
    square = f * f
    tail = w.fma(k, low, rest)
    tail = w.fma(square, -0.5, w.fma(square * f, w.paired(f, square, LOG32), tail))
    return w.fma(k, high, tail + f)


def _near_zero(w: Notation, x: Value, found: Value) -> Value:
    """`x` itself where it is so small that it is the result; it keeps the sign of 0."""
    return w.where(abs(x) < 2.0 ** -(MANTISSA[x.dtype] + 2), x, found)


def log_sum(w: Notation, x: Pair) -> Pair:
    """The logarithm of a pair of float64, as one."""
    k, part = log_pair(w, x)
    return whole(w, k, part)


def logaddexp(w: Notation, a: Value, b: Value) -> Value:
    """log(exp(a) + exp(b)): the greater one, and log1p of what the other adds."""
    x, y = a.astype(float64), b.astype(float64)
    greater = w.where(x > y, x, y)
    gap = w.where(x.eq(y), 0.0, -abs(x - y))
    high, low = log_sum(w, two_sum(exp(w, gap), 1.0))
    found = greater + (high + low)
    return w.where(a.ne(a) | b.ne(b), a + b, found.astype(a.dtype))


# ----- inverse hyperbolic functions -----

FAR = {float32: 2.0**30, float64: 2.0**60}  # from here on sqrt(x**2 + 1) is x
SMALL = {float32: 2.0**-13, float64: 2.0**-28}  # below asinh(x) and atanh(x) are x


def asinh(w: Notation, x: Value) -> Value:
    """log(|x| + sqrt(x**2 + 1))."""
    size = abs(x)
    return w.where(size < SMALL[x.dtype], x, _log_with_root(w, size, 1.0).copysign(x))


def acosh(w: Notation, x: Value) -> Value:
    """log(x + sqrt(x**2 - 1)); NaN below 1."""
    return w.where(x >= 1.0, _log_with_root(w, x, -1.0), float("nan"))


def _log_with_root(w: Notation, x: Value, one: float) -> Value:
    """log(x + sqrt(x**2 + one)) for x >= 0; log(2 x) far out."""
    far, near = x > FAR[x.dtype], w.at_most(x, FAR[x.dtype])
    square, lost = two_product(w, near, near)
    total, rest = two_sum(square, one)
    high, low = root(w, fast_two_sum(total, rest + lost))
    low = w.where(high > 0.0, low, 0.0)  # 0 / 0 for acosh(1)
    total, rest = two_sum(near, high)
    found = _log_sum(w, (w.where(far, x, total), w.where(far, 0.0, rest + low)))
    found = w.where(far, found + LN2[x.dtype][0], found)
    return w.where(x < float("inf"), found, x)


def atanh(w: Notation, x: Value) -> Value:
    """log((1 + x) / (1 - x)) / 2."""
    size = abs(x)
    inside = w.at_most(size, 1.0 - 2.0 ** -(MANTISSA[x.dtype] + 1))
    pair = fast_two_sum(*ratio(w, two_sum(inside, 1.0), two_sum(-inside, 1.0)))
    found = _log_sum(w, pair) * 0.5
    found = w.where(size.eq(1.0), float("inf"), found)
    found = w.where(size > 1.0, float("nan"), found)
    return w.where(size < SMALL[x.dtype], x, found.copysign(x))
