"""What instructions mean: exactly NumPy's values wherever NumPy or IEEE 754 define them."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from jit.errors import DTypeError
from jit.forms.scalar import evaluate, result_dtype, scalars
from jit.loops.fma import fma
from jit.loops.ir import INDEX, VType
from jit.loops.values import apply
from jit.types import bool_, dtypes, kind

REAL = [name for name in dtypes if not name.startswith("complex")]
EXACT = (
    "add subtract multiply divide floor_divide remainder maximum minimum copysign nextafter "
    "positive negative square sign abs ceil floor trunc round sqrt reciprocal conj real where "
    "equal not_equal less less_equal greater greater_equal isnan isinf isfinite signbit "
    "logical_and logical_or logical_xor logical_not bitwise_and bitwise_or bitwise_xor "
    "bitwise_invert bitwise_left_shift bitwise_right_shift"
).split()


def samples(dtype):
    """Limits, special numbers and random ones."""
    rng = np.random.default_rng(5)
    if dtype == bool_:
        return np.array([False, True])
    if dtype.kind in "iu":
        least, most = np.iinfo(dtype).min, np.iinfo(dtype).max
        some = [0, 1, 2, 3, 5, 7, 8, 15, 31, 32, 63, 64, 100, most, most - 1, most // 2]
        some += [least, least + 1, -1, -2, -3, -7, -64]
        some += rng.integers(least, most, 20, dtype=dtype).tolist()
        return np.array([x for x in some if least <= x <= most], dtype)
    some = [0.0, np.nan, np.inf, 0.5, 1.0, 1.5, 2.5, 3.0, 7.0, 1e-45, 1e-40, 1e-310, 5e-324, 3e38]
    some += [1e308, 65504.0, 65519.9, 65520.0, 300.7, 1e10, 1e19, 6e-8, 0.1, 1 / 3]
    some += [2.0**k for k in (31, 32, 63, 64)]
    some = np.array([*some, *rng.standard_normal(15) * 10.0 ** rng.integers(-30, 30, 15)])
    with np.errstate(over="ignore"):
        return np.concatenate([some, -some]).astype(dtype)


def assert_same(result, expected):
    """Equal in dtype and value, signs of zeros too."""
    assert result.dtype == expected.dtype
    if kind(expected.dtype) == "floating":
        result, expected = result.astype(np.float64), expected.astype(np.float64)
        number = ~np.isnan(expected)
        np.testing.assert_array_equal(np.signbit(result[number]), np.signbit(expected[number]))
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("name", EXACT)
def test_values_are_numpys(name, dtype):
    row = scalars[name]
    if kind(dtypes[dtype]) not in row.kinds:
        return
    some = samples(dtypes[dtype])
    xs = [x.ravel() for x in np.meshgrid(*[some] * min(row.arity, 2))]
    with np.errstate(all="ignore"):
        if name == "where":
            xs = [xs[0] > xs[1], *xs]
        expected = evaluate(name, *xs)
    assert_same(apply(name, xs, VType(expected.dtype)), expected)


@pytest.mark.parametrize("dtype", [d for d in REAL if kind(dtypes[d]) == "integer"])
def test_integer_powers_wrap_around(dtype):
    some = samples(dtypes[dtype])
    a, b = (x.ravel() for x in np.meshgrid(some, some[some >= 0]))
    assert_same(apply("pow", [a, b], VType(a.dtype)), np.pow(a, b))


def test_integers_to_negative_powers_lose_the_fraction():
    a = np.array([1, -1, -1, 2, 0, -3])
    b = np.array([-5, -2, -3, -1, -1, -2])
    np.testing.assert_array_equal(apply("pow", [a, b], VType(a.dtype)), [1, 1, -1, 0, 0, 0])


@pytest.mark.parametrize("after", REAL)
@pytest.mark.parametrize("before", REAL)
def test_conversions_are_those_of_single_numpy_scalars(before, after):
    """Whole arrays give the same, except that NumPy's loop to uint32 differs out of range."""
    x = samples(dtypes[before])
    with np.errstate(all="ignore"):
        expected = np.array([v.astype(dtypes[after]) for v in x], dtypes[after])
    assert_same(apply("astype", [x], VType(dtypes[after])), expected)


def test_float64_becomes_float16_in_one_rounding():
    """Close to the middle between two float16, where a stop at float32 would round twice."""
    middle = 1 + 2.0**-11
    x = np.array([middle + 2.0**-40, middle - 2.0**-40, middle, -middle - 2.0**-40, 1e300])
    with np.errstate(over="ignore"):
        expected = x.astype(np.float16)
        assert (expected != x.astype(np.float32).astype(np.float16)).any()
    assert_same(apply("astype", [x], VType(np.dtype("float16"))), expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["remainder", "floor_divide"])
