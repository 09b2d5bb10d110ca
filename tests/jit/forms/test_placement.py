"""Placement: what lies in memory, and whose memory it is."""

from __future__ import annotations

import pytest

from jit.dims import symbol
from jit.forms.expression import Domain
from jit.forms.placement import Placement, extent_hint, live_forms, size_hint, underlying
from jit.forms.tasks import TaskMaker
from tests.jit.forms.small import memory, program, tensor, word

n = symbol("n", hint=40)


def spread(form, row, shape):
    return form.view(row, shape, lambda i, j: (i,))


def test_what_is_read_once_is_inlined():
    def build(form, x):
        y = form.pointwise("exp", form.pointwise("sin", x))
        return form.view(y, (4, 3), lambda i, j: (j, i))

    assert memory(build, tensor(3, 4)) == ["view"]


def test_what_is_dear_and_read_twice_is_kept():
    def build(form, x):
        y = form.pointwise("exp", x)
        return form.reduce("sum", y, (0,)), form.reduce("max", y, (0,))

    assert memory(build, tensor(300)) == ["exp", "sum", "max"]


def test_what_is_cheap_is_computed_again():
    def build(form, x):
        y = form.pointwise("negative", x)
        return form.reduce("sum", y, (0,)), form.reduce("max", y, (0,))

    assert memory(build, tensor(300)) == ["sum", "max"]


def test_of_several_shared_values_a_step_away_their_source_is_kept():
    def build(form, x, y):
        u = form.pointwise("add", x, y)
        half = form.pointwise("multiply", form.constant(0.5, u.dtype, u.shape), u)
        square = form.pointwise("square", u)
        folds = [form.reduce(name, z, (0,)) for z in (half, square) for name in ("sum", "max")]
        return tuple(folds)

    assert memory(build, tensor(300), tensor(300))[:1] == ["add"]
    assert not {"multiply", "square"} & {*memory(build, tensor(300), tensor(300))}


def test_what_a_view_repeats_is_kept_if_it_is_dear():
    def repeated(name):
        def build(form, x, y):
            wide = spread(form, form.pointwise(name, x), (30, 20))
            return form.pointwise("add", wide, y)

        return memory(build, tensor(30), tensor(30, 20))

    assert repeated("exp") == ["exp", "add"]
    assert repeated("negative") == ["add"]


def test_long_expressions_are_cut():
    def build(form, x):
        for _ in range(40):
            x = form.pointwise("tanh", x)
        return x

    assert 3 <= len(memory(build, tensor(30))) <= 6


def test_products_read_views_of_memory():
    def build(form, x, y):
        moved = form.view(form.pointwise("exp", x), (4, 3), lambda i, j: (j, i))
        return form.contract("mk,kn->mn", moved, y)

    assert memory(build, tensor(3, 4), tensor(3, 5)) == ["exp", "contract"]


def test_views_that_move_nothing_share_memory():
    def build(form, x):
        y = form.pointwise("exp", x)
        flat = form.view(y, (12,), lambda i: divmod(i, 4))
        return form.reduce("sum", flat, (0,)), flat

    made = program(build, tensor(3, 4))
    placement = Placement(made)
    flat = made.outputs[1]
    assert word(placement.base(flat).form) == "exp"
    assert placement.base(flat) in placement.memory
    assert flat not in placement.memory


def test_views_that_move_have_memory_of_their_own():
    made = program(lambda form, x: form.view(x, (4, 3), lambda i, j: (j, i)), tensor(3, 4))
    placement = Placement(made)
    assert placement.base(made.outputs[0]) is made.outputs[0]
    assert memory(lambda form, x: form.view(x, (2,), lambda i: (i,)), tensor(3)) == ["view"]


def test_what_nobody_needs_is_dead():
    def build(form, x):
        form.reduce("sum", x, (0,))
        return form.pointwise("exp", x)

    assert [word(form) for form in live_forms(program(build, tensor(30)))] == ["source", "exp"]


def test_what_shows_through_views():
    def build(form, x):
        y = spread(form, form.pointwise("exp", x), (5, 4))
        return form.view(y, (3, 4), lambda i, j: (i, j))

    ((below, repeats),) = underlying(program(build, tensor(5)).outputs[0])
    assert word(below.form) == "exp"
    assert repeats


def test_hints_stand_for_sizes_that_vary():
    assert extent_hint(n) == 40
    assert extent_hint(2 * n + 1) == 81
    assert extent_hint(symbol("m"), unknown=7) == 7
    assert size_hint((n, 3)) == 120


@pytest.mark.parametrize(("count", "reads"), [(500, False), (5000, True)])
def test_one_of_many_elements_is_computed_again(count, reads):
    """What rows are normalised to is read by a loop over rows, at one place of each."""

    def build(form, x, at):
        low = form.pointwise("sin", x)
        found = form.view(low, (count,), lambda i: (form.load(at, i), 0))
        return form.reduce("sum", low, (1,)), form.reduce("max", low, (1,)), found

    made = program(build, tensor(500, 40), tensor(count, dtype="int64"))
    placement = Placement(made)
    (low,) = {x for x in placement.memory if word(x.form) == "sin"}
    few = Domain.of((count,))
    assert placement.is_read(low, few) == placement.reads_all(few) == reads
    assert placement.is_read(low, Domain.of((500, 40)))
    (found,) = [task for task in TaskMaker(placement).tasks() if task.outputs == made.outputs[2:]]
    assert (low in found.reads()) == reads
