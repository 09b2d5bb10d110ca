"""The fused multiply-add in NumPy, correctly rounded: NumPy has none.

S. Boldo and G. Melquiond, "Emulation of a FMA and Correctly Rounded Sums: Proved Algorithms Using
Rounding to Odd", IEEE Transactions on Computers 57 (2008) 462-471.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from jit.types import float32

Array = np.ndarray[Any, np.dtype[Any]]

SPLIT = 134217729.0  # 2**27 + 1: cuts a float64 into halves of 26 bits
LOW, HIGH = 1e-270, 1e300  # between them, products, halves and what rounding takes are exact


def fma(a: Array, b: Array, c: Array) -> Array:
    """A * b + c of float32 or float64 arrays, rounded once."""
    a, b, c = np.broadcast_arrays(a, b, c)
    if a.dtype == float32:  # the product is exact in float64
        wide = a.astype(np.float64) * b.astype(np.float64)
        return _odd_sum(wide, c.astype(np.float64)).astype(float32)
    product, error = _two_product(a, b)
    high, low = _two_sum(c, error)
    top, rest = _two_sum(product, high)
    result = np.asarray(top + _odd_sum(rest, low))
    plain = (a == 0) | (b == 0) | ~np.isfinite(a) | ~np.isfinite(b) | ~np.isfinite(c)
    plain |= (c == 0) & (product != 0)  # a product that underflows to 0 keeps its sign
    size = np.abs(product)
    usual = (size > LOW) & (size < HIGH)
    for x in (a, b, c):
        usual &= np.abs(x) < HIGH
    known = np.where(np.isfinite(a) & np.isfinite(b) & np.isinf(c), c, product + c)
    result = np.where(plain, known, result)
    for at in zip(*np.nonzero(np.atleast_1d(~plain & ~usual))):
        at = at if result.ndim else ()
        result[at] = _exact(float(a[at]), float(b[at]), float(c[at]))
    return result


def _exact(a: float, b: float, c: float) -> float:
    """By integers, for what may overflow or underflow on the way; no operand is 0."""
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    try:
        return float(exact) or (0.0 if exact > 0 else -0.0)
    except OverflowError:
        return np.inf if exact > 0 else -np.inf


def _two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """The sum and what rounding took from it (Knuth)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def _two_product(a: Array, b: Array) -> tuple[Array, Array]:
    """The product and what rounding took from it (Dekker)."""
    product = a * b
    (a1, a2), (b1, b2) = _halves(a), _halves(b)
    return product, ((a1 * b1 - product) + a1 * b2 + a2 * b1) + a2 * b2


def _halves(x: Array) -> tuple[Array, Array]:
    big = SPLIT * x
    high = big - (big - x)
    return high, x - high


def _odd_sum(a: Array, b: Array) -> Array:
    """A + b rounded to odd: what is rounded once more is then rounded right."""
    total, error = _two_sum(a, b)
    bits = total.view(np.int64)
    even = (bits & 1) == 0
    step = np.where((error > 0) == (total > 0), 1, -1)
    fixed = (bits + step).view(np.float64)
    return np.where((error != 0) & even & np.isfinite(total), fixed, total)
