"""exp and its kin: 2**n times a polynomial on half an octave around 1.

The reduction is that of W. J. Cody and W. Waite, "Software Manual for the Elementary Functions"
(1980), its integer rounded by adding a great number; the scaling is done in two steps, so that
results below the normal range are rounded once. Coefficients: weighted minimax fits.
"""

from __future__ import annotations

import math

from jit.loops.math.doubled import Pair, fast_two_sum, ratio, two_product, two_sum
from jit.loops.math.notation import BIAS, MANTISSA, DType, Notation, Value
from jit.types import float32, float64

# ln 2 as a sum of two floats.
LN2 = {
    float32: (0.6931471824645996, -1.904654290582768e-09),
    float64: (0.6931471805599453, 2.3190468138462996e-17),
}
# Adding this rounds to an integer n and leaves n + 2 * BIAS in the low bits.
ROUNDER = {float32: 1.5 * 2**23 + 254, float64: 1.5 * 2**52 + 2046}
# The same, and leaves n alone there: in the bits that are an exponent's when moved up.
MARK = {float32: 1.5 * 2**23, float64: 1.5 * 2**52}
# Within these bounds the results of exp and exp2 are normal numbers.
PLAIN = {float32: 87.0, float64: 708.0}
PLAIN2 = {float32: 126.0, float64: 1022.0}
# Where exp is 0 and infinite for certain.
RANGE = {float32: (-104.0, 89.0), float64: (-746.0, 710.0)}
RANGE2 = {float32: (-151.0, 128.0), float64: (-1076.0, 1024.0)}

# exp(r) = 1 + r + r**2 P(r), |r| <= log(2) / 2; relative error 2**-28.2, 2**-57.9.
EXP = {
    float32: (
        0.4999999403953552, 0.1666652113199234, 0.04166826605796814, 0.008368677459657192,
        0.0013820708263665438,
    ),
    float64: (
        0.5000000000000011, 0.1666666666666645, 0.04166666666652734, 0.00833333333347412,
        0.0013888888944223329, 0.00019841269546321018, 2.480149256961263e-05, 2.7557553469848e-06,
        2.7630418590940003e-07, 2.5009894794106318e-08,
    ),
}  # fmt: skip
# 2**r = 1 + r C + r**2 P(r), |r| <= 0.5, C the float next to log(2); 2**-28.3, 2**-57.8.
EXP2 = {
    float32: (
        1.0, 0.6931471824645996, 0.24022647738456726, 0.05550359562039375, 0.009618500247597694,
        0.0013390973908826709, 0.00015328897279687226,
    ),
    float64: (
        1.0, 0.6931471805599453, 0.24022650695910108, 0.055504108664821715, 0.009618129107601594,
        0.001333355814654849, 0.00015403530449058778, 1.5252733631779786e-05,
        1.3215438821623389e-06, 1.0178160948054478e-07, 7.073235914623807e-09,
        4.438731857901025e-10,
    ),
}  # fmt: skip
# exp(r) - 1 = r + r**2 P(r), relative to its own size; 2**-26.1, 2**-61.6.
EXPM1 = {
    float32: (
        0.4999999701976776, 0.1666654646396637, 0.04166743904352188, 0.00836625974625349,
        0.0013870325637981296,
    ),
    float64: (
        0.5, 0.16666666666666677, 0.041666666666666685, 0.008333333333321787,
        0.0013888888888893042, 0.00019841269885375964, 2.4801587281466993e-05,
        2.7557245114068534e-06, 2.755732664279554e-07, 2.5108700760032053e-08,
        2.0894984106763153e-09,
    ),
}  # fmt: skip


# exp(r) = 1 + r + r**2 / 2 + r**3 P(r): relative error 2**-67.5.
EXP_TAIL = (
    0.16666666666666666, 0.041666666666666664, 0.008333333333334103, 0.0013888888888886877,
    0.00019841269839018338, 2.4801587319427882e-05, 2.755732223512085e-06, 2.7557278582415275e-07,
    2.5050212731785374e-08, 2.09132710740036e-09, 1.6525385184851167e-10,
)  # fmt: skip
# exp(2 r), |r| <= log(2) / 4, and tanh(x) = x + x**3 P(x**2), |x| <= 0.58: 2**-28.2, 2**-29.
EXP_TWICE = (
    1.0, 2.0, 1.999999761581421, 1.3333216905593872, 0.6666923761367798, 0.26779794692993164,
    0.08844888210296631,
)  # fmt: skip
# sinh(x) = x + x**3 P(x**2), x <= 1: 2**-31.6.
SINH = (0.1666666716337204, 0.00833331048488617, 0.00019842895562760532, 2.7822131869470468e-06)
TANH = (
    -0.3333330750465393, 0.1333223283290863, -0.053814370185136795, 0.02091321162879467,
    -0.006048455834388733,
)  # fmt: skip