def test_remainders_of_quotients_that_no_float_holds(name, dtype):
    rng = np.random.default_rng(2)
    limit = 37 if dtype == "float32" else 300
    a, b = (rng.standard_normal(400) * 10.0 ** rng.integers(-limit, limit, 400) for _ in "ab")
    a, b = a.astype(dtype), b.astype(dtype)
    a[:3], b[:3] = np.finfo(dtype).max, np.finfo(dtype).smallest_subnormal
    with np.errstate(all="ignore"):
        expected = evaluate(name, a, b)
    assert_same(apply(name, [a, b], VType(a.dtype)), expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("spread", [1, 20, 200])
def test_fma_rounds_once(dtype, spread):
    rng = np.random.default_rng(spread)
    count, spread = 1000, min(spread, 20 if dtype == "float32" else 200)
    a, b, c = (
        (rng.standard_normal(count) * 10.0 ** rng.integers(-spread, spread, count)).astype(dtype)
        for _ in "abc"
    )
    with np.errstate(all="ignore"):
        near = -(a * b) * (1 + rng.integers(-2, 3, count) * np.finfo(dtype).eps).astype(dtype)
    c = np.where((rng.random(count) < 0.5) & np.isfinite(near), near, c)
    with np.errstate(all="ignore"):
        result = fma(a, b, c)
    for x, y, z, r in zip(a.tolist(), b.tolist(), c.tolist(), result.tolist()):
        exact = Fraction(x) * Fraction(y) + Fraction(z)
        if abs(exact) > np.finfo(dtype).max:
            assert abs(r) >= np.finfo(dtype).max
            continue
        below, above = (np.nextafter(r, way, dtype=dtype) for way in (-np.inf, np.inf))
        off = abs(Fraction(r) - exact)
        for other in (below, above):
            if np.isfinite(other):
                assert off <= abs(Fraction(float(other)) - exact)


def test_fma_of_special_numbers():
    inf, nan = np.inf, np.nan
    a, b, c, expected = np.array(
        [
            (0.0, 3.0, -0.0, 0.0),
            (-0.0, 3.0, -0.0, -0.0),
            (1.0, 1.0, -1.0, 0.0),
            (inf, 0.0, 1.0, nan),
            (inf, 1.0, -inf, nan),
            (1e300, 1e300, -inf, -inf),
            (1e300, 1e10, -1.7e308, inf),
            (1e200, 1e108, -1e308, 1e200 * 1e108 - 1e308),
            (5e-324, 0.5, 5e-324, 1e-323),
            (-5e-324, 0.25, 0.0, -0.0),
        ]
    ).T
    with np.errstate(all="ignore"):
        result = fma(a, b, c)
    known = np.ones(len(a), bool)
    known[7] = False  # a tiny number, whose exact value the test above covers
    np.testing.assert_array_equal(result[known], expected[known])
    np.testing.assert_array_equal(np.signbit(result[:3]), np.signbit(expected[:3]))


def test_instructions_about_lanes():
    int64 = INDEX.dtype
    x = np.arange(4)
    np.testing.assert_array_equal(apply("splat", [np.array(7)], VType(int64, 4)), [7] * 4)
    np.testing.assert_array_equal(apply("iota", [], VType(int64, 4)), x)
    assert apply("extract", [x], INDEX, (2,)) == 2
    both = [x, x + 10]
    np.testing.assert_array_equal(apply("shuffle", both, VType(int64, 3), (3, 4, 0)), [3, 10, 0])


def test_integer_division_by_machine_instructions():
    a, b = np.array([7, -7, 7, -7]), np.array([2, 2, -2, -2])
    np.testing.assert_array_equal(apply("quotient", [a, b], INDEX), [3, -3, -3, 3])
    np.testing.assert_array_equal(apply("rest", [a, b], INDEX), [1, -1, 1, -1])


def test_every_scalar_instruction_has_a_meaning():
    for name, row in scalars.items():
        for dtype in (dtypes[d] for d in REAL):
            if kind(dtype) not in row.kinds:
                continue
            xs = [np.ones(3, dtype)] * row.arity
            if name == "where":
                xs[0] = np.ones(3, bool)
            given = dtype if row.result == "given" else None
            result = result_dtype(name, tuple(x.dtype for x in xs), given)
            assert apply(name, xs, VType(result)).shape == (3,)


def test_what_has_no_meaning_is_refused():
    with pytest.raises(DTypeError, match="exp of int32 has no formula"):
        apply("exp", [np.ones(1, np.int32)], VType(np.dtype("int32")))
