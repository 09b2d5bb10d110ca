"""The reference executor: every form against NumPy, on concrete and on symbolic shapes."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jit.dims import symbol
from jit.errors import IndexError
from jit.forms.reference import Reference
from jit.types import TensorType, dtypes

int64, float32, float64 = dtypes["int64"], dtypes["float32"], dtypes["float64"]
RNG = np.random.default_rng(0)


def run(build, *arrays):
    """The arrays of what `build(form, *values)` returns."""
    form = Reference()
    out = build(form, *[form.put(x) for x in arrays])
    if isinstance(out, tuple):
        return tuple(form.arrays[each] for each in out)
    array = form.arrays[out]
    assert (array.shape, array.dtype) == (out.shape, out.dtype)
    return array


def check(build, expected, *arrays):
    result = run(build, *arrays)
    assert result.dtype == expected.dtype
    np.testing.assert_array_equal(result, expected)


# ---------------------------------------------------------------- leaves and pointwise


def test_leaves():
    check(lambda form: form.constant(2, float32, (2, 3)), np.full((2, 3), 2, np.float32))
    table = np.arange(6).reshape(2, 3)
    check(lambda form: form.constant(table, int64, (2, 3)), table)
    check(
        lambda form: form.index((2, 3), lambda i, j: 10 * i + j % 2, int64),
        table % 3 % 2 + np.array([[0], [10]]),
    )
    check(lambda form: form.index((), lambda: 7, int64), np.array(7))
    check(lambda form: form.index((3,), lambda i: i, float32), np.arange(3, dtype=np.float32))


def test_pointwise_broadcasts():
    x, y = RNG.normal(size=(4, 1, 3)), RNG.normal(size=(2, 1))
    check(lambda form, x, y: form.pointwise("add", x, y), x + y, x, y)
    check(lambda form, x: form.pointwise("multiply", x, form.constant(2, float64)), x * 2, x)
    check(
        lambda form, x, y: form.pointwise("where", form.pointwise("less", x, y), x, y),
        np.minimum(x, y),
        x,
        y,
    )
    check(lambda form, x: form.pointwise("astype", x, dtype=int64), x.astype(np.int64), x)


def test_overflow_is_no_warning():
    x = np.array([1e4, -1.0], np.float16)
    assert run(lambda form, x: form.pointwise("multiply", x, x), x)[0] == np.inf
    assert np.isnan(run(lambda form, x: form.pointwise("log", x), x)[1])


# ---------------------------------------------------------------- views


def test_views():
    x = RNG.normal(size=(4, 6))
    check(lambda form, x: form.view(x, (6, 4), lambda i, j: (j, i)), x.T, x)
    check(lambda form, x: form.view(x, (2, 6), lambda i, j: (1 + 2 * i, j)), x[1::2], x)
    check(lambda form, x: form.view(x, (4, 6), lambda i, j: (3 - i, 5 - j)), x[::-1, ::-1], x)
    check(lambda form, x: form.view(x, (3,), lambda i: (i, i)), np.diagonal(x)[:3], x)
    check(lambda form, x: form.view(x, (2, 4, 6), lambda b, i, j: (i, j)), np.stack([x, x]), x)
    check(
        lambda form, x: form.view(x, (6, 9), lambda i, j: (i - 1, j - 2), fill=0),
        np.pad(x, ((1, 1), (2, 1))),
        x,
    )
    dilated = np.full((4, 11), -1.0)
    dilated[:, ::2] = x
    check(
        lambda form, x: form.view(
            x, (4, 11), lambda i, j: (i, j // 2), fill=-1, where=lambda i, j: [(j % 2, 1)]
        ),
        dilated,
        x,
    )


@given(
    st.permutations([2, 3, 4]), st.sampled_from([(24,), (4, 6), (1, 8, 3), (2, 2, 2, 3), (24, 1)])
)
def test_reshape(shape, new):
    x = np.arange(24.0).reshape(shape)
    check(lambda form, x: form.reshape(x, new), x.reshape(new), x)


def test_empty_values():
    x = np.zeros((0, 3))
    check(lambda form, x: form.reshape(x, (3, 0)), x.reshape(3, 0), x)
    check(lambda form, x: form.view(x, (2, 3), lambda i, j: (i, j), fill=1), np.ones((2, 3)), x)
    check(lambda form, x: form.reduce("sum", x, (0,)), np.zeros(3), x)
    check(lambda form, x: form.reduce("max", x, (0,)), np.full(3, -np.inf), x)
    check(lambda form, x: form.reduce("sum", x, (1,)), np.zeros(0), x)
    check(lambda form, x: form.scan("sum", x, 0, exclusive=True), x, x)
    check(lambda form, x: form.contract("ab,ac->bc", x, x), np.zeros((3, 3)), x)
    beside = np.lib.stride_tricks.as_strided(np.full(9, np.nan), (2, 0), (8, 8))
    check(lambda form, x: form.contract("ab,cb->ac", x, x), np.zeros((2, 2)), beside)
    with pytest.raises(IndexError, match="the axis is empty"):
        run(lambda form, x: form.view(x, (2, 3), lambda i, j: (i, j)), x)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("dilation", [1, 2])
def test_convolution(stride, padding, dilation):
    rng = np.random.default_rng(1)  # whichever tests came before
    x, w = rng.normal(size=(2, 3, 9, 8)), rng.normal(size=(4, 3, 3, 2))
    oh = (9 + 2 * padding - dilation * 2 - 1) // stride + 1
    ow = (8 + 2 * padding - dilation * 1 - 1) // stride + 1

    def build(form, x, w):
        windows = form.view(
            x,
            (2, 3, oh, ow, 3, 2),
            lambda b, c, i, j, u, v: (
                b,
                c,
                i * stride + u * dilation - padding,
                j * stride + v * dilation - padding,
            ),
            fill=0,
        )
        return form.contract("bcijuv,ocuv->boij", windows, w)

    padded = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    expected = np.zeros((2, 4, oh, ow))
    for i, j in np.ndindex(oh, ow):
        top, left = i * stride, j * stride
        patch = padded[
            :, :, top : top + 2 * dilation + 1 : dilation, left : left + dilation + 1 : dilation
        ]
        expected[:, :, i, j] = np.tensordot(patch, w, ((1, 2, 3), (1, 2, 3)))
    np.testing.assert_allclose(run(build, x, w), expected, rtol=1e-12)


# ---------------------------------------------------------------- loads


def test_gather_and_its_transpose():
    x, t = RNG.normal(size=(5, 3)), np.array([4, 0, 4, 2], np.int32)

    def gather(form, x, t):
        return form.view(x, (4, 3), lambda i, j: (form.load(t, i), j))

    def scatter(form, g, t):
        zeros = form.constant(0, g.dtype, (5, 3))
        return form.scatter("add", zeros, g, lambda i, j: (form.load(t, i), j))

    check(gather, x[t], x, t)
    g = RNG.normal(size=(4, 3))
    expected = np.zeros((5, 3))
    np.add.at(expected, t, g)
    check(scatter, expected, g, t)


@pytest.mark.parametrize("bad", [5, -1])
def test_loaded_index_out_of_range(bad):
    x, t = np.arange(5.0), np.array([0, bad])
    for build in (
        lambda form, x, t: form.view(x, (2,), lambda i: (form.load(t, i),)),
        lambda form, x, t: form.scatter(
            "add", x, form.constant(1, float64, (2,)), lambda i: (form.load(t, i),)
        ),
    ):
        with pytest.raises(
            IndexError, match=f"index {bad} is outside of axis 0, which has 5 elements"
        ):
            run(build, x, t)


def test_loads_outside_with_fill_or_dropped():
    x, t = np.arange(1.0, 5.0), np.array([0, 9, 3])
    view = lambda form, x, t: form.view(x, (3,), lambda i: (form.load(t, i),), fill=-1)  # noqa: E731
    check(view, np.array([1.0, -1, 4]), x, t)
    check(
        lambda form, x, t: form.scatter(
            "add", x, form.constant(10, float64, (3,)), lambda i: (form.load(t, i),), dropped=True
        ),
        np.array([11.0, 2, 3, 14]),
        x,
        t,
    )
    # The table itself is read only where the conditions hold.
    check(
        lambda form, x, t: form.view(
            x, (5,), lambda i: (form.load(t, i - 1),), fill=0, where=lambda i: [(i - 1, 1)]
        ),
        np.array([0.0, 1, 0, 0, 0]),
        x,
        t,
    )
    with pytest.raises(IndexError, match="index -1"):
        run(lambda form, x, t: form.view(x, (3,), lambda i: (form.load(t, i - 1),), fill=0), x, t)


def test_scatter_combinations():
    into, y, t = np.arange(4.0), np.array([5.0, -5.0, 7.0, 0.5]), np.array([1, 1, 1, 2])
    for combine, expected in {
        "set": [0, 7, 0.5, 3],
        "add": [0, 8, 2.5, 3],
        "max": [0, 7, 2, 3],
        "min": [0, -5, 0.5, 3],
    }.items():
        check(
            lambda form, into, y, t, c=combine: form.scatter(
                c, into, y, lambda i: (form.load(t, i),)
            ),
            np.array(expected, np.float64),
            into,
            y,
            t,
        )


def test_scatter_is_the_transpose_of_a_view():
    """Max pooling, and its transpose through the same windows."""
    x = RNG.permutation(35).reshape(5, 7).astype(np.float64)

    def place(i, j, u, v):
        return 2 * i + u - 1, 2 * j + v - 1

    def pool(form, x):
        windows = form.view(x, (3, 4, 3, 3), place, fill=-np.inf)
        top = form.reduce("max", windows, (2, 3), True)
        hits = form.pointwise("astype", form.pointwise("equal", windows, top), dtype=float64)
        back = form.scatter("add", form.constant(0, float64, (5, 7)), hits, place, dropped=True)
        return form.reshape(top, (3, 4)), back

    padded = np.pad(x, 1, constant_values=-np.inf)
    top, back = run(pool, x)
    expected = np.zeros((7, 9))
    for i, j in np.ndindex(3, 4):
        patch = padded[2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
        assert top[i, j] == patch.max()
        expected[2 * i : 2 * i + 3, 2 * j : 2 * j + 3] += patch == patch.max()
    np.testing.assert_array_equal(back, expected[1:-1, 1:-1])


# ---------------------------------------------------------------- folds


@pytest.mark.parametrize("axes", [(0,), (1,), (-1,), (0, 2), (0, 1, 2), ()])
@pytest.mark.parametrize("keepdims", [False, True])
def test_reduce_single(axes, keepdims):
    x = RNG.integers(-9, 9, size=(3, 5, 2))
    fold = {"sum": np.sum, "prod": np.prod, "max": np.max, "min": np.min}
    for combine, numpy in fold.items():
        expected = np.asarray(numpy(x, axis=axes, keepdims=keepdims))
        check(lambda form, x, c=combine: form.reduce(c, x, axes, keepdims), expected, x)
    for combine, numpy in {"any": np.any, "all": np.all}.items():
        expected = np.asarray(numpy(x > 0, axis=axes, keepdims=keepdims))
        check(lambda form, x, c=combine: form.reduce(c, x, axes, keepdims), expected, x > 0)


def test_reduce_keeps_nan():
    x = np.array([[1.0, np.nan, 3.0], [3.0, 2.0, 1.0]], np.float32)
    for combine, numpy in {"max": np.max, "min": np.min}.items():
        check(lambda form, x, c=combine: form.reduce(c, x, (1,)), numpy(x, axis=1), x)


def test_half_precision_accumulates_in_float32():
    x = np.full(4096, 1.0, ml_dtypes.bfloat16)
    assert run(lambda form, x: form.reduce("sum", x, (0,)), x) == 4096
    assert run(lambda form, x: form.contract("k,k->", x, x), x) == 4096
    t = np.zeros(4096, np.int64)
    one = run(
        lambda form, x, t: form.scatter(
            "add", form.constant(0, x.dtype, (1,)), x, lambda i: (form.load(t, i),)
        ),
        x,
        t,
    )
    assert one == 4096
    assert one.dtype == x.dtype


@given(
    st.lists(
        st.sampled_from([0.0, -0.0, 1.0, 2.0, np.inf, -np.inf, np.nan]), min_size=1, max_size=9
    ),
    st.sampled_from(["argmax", "argmin"]),
)
def test_arg_reductions_with_ties_and_nan(values, combine):
    x = np.array(values)
    extreme, at = run(
        lambda form, x: form.reduce(combine, (x, form.index(x.shape, lambda i: i, int64)), (0,)), x
    )
    assert at == getattr(np, combine)(x)
    np.testing.assert_array_equal(extreme, x[at])


def test_argmax_of_integers_and_symmetry():
    x = np.array([[3, 7, 7, -1], [-128, -128, -128, -128]], np.int8)
    build = lambda form, x: form.reduce(  # noqa: E731
        "argmax", (x, form.index(x.shape, lambda i, j: j, int64)), (1,)
    )
    extreme, at = run(build, x)
    assert at.tolist() == [1, 0]
    assert extreme.tolist() == [7, -128]


@given(st.lists(st.floats(-700, 700) | st.sampled_from([np.inf, -np.inf]), min_size=1, max_size=9))
def test_logsumexp(values):
    x = np.array(values)
    top, total = run(
        lambda form, x: form.reduce("logsumexp", (x, form.constant(1, x.dtype, x.shape)), (0,)), x
    )
    assert top == x.max()
    with np.errstate(all="ignore"):
        assert np.isclose(top + np.log(total), np.logaddexp.reduce(x), rtol=1e-12)


def test_logsumexp_of_nan():
    x = np.array([1.0, np.nan])
    top, total = run(
        lambda form, x: form.reduce("logsumexp", (x, form.constant(1, x.dtype, (2,))), (0,)), x
    )
    assert np.isnan(top)
    assert np.isnan(total)


@pytest.mark.parametrize("count", [1, 2, 7, 1000])
def test_welford(count):
    x = RNG.normal(1e4, 1.0, size=(count, 3)).astype(np.float32)

    def build(form, x):
        parts = (x, form.constant(0, x.dtype), form.constant(1, x.dtype))
        return form.reduce("welford", parts, (0,))

    mean, m2, n = run(build, x)
    wide = x.astype(np.float64)
    np.testing.assert_allclose(mean, wide.mean(0), rtol=1e-6)
    np.testing.assert_allclose(m2 / n, wide.var(0), rtol=1e-3, atol=1e-12)
    assert n.tolist() == [count] * 3


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("exclusive", [False, True])
def test_scan(reverse, exclusive):
    x = RNG.integers(-3, 4, size=(2, 6, 3))
    turned = x[:, ::-1] if reverse else x
    cases = {
        "sum": (np.cumsum, 0),
        "prod": (np.cumprod, 1),
        "max": (np.maximum.accumulate, np.iinfo(np.int64).min),
        "min": (np.minimum.accumulate, np.iinfo(np.int64).max),
    }
    for combine, (numpy, first) in cases.items():
        expected = numpy(turned, axis=1)
        if exclusive:
            expected = np.concatenate([np.full((2, 1, 3), first), expected[:, :-1]], axis=1)
        check(
            lambda form, x, c=combine: form.scan(c, x, -2, reverse=reverse, exclusive=exclusive),
            expected[:, ::-1] if reverse else expected,
            x,
        )


def test_scan_of_tuples():
    x = np.array([1.0, 3.0, 2.0, 3.0, np.nan, 9.0])
    extreme, at = run(
        lambda form, x: form.scan("argmax", (x, form.index((6,), lambda i: i, int64)), 0), x
    )
    assert at.tolist() == [0, 1, 1, 1, 4, 4]
    np.testing.assert_array_equal(extreme, np.maximum.accumulate(x))


def test_softmax_and_contract():
    x, w = RNG.normal(size=(4, 6)), RNG.normal(size=(6, 2))

    def softmax(form, x):
        shifted = form.pointwise("subtract", x, form.reduce("max", x, (1,), True))
        e = form.pointwise("exp", shifted)
        return form.pointwise("divide", e, form.reduce("sum", e, (1,), True))

    e = np.exp(x - x.max(1, keepdims=True))
    np.testing.assert_allclose(run(softmax, x), e / e.sum(1, keepdims=True), rtol=1e-14)
    np.testing.assert_allclose(
        run(lambda form, x, w: form.contract("mk,kn->nm", x, w), x, w), (x @ w).T, rtol=1e-12
    )
    np.testing.assert_allclose(
        run(lambda form, x: form.contract("ab->b", x), x), x.sum(0), rtol=1e-12
    )


def test_extern():
    x = np.array([3.0, 1.0, 2.0])
    types = (TensorType((3,), float64), TensorType((3,), int64))
    build = lambda form, x: form.extern(  # noqa: E731
        "sort", (x,), types, lambda x: (np.sort(x), np.argsort(x))
    )
    values, order = run(build, x)
    assert values.tolist() == [1, 2, 3]
    assert order.tolist() == [1, 2, 0]
    check(lambda form, x: form.extern("sort", (x,), types[0], np.sort), np.sort(x), x)
    seen = []
    assert (
        run(lambda form, x: form.extern("look", (x,), (), lambda x: seen.append(x) or ()), x) == ()
    )
    assert len(seen) == 1


# ---------------------------------------------------------------- symbolic shapes


@given(st.integers(2, 6), st.integers(2, 6))
def test_symbolic_shapes_run_with_a_binding(rows, columns):
    n, m = symbol("n"), symbol("m")
    form = Reference({"n": rows, "m": columns})
    x = RNG.normal(size=(rows, columns))
    value = form.put(x, TensorType((n, m), float64))
    flat = form.reshape(value, (n * m,))
    turned = form.view(flat, (m, n), lambda i, j: (j * m + i,))
    ends = form.view(turned, (m + 2, n), lambda i, j: (i - 1, j), fill=0)
    halves = form.reshape(form.contract("an,bn->ab", ends, ends), ((m + 2) * (m + 2),))
    np.testing.assert_array_equal(form.arrays[flat], x.reshape(-1))
    np.testing.assert_array_equal(form.arrays[turned], x.T)
    padded = np.pad(x.T, ((1, 1), (0, 0)))
    np.testing.assert_allclose(form.arrays[halves], (padded @ padded.T).reshape(-1), rtol=1e-12)
    assert form.arrays[form.index((), lambda: n // 2 + m, int64)] == rows // 2 + columns
    total = form.reduce("sum", form.pointwise("add", value, form.constant(1, float64)), (0,), True)
    assert str(total.type) == "float64[1,m]"
    np.testing.assert_allclose(form.arrays[total], x.sum(0, keepdims=True) + rows, rtol=1e-12)
