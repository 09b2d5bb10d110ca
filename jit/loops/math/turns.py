"""Angles less the nearest multiple of pi / 2, for every finite float.

Up to a limit three parts of pi / 2 are subtracted (Cody and Waite). Greater angles, which are rare,
are multiplied by the bits of 2 / pi that count: M. Payne and R. Hanek, "Radian reduction for
trigonometric functions", ACM SIGNUM Newsletter 18 (1983) 19-24.
"""

from __future__ import annotations

from itertools import pairwise

from jit.loops.math.doubled import Pair, fast_two_sum, product, two_product, two_sum
from jit.loops.math.notation import Notation, State, Value
from jit.types import float32, float64

# pi / 2 as a sum of floats; up to LIMIT they are enough.
QUARTER = {
    float32: (1.5707963705062866, -4.371138828673793e-08, -1.7151245100058819e-15),
    float64: (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33),
}
LIMIT = {float32: 2.0**15, float64: 2.0**25}
TWO_OVER_PI = 0.6366197723675814
# Adding this rounds to an integer and leaves it modulo 4 in the lowest bits.
MARK = {float32: 1.5 * 2**23, float64: 1.5 * 2**52}

# The bits of 2 / pi after 64 zeros, most significant first.
WORDS = (
    0, 0xA2F9836E4E441529, 0xFC2757D1F534DDC0, 0xDB6295993C439041, 0xFE5163ABDEBBC561,
    0xB7246E3A424DD2E0, 0x06492EEA09D1921C, 0xFE1DEB1CB129A73E, 0xE88235F52EBB4484,
    0xE99C7026B45F7E41, 0x3991D639835339F4, 0x9C845F8BBDF9283B, 0x1FF897FFDE05980F,
    0xEF2F118B5A0A6D1F, 0x6D367ECF27CB09B7, 0x4F463F669E5FEA2D, 0x7527BAC7EBE5F17B,
    0x3D0739F78A5292EA, 0x6BFB5FB11F8D5D08, 0x56033046FC7B6BAB,
)  # fmt: skip
LOW_HALF = 0xFFFFFFFF


def reduce32(w: Notation, size: Value) -> Pair:
    """A float32 whose lowest bits hold the quarter turns in `size` >= 0, and what is left of it."""
    marked = w.fma(size, TWO_OVER_PI, MARK[float32])
    n = marked - MARK[float32]
    rest = size
    for part in QUARTER[float32]:
        rest = w.fma(n, -part, rest)

    def far(size: Value) -> State:
        quarters, (high, _) = _reduce_far(w, size.astype(float64))
        return quarters.astype(float32) + MARK[float32], high.astype(float32)

    found = w.rarely(size > LIMIT[float32], (marked, rest), (size,), far)
    return found[0], found[1]


def reduce32_pair(w: Notation, size: Value) -> tuple[Value, Pair]:
    """As `reduce32`; what is left is a pair."""
    marked = w.fma(size, TWO_OVER_PI, MARK[float32])
    n = marked - MARK[float32]
    first, second, third = QUARTER[float32]
    taken, taken_low = two_product(w, n, second)
    rest, low = two_sum(w.fma(n, -first, size), -taken)
    low = w.fma(n, -third, low - taken_low)

    def far(size: Value) -> State:
        quarters, (high, low) = _reduce_far(w, size.astype(float64))
        rest = high.astype(float32)
        low = (high - rest.astype(float64)) + low
        return quarters.astype(float32) + MARK[float32], rest, low.astype(float32)

    far_off = size > LIMIT[float32]
    marked, rest, low = w.rarely(far_off, (marked, rest, low), (size,), far)
    return marked, (rest, low)


def reduce64(w: Notation, size: Value) -> tuple[Value, Pair]:
    """As `reduce32`, of float64; what is left is a pair."""
    marked = w.fma(size, TWO_OVER_PI, MARK[float64])
    n = marked - MARK[float64]
    first, second, third = QUARTER[float64]
    taken, taken_low = two_product(w, n, second)
    rest, low = two_sum(w.fma(n, -first, size), -taken)
    low = w.fma(n, -third, low - taken_low)

    def far(size: Value) -> State:
        quarters, (high, low) = _reduce_far(w, size)
        return quarters + MARK[float64], high, low

    far_off = size > LIMIT[float64]
    marked, rest, low = w.rarely(far_off, (marked, rest, low), (size,), far)
    return marked, (rest, low)


def _reduce_far(w: Notation, size: Value) -> tuple[Value, Pair]:
    """Quarter turns modulo 4 as a float64, and what is left; NaN of infinity.

    `size` is m 2**e with an integer m. Multiples of 4 quarters do not count, so neither do bits of
    2 / pi above 2**(1 - e); the 192 bits from there on, times m, modulo 4, are the result.
    """
    bits = size.pattern()
    m = bits & (2**52 - 1) | 2**52
    place = (bits >> 52) - (1075 - 62)  # of the first bit that counts, among WORDS
    whole, fraction = _times(w, m, _window(w, place))
    quarters = (whole + 2**61) >> 62
    left = (whole - (quarters << 62)).bitcast("int64")
    high, low = two_sum(
        (left >> 32).astype(float64) * 2.0**-30,
        (left & LOW_HALF).astype(float64) * 2.0**-62,
    )
    tail = (fraction & LOW_HALF).bitcast("int64").astype(float64) * 2.0**-126
    tail = tail + (fraction >> 32).bitcast("int64").astype(float64) * 2.0**-94
    high, low = fast_two_sum(high, low + tail)
    turned = product(w, (high, low), QUARTER[float64][:2])
    rest, low = fast_two_sum(*turned)
    rest = w.where(size < float("inf"), rest, float("nan"))
    return quarters.bitcast("int64").astype(float64), (rest, low)


def _window(w: Notation, place: Value) -> list[Value]:
    """Three words of `WORDS` from bit number `place` on, by a barrel of choices."""
    words = [w.number(x, place) for x in WORDS + (0,) * 15]
    word, within = place >> 6, place & 63
    for step in (16, 8, 4, 2, 1):
        chosen = (word & step).ne(0)
        words = [w.where(chosen, b, a) for a, b in zip(words[: step + 3], words[step:])]
    others = 63 - within
    return [a << within | (b >> 1) >> others for a, b in pairwise(words)]


def _times(w: Notation, m: Value, words: list[Value]) -> Pair:
    """The two highest words of m times three words, modulo 2**192."""
    top, middle, bottom = words
    low = m * middle
    fraction = low + _high_product(m, bottom)
    carry = w.where(fraction < low, w.number(1, m), 0)
    return m * top + _high_product(m, middle) + carry, fraction


def _high_product(a: Value, b: Value) -> Value:
    """The upper 64 bits of a product of unsigned integers."""
    (a1, a2), (b1, b2) = ((x >> 32, x & LOW_HALF) for x in (a, b))
    cross1, cross2 = a1 * b2, a2 * b1
    middle = ((a2 * b2) >> 32) + (cross1 & LOW_HALF) + (cross2 & LOW_HALF)
    return a1 * b1 + (cross1 >> 32) + (cross2 >> 32) + (middle >> 32)
