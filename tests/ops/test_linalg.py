"""What the laws do not say of products: hints in errors, notations of einsum."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dualflow as df
from dualflow import errors
from tests.modes import bits, graphs_only, in_mode


def test_matmul_names_the_tensor_that_fits():
    x, w1, w2 = df.ones((64, 1000)), df.ones((1000, 100)), df.ones((100, 10))
    with pytest.raises(errors.ShapeError) as caught:
        x @ w2
    assert str(caught.value).startswith(
        "matmul: (64, 1000) @ (100, 10): inner sizes 1000 and 100 differ. "
        "Did you mean x @ w1 (w1: (1000, 100))?"
    )
    assert w1.shape == (1000, 100)


@graphs_only
@pytest.mark.parametrize("shape", [(5, 7, 3), (2, 4, 6, 3), (0, 4, 3)], ids=str)
def test_a_matrix_that_meets_many_owes_one_product_to_all_of_them(shape):
    rng = np.random.default_rng(3)
    x = df.asarray(rng.integers(-4, 4, shape).astype(np.float32))
    w = df.Variable(rng.integers(-4, 4, (3, 2)).astype(np.float32))
    seed = df.asarray(rng.integers(-4, 4, (*shape[:-1], 2)).astype(np.float32))

    def slope(x, seed):
        with df.GradientTape() as tape:
            y = x @ w
        return tape.gradient(y, w, output_gradients=seed)

    compiled = df.function(slope)
    wanted = x.numpy().reshape(-1, 3).T @ seed.numpy().reshape(-1, 2)
    np.testing.assert_array_equal(slope(x, seed).numpy(), wanted)
    np.testing.assert_array_equal(compiled(x, seed).numpy(), wanted)
    text = str(compiled.graphs[0])
    assert "sum(" not in text, text


def test_matmul_proposes_the_transpose():
    x, w = df.ones((2, 3)), df.Variable(df.ones((4, 3)))
    with pytest.raises(errors.ShapeError, match=re.escape("Did you mean x @ w.mT?")):
        x.mm(w)


def test_matmul_finds_weights_of_self():
    class Net:
        def __init__(self):
            self.w = df.ones((3, 4))

        def __call__(self, x):
            return x @ df.ones((5, 2))

    with pytest.raises(errors.ShapeError, match=re.escape("x @ self.w (self.w: (3, 4))")):
        Net()(df.ones((5, 3)))


def test_matmul_without_a_candidate_has_no_hint():
    with pytest.raises(errors.ShapeError) as caught:
        df.matmul(df.ones((2, 7)), df.ones((5, 3)))
    assert "Did you mean" not in str(caught.value)


def test_the_hint_is_the_same_in_a_recording():
    @df.function
    def f(x, w):
        return x @ w

    with pytest.raises(errors.ShapeError, match=re.escape("Did you mean x @ w.mT?")):
        f(df.ones((2, 3)), df.ones((4, 3)))


KEPT = df.ones(2)


def test_an_argument_is_not_proposed_by_another_name():
    def f(x, w):
        return x @ w

    for g in (f, df.function(f)):
        with pytest.raises(errors.ShapeError) as caught:
            g(KEPT, df.ones(4))
        assert "Did you mean" not in str(caught.value)


@st.composite
def notations(draw):
    """Terms over few letters with extents, and a result or none."""
    terms = draw(st.lists(st.text("abcd", max_size=3), min_size=1, max_size=3))
    letters = sorted(set("".join(terms)))
    out = draw(st.permutations(letters).map(lambda p: "".join(p[: draw(st.integers(0, len(p)))])))
    return ",".join(terms) + draw(st.sampled_from(["", "->" + out]))


@given(notations())
def test_einsum_is_numpys(spec):
    extents = dict(zip("abcd", (2, 3, 1, 4)))
    terms = spec.partition("->")[0].split(",")
    xs = [np.asarray(np.random.randn(*(extents[c] for c in term))) for term in terms]
    y = df.einsum(spec, *map(df.asarray, xs))
    expected = np.einsum(spec, *xs)
    assert y.shape == expected.shape
    assert np.allclose(y.raw, expected)


def test_gradients_of_three_operands():
    xs = [np.random.randn(*shape) for shape in ((2, 3), (3,), (3, 4))]
    df.testing.check_gradients(lambda a, b, c: df.einsum("ij,j,jk->ki", a, b, c), *xs, order=2)


def drawn(*shape, seed=0):
    return df.asarray(np.random.default_rng(seed).standard_normal(shape, dtype="f"))


PRODUCTS = {
    "two vectors": (lambda a, b: a @ b, (5,), (5,)),
    "a matrix and a vector": (lambda a, b: (a @ b).sum(), (3, 5), (5,)),
    "a vector and a matrix": (lambda a, b: (a @ b).sum(), (5,), (5, 4)),
    "a vector with itself": (lambda a, b: 0.3 * (a @ a) + (a * b).sum(), (5,), (5,)),
    "a vector that another product reads": (lambda a, b: (b @ a) * (a @ a), (5,), (5,)),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_with_vectors_have_the_gradients_of_recorded_ones(name):
    function, *shapes = PRODUCTS[name]
    xs = [drawn(*shape, seed=k) for k, shape in enumerate(shapes)]
    slopes = df.value_and_grad(function, argnums=(0, 1))
    recorded = df.function(slopes)
    for _ in range(3):
        value, found = slopes(*xs)
        expected, wanted = recorded(*xs)
        assert list(map(bits, (value, *found))) == list(map(bits, (expected, *wanted)))
    df.testing.check_gradients(function, *xs)


def test_one_argument_of_a_product_with_a_vector_is_watched():
    a, b = drawn(3, 5), drawn(5)
    for x, other in ((a, b), (b, a)):
        with df.GradientTape() as tape:
            tape.watch(x)
            y = (a @ b).sum()
        assert tape.gradient(y, x).shape == x.shape
        moved = df.jvp(lambda x, y=other: x @ y if x.ndim == 2 else y @ x, (x,), (x,))[1]
        assert bits(moved) == bits(a @ b)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("spec", ["ij,ij->", "ij,ij->i", "ij,ij->j"])
def test_rows_by_rows_are_summed_in_float32_and_rounded_once(spec, dtype):
    x, y = (df.astype(df.random.normal((40, 50)), dtype) for _ in range(2))
    wide = df.einsum(spec, df.astype(x, "float32"), df.astype(y, "float32"))
    recorded = df.function(lambda *xs: df.einsum(spec, *xs))
    for _ in range(2):
        assert recorded(x, y).tolist() == df.einsum(spec, x, y).tolist()
    assert df.einsum(spec, x, y).tolist() == df.astype(wide, dtype).tolist()


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64"])
@pytest.mark.parametrize(
    ("left", "right"),
    [((9,), (9,)), ((0,), (0,)), ((3, 1, 7), (3, 7, 1)), ((1, 7), (2, 7, 1)), ((9000,), (9000,))],
)
def test_products_of_vectors_of_whole_numbers_wrap_around(mode, dtype, left, right):
    rng = np.random.default_rng(0)
    a, b = (rng.integers(0, 127, shape).astype(dtype) for shape in (left, right))
    found = in_mode(mode, df.matmul)(df.asarray(a), df.asarray(b))
    wanted = np.matmul(a, b)
    assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
    assert found.tolist() == wanted.tolist()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize(
    ("left", "right"),
    [((700,), (700,)), ((1, 5000), (5000, 1)), ((3, 1, 300), (3, 300, 1))],
)
def test_products_of_vectors_are_the_sums_that_einsum_makes(mode, dtype, left, right):
    rng = np.random.default_rng(0)
    a, b = (df.astype(df.asarray(rng.normal(size=shape)), dtype) for shape in (left, right))
    rows, columns = (df.reshape(x, (-1, left[-1])) for x in (a, b))
    found = df.reshape(in_mode(mode, df.matmul)(a, b), (-1,))
    assert bits(found) == bits(df.einsum("bk,bk->b", rows, columns))
