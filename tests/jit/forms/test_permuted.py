"""Contractions in the order of axes that they are read in: which ones, and what they give."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jit.forms import nodes
from jit.forms.forms import FormBuilder
from jit.forms.oracle import evaluate_program
from jit.forms.permuted import permuted
from jit.forms.program import FormProgram
from jit.planner import plan
from jit.runtime.cpu import host_target
from tests.jit.forms.small import tensor


def programs(build, *types):
    """The forms of `build`, before and after."""
    form = FormBuilder()
    inputs = tuple(map(form.source, types))
    made = build(form, *inputs)
    before = FormProgram(inputs, tuple(form.forms), made if isinstance(made, tuple) else (made,))
    return before, permuted(before)


def specs(program):
    return [form.spec for form in program.forms if isinstance(form, nodes.Contract)]


def turned(form, x, *axes):
    """`x` with its axes in another order; None: a new one."""
    order = [k for k in axes if k is not None]
    shape = [1 if k is None else x.shape[k] for k in axes]
    return form.view(x, shape, lambda *at: [at[axes.index(k)] for k in range(len(order))])


def same_results(before, after):
    generator = np.random.default_rng(0)
    arrays = [generator.integers(-4, 5, x.shape).astype(np.float32) for x in before.inputs]
    for old, new in zip(evaluate_program(before, arrays), evaluate_program(after, arrays)):
        np.testing.assert_array_equal(new, old)


@given(st.data())
def test_results_stay_whatever_order_they_are_read_in(data):
    """Through one view or two, axes of one index left out and put in, read or returned."""
    sizes = data.draw(st.lists(st.integers(1, 3), min_size=4, max_size=4))
    axes = data.draw(st.permutations(range(4)))
    second = data.draw(st.one_of(st.none(), st.permutations(range(4))))
    added = data.draw(st.booleans())

    def build(form, x, y):
        p = turned(form, form.contract("abk,kcd->abcd", x, y), *axes)
        if second is not None:
            p = turned(form, p, *second)
        p = turned(form, p, None, 0, 1, 2, 3)
        return form.pointwise("exp", p) if added else p

    before, after = programs(build, tensor(*sizes[:2], 2), tensor(2, *sizes[2:]))
    same_results(before, after)


def test_axes_of_one_index_are_left_out():
    def build(form, x, y):
        p = form.contract("gnck,gnok->gnco", x, y)
        p = form.view(p, (2, 3, 4), lambda c, n, o: (0, n, c, o))
        return form.pointwise("negative", p)

    before, after = programs(build, tensor(1, 3, 2, 5), tensor(1, 3, 4, 5))
    assert specs(before) == ["gnck,gnok->gnco"]
    assert specs(after) == ["gnck,gnok->gcno"]
    same_results(before, after)


def read_twice(form, p):
    return form.pointwise("exp", turned(form, p, 1, 0, 2)), form.pointwise("exp", p)


def returned_too(form, p):
    return form.pointwise("exp", turned(form, p, 1, 0, 2)), p


def with_another_last_axis(form, p):
    return form.pointwise("exp", turned(form, p, 0, 2, 1))


def multiplied_again(form, p):
    return form.contract("abc,acd->abd", turned(form, p, 1, 0, 2), turned(form, p, 1, 2, 0))


def summed(form, p):
    return form.reduce("sum", turned(form, p, 1, 0, 2), (0,))


def in_part(form, p):
    return form.pointwise("exp", form.view(p, (3, 2, 2), lambda b, a, c: (a, b, c)))


def as_it_is(form, p):
    return form.pointwise("exp", form.view(p, (6, 3), lambda i, j: (i // 3, i % 3, j)))


@pytest.mark.parametrize(
    "read",
    [
        read_twice,
        returned_too,
        with_another_last_axis,
        multiplied_again,
        summed,
        in_part,
        as_it_is,
    ],
)
def test_others_stay_as_they_are(read):
    def build(form, x, y):
        return read(form, form.contract("ak,kbc->abc", x, y))

    before, after = programs(build, tensor(2, 4), tensor(4, 3, 3))
    assert after is before


def test_a_gradient_of_filters_is_updated_where_it_is_computed():
    """The kernel of the sums over pixels reads the filters, and has what they become."""

    def build(form, x, g, w):
        windows = form.view(x, (3, 2, 6, 6, 3, 3), lambda c, n, p, q, u, v: (n, c, p + u, q + v))
        d = form.contract("cnpquv,nopq->couv", windows, g)
        return form.pointwise("subtract", w, turned(form, d, 1, 0, 2, 3))

    before, _ = programs(build, tensor(2, 3, 8, 8), tensor(2, 4, 6, 6), tensor(4, 3, 3, 3))
    program = plan("gradient", before, host_target()).program
    *_, last = program.steps
    assert last.operations == 2 * 4 * 3 * 9 * 2 * 36
    assert set(last.buffers) >= {program.inputs[2], program.outputs[0]}
