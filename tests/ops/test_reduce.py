"""What the laws do not say of reductions: ties, zeros, infinities, precision, fast paths."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dualflow as df
from jit.forms.order import BLOCK, LANES, halved
from tests.modes import in_mode
from tests.samples.sample import normal


def gradient(function, value):
    x = df.asarray(np.asarray(value, np.float64))
    with df.GradientTape() as tape:
        tape.watch(x)
        y = function(x)
    return tape.gradient(y, x).tolist()


def test_equal_extremes_share_the_gradient():
    assert gradient(df.max, [1.0, 3.0, 3.0]) == [0.0, 0.5, 0.5]
    assert gradient(df.min, [1.0, 1.0, 1.0, 3.0]) == [1 / 3, 1 / 3, 1 / 3, 0.0]
    assert gradient(lambda x: df.max(x, axis=1), [[1.0, 2.0], [5.0, 5.0]]) == [[0, 1], [0.5, 0.5]]


@given(st.lists(st.sampled_from([0.0, 0.0, 2.0, -1.0, 0.5]), min_size=1, max_size=6))
def test_gradient_of_a_product_with_zeros(values):
    others = [float(np.prod(values[:k] + values[k + 1 :])) for k in range(len(values))]
    assert gradient(df.prod, values) == others


@given(
    st.lists(st.sampled_from([0.0, 2.0, -1.0, 0.5]), min_size=1, max_size=6),
    st.lists(st.sampled_from([1.0, -2.0, 3.0]), min_size=6, max_size=6),
)
def test_gradient_of_running_products_with_zeros(values, weights):
    n = len(values)
    g = df.asarray(np.array(weights[:n]))
    found = gradient(lambda x: df.sum(df.cumulative_prod(x) * g), values)
    for i in range(n):
        moved = [[*values[:i], v, *values[i + 1 :]] for v in (values[i] + 1, values[i])]
        slopes = np.cumprod(moved[0]) - np.cumprod(moved[1])  # linear in each element
        assert found[i] == pytest.approx(float(slopes @ np.array(weights[:n])))


def test_standard_deviation_of_equal_elements_has_gradient_zero():
    assert gradient(df.std, [2.0, 2.0, 2.0]) == [0.0, 0.0, 0.0]


def test_logsumexp_of_infinities():
    inf = float("inf")
    assert df.logsumexp(df.asarray([-inf, -inf])).item() == -inf
    assert df.logsumexp(df.asarray([inf, 1.0])).item() == inf
    assert gradient(df.logsumexp, [-inf, -inf]) == [0.0, 0.0]
    assert gradient(df.logsumexp, [-inf, 0.0]) == [0.0, 1.0]


def test_sums_of_narrow_integers_are_wide():
    assert df.sum(df.asarray(np.full(300, 100, np.int8))).item() == 30_000
    assert df.sum(df.asarray(np.full(3, 100, np.uint8))).dtype == df.uint64
    assert df.sum(df.asarray(np.full(3, 100, np.int8)), dtype="int8").dtype == df.int8
    assert df.mean(df.asarray(np.full(5000, 30, np.float16))).item() == 30.0


def test_reductions_of_a_variable_are_seen_by_tapes():
    w = df.Variable(normal(3, 4))
    with df.GradientTape() as tape:
        y = df.sum(w, axis=0) + df.max(w) + df.mean(w)
    assert tape.watched_variables() == (w,)
    assert tape.gradient(y, w).shape == (3, 4)


@pytest.mark.parametrize("name", ["sum", "prod", "max", "min"])
def test_bfloat16(name):
    x = df.asarray([1.5, 2.0, 0.5]).astype("bfloat16")
    y = getattr(df, name)(x)
    assert y.dtype == df.bfloat16
    assert y.astype("float32").item() == getattr(np, name)([1.5, 2.0, 0.5])


def test_methods_are_the_functions():
    x = df.asarray(normal(2, 3))
    for name in ("sum", "mean", "prod", "max", "min", "var", "std", "argmax", "argmin"):
        found, same = getattr(x, name)(axis=1), getattr(df, name)(x, axis=1)
        assert found.tolist() == same.tolist()
    assert x.var(correction=1).item() == pytest.approx(normal(2, 3).var(ddof=1))
    assert (x > 0).any().item() is True
    assert (x > 9).all().item() is False


@pytest.mark.parametrize("name", ["argmax", "argmin", "max", "min"])
def test_true_is_larger_than_false(mode, name):
    x = df.asarray([[False, True, True], [False, False, False]])
    found = in_mode(mode, lambda x: getattr(df, name)(x, axis=1))(x)
    wanted = getattr(np, name)(x.numpy(), axis=1)
    assert (found.dtype, found.tolist()) == (wanted.dtype, wanted.tolist())
    with pytest.raises(df.errors.ShapeError, match="no elements"):
        df.max(df.asarray([], dtype="bool"))


def test_running_extremes_are_numpys_accumulate():
    x = df.asarray([2.0, 3.0, 3.0, 1.0])
    assert np.maximum.accumulate(x).tolist() == [2.0, 3.0, 3.0, 3.0]
    assert np.minimum.accumulate(x).tolist() == [2.0, 2.0, 2.0, 1.0]
    slopes = df.grad(lambda x: (df.cumulative_max(x) * df.asarray([1.0, 2.0, 4.0, 8.0])).sum())(x)
    assert slopes.tolist() == [1.0, 14.0, 0.0, 0.0]  # of equal ones the first


def test_bools_are_padded_with_bools():
    x = df.asarray([True, True])
    assert df.pad(x, 1).tolist() == np.pad(x, 1).tolist() == [False, True, True, False]
    assert df.pad(x, (1, 0), constant_values=1).tolist() == [True, True, True]


def test_a_reduction_that_comes_again_asks_what_was_asked_before():
    """By what was written for it: 1.0 and True equal 1, and are no axes, or are others."""
    x = df.asarray(np.arange(6, dtype="f").reshape(2, 3))
    for _ in range(3):
        assert x.sum(axis=1).tolist() == x.sum(axis=-1).tolist() == [3.0, 12.0]
        assert x.sum(axis=1, keepdims=True).tolist() == [[3.0], [12.0]]
        assert x.sum(axis=[0, 1]).item() == x.sum().item() == 15.0
        assert df.max(x, axis=0).tolist() == [3.0, 4.0, 5.0]
        with pytest.raises(TypeError):
            x.sum(axis=1.0)
        with pytest.raises(df.errors.AxisError):
            x.sum(axis=2)
    assert gradient(lambda x: (x.sum(axis=0) * x.sum()).sum(), [[1.0], [2.0]]) == [[6.0], [6.0]]


@pytest.mark.parametrize("length", [600, 4096, 9001])
def test_long_rows_whose_order_is_free(mode, length):
    """Lanes of several vectors fold them: every element counts, once, also at the ends."""
    rng = np.random.default_rng(length)
    few = rng.integers(0, 100, (3, length)).astype(np.uint8)
    ties = few.astype(np.float32)
    ties[1, length // 2 :: 7] = np.nan
    folds = in_mode(
        mode,
        lambda x, y: (df.sum(x, axis=1), df.max(x, axis=1), df.argmax(y, axis=1), df.argmin(y)),
    )
    total, most, first, least = folds(df.asarray(few), df.asarray(ties))
    assert total.tolist() == few.sum(1).tolist()
    assert most.tolist() == few.max(1).tolist()
    assert first.tolist() == ties.argmax(1).tolist()
    assert least.item() == ties.argmin()
    for k in (0, length - 1):
        one = np.arange(length) == k
        found, missed = in_mode(mode, lambda x: (df.any(x), df.all(~x)))(df.asarray(one))
        assert found.item()
        assert not missed.item()


@pytest.mark.parametrize("length", [600, 4096, 9001])
def test_which_of_equal_extremes_is_found(mode, length):
    """The last in the canonical order, whatever is folded side by side: 0.0 equals -0.0."""
    rng = np.random.default_rng(length)
    zeros = np.where(rng.random((8, length)) < 0.5, 0.0, -0.0).astype(np.float32)
    below = np.where(rng.random((8, length)) < 0.9, -1, zeros).astype(np.float32)

    def last_of(rows, identity):
        order = fold_in_order(rows, identity)
        return [np.signbit(x).item() for x in order]

    x, y = df.asarray(zeros), df.asarray(below)
    of_zeros, of_few = in_mode(mode, lambda x, y: (df.min(x, axis=1), df.max(y, axis=1)))(x, y)
    assert np.signbit(of_zeros.numpy()).tolist() == last_of(zeros, np.inf)
    assert np.signbit(of_few.numpy()).tolist() == last_of(below, -np.inf)


def fold_in_order(rows, identity):
    """Extremes of zeros, and of numbers that come nowhere near: as `jit.forms.order` says."""

    def merge(a, b):
        return a if (a > b if identity < 0 else a < b) else b

    def in_lanes(values):
        lanes = [functools.reduce(merge, values[k::LANES], identity) for k in range(LANES)]
        return halved(lanes, merge, identity)

    blocks = [[in_lanes(row[k : k + BLOCK]) for k in range(0, row.size, BLOCK)] for row in rows]
    return [in_lanes(found) if len(found) > 1 else found[0] for found in blocks]


OF_TRUTH = ["float32", "float64", "float16", "bfloat16", "int32", "uint8", "bool", "complex64"]


@pytest.mark.parametrize("dtype", OF_TRUTH)
@pytest.mark.parametrize("length", [3, 1 << 16])  # the longer one is large: kernels fold it
def test_what_is_not_zero_is_true(mode, dtype, length):
    """NaN is, -0.0 is not; of complex numbers either part counts."""
    kind = np.dtype(getattr(df, dtype, dtype)).kind
    few = {"f": [np.nan, 0.0, -0.0], "V": [np.nan, 0.0, -0.0], "c": [1j, 0, -0.0]}
    rows = np.zeros((3, length), "c8" if kind == "c" else "f4")
    rows[1, 1] = rows[2] = few.get(kind, [1, 0, 0])[0]
    rows[0, 2] = few.get(kind, [1, 0, 0])[2]
    x = df.astype(df.asarray(rows), getattr(df, dtype))
    some, every, total = in_mode(
        mode, lambda x: (df.any(x, axis=1), df.all(x, axis=1, keepdims=True), df.any(x))
    )(x)
    assert (some.dtype, every.dtype) == (df.bool, df.bool)
    assert some.tolist() == [False, True, True]
    assert every.tolist() == [[False], [False], [True]]
    assert total.item() is True