def rounded(w: Notation, x: Value, factor: float, by: dict[DType, float] = ROUNDER) -> Pair:
    """X * factor rounded to an integer n: as a float whose low bits hold it, and as n."""
    marked = w.fma(x, factor, by[x.dtype])
    return marked, marked - by[x.dtype]


def scaled(x: Value, marked: Value) -> Value:
    """X * 2**n, rounded once; n in the low bits of `marked`."""
    width, bits = MANTISSA[x.dtype], marked.pattern()
    half = bits >> 1
    for part in (half, bits - half):
        x = x * (part << width).bitcast(x.dtype)
    return x


def raised(x: Value, marked: Value) -> Value:
    """X * 2**n if both are normal numbers; `marked` is rounded by `MARK`."""
    exponent = marked.pattern() << MANTISSA[x.dtype]
    return (x.pattern() + exponent).bitcast(x.dtype)


def clamped(w: Notation, x: Value, bounds: tuple[float, float]) -> Value:
    """`x` within bounds; NaN stays."""
    return w.at_most(w.at_least(x, bounds[0]), bounds[1])


def exp(w: Notation, x: Value) -> Value:
    """E to the power of x."""
    if w.counts_on(lambda: abs(x) <= PLAIN[x.dtype]):
        most = 2.0 ** (PLAIN[x.dtype] / math.log(2) + 0.01)
        return w.lies(raised(*power(w, x, MARK)), 1 / most, most)
    return scaled(*power(w, clamped(w, x, RANGE[x.dtype]), ROUNDER))


def power(w: Notation, x: Value, by: dict[DType, float]) -> Pair:
    """E to the power of x: a number next to 1, and n of the 2**n that it is to be scaled by."""
    marked, n = rounded(w, x, 1 / math.log(2), by)
    high, low = LN2[x.dtype]
    rest = w.fma(n, -low, w.fma(n, -high, x))
    return w.horner(rest, (1.0, 1.0, *EXP[x.dtype])), marked


def exp2(w: Notation, x: Value) -> Value:
    """2 to the power of x."""
    if w.counts_on(lambda: abs(x) <= PLAIN2[x.dtype]):
        marked, n = rounded(w, x, 1.0, MARK)
        return raised(w.horner(x - n, EXP2[x.dtype]), marked)
    x = clamped(w, x, RANGE2[x.dtype])
    marked, n = rounded(w, x, 1.0)
    return scaled(w.horner(x - n, EXP2[x.dtype]), marked)


def expm1(w: Notation, x: Value) -> Value:
    """exp(x) - 1: with p = exp(r) - 1 it is 2 (p h + (h - 1/2)), where h = 2**(n - 1)."""
    dtype = x.dtype
    inside = clamped(w, x, (-40.0, RANGE[dtype][1]))
    marked, n = rounded(w, inside, 1 / math.log(2))
    high, low = LN2[dtype]
    exact, rest = w.fma(n, -high, inside), n * low
    r = exact - rest
    lost = (exact - r) - rest
    p = r + w.fma(r * r, w.horner(r, EXPM1[dtype]), lost)
    half = ((marked.pattern() - (BIAS[dtype] + 1)) << MANTISSA[dtype]).bitcast(dtype)
    found = w.fma(p, half, half - 0.5) * 2.0
    return w.where(abs(x) < 2.0 ** -(MANTISSA[dtype] + 2), x, found)


def exp_pair(w: Notation, high: Value, low: Value | None = None) -> tuple[Value, Pair]:
    """exp(high + low) of float64 as 2**n times a pair that is 2**-60 off; n as in `scaled`."""
    ln2, ln2_low = LN2[high.dtype]
    marked, n = rounded(w, high, 1 / math.log(2))
    rest = n * -ln2_low
    r, lost = fast_two_sum(w.fma(n, -ln2, high), rest if low is None else rest + low)
    square, lost_square = two_product(w, r, r)
    cubic = square * r * w.paired(r, square, EXP_TAIL)
    total, error1 = fast_two_sum(1.0, r)
    total, error2 = fast_two_sum(total, square * 0.5)
    tail = w.fma(lost, total, w.fma(lost_square, 0.5, cubic))
    return marked, fast_two_sum(total, (error1 + error2) + tail)


