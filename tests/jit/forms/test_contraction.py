"""Contractions as loops: letters, canonical chains, and the copies that pay."""

from __future__ import annotations

import math

import pytest

from jit.dims import symbol
from jit.forms.contraction import Contraction, Letter, blocks, plain, step_of
from jit.forms.expression import Domain, Extractor, linear
from jit.forms.order import CONTRACT_BLOCK
from jit.forms.staging import FEW_ROWS, OFTEN, staging, undivided
from tests.jit.forms.small import expression, program, tensor

n = symbol("n", hint=100)


def contraction(build, *types):
    made = program(build, *types)
    extractor = Extractor(made.inputs.__contains__)
    return Contraction(made.outputs[0].form, extractor)


def product(spec, *types):
    return contraction(lambda form, *xs: form.contract(spec, *xs), *types)


def names(letters):
    return [letter.name for letter in letters]


def test_letters_are_batch_rows_columns_and_inner():
    c = product("bmk,bkn->bmn", tensor(2, 3, 4), tensor(2, 4, 5))
    assert (names(c.batch), names(c.free(0)), names(c.free(1))) == (["i0"], ["i1"], ["i2"])
    assert [(x.name, x.extent) for x in c.inner] == [("i3", 4)]
    assert [expression(x) for x in c.elements] == ["%0[i0, i1, i3]", "%1[i0, i3, i2]"]


def test_letters_of_one_index_are_no_loops():
    c = product("bmk,bkn->bmn", tensor(1, 3, 1), tensor(1, 1, 5))
    assert (names(c.batch), names(c.free(0)), names(c.free(1))) == ([], ["i0"], ["i1"])
    assert c.inner == []
    assert [expression(x) for x in c.elements] == ["%0[0, i0, 0]", "%1[0, 0, i1]"]


def test_inner_letters_come_as_the_operands_name_them():
    c = product("mkl,lnk->mn", tensor(2, 3, 4), tensor(4, 5, 3))
    assert [x.extent for x in c.inner] == [3, 4]


def letters(*extents):
    symbols = Domain.of(extents).indices
    return [Letter(str(at), extent, at) for at, extent in zip(symbols, extents)]


def lengths(*extents):
    """Extents of letters before, of the letter that is cut, its share, of whole turns."""
    before, cut, share, turns = blocks(letters(*extents))
    return [x.extent for x in before], cut and cut.extent, share, [x.extent for x in turns]


LENGTHS = [
    ((), ([], None, 0, [])),
    ((CONTRACT_BLOCK,), ([], None, 0, [CONTRACT_BLOCK])),
    ((CONTRACT_BLOCK + 1,), ([], CONTRACT_BLOCK + 1, CONTRACT_BLOCK, [])),
    ((4, 8, 8), ([], None, 0, [4, 8, 8])),
    ((5, 8, 8), ([], 5, 4, [8, 8])),
    ((5, 100), ([], 5, 2, [100])),
    ((7, 300), ([7], 300, CONTRACT_BLOCK, [])),
    ((2, 40, 3, 3), ([2], 40, 28, [3, 3])),
    ((n,), ([], n, CONTRACT_BLOCK, [])),
    ((n, 3, 3), ([], n, 28, [3, 3])),
    ((3, n), ([3], n, CONTRACT_BLOCK, [])),
]


@pytest.mark.parametrize(("extents", "wanted"), LENGTHS)
def test_chains(extents, wanted):
    assert lengths(*extents) == wanted


