"""Formulas against mpmath, in units in the last place; zeros, infinities and NaN against NumPy."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

from jit.forms.scalar import evaluate, scalars
from jit.loops.ir import VType
from jit.loops.math.turns import LIMIT
from jit.loops.values import apply
from jit.types import dtypes

COUNT = 60  # random arguments of each kind, function and dtype
FLOATS = ("float32", "float64")
HALVES = ("float16", "bfloat16")
NUMBERS = (0.0, np.inf, np.nan, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 7.0, 1e10)
LIMITS = (1e38, 3.4e38, 1e300, 1.7e308, 1e-40, 1e-45, 1e-310, 5e-324, 2.0**-126, 2.0**-1022)


def logsum(x, y):
    return mpmath.log(mpmath.exp(x) + mpmath.exp(y))


# name -> exact function, intervals of arguments, the bound in ULP. An interval is one for all
# arguments; (a, b, "log") spreads the exponents, with both signs if the last word is "signed".
# An infinite end is where the dtype ends.
END = np.inf
POSITIVE = ((0, END, "log"), (0.5, 2))
ANGLES = ((-30, 30), (0, END, "signed"))
UNIT = ((-1, 1), (0, 1, "signed"))
FUNCTIONS = {
    "exp": (mpmath.exp, ((-104, 89), (-746, 710), (0, 1, "signed")), 1),
    "exp2": (lambda x: mpmath.mpf(2) ** x, ((-150, 128), (-1075, 1024), (0, 1, "signed")), 1),
    "expm1": (mpmath.expm1, ((-2, 2), (-20, 89), (-40, 710), (0, 1, "signed")), 1.7),
    "log": (mpmath.log, POSITIVE, 1),
    "log2": (lambda x: mpmath.log(x) / mpmath.log(2), POSITIVE, 0.6),
    "log10": (mpmath.log10, POSITIVE, 0.6),
    "log1p": (mpmath.log1p, ((0, END, "log"), (-1, 2)), 1.2),
    "sin": (mpmath.sin, ANGLES, 1.7),
    "cos": (mpmath.cos, ANGLES, 1.7),
    "tan": (mpmath.tan, ANGLES, 0.8),
    "asin": (mpmath.asin, UNIT, 1.2),
    "acos": (mpmath.acos, UNIT, 1.3),
    "atan": (mpmath.atan, ((-5, 5), (0, END, "signed")), 0.7),
    "sinh": (mpmath.sinh, ((-2, 2), (-90, 90), (-711, 711), (0, 1, "signed")), 0.6),
    "cosh": (mpmath.cosh, ((-2, 2), (-90, 90), (-711, 711)), 0.6),
    "tanh": (mpmath.tanh, ((-1, 1), (-25, 25), (0, 1, "signed")), 1.6),
    "asinh": (mpmath.asinh, ((-2, 2), (0, END, "signed")), 1.2),
    "acosh": (mpmath.acosh, ((1, 2), (1, END, "log")), 1.2),
    "atanh": (mpmath.atanh, UNIT, 0.6),
    "cbrt": (mpmath.cbrt, POSITIVE, 0.6),
    "erf": (mpmath.erf, ((-1, 1), (-6, 6), (0, 1, "signed")), 1.2),
    "erfc": (mpmath.erfc, ((-1, 1), (-6, 10), (0, 27)), 0.8),
    "pow": (mpmath.power, ((0.1, 20),), 0.6),
    "hypot": (mpmath.hypot, ((-5, 5), (0, END, "signed")), 1.2),
    "atan2": (mpmath.atan2, ((-5, 5), (0, END, "signed")), 0.8),
    "logaddexp": (logsum, ((-5, 5), (-100, 100)), 2),
    "erfinv": (mpmath.erfinv, UNIT, 2),
    "lgamma": (lambda x: mpmath.loggamma(x).real, ((-10, 20), (0, END, "log")), 8),
    "digamma": (mpmath.digamma, ((-10, 20), (0, END, "log")), 8),
}
# Where float32 has a formula of its own, whose steps are float32, too.
SINGLE = {
    **dict.fromkeys(("sinh", "cosh", "atanh", "log2", "log10"), 1.2),
    **dict.fromkeys(("tan", "asin", "atan", "atan2", "asinh"), 1.6),
}
# Near their zeros (of logaddexp: where the arguments cancel) these are exact as sums are.
AS_SUMS = {"lgamma": 1.0, "digamma": 1.0, "logaddexp": 1.0}


def arguments(intervals, dtype, rng):
    limits = np.finfo(dtype)
    found = []
    for low, high, *spread in intervals:
        if not spread:
            x = rng.uniform(low, high, COUNT)
        else:
            least = np.log2(low) if low else limits.minexp - limits.nmant
            x = 2.0 ** rng.uniform(least, np.log2(min(high, float(limits.max))), COUNT)
            if spread == ["signed"]:
                x = x * rng.choice([-1, 1], COUNT)
        found.append(x)
    with np.errstate(over="ignore"):
        return np.concatenate(found).astype(dtype)


def ulp(exact, dtype):
    """The distance of floats where `exact` lies."""
    limits = np.finfo(dtype)
    exponent = max(mpmath.frexp(exact)[1] - 1, int(limits.minexp)) if exact else limits.minexp
    return mpmath.ldexp(1, int(exponent) - limits.nmant)


def error(name, result, exact, dtype):
    """How far off a result is, in ULP."""
    greatest = float(np.finfo(dtype).max)
    if abs(exact) > greatest:
        exact = mpmath.sign(exact) * mpmath.mpf(greatest)
    if not np.isfinite(result):
        assert not np.isnan(result)
        result = np.copysign(greatest, result)
    scale = max(abs(exact), AS_SUMS.get(name, 0))
    return abs(mpmath.mpf(float(result)) - exact) / ulp(scale, dtype)


def bound(name, dtype):
    """The greatest error that a function may have."""
    return SINGLE.get(name, FUNCTIONS[name][2]) if dtype == "float32" else FUNCTIONS[name][2]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_accurate_over_the_whole_range(name, dtype):
    exact, intervals, _ = FUNCTIONS[name]
    rng = np.random.default_rng(len(name))
    x = arguments(intervals, np.dtype(dtype), rng)
    xs = [x if k == 0 else rng.permutation(x) for k in range(scalars[name].arity)]
    result = apply(name, xs, VType(np.dtype(dtype)))
    worst = (0, ())
    with mpmath.workprec(160):
        for *point, y in zip(*xs, result):
            value = exact(*(mpmath.mpf(float(v)) for v in point))
            if isinstance(value, mpmath.mpf) and mpmath.isfinite(value):
                worst = max(worst, (error(name, y, value, dtype), tuple(point)))
    assert worst[0] <= bound(name, dtype), worst


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ["sin", "cos", "tan"])
def test_angles_close_to_multiples_of_a_quarter_turn(name, dtype):
    """Where nearly all digits cancel, up to the limit of the usual reduction and beyond it."""
    limit = LIMIT[np.dtype(dtype)]
    x = np.concatenate([np.arange(1, 60), np.linspace(limit / 2, limit * 4, 60).round()])
    x = (x * (np.pi / 2)).astype(dtype)
    x = np.append(x, [6381956970095103.0 * 2.0**797, 1e22][: 2 if dtype == "float64" else 0])
    result = apply(name, [x.astype(dtype)], VType(np.dtype(dtype)))
    with mpmath.workprec(1300):
        exact = [getattr(mpmath, name)(mpmath.mpf(float(v))) for v in x]
        worst = max(error(name, y, e, dtype) for y, e in zip(result, exact))
    assert worst <= bound(name, dtype)


@pytest.mark.parametrize("dtype", [*FLOATS, *HALVES])
@pytest.mark.parametrize(
    "name",
    [n for n, row in scalars.items() if row.result == "same" and "floating" in row.kinds],
)
def test_zeros_infinities_and_nan_are_numpys(name, dtype):
    row = scalars[name]
    if name == "where":
        return
    with np.errstate(all="ignore"):
        some = NUMBERS + LIMITS
        some = np.array([*some, *(-v for v in some)]).astype(dtypes[dtype])
        xs = [x.ravel() for x in np.meshgrid(*[some] * row.arity)]
        expected = np.asarray(evaluate(name, *xs), np.float64)
    result = apply(name, xs, VType(dtypes[dtype])).astype(np.float64)
    plain = np.isfinite(expected) & np.isfinite(result) & (expected != 0) & (result != 0)
    np.testing.assert_array_equal(result[~plain], expected[~plain])
    number = ~plain & ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(result[number]), np.signbit(expected[number]))


@pytest.mark.parametrize("dtype", FLOATS)
def test_powers_of_two_and_ten_are_exact(dtype):
    t = VType(np.dtype(dtype))
    limits = np.finfo(dtype)
    n = np.arange(limits.minexp - limits.nmant, limits.maxexp).astype(dtype)
    powers = np.ldexp(np.ones_like(n), n.astype(int))
    np.testing.assert_array_equal(apply("exp2", [n], t), powers)
    np.testing.assert_array_equal(apply("log2", [powers], t), n)
    n = np.arange(11 if dtype == "float32" else 23)
    tens = np.array([10**k for k in n.tolist()], dtype)
    np.testing.assert_array_equal(apply("log10", [tens], t), n)
    cubes = (n.astype(dtype) + 1) ** 3
    np.testing.assert_array_equal(apply("cbrt", [cubes], t), n + 1)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", ["exp", "tanh", "log", "sin", "erf", "add", "divide", "pow"])
def test_halves_are_computed_in_float32_and_rounded_once(name, dtype):
    rng = np.random.default_rng(0)
    half = dtypes[dtype]
    xs = [rng.uniform(0.1, 3, 500).astype(half) for _ in range(scalars[name].arity)]
    wide = apply(name, [x.astype(np.float32) for x in xs], VType(np.dtype("float32")))
    result = apply(name, xs, VType(half))
    assert result.dtype == half
    np.testing.assert_array_equal(result, wide.astype(half))


@pytest.mark.parametrize("dtype", FLOATS)
def test_angles_below_the_smallest_normal_number(dtype):
    most = float(np.finfo(dtype).max) / 4
    least = float(np.finfo(dtype).smallest_normal)
    x = np.array([most, most**0.5, 1.0, most, -most], dtype)
    y = np.array([least * most / 64, least * most**0.5 / 64, least / 64, 1.0, 1.0], dtype)
    result = apply("atan2", [y, x], VType(np.dtype(dtype)))
    np.testing.assert_array_max_ulp(result, np.arctan2(y, x), 1)