# ----- hyperbolic functions -----


def _halves(w: Notation, size: Value) -> tuple[Value, Pair, Pair]:
    """exp(x) and exp(-x) as pairs, both over 2**n, for 0 <= x; n as in `scaled`."""
    marked, grown = exp_pair(w, w.at_most(size, 711.0))
    inverse = 1.0 / grown[0]
    rest = w.fma(-inverse, grown[0], w.constant(1.0, size)) - inverse * grown[1]
    n = w.at_most(marked - ROUNDER[float64], 500.0)
    doubled = (n * -2.0 + ROUNDER[float64]).pattern() - BIAS[float64]
    scale = (doubled << MANTISSA[float64]).bitcast(float64)
    return marked, grown, (inverse * scale, inverse * rest * scale)


def _halves32(w: Notation, size: Value) -> tuple[Value, Pair, Value]:
    """`_halves` of float32: the inverse is one float."""
    marked, n = rounded(w, w.at_most(size, 100.0), 1 / math.log(2))
    high, low = LN2[float32]
    r = w.fma(n, -low, w.fma(n, -high, w.at_most(size, 100.0)))
    grown = fast_two_sum(1.0, w.fma(r * r, w.horner(r, EXP[float32]), r))
    n = w.at_most(n, 50.0)
    doubled = (n * -2.0 + ROUNDER[float32]).pattern() - BIAS[float32]
    scale = (doubled << MANTISSA[float32]).bitcast(float32)
    return marked, grown, w.let("inverse", grown[0]) * scale


def _difference(a: Pair, b: Pair) -> Pair:
    high, low = two_sum(a[0], -b[0])
    return fast_two_sum(high, low + (a[1] - b[1]))


def _sum(a: Pair, b: Pair) -> Pair:
    high, low = two_sum(a[0], b[0])
    return fast_two_sum(high, low + (a[1] + b[1]))


def sinh(w: Notation, x: Value) -> Value:
    """(exp(x) - exp(-x)) / 2, from both as pairs; of a small float32 a polynomial."""
    size = abs(x)
    if x.dtype == float64:
        marked, up, down = _halves(w, size)
        return _odd(w, x, scaled(_difference(up, down)[0] * 0.5, marked), 2.0**-27)
    marked, (high, low), inverse = _halves32(w, size)
    far = scaled((high - (inverse - low)) * 0.5, marked)
    square = size * size
    near = w.fma(size * square, w.horner(square, SINH), size)
    return w.where(size > 1.0, far, near).copysign(x)


def cosh(w: Notation, x: Value) -> Value:
    """(exp(x) + exp(-x)) / 2."""
    if x.dtype == float64:
        marked, up, down = _halves(w, abs(x))
        return scaled(_sum(up, down)[0] * 0.5, marked)
    marked, (high, low), inverse = _halves32(w, abs(x))
    return scaled((high + (inverse + low)) * 0.5, marked)


def tanh(w: Notation, x: Value) -> Value:
    """Of float32: a polynomial near 0, further out 1 - 2 / (exp(2 x) + 1)."""
    if x.dtype == float64:
        return _tanh64(w, x)
    size = abs(x)
    inside = w.at_most(size, 10.0)
    marked, n = rounded(w, inside, 2 / math.log(2), MARK)
    r = w.fma(n, -LN2[float32][0] / 2, inside)  # the rest of ln 2 does not show in the result
    power = raised(w.horner(r, EXP_TWICE), marked)
    far = w.fma(w.let("inverse", power + 1.0), -2.0, 1.0)
    square = x * x
    near = w.fma(size * square, w.horner(square, TANH), size)
    return w.where(size > 0.57, far, near).copysign(x)


def _tanh64(w: Notation, x: Value) -> Value:
    _, up, down = _halves(w, w.at_most(abs(x), 40.0))
    high, low = ratio(w, _difference(up, down), _sum(up, down))
    return _odd(w, x, high + low, 2.0**-27)


def _odd(w: Notation, x: Value, found: Value, small: float) -> Value:
    """`found` with the sign of `x`; `x` itself where it is small."""
    return w.where(abs(x) < small, x, found.copysign(x))
