"""Chains: attention and its like without the matrix in memory, bit for bit as separate kernels."""

from __future__ import annotations

import numpy as np
import pytest

import jit.arranged
import jit.launches
from jit.dims import symbol
from jit.forms.index import same_all
from jit.types import TensorType, float32, int64
from tests.jit.loops.whole import bits, compiled, interpreted, reference, type_of

SIZES = [  # outer, rows, columns, inner, width of the values
    ((), 40, 50, 8, 9),
    ((3,), 37, 21, 5, 7),
    ((2, 2), 100, 33, 16, 16),
    ((2,), 3, 600, 2, 2),
    ((4,), 600, 40, 7, 20),  # several chains of the canonical order, and outer loops enough
]
OUTER = "abc"


def shares(form, scores):
    """A softmax along the last axis."""
    shape = scores.shape

    def row(combine, x):
        return form.broadcast(form.reduce(combine, x, (-1,), keepdims=True), shape)

    e = form.pointwise("exp", form.pointwise("subtract", scores, row("max", scores)))
    return form.pointwise("divide", e, row("sum", e))


def product(form, spec, *xs):
    """A contraction with the outer letters put in front of each term."""
    outer = OUTER[: xs[0].ndim - 2]
    left, right = spec.split("->")
    terms = ",".join(outer + term for term in left.split(","))
    return form.contract(f"{terms}->{outer}{right}", *xs)


def causal(form, scores):
    """Scores where the column is not after the row, else -inf."""
    *_, rows, columns = range(scores.ndim)
    at = [form.index(scores.shape, lambda *i, k=k: i[k], int64) for k in (rows, columns)]
    low = form.constant(-np.inf, scores.dtype, scores.shape)
    return form.pointwise("where", form.pointwise("greater_equal", *at), scores, low)


def attention(form, q, k, v):
    """softmax(causal(q k^T)) v."""
    return product(
        form, "ls,sv->lv", shares(form, causal(form, product(form, "le,se->ls", q, k))), v
    )


def without_softmax(form, q, k, v):
    """abs(q k^T) v: maps alone."""
    return product(form, "ls,sv->lv", form.pointwise("abs", product(form, "le,se->ls", q, k)), v)


def backward(form, q, k, v, y, g):
    """The result of attention again, and what flows to q, k and v."""
    p = shares(form, causal(form, product(form, "le,se->ls", q, k)))
    flow = product(form, "lv,sv->ls", g, v)
    mean = form.reduce("sum", form.pointwise("multiply", g, y), (-1,), keepdims=True)
    flow = form.pointwise("subtract", flow, form.broadcast(mean, flow.shape))
    flow = form.pointwise("multiply", p, flow)
    return (
        product(form, "ls,se->le", flow, k),
        product(form, "ls,le->se", flow, q),
        product(form, "ls,lv->sv", p, g),
    )


def both(form, q, k, v, g):
    """Attention and its backward pass in one: the result stands between the products."""
    y = attention(form, q, k, v)
    return (y, *backward(form, q, k, v, y, g))


def both_of_elements(form, q, k, v, g):
    """The same where what flows back is made of the result, element by element."""
    y = attention(form, q, k, v)
    return (y, *backward(form, q, k, v, y, form.pointwise("multiply", form.pointwise("cos", y), g)))


def both_through_products(form, q, k, v, g):
    """The same where products stand between the result and what flows back."""
    y = attention(form, q, k, v)
    inner = product(form, "lv,lw->vw", y, g)
    back = product(form, "lw,vw->lv", form.pointwise("maximum", y, g), inner)
    return (y, *backward(form, q, k, v, y, back))


def arrays(size, count, dtype="float32"):
    """q, k, v and, as far as they are counted, y and g."""
    rng = np.random.default_rng(7)
    outer, rows, columns, inner, width = size
    shapes = [(rows, inner), (columns, inner), (columns, width), (rows, width), (rows, width)]
    return [rng.normal(size=(*outer, *shape)).astype(dtype) for shape in shapes[:count]]


def matrices(code, rows, columns):
    """The slots that hold as many elements for each outer index as the matrix."""
    shapes = [slot.type.shape[-2:] for slot in code.plan.program.slots]
    both = (rows, columns), (columns, rows)
    return [shape for shape in shapes if any(same_all(shape, found) for found in both)]


def separately(build, xs, monkeypatch):
    """The results of separate kernels."""
    with monkeypatch.context() as patch:
        patch.setattr(jit.arranged, "chained", lambda steps, placement: list(steps))
        patch.setattr(jit.launches, "plan_key", lambda *args: None)  # another planner's are kept
        return compiled(build, list(map(type_of, xs)))(list(xs))


