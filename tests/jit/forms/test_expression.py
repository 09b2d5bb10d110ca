"""Elements as expressions: what is left of views and pointwise forms once nothing is stored."""

from __future__ import annotations

import pytest

from jit.dims import symbol
from jit.forms.expression import (
    Access,
    Apply,
    Coordinate,
    Domain,
    Extractor,
    Number,
    linear,
    loads_of,
    moved,
    unique,
    walk,
)
from jit.loops.nests import Shift
from jit.types import dtypes
from tests.jit.forms.small import element, program, tensor

n = symbol("n")
INT = dtypes["int64"]


def number(form, value, like):
    return form.view(form.constant(value, like.dtype), like.shape, lambda *i: ())


ELEMENTS = [
    (lambda form, x: x, (tensor(3, 4),), "%0[i0, i1]"),
    (lambda form, x: form.pointwise("exp", x), (tensor(3, 1),), "exp(%0[i0, 0])"),
    (lambda form, x: form.view(x, (4, 3), lambda i, j: (j, i)), (tensor(3, 4),), "%0[i1, i0]"),
    (lambda form, x: form.view(x, (5, 3), lambda i, j: (j,)), (tensor(3),), "%0[i1]"),
    (lambda form, x: form.view(x, (3,), lambda i: (2 - i,)), (tensor(3),), "%0[-i0 + 2]"),
    (
        lambda form, x: form.view(
            form.view(x, (4, 3), lambda i, j: (j, i)), (12,), lambda i: divmod(i, 3)
        ),
        (tensor(3, 4),),
        "%0[i0%3, i0//3]",
    ),
    (
        lambda form, x: form.view(x, (7,), lambda i: (i - 1,), fill=0),
        (tensor(5),),
        "where(0 <= i0 - 1 < 5, %0[i0 - 1] if 0 <= i0 - 1 < 5, 0.0)",
    ),
    (  # inside is inside: no condition is left
        lambda form, x: form.view(x, (3,), lambda i: (i + 1,), fill=0),
        (tensor(5),),
        "%0[i0 + 1]",
    ),
    (
        lambda form, x: form.view(
            form.pointwise("exp", x), (9,), lambda i: (i // 2,), 0, lambda i: [(i % 2, 1)]
        ),
        (tensor(5),),
        "where(0 <= i0%2 < 1, exp(%0[i0//2] if 0 <= i0%2 < 1), 0.0)",
    ),
    (
        lambda form, x: form.pointwise("add", x, number(form, 2.0, x)),
        (tensor(3),),
        "add(%0[i0], 2.0)",
    ),
    (lambda form, x: form.index((3, 4), lambda i, j: 4 * i + j, INT), (tensor(1),), "4*i0 + i1"),
    (
        lambda form, x, t: form.view(x, (6,), lambda i: (form.load(t, i),)),
        (tensor(5), tensor(6, dtype="int64")),
        "checked(0 <= %1[i0] < 5, %0[%1[i0]] if 0 <= %1[i0] < 5)",
    ),
    (lambda form, x: form.view(x, (n,), lambda i: (n - 1 - i,)), (tensor(n),), "%0[-i0 + n - 1]"),
    (  # a fill around lookups, which ask a table whether they are inside: not where the fill is
        lambda form, x, t: form.view(
            form.view(x, (6,), lambda i: (form.load(t, i),), fill=0), (7,), lambda i: (i - 1,), 0
        ),
        (tensor(5), tensor(6, dtype="int64")),
        "where(0 <= i0 - 1 < 6, where(0 <= %1[i0 - 1] < 5 if 0 <= i0 - 1 < 6, "
        "%0[%1[i0 - 1]] if 0 <= i0 - 1 < 6 and 0 <= %1[i0 - 1] < 5, 0.0), 0.0)",
    ),
    (  # a number that is looked up is none where the fill is, either
        lambda form, t: form.view(
            form.index((6,), lambda i: form.load(t, i), INT), (7,), lambda i: (i - 1,), 0
        ),
        (tensor(6, dtype="int64"),),
        "where(0 <= i0 - 1 < 6, %0[i0 - 1] if 0 <= i0 - 1 < 6, 0)",
    ),
]


@pytest.mark.parametrize(("build", "types", "text"), ELEMENTS, ids=[e[2] for e in ELEMENTS])
def test_elements(build, types, text):
    assert element(build, *types) == text


def test_a_boundary_ends_the_expression():
    made = program(lambda form, x: form.pointwise("exp", form.pointwise("sin", x)), tensor(3))
    (out,) = made.outputs
    (inner,) = out.form.inputs
    extractor = Extractor({inner, out}.__contains__)
    at = Domain.of((3,)).indices
    assert extractor.element(out, at) == Access(out, at, ())
    assert extractor.inlined(out, at) == Apply("exp", (Access(inner, at, ()),), inner.dtype)


def test_the_same_element_is_one_object():
    def build(form, x):
        y = form.pointwise("exp", x)
        return form.pointwise("add", y, y)

    made = program(build, tensor(3))
    extractor = Extractor(made.inputs.__contains__)
    total = extractor.element(made.outputs[0], Domain.of((3,)).indices)
    assert isinstance(total, Apply)
    assert total.args[0] is total.args[1]
    assert [type(x) for x in walk(total)] == [Access, Apply, Apply]  # inner ones first, each once


def test_long_chains_do_not_cost_their_square():
    depth = 3000
    x: Apply | Number = Number(1.0, dtypes["float32"])
    for _ in range(depth):
        x = Apply("add", (x, x), dtypes["float32"])
        hash(x)
    assert len(list(walk(x))) == depth + 1


def test_domains_number_the_loops_that_have_more_than_one_index():
    domain = Domain.of((3, 1, n, 1))
    assert [str(i) for i in domain.indices] == ["i0", "0", "i1", "0"]
    assert domain.loops == (("i0", 3), ("i1", n))
    assert domain.extents == (3, n)
    assert not domain.is_empty
    assert Domain.of((3, 0)).is_empty


def test_coordinates_move_into_index_maps():
    i, j = Domain.of((5, 7)).indices
    assert str(moved(3 * i + j, (j, i))) == str(3 * j + i)
    assert moved(4, (j,)) == 4
    assert str(moved(i + n, (j + 2,))) == str(j + n + 2)  # sizes stay


def test_positions_are_row_major():
    i, j = Domain.of((5, 7)).indices
    assert str(linear((5, 7), (i, j))) == str(7 * i + j)
    assert str(linear((5, n), (i, j))) == str(n * i + j)
    assert linear((), ()) == 0


def test_conditions_are_kept_once():
    (i,) = Domain.of((5,)).indices
    assert unique(((i, 3), (i, 3), (i, 4))) == ((i, 3), (i, 4))


def test_loads_inside_of_loads_are_found():
    def build(form, x, t):
        return form.view(x, (6,), lambda i: (form.load(t, form.load(t, i)),))

    made = program(build, tensor(5), tensor(6, dtype="int64"))
    (at,) = made.outputs[0].form.map.at
    assert [str(load) for load in loads_of(at)] == ["%1[%1[i0]]", "%1[i0]"]
    assert loads_of(3, n) == []


def test_expressions_that_share_parts_are_compared_part_by_part():
    """Each level uses the one below twice: way by way there would be 2 ** 200 comparisons."""

    def doubled():
        x = Number(1, INT)
        for _ in range(200):
            x = Apply("add", (x, x), INT)
        return x

    one, other = doubled(), doubled()
    assert one == other
    assert one != Apply("multiply", one.children, INT)
    assert len(list(walk(one, other))) == 201


def test_expressions_moved_to_other_loops_share_what_they_shared():
    """Each level uses the one below twice: way by way there would be 2 ** 200 to move."""
    i0, i1 = Domain.of((4, 5)).indices
    x = Coordinate(i0, INT)
    for _ in range(200):
        x = Apply("add", (x, x), INT)
    shift = Shift([i1])
    moved_x = shift.of(x)
    assert len(list(walk(moved_x))) == 201
    assert next(iter(walk(moved_x))) == Coordinate(i1, INT)
    assert shift.of(Apply("negative", (x,), INT)).children[0] is moved_x
