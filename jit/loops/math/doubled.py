"""Numbers as the unevaluated sum of two floats, for steps that need twice the precision.

T. J. Dekker, "A floating-point technique for extending the available precision", Numerische
Mathematik 18 (1971) 224-242; products by fused multiply-add instead of halving.
"""

from __future__ import annotations

from typing import TypeAlias

from jit.loops.math.notation import Notation, Other, Value

Pair: TypeAlias = tuple[Value, Value]
Constants: TypeAlias = tuple[float, float]


def two_sum(a: Value, b: Other) -> Pair:
    """The sum and what rounding took from it."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def fast_two_sum(a: Other, b: Value) -> Pair:
    """`two_sum` where `a` is the greater in magnitude, or 0."""
    total = a + b
    return total, b - (total - a)


def two_product(w: Notation, a: Value, b: Other) -> Pair:
    """The product and what rounding took from it."""
    product = a * b
    return product, w.fma(a, b, -product)


def product(w: Notation, a: Pair, b: tuple[Other, Other]) -> Pair:
    """The product of two pairs, not normalised."""
    high, low = two_product(w, a[0], b[0])
    return high, w.fma(a[0], b[1], w.fma(a[1], b[0], low))


def ratio(w: Notation, a: Pair, b: Pair) -> Pair:
    """The quotient of two pairs, not normalised."""
    high = a[0] / b[0]
    rest = w.fma(-high, b[0], a[0]) + w.fma(-high, b[1], a[1])
    return high, rest / b[0]


def root(w: Notation, a: Pair) -> Pair:
    """The square root of a pair that is greater than 0."""
    high = a[0].sqrt()
    return high, (w.fma(-high, high, a[0]) + a[1]) / (high * 2.0)
