"""The logarithm of the gamma function and its derivative.

Near 0 the recurrence leads to a polynomial on [1.5, 3], far out Stirling's series holds, and
negative arguments are reflected: M. Abramowitz and I. A. Stegun, "Handbook of Mathematical
Functions" (1964), 6.1.15, 6.1.17, 6.1.41, 6.3.5, 6.3.7, 6.3.18. All in float64. Coefficients of the
polynomial: a weighted minimax fit.
"""

from __future__ import annotations

import math

from jit.loops.math.doubled import product
from jit.loops.math.logarithm import log
from jit.loops.math.notation import Notation, Value
from jit.loops.math.trigonometry import sine_and_cosine
from jit.types import float64

# log(gamma(2 + t)) = t P(t), t from -1/2 to 1: relative error 2**-56.
LGAMMA = (
    0.42278433509846713, 0.3224670334241132, -0.0673523010531978, 0.020580808427785736,
    -0.007385551028697838, 0.002890510330696127, -0.0011927539109294446, 0.0005096695252359125,
    -0.0002231547712490915, 9.945751640076158e-05, -4.492611932108233e-05, 2.05070902979627e-05,
    -9.440075052154061e-06, 4.37594920098198e-06, -2.0379471402899922e-06, 9.506948754886014e-07,
    -4.482786142504786e-07, 2.1988966934418579e-07, -1.0940783934578502e-07,
    4.6997163403440505e-08, -1.3666607403709961e-08, 1.8746880464964145e-09,
)  # fmt: skip
# Stirling's series: B(2k) / (2k (2k - 1)), and B(2k) / 2k for the derivative.
BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510)
STIRLING = tuple(b / ((2 * k) * (2 * k - 1)) for k, b in enumerate(BERNOULLI, 1))
DERIVED = tuple(b / (2 * k) for k, b in enumerate(BERNOULLI, 1))
HALF_LOG_TWO_PI = 0.9189385332046728
PI = (math.pi, 1.2246467991473532e-16)


def lgamma(w: Notation, x: Value) -> Value:
    """log(abs(gamma(x))); infinite at 0, -1, -2, ..."""
    wide = x.astype(float64)
    size = abs(wide)
    found = _lgamma_positive(w, size)
    sine, _ = _half_turns(w, size)
    mirrored = log(w, math.pi / abs(sine)) - log(w, size) - found
    mirrored = w.where(sine.eq(0.0), float("inf"), mirrored)
    mirrored = w.where(size < 2.0**-60, found, mirrored)  # -log(size) on both sides
    found = w.where(wide < 0.0, mirrored, found)
    found = w.where(size.eq(float("inf")), size, found)
    return found.astype(x.dtype)


def _lgamma_positive(w: Notation, x: Value) -> Value:
    """Of x >= 0: by steps down from 8, or up to 1.5, to where the polynomial holds."""
    t, factor = x, w.constant(1.0, x)
    for _ in range(5):
        t, factor = _step(w, t >= 3.0, t, factor)
    low, least = x < 1.5, x < 0.5
    t = w.where(least, x, w.where(low, x - 1.0, t - 2.0))
    factor = w.where(least, x * (x + 1.0), w.where(low, x, factor))
    far = x >= 8.0
    logarithm = log(w, w.where(far, x, factor))
    near = w.fma(t, w.horner(t, LGAMMA), w.where(low, -logarithm, logarithm))
    inverse = 1.0 / x
    series = inverse * w.horner(inverse * inverse, STIRLING)
    stirling = w.fma(x - 0.5, logarithm - 1.0, (HALF_LOG_TWO_PI - 0.5) + series)
    return w.where(far, stirling, near)


def _step(w: Notation, condition: Value, t: Value, factor: Value) -> tuple[Value, Value]:
    less = t - 1.0
    return w.where(condition, less, t), w.where(condition, factor * less, factor)


def _half_turns(w: Notation, x: Value) -> tuple[Value, Value]:
    """sin(pi x) up to its sign, and cos(pi x) with the same one: their ratio is that of x."""
    fraction = x - x.round()
    size = abs(fraction)
    steep = size > 0.25
    folded = w.where(steep, 0.5 - size, size)
    sine, cosine = sine_and_cosine(w, product(w, (folded, w.constant(0.0, x)), PI))
    sine, cosine = w.where(steep, cosine, sine), w.where(steep, sine, cosine)
    return sine.copysign(fraction), cosine


def digamma(w: Notation, x: Value) -> Value:
    """The derivative of log(gamma(x)); NaN at -1, -2, ..., infinite at 0."""
    wide = x.astype(float64)
    mirrored = wide < 0.5
    z = w.where(mirrored, 1.0 - wide, wide)
    shift = w.constant(0.0, z)
    for _ in range(10):
        small = z < 10.0
        shift = w.where(small, shift - 1.0 / z, shift)
        z = w.where(small, z + 1.0, z)
    inverse = 1.0 / z
    square = inverse * inverse
    series = w.fma(square, w.horner(square, DERIVED), inverse * 0.5)
    found = shift + (log(w, z) - series)
    sine, cosine = _half_turns(w, wide)
    found = w.where(mirrored, found - cosine * math.pi / sine, found)
    pole = sine.eq(0.0) & mirrored
    found = w.where(pole, float("nan"), found)
    found = w.where(wide.eq(0.0), -w.constant(float("inf"), wide).copysign(wide), found)
    found = w.where(wide.eq(float("inf")), wide, found)
    return found.astype(x.dtype)
