"""Sine, cosine and tangent: polynomials within an eighth of a turn around 0.

Coefficients: weighted minimax fits in x**2; how corrections enter is FDLIBM's k_sin.c and k_cos.c.
"""

from __future__ import annotations

import numpy as np

from jit.loops.math.doubled import Pair, fast_two_sum, ratio
from jit.loops.math.notation import SIGNED, Notation, Value
from jit.loops.math.turns import reduce32, reduce32_pair, reduce64
from jit.types import float32, float64

# sin(x) = x + x**3 P(x**2): relative error 2**-28, 2**-61.8.
SIN = {
    float32: (-0.16666655242443085, 0.008332190103828907, -0.0001951840822584927),
    float64: (
        -0.16666666666666666, 0.008333333333333038, -0.00019841269840956835,
        2.755731907027107e-06, -2.5052069812873763e-08, 1.605415724481092e-10,
        -7.381355395062124e-13,
    ),
}  # fmt: skip
# cos(x) = 1 - x**2 / 2 + x**4 P(x**2): absolute error 2**-33, 2**-64.
COS = {
    float32: (0.04166664555668831, -0.00138873013202101, 2.4430666599073447e-05),
    float64: (
        0.0416666666666666, -0.0013888888888874441, 2.48015872896364e-05,
        -2.7557314387508206e-07, 2.0875727065661213e-09, -1.1359802874506366e-11,
    ),
}  # fmt: skip
# tan(x) = x + x**3 P(x**2): relative error 2**-29.5.
TAN = (
    0.33333349227905273, 0.13332675397396088, 0.054058898240327835, 0.021286392584443092,
    0.010826674290001392, 9.957423753803596e-05, 0.004371880553662777,
)  # fmt: skip


def sin(w: Notation, x: Value) -> Value:
    """The sine."""
    marked, sine, cosine = _both(w, abs(x))
    quarters = marked.bits()
    found = w.where((quarters & 1).ne(0), cosine, sine)
    minus = int(np.iinfo(SIGNED[x.dtype]).min)
    sign = (x.bits() & minus) ^ _second_bit_on_top(quarters)
    return (found.bits() ^ sign).bitcast(x.dtype)


def cos(w: Notation, x: Value) -> Value:
    """The cosine: the sine a quarter of a turn further on."""
    marked, sine, cosine = _both(w, abs(x))
    quarters = marked.bits()
    found = w.where((quarters & 1).ne(0), sine, cosine)
    return (found.bits() ^ _second_bit_on_top(quarters + 1)).bitcast(x.dtype)


def _second_bit_on_top(quarters: Value) -> Value:
    return (quarters & 2) << (quarters.dtype.itemsize * 8 - 2)


def _both(w: Notation, size: Value) -> tuple[Value, Value, Value]:
    """Quarter turns, and sine and cosine of the rest."""
    if size.dtype == float32:
        marked, r = reduce32(w, size)
        z = r * r
        sine = w.fma(r * z, w.horner(z, SIN[float32]), r)
        cosine = w.fma(z * z, w.horner(z, COS[float32]), w.fma(z, -0.5, 1.0))
        return marked, sine, cosine
    marked, r = reduce64(w, size)
    return marked, *sine_and_cosine(w, r)


def sine_and_cosine(w: Notation, r: Pair) -> tuple[Value, Value]:
    """Of a float64 pair within an eighth of a turn around 0."""
    sine, cosine = _pairs(w, r)
    return sine[0] + sine[1], cosine[0] + cosine[1]


def _pairs(w: Notation, r: Pair) -> tuple[Pair, Pair]:
    """Sine and cosine of a float64 pair, each a great part and a small one."""
    x, rest = r
    z = x * x
    half = z * 0.5
    main = 1.0 - half
    sine = w.fma(x * z, w.horner(z, SIN[float64]), rest * main)
    lost = (1.0 - main) - half
    cosine = lost + w.fma(z * z, w.horner(z, COS[float64]), -(x * rest))
    return (x, sine), (main, cosine)


def tan(w: Notation, x: Value) -> Value:
    """The tangent; of float64 from sine and cosine as pairs."""
    if x.dtype == float32:
        return _tan32(w, x)
    marked, r = reduce64(w, abs(x))
    sine, cosine = _pairs(w, r)
    sine, cosine = fast_two_sum(*sine), fast_two_sum(*cosine)
    odd = (marked.bits() & 1).ne(0)
    above = tuple(w.where(odd, -c, s) for s, c in zip(sine, cosine))
    below = tuple(w.where(odd, s, c) for s, c in zip(sine, cosine))
    high, low = ratio(w, (above[0], above[1]), (below[0], below[1]))
    found = high + low
    return _negated(found, x)


def _tan32(w: Notation, x: Value) -> Value:
    """A polynomial, or its negative inverse, as a pair."""
    marked, (r, rest) = reduce32_pair(w, abs(x))
    z = r * r
    tail = w.fma(r * z, w.horner(z, TAN), w.fma(rest, z, rest))
    high, low = fast_two_sum(r, tail)
    inverse = 1.0 / high
    off = w.fma(low, inverse, w.fma(inverse, high, -1.0))
    turned = w.fma(inverse, off, -inverse)
    return _negated(w.where((marked.bits() & 1).ne(0), turned, high), x)


def _negated(found: Value, x: Value) -> Value:
    """`found`, negative if x is negative."""
    minus = int(np.iinfo(SIGNED[x.dtype]).min)
    return (found.bits() ^ (x.bits() & minus)).bitcast(x.dtype)
