"""Scans as kernels: any shape, axis, direction, dtype and combiner, in the canonical order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jit.dims import symbol
from jit.forms.combine import combiners
from jit.forms.scalar import accumulator, evaluate
from jit.types import TensorType, dtypes, float32
from tests.jit.loops.whole import bits, compiled, interpreted, numbers, reference, type_of

FLOATS = ["float32", "float64", "float16", "bfloat16"]
INTEGERS = ["int64", "int32", "uint8"]
DTYPES = {
    "sum": [*FLOATS, *INTEGERS],
    "prod": [*FLOATS, *INTEGERS],
    "max": [*FLOATS, *INTEGERS, "bool"],
    "min": [*FLOATS, *INTEGERS, "bool"],
    "any": ["bool"],
    "all": ["bool"],
    "argmax": [*FLOATS[:2], "int32"],
    "logsumexp": ["float32", "float64"],
    "welford": ["float32", "float64"],
}
TOLERANCE = {"float32": 1e-4, "float16": 1e-2, "bfloat16": 1e-1}


@st.composite
def scans(draw):
    """A scan and its operands."""
    combine = draw(st.sampled_from(sorted(DTYPES)))
    dtype = dtypes[draw(st.sampled_from(DTYPES[combine]))]
    extents = st.sampled_from([0, 1, 2, 3, 5, 8, 9, 17, 33])
    shape = tuple(draw(st.lists(extents, min_size=1, max_size=3)))
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    how = {"reverse": draw(st.booleans()), "exclusive": draw(st.booleans())}
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    xs = [numbers(dtype, shape, rng)]
    if combine == "argmax":
        xs.append(rng.integers(0, 50, shape))
    if combine in ("logsumexp", "welford"):
        xs = [np.abs(rng.normal(size=shape)).astype(dtype) for _ in range(combiners[combine].arity)]
    return combine, xs, axis, how


def scan(combine, axis, how):
    def build(form, *xs):
        return form.scan(combine, xs, axis, **how)

    return build


def one_by_one(combine, xs, axis, *, reverse, exclusive):
    """The canonical order: each element meets what came before it, the first one the identity."""
    combiner, turn = combiners[combine], slice(None, None, -1 if reverse else 1)
    rows = [np.moveaxis(x, axis, 0)[turn].astype(accumulator(x.dtype)) for x in xs]
    run = tuple(combiner.of_none(rows))
    outs = [np.empty(row.shape, x.dtype) for row, x in zip(rows, xs)]
    with np.errstate(all="ignore"):
        for j in range(len(rows[0])):
            after = combiner.merge(evaluate, run, tuple(row[j] for row in rows))
            for out, value in zip(outs, run if exclusive else after):
                out[j] = np.asarray(value).astype(out.dtype)
            run = after
    return [np.moveaxis(out[turn], 0, axis) for out in outs]


@given(scans())
def test_scan_is_the_reference_in_canonical_order(case):
    combine, xs, axis, how = case
    build = scan(combine, axis, how)
    code = compiled(build, [type_of(x) for x in xs])
    found = code(xs)
    for a, b in zip(found, reference(build, xs), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        near = TOLERANCE.get(xs[0].dtype.name, 1e-9)
        wide = [np.asarray(x, np.float64) for x in (a, b)]
        np.testing.assert_allclose(*wide, rtol=near, atol=near)
    assert list(map(bits, found)) == list(map(bits, interpreted(code, xs)))
    if combine not in ("logsumexp", "welford"):  # NumPy's own exp, and 0/0, differ in the last bit
        assert list(map(bits, found)) == list(map(bits, one_by_one(combine, xs, axis, **how)))


@pytest.mark.parametrize("shape", [(2100,), (2100, 3)])
def test_halves_accumulate_in_float32(shape):
    x = np.ones(shape, np.float16)
    (found,) = compiled(scan("sum", 0, {}), [type_of(x)])([x])
    assert found.reshape(len(x), -1)[-1, 0] == 2100  # in halves there is no way beyond 2048


@pytest.mark.parametrize("shape", [(300, 70), (5, 20, 1030)])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_large_tiles_and_rows_together(shape, axis):
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    how = {"reverse": axis == 1, "exclusive": axis == 0}
    (found,) = compiled(scan("sum", axis, how), [type_of(x)])([x])
    assert bits(found) == bits(one_by_one("sum", [x], axis, **how)[0])


@pytest.mark.parametrize("axis", [0, 1])
def test_operands_and_results_meet_other_forms(axis):
    def build(form, x, y):
        moved = form.view(x, (40, 70), lambda i, j: (j, 39 - i))
        total = form.scan("sum", form.pointwise("multiply", moved, y), axis)
        return form.pointwise("negative", total)

    rng = np.random.default_rng(1)
    xs = [rng.normal(size=(70, 40)).astype(np.float32), rng.normal(size=(40, 70)).astype("f")]
    code = compiled(build, [type_of(x) for x in xs])
    np.testing.assert_allclose(code(xs)[0], reference(build, xs)[0], rtol=1e-4, atol=1e-5)
    assert bits(code(xs)[0]) == bits(interpreted(code, xs)[0])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_sizes_that_vary(axis):
    n, m = symbol("n", hint=10, lo=0), symbol("m", hint=10, lo=0)
    how = {"reverse": True, "exclusive": False}
    code = compiled(scan("sum", axis, how), [TensorType((n, 3, m), float32)])
    for shape in [(1, 3, 1), (40, 3, 100), (0, 3, 5), (300, 3, 1)]:
        x = np.random.default_rng(2).normal(size=shape).astype(np.float32)
        assert bits(code([x])[0]) == bits(one_by_one("sum", [x], axis, **how)[0])
