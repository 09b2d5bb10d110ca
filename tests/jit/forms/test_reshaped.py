"""Reshaped values: maps and folds around a reshape are computed in one shape, to the same bits."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from jit.dims import Dim, symbol
from jit.forms import nodes
from jit.forms.fuse import fuse
from jit.forms.matrices import leads
from jit.forms.oracle import evaluate_program
from jit.forms.placement import Placement
from jit.forms.reshaped import in_one_shape
from jit.forms.tasks import TaskMaker
from jit.ir.builtin import constant
from jit.ir.graph import Graph
from tests.jit.forms.small import program, tensor, text_of
from tests.jit.stages import bits

SHAPES = {24: [(24,), (4, 6), (2, 2, 6), (2, 2, 3, 2), (4, 1, 6), (6, 4)], 8: [(8,), (2, 4)]}


def never(form):
    del form
    return False


def maps_of(made):
    return [form for form in made.forms if isinstance(form, nodes.Pointwise)]


def shapes_of(made):
    """The shapes in which maps are computed."""
    return {form.outputs[0].shape for form in maps_of(made)}


def groups(made):
    return text_of(fuse(TaskMaker(Placement(made)).tasks(), many=True))


def check_same(before, after, *arrays):
    wanted = evaluate_program(before, arrays)
    found = evaluate_program(after, arrays)
    assert list(map(bits, found)) == list(map(bits, wanted))


def biased(form, h, b):
    """What stands between two products of rows: a bias in two dimensions, the rest in three."""
    rows, width = h.shape
    sums = form.pointwise("add", h, b)
    y = form.pointwise("tanh", form.reshape(sums, (2, rows // 2, width)))
    return form.reshape(y, (rows, width)), sums


def test_maps_around_a_reshape_are_one_kernel():
    before = program(biased, tensor(600, 32), tensor(32))
    after = in_one_shape(before, never)
    assert groups(before).count("group") == 2
    assert groups(after) == (
        "group 2 300 32\n"
        "  0 map add %2: float32[2,300,32] <- %0, %1\n"
        "  0 map tanh %3: float32[2,300,32] <- %2"
    )
    rng = np.random.default_rng(3)
    check_same(before, after, rng.normal(size=(600, 32)).astype("f"), np.ones(32, "f"))


def normalised(form, x, h):
    """Rows of three dimensions to which those of two are added; less their means, in two again."""
    sums = form.pointwise("add", x, form.reshape(form.pointwise("exp", h), x.shape))
    mean = form.broadcast(form.reduce("sum", sums, (2,), keepdims=True), x.shape)
    flat = form.reshape(form.pointwise("subtract", sums, mean), h.shape)
    return form.pointwise("astype", flat, dtype=tensor(dtype="bfloat16").dtype)


def test_rows_are_folded_where_what_they_become_is_computed():
    before = program(normalised, tensor(2, 300, 32), tensor(600, 32))
    after = in_one_shape(before, never)
    assert groups(before).count("group") == 2
    assert groups(after).count("group") == 1
    rng = np.random.default_rng(4)
    check_same(before, after, *[rng.normal(size=x.shape).astype("f") for x in before.inputs])


def test_folds_in_the_coarser_shape_follow():
    def build(form, h):
        e = form.pointwise("exp", form.reshape(h, (2, 300, 32)))
        flat = form.reshape(e, h.shape)
        total = form.broadcast(form.reduce("sum", flat, (1,), keepdims=True), h.shape)
        return form.pointwise("divide", flat, total), e

    before = program(build, tensor(600, 32))
    after = in_one_shape(before, never)
    (fold,) = [form for form in after.forms if isinstance(form, nodes.Reduce)]
    assert (fold.inputs[0].shape, fold.axes) == ((2, 300, 32), (2,))
    assert groups(after).count("group") == 1
    check_same(before, after, np.random.default_rng(5).normal(size=(600, 32)).astype("f"))


def test_coarser_values_are_read_without_divisions():
    after = in_one_shape(program(biased, tensor(600, 32), tensor(32)), never)
    for form in maps_of(after):
        for x in form.inputs:
            if isinstance(x.form, nodes.View):
                places = [str(at) for at in x.form.map.at if isinstance(at, Dim)]
                assert not any("//" in place or "%" in place for place in places)


def folded_finer(form, h):
    flat = form.pointwise("exp", h)
    return form.reduce("sum", flat, (1,)), form.pointwise("exp", form.reshape(flat, (6, 8, 4)))


def crossed(form, h):
    return form.pointwise("exp", form.reshape(form.pointwise("exp", h), (32, 6)))


def columns(form, h):
    """Folds of columns read what they fold from memory: how it lies is nothing to them."""
    return form.reduce("sum", form.pointwise("exp", h), (0,)), h


@pytest.mark.parametrize("build", [folded_finer, crossed, columns])
def test_what_stays(build):
    before = program(build, tensor(6, 32))
    assert in_one_shape(before, never) is before


def test_sizes_that_vary_stay():
    n = symbol("n", hint=40)

    def build(form, h):
        return form.pointwise("exp", form.reshape(form.pointwise("exp", h), (n, 2, 16)))

    before = program(build, tensor(n, 32))
    assert in_one_shape(before, never) is before


def product(form, x, w):
    h = form.contract("mk,kn->mn", x, w)
    return form.pointwise("exp", form.reshape(form.pointwise("exp", h), (2, h.shape[0] // 2, 128)))


@pytest.mark.parametrize(
    ("rows", "dtype", "stays"),
    [(1024, "bfloat16", False), (8, "bfloat16", True), (1024, "float32", True)],
)
def test_maps_that_a_product_may_compute_keep_its_shape(rows, dtype, stays):
    types = tensor(rows, 64, dtype=dtype), tensor(64, 128, dtype=dtype)
    before = program(product, *types)
    origin = Graph("").add(constant, (), {"value": np.zeros(())})[0].node
    origins = dict.fromkeys(before.forms, origin)
    after = in_one_shape(before, lambda form: leads(form, origins, "float32"))
    assert (after is before) == stays


@st.composite
def builds(draw):
    """Programs that reshape, broadcast, fold rows and compute, in any order."""
    steps = draw(
        st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9), st.integers(0, 9)), max_size=9)
    )

    def build(form, *inputs):
        values = list(inputs)
        for kind, a, b in steps:
            x, y = values[a % len(values)], values[b % len(values)]
            shapes = SHAPES[int(np.prod(x.shape))]
            if kind <= 1:
                values.append(form.reshape(x, shapes[b % len(shapes)]))
            elif kind == 2:
                values.append(form.pointwise("exp", x))
            elif kind == 3 and np.prod(x.shape) == np.prod(y.shape):
                values.append(form.pointwise("add", x, form.reshape(y, x.shape)))
            elif kind == 4:
                axis = x.ndim - 1
                total = form.reduce("max", x, (axis,), keepdims=True)
                values.append(form.pointwise("subtract", x, form.broadcast(total, x.shape)))
            elif kind == 5:
                turned = form.view(x, x.shape[::-1], lambda *i: i[::-1])
                values.append(form.pointwise("exp", form.reshape(turned, x.shape)))
        return tuple(values[len(inputs) :]) or (inputs[0],)

    return build


@given(builds())
def test_every_element_is_the_same(build):
    before = program(build, tensor(4, 6), tensor(2, 2, 6), tensor(8))
    after = in_one_shape(before, never)
    rng = np.random.default_rng(6)
    arrays = [rng.uniform(-1, 1, x.shape).astype("f") for x in before.inputs]
    with np.errstate(all="ignore"):
        check_same(before, after, *arrays)
    known = {*after.inputs, *(x for form in after.forms for x in form.outputs)}
    assert all(x in known for form in after.forms for x in form.inputs)
    assert [x.type for x in after.outputs] == [x.type for x in before.outputs]
    assert len(maps_of(after)) <= len(maps_of(before))