DTYPES = {"float32": SIZES, "float64": SIZES[1:2], "float16": SIZES[1:2]}
CASES = [
    (build, size, dtype)
    for dtype, sizes in DTYPES.items()
    for size in sizes
    for build in (attention, without_softmax, backward, both)
]
BOTH = both, both_of_elements, both_through_products
CASES += [(build, size, "float32") for size in SIZES for build in BOTH[1:]]
COUNTS = {attention: 3, without_softmax: 3, backward: 5, **dict.fromkeys(BOTH, 4)}


def named(value):
    return getattr(value, "__name__", None) or str(value).replace(" ", "")


@pytest.mark.parametrize(("build", "size", "dtype"), CASES, ids=named)
def test_a_chain_has_the_bits_of_separate_kernels_and_no_matrix(build, size, dtype, monkeypatch):
    xs = arrays(size, COUNTS[build], dtype)
    code = compiled(build, list(map(type_of, xs)))
    assert not matrices(code, *size[1:3])
    found, apart = code(list(xs)), separately(build, xs, monkeypatch)
    assert list(map(bits, found)) == list(map(bits, apart))
    rtol = {"float32": 1e-4, "float64": 1e-12, "float16": 2e-2}[dtype]
    for ours, wanted in zip(found, reference(build, xs), strict=True):
        scale = np.abs(wanted).max()
        assert np.allclose(ours.astype(float), wanted.astype(float), rtol, rtol * scale)


@pytest.mark.parametrize("build", [attention, *BOTH], ids=named)
def test_kernels_mean_the_same_before_they_are_scheduled(build):
    xs = arrays(((2,), 13, 9, 2, 3), COUNTS[build])
    code = compiled(build, list(map(type_of, xs)))
    assert not matrices(code, 13, 9)
    assert list(map(bits, interpreted(code, xs))) == list(map(bits, code(list(xs))))


def test_what_the_rows_fold_is_kept_for_the_way_back():
    xs = arrays(((4,), 40, 50, 8, 9), 4)
    shapes = [slot.type.shape for slot in compiled(both, list(map(type_of, xs))).plan.program.slots]
    assert shapes.count((4, 40)) >= 2  # maximum and sum


def test_outer_loops_and_rows_may_be_unknown(monkeypatch):
    n, rows = symbol("n", hint=4), symbol("rows", hint=90)
    types = [TensorType((n, *t), float32) for t in [(rows, 5), (44, 5), (44, 6), (rows, 6)]]
    code = compiled(both, types)
    assert not matrices(code, rows, 44)
    for outer, count in ((2, 3), (3, 130), (2, 600)):
        xs = arrays(((outer,), count, 44, 5, 6), 4)
        assert list(map(bits, code(list(xs)))) == list(map(bits, separately(both, xs, monkeypatch)))


def test_odd_numbers_go_through_as_elsewhere(monkeypatch):
    xs = arrays(((2,), 40, 50, 8, 9), 4)
    for x, value in zip(xs, (np.inf, np.nan, -np.inf, 1e38)):
        x[0, 3, 2] = value
    code = compiled(both, list(map(type_of, xs)))
    assert not matrices(code, 40, 50)
    assert list(map(bits, code(list(xs)))) == list(map(bits, separately(both, xs, monkeypatch)))


def with_matrix(form, q, k, v):
    """Somebody wants the matrix."""
    p = shares(form, product(form, "le,se->ls", q, k))
    return product(form, "ls,sv->lv", p, v), p


def along_columns(form, q, k, v):
    """The fold goes over the rows."""
    scores = product(form, "le,se->ls", q, k)
    top = form.broadcast(form.reduce("max", scores, (-2,), keepdims=True), scores.shape)
    return product(form, "ls,sv->lv", form.pointwise("subtract", scores, top), v)


def with_itself(form, q, k, v):
    """The product is with the matrix itself."""
    p = form.pointwise("abs", product(form, "le,se->ls", q, k))
    return product(form, "ls,ms->lm", p, p)


def turned(form, q, k, v):
    """Rows are read at other places than their own."""
    scores = product(form, "le,se->ls", q, k)
    rows = scores.shape[-2]
    back = form.view(scores, scores.shape, lambda a, i, j: (a, rows - 1 - i, j))
    back = form.pointwise("maximum", scores, back)
    return product(form, "ls,sv->lv", back, v)


@pytest.mark.parametrize("build", [with_matrix, along_columns, with_itself, turned], ids=named)
def test_what_needs_the_matrix_gets_it(build):
    xs = arrays(((2,), 40, 50, 8, 9), 3)
    code = compiled(build, list(map(type_of, xs)))
    assert matrices(code, 40, 50)
    for ours, wanted in zip(code(list(xs)), reference(build, xs), strict=True):
        assert np.allclose(ours, wanted, 1e-4, 1e-4)


def test_a_matrix_smaller_than_its_operands_is_not_worth_a_chain():
    xs = arrays(((2,), 10, 12, 64, 9), 3)
    assert matrices(compiled(attention, list(map(type_of, xs))), 10, 12)
