"""Fusion: which tasks become one group, by their forms."""

from __future__ import annotations

import pytest

from jit.dims import symbol
from jit.forms.fuse import fuse
from jit.forms.native import lower_for_code
from jit.forms.order import BLOCK, COLUMN_BLOCK
from jit.forms.placement import Placement
from jit.forms.tasks import TaskMaker
from tests.jit.examples import example
from tests.jit.forms.small import groups, tensor, text_of

n = symbol("n", hint=50)


def spread(form, row, like):
    return form.view(row, like.shape, lambda i, j: (i,))


def spread_down(form, column, like):
    return form.view(column, like.shape, lambda i, j: (j,))


def test_maps_over_the_same_loops_are_one_group():
    def build(form, x, y):
        total = form.pointwise("add", x, y)
        return total, form.pointwise("exp", total)

    assert groups(build, tensor(30, 40), tensor(30, 40)) == (
        "group 30 40\n"
        "  0 map add %2: float32[30,40] <- %0, %1\n"
        "  0 map exp %3: float32[30,40] <- %2"
    )


def test_maps_over_other_loops_are_another_group():
    def build(form, x, y):
        return form.pointwise("exp", x), form.pointwise("exp", y)

    assert groups(build, tensor(30), tensor(40)).count("group") == 2


def test_maps_that_read_another_element_of_the_group_wait():
    def build(form, x):
        y = form.pointwise("exp", x)
        return y, form.pointwise("sin", form.view(y, y.shape, lambda i: (29 - i,)))

    assert groups(build, tensor(30)).count("group") == 2


def test_maps_that_know_nothing_of_each_other_stay_apart():
    def build(form, x, y):
        return form.pointwise("exp", x), form.pointwise("exp", y)

    assert groups(build, tensor(30), tensor(30)).count("group") == 2


def softmax(form, x):
    top = form.reduce("max", x, (1,))
    e = form.pointwise("exp", form.pointwise("subtract", x, spread(form, top, x)))
    return form.pointwise("divide", e, spread(form, form.reduce("sum", e, (1,)), x))


@pytest.mark.parametrize("rows", [30, n])
def test_what_waits_for_folds_of_its_row_follows_in_levels(rows):
    assert groups(softmax, tensor(rows, 1000)) == (
        f"group {rows} [1000]\n"
        f"  0 fold max %1: float32[{rows}] <- %0\n"
        f"  1 map exp %2: float32[{rows},1000] <- %0, %1\n"
        f"  1 fold sum %3: float32[{rows}] <- %2\n"
        f"  2 map divide %4: float32[{rows},1000] <- %2, %3"
    )


def test_columns_have_levels_too():
    def build(form, x):
        mean = form.reduce("sum", x, (0,))
        return form.pointwise("subtract", x, spread_down(form, mean, x))

    assert groups(build, tensor(30, 40)) == (
        "group [30] 40\n"
        "  0 fold sum %1: float32[40] <- %0\n"
        "  1 map subtract %2: float32[30,40] <- %0, %1"
    )


def test_folds_of_rows_and_of_columns_are_two_groups_if_rows_are_few():
    def build(form, x):
        return form.reduce("sum", x, (1,)), form.reduce("sum", x, (0,))

    assert groups(build, tensor(40, 50)).count("group") == 2


def test_rows_do_a_part_of_the_folds_of_columns():
    def build(form, x):
        return form.reduce("sum", x, (1,)), form.reduce("sum", x, (0,))

    rows = 2 * COLUMN_BLOCK
    assert groups(build, tensor(rows, 50)) == (
        f"group {rows} [50]\n"
        f"  0 fold sum %1: float32[{rows}] <- %0\n"
        "  0 fold of columns sum %2: float32[2,50] <- %0\n"
        "group [2] 50\n"
        "  0 fold sum %3: float32[50] <- %2"
    )


def test_folds_of_columns_alone_are_not_cut():
    text = groups(lambda form, x: form.reduce("sum", x, (0,)), tensor(4 * COLUMN_BLOCK, 50))
    assert text == f"group [{4 * COLUMN_BLOCK}] 50\n  0 fold sum %1: float32[50] <- %0"


