"""What the laws do not say of elementwise ops: kinks, complex gradients, weak scalars."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest

import dualflow as df
from dualflow.core.op import TypesOnly, symbolic
from dualflow.core.registry import functions
from jit.types import TensorType
from tests.modes import graphs_only


def gradient(function, *values, dtype=np.float64):
    xs = [df.asarray(np.asarray(v, dtype)) for v in values]
    with df.GradientTape() as tape:
        tape.watch(xs)
        y = function(*xs)
    return [g.tolist() for g in tape.gradient(y, xs)]


@pytest.mark.parametrize(
    ("exponent", "slope"), [(0, 0.0), (1, 1.0), (2, 0.0), (3, 0.0), (2.0, 0.0)]
)
def test_slope_of_a_power_at_zero(exponent, slope):
    assert gradient(lambda x: x**exponent, [0.0]) == [[slope]]


def test_power_with_a_tensor_as_exponent_has_no_nan_at_zero():
    by_base, by_exponent = gradient(lambda x, n: x**n, [0.0, 0.0, 2.0], [0.0, 2.0, 3.0])
    assert by_base == [0.0, 0.0, 12.0]
    assert by_exponent == [0.0, 0.0, pytest.approx(8 * math.log(2))]


def test_the_exponent_of_zero_keeps_its_slope_in_the_base():
    # d/dn d/dx x**n at n = 0 is 1/x
    x, n = df.asarray(np.float64(4.0)), df.asarray(np.float64(0.0))
    with df.GradientTape() as outer:
        outer.watch(n)
        with df.GradientTape() as inner:
            inner.watch(x)
            y = x**n
        slope = inner.gradient(y, x)
    assert outer.gradient(slope, n).item() == pytest.approx(0.25)


@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_ties_share_the_gradient(name):
    found = gradient(getattr(df, name), [1.0, 2.0], [1.0, 2.0])
    assert found == [[0.5, 0.5], [0.5, 0.5]]


def test_an_element_on_a_bound_keeps_its_gradient():
    assert gradient(lambda x: df.clip(x, 0, 1), [-1.0, 0.0, 0.5, 1.0, 2.0]) == [[0, 1, 1, 1, 0]]


def test_bounds_get_the_gradient_of_what_they_stop():
    of_x, low, high = gradient(df.clip, [-1.0, 0.5, 2.0], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0])
    assert (of_x, low, high) == ([0, 1, 0], [1, 0, 0], [0, 0, 1])


def test_what_where_does_not_choose_gets_no_gradient():
    assert gradient(lambda x: df.where(df.isnan(x), 0, x), [np.nan, 4.0]) == [[0.0, 1.0]]
    x, y = gradient(lambda x, y: df.where(x > 0, x, y), [-1.0, 4.0], [np.inf, np.nan])
    assert (x, y) == ([0.0, 1.0], [1.0, 0.0])


@pytest.mark.parametrize("name", ["abs", "hypot", "atan2"])
def test_gradient_at_the_origin_is_zero(name):
    function = functions[name]
    zeros = [[0.0]] * (1 if name == "abs" else 2)
    assert gradient(function, *zeros) == zeros


def test_logaddexp_of_infinities():
    assert gradient(df.logaddexp, [-np.inf], [-np.inf]) == [[0.5], [0.5]]


def test_complex_gradient_is_the_conjugate_of_the_partial_times_g():
    """Of a real loss L the gradient is dL/dx + i dL/dy, as in PyTorch and TensorFlow."""
    z = [1 + 2j]
    assert gradient(lambda x: df.real(x * (3 + 4j)), z, dtype=complex) == [[3 - 4j]]
    assert gradient(lambda x: df.imag(x), z, dtype=complex) == [[1j]]
    assert gradient(lambda x: df.abs(x) ** 2, z, dtype=complex)[0] == [pytest.approx(2 + 4j)]
    assert gradient(lambda x: df.real(df.conj(x) * x), z, dtype=complex) == [[2 + 4j]]
    assert gradient(lambda x: df.real(x / (1j)), z, dtype=complex) == [[1j]]


@pytest.mark.parametrize(
    "name",
    "exp expm1 log log1p log2 log10 sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh "
    "sqrt square reciprocal abs conj real imag".split(),
)
def test_complex_gradients_along_both_axes(name):
    """Steps along the real and the imaginary axis change a real loss as the gradient says."""
    function, step = functions[name], 1e-6
    z = np.array([0.4 + 0.3j, -0.3 + 0.6j, 1.4 - 0.7j])
    weight = np.array([0.7 - 0.2j, 1.1 + 0.4j, -0.6 + 0.9j])

    def loss(x):
        return df.sum(df.real(function(x) * weight))

    (g,) = gradient(loss, z, dtype=complex)
    for k in range(len(z)):
        for direction, part in ((1, np.real), (1j, np.imag)):
            shift = np.zeros(3, complex)
            shift[k] = step * direction
            slope = (loss(df.asarray(z + shift)) - loss(df.asarray(z - shift))).item() / (2 * step)
            assert part(g[k]) == pytest.approx(slope, rel=1e-6, abs=1e-8)


def test_python_and_numpy_scalars_are_weak():
    x = df.asarray(np.array([1.0, 2.0], np.float32))
    for scalar in (2, 2.0, True, np.float64(2.0)):
        assert (x * scalar).dtype == df.float32
        assert (scalar * x).dtype == df.float32
        assert df.where(x > 1, x, scalar).dtype == df.float32
    assert (x * 1j).dtype == df.complex64
    half = df.asarray(np.array([1.0, 2.0], np.float16))
    assert (half + 1e-3).dtype == df.float16
    assert (df.asarray(np.int8([1])) + 1.5).dtype == df.float32


@pytest.mark.parametrize("name", ["add", "maximum", "pow", "divide", "hypot", "less"])
def test_bfloat16(name):
    x = df.asarray([1.5, 2.0]).astype("bfloat16")
    y = functions[name](x, 2)
    assert y.dtype in (np.dtype(ml_dtypes.bfloat16), df.bool)
    assert functions[name](x, x).dtype == y.dtype


def test_reflected_operators_and_rounding():
    x = df.asarray([1.0, 2.0, 4.0])
    assert (8 - x).tolist() == [7.0, 6.0, 4.0]
    assert (8 / x).tolist() == [8.0, 4.0, 2.0]
    assert (2**x).tolist() == [2.0, 4.0, 16.0]
    assert (9 // x).tolist() == [9.0, 4.0, 2.0]
    assert (9 % x).tolist() == [0.0, 1.0, 1.0]
    assert (1 << df.asarray([0, 3])).tolist() == [1, 8]
    assert round(df.asarray([1.26, -2.5])).tolist() == [1.0, -2.0]
    assert round(df.asarray([1.26, -2.55]), 1).tolist() == pytest.approx([1.3, -2.6], abs=0.051)
    assert abs(~df.asarray([3])).tolist() == [4]


def test_comparing_with_what_is_no_number():
    x = df.asarray([1.0])
    assert (x == None) is False  # noqa: E711 - the operator is what is tested
    assert (x != "a") is True


@pytest.mark.parametrize("tapes", [0, 1])
def test_a_variable_is_read_like_a_tensor(tapes):
    w, v = df.Variable([1.0, 2.0]), df.Variable([3.0, 4.0], trainable=False)
    x = df.asarray([5.0, 6.0])
    if not tapes:
        assert (w + v).record is not None
        assert (v + x).record is None
        return
    with df.GradientTape() as tape:
        y = df.exp(w) * v + 2.0 * w + x
    assert tape.watched_variables() == (w,)
    assert tape.gradient(y, w).tolist() == pytest.approx(np.exp([1, 2]) * [3, 4] + 2)


def test_division_by_a_scalar_zero_has_a_gradient():
    assert gradient(lambda x: x / 0.0, [1.0]) == [[np.inf]]


def test_erf_to_the_last_bits():
    x = np.linspace(-7, 7, 4001)
    want = np.array([math.erf(v) for v in x])
    np.testing.assert_array_max_ulp(df.erf(df.asarray(x)).numpy(), want, 3)


@pytest.mark.parametrize("place", [0, -1])
@pytest.mark.parametrize("name", ["add", "where", "clip", "pow", "maximum"])
def test_one_symbolic_argument_makes_the_result_symbolic(name, place):
    args = [df.asarray([1.0, 2.0]) for _ in range(2 if name in ("add", "pow", "maximum") else 3)]
    if name == "where":
        args[0] = df.asarray([True, False])
    args[place] = symbolic(TensorType((2,), args[place].dtype), TypesOnly())
    y = functions[name](*args)
    assert y.raw is None
    assert y.type == TensorType((2,), df.float32)


def test_infinities_of_complex_expm1_are_those_of_the_standard():
    """NumPy gives NaN for some of them."""
    inf, nan = math.inf, math.nan
    cases = {
        complex(inf, 0): complex(inf, 0),
        complex(-inf, inf): complex(-1, 0),
        complex(-inf, nan): complex(-1, 0),
        complex(inf, nan): complex(inf, nan),
        complex(nan, 0): complex(nan, 0),
        complex(-inf, 2): complex(-1, 0),
    }
    x = np.array(list(cases))
    wanted = np.array(list(cases.values()))
    for f in (df.expm1, df.function(df.expm1)):
        y = f(df.asarray(x)).numpy()
        np.testing.assert_array_equal(y.real, wanted.real)
        np.testing.assert_array_equal(y.imag, wanted.imag)
    near = np.array([1e-12 + 1e-12j])
    np.testing.assert_allclose(df.expm1(df.asarray(near)).numpy(), near, rtol=1e-11)


@graphs_only
def test_the_slope_of_a_cube_squares_in_both_modes():
    """x**2 rounds once, and a general power may round otherwise."""
    x = df.asarray(np.random.default_rng(0).normal(size=1000).astype("float32"))

    def slope(x):
        with df.GradientTape() as tape:
            tape.watch(x)
            y = (x**3.0).sum()
        return tape.gradient(y, x)

    step = df.function(slope)
    np.testing.assert_array_equal(step(x).numpy(), step(x).numpy())
    assert step.from_graph == 1


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-0.0, 0.0), (-1.0, None), (2.0, 1.0)])
def test_clip_of_many_has_the_bits_of_few(bounds):
    few = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, 1.0, -1.0, 0.5], np.float32)
    clipped = df.clip(df.asarray(few), *bounds).numpy()
    many = df.clip(df.asarray(np.tile(few, 600)), *bounds).numpy()
    assert many.tobytes() == np.tile(clipped, 600).tobytes()


def test_r16_integers_to_a_negative_power_are_refused_by_recorded_calls_too():
    f = df.function(lambda a, b: a**b, strict=True)
    a = df.asarray([4, 2, 3])
    for exponents in ([1, 2, 3], [0, 2, 2]):
        assert f(a, df.asarray(exponents)).tolist() == [4 ** exponents[0], 4, 3 ** exponents[2]]
    with pytest.raises(df.errors.DTypeError, match="no integers"):
        f(a, df.asarray([1, -1, 2]))
