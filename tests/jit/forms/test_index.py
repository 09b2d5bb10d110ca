"""Index maps: composition equals successive views, proofs of bounds, text."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jit.dims import Dim, evaluate, same, symbol
from jit.forms.forms import FormBuilder
from jit.forms.index import IndexMap, Load, is_inside, loop, row_major
from jit.forms.reference import Reference
from jit.types import TensorType, dtypes, product

float64, int64 = dtypes["float64"], dtypes["int64"]


@st.composite
def movements(draw, shape):
    """A view of a value of `shape`: (new shape, index map, fill, where) for `form.view`."""
    kind = draw(
        st.sampled_from(["transpose", "flip", "stride", "pad", "dilate", "reshape", "gather"])
    )
    axis = draw(st.integers(0, len(shape) - 1))
    extent = shape[axis]

    def along(new, at, fill=None, where=None):
        def index_map(*i):
            return [at(v) if k == axis else v for k, v in enumerate(i)]

        conditions = None if where is None else (lambda *i: where(i[axis]))
        return (*shape[:axis], new, *shape[axis + 1 :]), index_map, fill, conditions

    if kind == "transpose":
        order = draw(st.permutations(range(len(shape))))
        back = [order.index(k) for k in range(len(shape))]
        return tuple(shape[k] for k in order), lambda *i: [i[k] for k in back], None, None
    if kind == "flip":
        return along(extent, lambda i: extent - 1 - i)
    if kind == "stride":
        step = draw(st.integers(1, 3))
        start = draw(st.integers(0, extent - 1))
        return along((extent - start + step - 1) // step, lambda i: start + step * i)
    if kind == "pad":
        before, after = draw(st.integers(0, 2)), draw(st.integers(0, 2))
        return along(extent + before + after, lambda i: i - before, fill=-1.0)
    if kind == "dilate":
        return along(2 * extent - 1, lambda i: i // 2, -1.0, lambda i: [(i % 2, 1)])
    new = draw(st.sampled_from(splits(product(shape))))
    if kind == "reshape":
        return new, unravel(shape, new), None, None
    return along(extent, lambda i: extent - 1 - (i + 1) % extent)


def splits(count):
    """The shapes of up to three axes that have `count` elements."""
    two = [(a, count // a) for a in range(1, count + 1) if count % a == 0]
    return [
        (count,),
        *two,
        *[(a, b, c // b) for a, c in two for b in range(1, c + 1) if c % b == 0],
    ]


def unravel(shape, new):
    def index_map(*i):
        linear = sum(v * product(new[k + 1 :]) for k, v in enumerate(i))
        return [linear // product(shape[k + 1 :]) % d for k, d in enumerate(shape)]

    return index_map


@settings(max_examples=300)
@given(st.data(), st.lists(st.integers(1, 4), min_size=1, max_size=3))
def test_composed_views_equal_successive_ones(data, shape):
    x = np.arange(1.0, product(shape) + 1).reshape(shape)
    form = Reference()
    value = form.put(x)
    map, fill = None, None
    origin = value
    for _ in range(data.draw(st.integers(2, 4))):
        new, index_map, own_fill, where = data.draw(movements(value.shape))
        value = form.view(value, new, index_map, own_fill, where)
        step = value.form.map
        map = step if map is None else step.then(map, outside=own_fill is not None)
        fill = own_fill if fill is None else fill
    composed = form.emit(
        type(value.form)((origin, *map.tables), (value.type,), map, fill)  # one view of the origin
    )[0]
    np.testing.assert_array_equal(form.arrays[composed], form.arrays[value])


@given(st.integers(1, 30), st.data())
def test_a_reshape_stays_inside_without_checks(count, data):
    form = FormBuilder()
    shape, new = (data.draw(st.sampled_from(splits(count))) for _ in range(2))
    x = form.source(TensorType(shape, float64))
    there = form.reshape(x, new)
    if there is not x:
        assert there.form.map.unproven(shape) == ()


@given(st.lists(st.integers(1, 6), min_size=2, max_size=4), st.data())
def test_merging_and_splitting_dimensions_is_the_identity(fine, data):
    """Where factors interleave, as in (6, 3) and (3, 3, 2), the algebra may not see it."""
    cut = data.draw(st.integers(0, len(fine) - 2))
    coarse = (*fine[:cut], fine[cut] * fine[cut + 1], *fine[cut + 2 :])
    form = FormBuilder()
    for shape, new in ((tuple(fine), coarse), (coarse, tuple(fine))):
        x = form.source(TensorType(shape, float64))
        there = form.reshape(x, new)
        back = form.reshape(there, shape)
        if there is not x:
            assert back.form.map.then(there.form.map).is_identity(shape)


def test_reshape_of_symbolic_shapes_is_proven():
    n, m, k = symbol("n"), symbol("m"), symbol("k")
    form = FormBuilder()
    for shape, new in [
        ((n, m), (n * m,)),
        ((n, m, k), (n * m, k)),
        ((n, m, k), (n, m * k)),
        ((n, 4, m), (n, 2, 2 * m)),
    ]:
        x = form.source(TensorType(shape, float64))
        there = form.reshape(x, new)
        back = form.reshape(there, shape)
        assert there.form.map.unproven(shape) == ()
        assert back.form.map.unproven(new) == ()
        assert back.form.map.then(there.form.map).is_identity(shape)


def test_windows_of_symbolic_extent_are_proven():
    n = symbol("n", lo=3)
    count = (n - 3) // 2 + 1
    form = FormBuilder()
    x = form.source(TensorType((n,), float64))
    windows = form.view(x, (count, 3), lambda i, u: (2 * i + u,))
    assert windows.form.map.unproven(x.shape) == ()
    beyond = form.view(x, (count, 4), lambda i, u: (2 * i + u,))
    assert [str(a) for a, _ in beyond.form.map.unproven(x.shape)] == ["2*i0 + i1"]


def test_is_inside():
    n = symbol("n")
    i = loop(0, n)
    assert is_inside(i, n) is True
    assert is_inside(i + 1, n) is None
    assert is_inside(i + n, n) is False
    assert is_inside(-1 - i, n) is False
    assert is_inside(n - 1 - i, n) is True
    assert is_inside(i // 2, n // 2 + 1) is True
    assert is_inside(0, 1) is True


def test_loops_over_one_element_are_zero():
    assert loop(0, 1) == 0
    assert loop(0, 0) == 0
    assert isinstance(loop(0, 2), Dim)


def test_text():
    form = FormBuilder()
    table = form.source(TensorType((4,), int64))
    map = IndexMap.of(
        (4, 6),
        lambda i, j: (form.load(table, i) + 1, j // 2),
        lambda i, j: [(j % 2, 1)],
    )
    assert str(map) == "[%0[i0] + 1, i1//2] where 0 <= i1%2 < 1"
    assert map.tables == (table,)
    assert [str(x) for x, _ in map.unproven((9, 3))] == ["%0[i0] + 1", "i1%2"]


def test_loads_are_equal_by_table_and_index():
    form = FormBuilder()
    a, b = (form.source(TensorType((4,), int64)) for _ in range(2))
    i = loop(0, 4)
    assert same(form.load(a, i), form.load(a, i))
    assert not same(form.load(a, i), form.load(b, i))
    assert not same(form.load(a, i), form.load(a, i + 1))
    assert Load(a, (i,)).range() == (None, None)
    narrow = form.source(TensorType((4,), dtypes["uint8"]))
    assert Load(narrow, (i,)).range() == (0, 255)


def test_where_of_a_composition_excuses_loads():
    """A padded gather: the table is not read where the padding is."""
    form = Reference()
    x, t = form.put(np.arange(5.0)), form.put(np.array([4, 2]))
    rows = form.view(x, (2,), lambda i: (form.load(t, i),))
    padded = form.view(rows, (4,), lambda i: (i - 1,), fill=-1)
    map = padded.form.map.then(rows.form.map, outside=True)
    composed = form.emit(type(rows.form)((x, t), (padded.type,), map, -1))[0]
    assert form.arrays[composed].tolist() == [-1, 4, 2, -1]
    assert form.arrays[padded].tolist() == [-1, 4, 2, -1]


@pytest.mark.parametrize("bad", [5, -1])
def test_composition_still_checks_loads(bad):
    form = Reference()
    x, t = form.put(np.arange(5.0)), form.put(np.array([bad]))
    map = IndexMap.of((1,), lambda i: (form.load(t, i),))
    at, inside = map.evaluate((5,), {}, form.arrays, checked=False)
    assert not inside.any()
    assert 0 <= at[0] < 5
    assert map.unproven(x.shape)


def test_row_major_maps_of_numbers_are_remembered_and_others_made_anew():
    known = row_major((2, 3, 4), (6, 4))
    assert known is row_major((2, 3, 4), (6, 4))
    source, found = np.arange(24).reshape(2, 3, 4), np.empty((6, 4), int)
    for i, j in np.ndindex(6, 4):
        at = [evaluate(x, {"i0": i, "i1": j}) for x in known.at]
        found[i, j] = source[tuple(at)]
    assert (found == source.reshape(6, 4)).all()
    n = symbol("n")
    assert row_major((n, 4), (4 * n,)) is not row_major((n, 4), (4 * n,))