def test_blocks_of_long_rows_are_folded_each_by_itself():
    def build(form, x):
        y = form.pointwise("exp", x)
        return form.reduce("sum", y, (0,)), y

    assert groups(build, tensor(BLOCK + 1)) == (
        f"group [{BLOCK + 1}]\n"
        f"  0 map exp %1: float32[{BLOCK + 1}] <- %0\n"
        "  0 fold of blocks sum %2: float32[2] <- %1\n"
        "group [2]\n"
        "  0 fold sum %3: float32[] <- %2"
    )


def test_maps_of_a_row_join_its_folds():
    def build(form, x):
        return form.pointwise("sqrt", form.reduce("sum", x, (1,)))

    assert groups(build, tensor(30, 40)) == (
        "group 30 [40]\n  0 fold sum %1: float32[30] <- %0\n  1 map sqrt %2: float32[30] <- %1"
    )


def test_products_take_maps_of_their_result():
    def build(form, x, y, bias):
        product = form.contract("mk,kn->mn", x, y)
        return form.pointwise("add", product, spread_down(form, bias, product))

    assert groups(build, tensor(30, 40), tensor(40, 50), tensor(50)) == (
        "group 30 50\n"
        "  0 product contract %2: float32[30,50] <- %0, %1\n"
        "  0 map add %4: float32[30,50] <- %2, %3"
    )


def test_products_take_no_folds():
    def build(form, x, y):
        return form.reduce("sum", form.contract("mk,kn->mn", x, y), (1,))

    assert groups(build, tensor(30, 40), tensor(40, 50)).count("group") == 2


def test_a_product_does_not_join_the_fold_whose_number_it_reads():
    def build(form, x, y):
        return form.contract("i,->i", x, form.reduce("sum", y, (0,)))

    assert groups(build, tensor(30), tensor(40)) == (
        "group [40]\n"
        "  0 fold sum %1: float32[] <- %0\n"
        "group 30\n"
        "  0 product contract %3: float32[30] <- %2, %1"
    )


def test_whole_tasks_stand_alone():
    def build(form, x):
        y = form.scan("sum", form.pointwise("exp", x), 0)
        return form.pointwise("sin", y)

    assert groups(build, tensor(30)) == (
        "whole sum %1: float32[30] <- %0\ngroup 30\n  0 map sin %2: float32[30] <- %1"
    )


def test_no_group_waits_for_itself():
    """A map between two others that would be one group, were it not for a product between them."""

    def build(form, x, w):
        y = form.pointwise("exp", x)
        z = form.contract("mk,kn->mn", y, w)
        return y, form.pointwise("add", y, form.view(z, y.shape, lambda i, j: (j, i)))

    text = groups(build, tensor(30, 30), tensor(30, 30))
    assert [line.split()[1] for line in text.splitlines() if line.startswith("  ")] == [
        "map",
        "product",
        "map",
    ]
    assert text.count("group") == 3


@pytest.mark.parametrize(("rows", "together"), [(30, False), (3000, True)])
def test_few_elements_do_not_wait_for_long_loops_that_they_do_not_need(rows, together):
    """A total and a count of the same elements: the long loops need the count, before the total."""

    def build(form, x, kept):
        sums = form.reduce("sum", form.pointwise("exp", x), (1,))
        total = form.reduce("sum", form.pointwise("multiply", sums, kept), (0,))
        count = form.reduce("sum", kept, (0,))
        shares = form.pointwise("divide", form.pointwise("exp", x), form.reshape(sums, (rows, 1)))
        return total, form.pointwise("divide", shares, count)

    text = groups(build, tensor(rows, 100), tensor(rows))
    whole = [part for part in text.split("group ") if part.startswith(f"{rows} [100]")]
    assert len(whole) == 1
    assert ("map divide" in whole[0]) == together
    assert text.count("group") == 3


GOLDEN = "softmax layer_norm layer_norm_backward w5 two_layers convolution cross_entropy".split()


@pytest.mark.parametrize("name", GOLDEN)
def test_groups_of_typical_programs(name, golden):
    forms = lower_for_code(example(name, large=True).graph)
    golden(f"groups/{name}", text_of(fuse(TaskMaker(Placement(forms)).tasks())))