def test_steps_of_places():
    i, j = letters(5, 7)
    assert step_of(7 * i.at + j.at, i) == 7
    assert step_of(7 * i.at + j.at, j) == 1
    assert step_of(7 * i.at, j) == 0
    assert step_of(n * i.at + j.at, i) == n
    assert step_of(i.at // 2, i) is None


def test_elements_that_are_just_read():
    def build(form, x, y):
        turned = form.view(x, (4, 3), lambda i, j: (j, i))
        return form.contract("mk,kn->mn", turned, form.pointwise("exp", y))

    c = contraction(build, tensor(3, 4), tensor(3, 5))
    turned, computed = map(plain, c.elements)
    assert str(turned.value) == "%0"
    assert computed is None


# ----- copies -----


def copies(c):
    return [(copy.value.shape, expression(copy.element)) for copy in staging(c)]


def test_an_operand_that_reads_a_fill_is_copied_with_its_margin():
    def build(form, x, w):
        windows = form.view(x, (8, 3), lambda i, k: (i + k - 1,), fill=0)
        return form.contract("ik,ko->io", windows, w)

    c = contraction(build, tensor(8), tensor(3, 40))
    assert copies(c) == [
        ((10,), "where(0 <= i0 - 1 < 8, %0[i0 - 1] if 0 <= i0 - 1 < 8, 0.0)"),
    ]
    assert expression(c.elements[0]).endswith("[i0 + i2]")
    assert plain(c.elements[0]) is not None


def test_gaps_are_filled_as_well():
    def build(form, x, w):
        wide = form.view(x, (9,), lambda i: (i // 2,), 0, lambda i: [(i % 2, 1)])
        windows = form.view(wide, (7, 3), lambda i, k: (i + k,))
        return form.contract("ik,ko->io", windows, w)

    c = contraction(build, tensor(5), tensor(3, 40))
    ((shape, _),) = copies(c)
    assert shape == (9,)
    assert undivided(Domain.of((9,)).indices[0] // 2)[1] == 2


def test_the_smaller_operand_is_copied_in_the_order_of_the_loops():
    spec = "bchw,oc->bohw"
    assert copies(product("mkl,kln->mn", tensor(64, 9, 9), tensor(9, 9, 64))) == []
    assert copies(product(spec, tensor(2, 8, 9, 9), tensor(16, 8))) == []
    c = product("mkl,nlk->mn", tensor(64, 9, 9), tensor(32, 9, 9))
    assert copies(c) == [((32, 9, 9), "%1[i0, i2, i1]")]


def beside_each_other(spec, *others, axes=(0, 2, 1, 3), heads=(4, 8, 6, 5), rows=24):
    """The product of heads, laid beside each other in rows, with a matrix."""

    def build(form, x, *others):
        shape = [heads[k] for k in axes]
        place = [axes.index(k) for k in range(len(heads))]
        moved = form.view(x, shape, lambda *at: tuple([at[k] for k in place]))
        return form.contract(spec, form.reshape(moved, (rows, math.prod(heads) // rows)), *others)

    return contraction(build, tensor(*heads), *[tensor(*shape) for shape in others])


def test_heads_are_copied_in_rows_where_these_are_read_often():
    c = beside_each_other("mk,kn->mn", (40, OFTEN))
    assert plain(c.elements[0]) is None
    assert copies(c) == [((4, 6, 8, 5), "%0[i0, i2, i1, i3]")]
    assert step_of(linear(c.elements[0].value.shape, c.elements[0].at), c.free(0)[0]) == 40
    assert step_of(linear(c.elements[0].value.shape, c.elements[0].at), c.inner[0]) == 1
    # columns that are summed over: memory goes along what stays
    c = beside_each_other("km,kn->mn", (24, OFTEN))
    assert copies(c) == [((4, 6, 8, 5), "%0[i0, i2, i1, i3]")]
    assert plain(c.elements[0]) is not None
    # three kinds of heads in front
    c = beside_each_other("mk,kn->mn", (120, OFTEN), axes=(1, 3, 0, 2, 4), heads=(3, 4, 8, 6, 5))
    assert copies(c) == [((4, 6, 3, 8, 5), "%0[i2, i0, i3, i1, i4]")]


def test_heads_stay_where_they_are_read_seldom_or_only_in_part():
    assert copies(beside_each_other("mk,kn->mn", (40, OFTEN - 1))) == []

    def part(form, x, y):
        moved = form.view(x, (4, 6, 8, 4), lambda a, b, c, d: (a, c, b, d))
        return form.contract("mk,kn->mn", form.reshape(moved, (24, 32)), y)

    assert copies(contraction(part, tensor(4, 8, 6, 5), tensor(32, OFTEN))) == []


def across(lasting, build=None, rows=40):
    """The copies for a product of rows with rows, in a loop in which some inputs stay."""
    build = build or (lambda form, x, y: form.contract("mk,nk->mn", x, y))
    made = program(build, tensor(rows, 30), tensor(50, 30))
    c = Contraction(made.outputs[0].form, Extractor(made.inputs.__contains__))
    found = staging(c, {made.inputs[k] for k in lasting})
    return [(copy.value.shape, expression(copy.element)) for copy in found]


def test_what_stays_in_a_loop_is_copied_so_that_columns_lie_beside_each_other():
    assert across([]) == []
    assert across([1]) == [((30, 50), "%1[i1, i0]")]
    assert across([0]) == [((30, 40), "%0[i1, i0]")]
    assert across([0, 1]) == [((30, 40), "%0[i1, i0]")]  # the other one is not across any more
    assert across([1], rows=FEW_ROWS + 1) == []


def test_what_is_read_elsewhere_in_each_run_is_not_copied_before():
    def build(form, x, y):
        moved = form.view(y, (50, 20), lambda i, k: (i, k + symbol("t", hint=3)))
        return form.contract("mk,nk->mn", form.view(x, (40, 20), lambda i, k: (i, k)), moved)

    assert across([1], build) == []


def test_an_operand_is_copied_if_none_is_read_at_affine_places():
    def build(form, x, y):
        both = form.pointwise("exp", x), form.pointwise("exp", y)
        return form.contract("mk,kn->mn", *both)

    c = contraction(build, tensor(30, 40), tensor(40, 50))
    assert copies(c) == [((30, 40), "exp(%0[i0, i1])")]
    assert plain(c.elements[0]) is not None
