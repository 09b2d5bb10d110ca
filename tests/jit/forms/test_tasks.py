"""Tasks: what is computed into memory, and what each reads."""

from __future__ import annotations

import pytest

from jit.dims import symbol
from jit.forms.cuts import in_blocks, in_parts, is_long, is_of_columns
from jit.forms.order import BLOCK, COLUMN_BLOCK
from jit.forms.tasks import FoldTask, MapTask, ProductTask, WholeTask
from tests.jit.forms.small import expression, tasks, tensor, word

n = symbol("n")


def kinds(build, *types):
    return [(type(task), word(task.form)) for task in tasks(build, *types)]


def test_a_task_for_each_value_in_memory():
    def build(form, x, y):
        product = form.contract("mk,kn->mn", x, y)
        total = form.reduce("sum", form.pointwise("exp", product), (1,))
        return form.scan("sum", total, 0)

    assert kinds(build, tensor(30, 40), tensor(40, 50)) == [
        (ProductTask, "contract"),
        (FoldTask, "sum"),
        (WholeTask, "sum"),
    ]


def test_folds_run_in_the_dtype_of_their_accumulator():
    (task,) = tasks(lambda form, x: form.reduce("sum", x, (0,)), tensor(300, dtype="float16"))
    assert expression(task.elements[0]) == "astype(%0[i0])"
    assert (task.elements[0].dtype.name, task.outputs[0].dtype.name) == ("float32", "float16")


def test_folded_loops_are_numbered_without_extents_of_1():
    (task,) = tasks(lambda form, x: form.reduce("sum", x, (1, 3)), tensor(30, 1, 20, 40))
    assert isinstance(task, FoldTask)
    assert (task.domain.extents, task.axes) == ((30, 20, 40), frozenset({2}))


def windows(size):
    def build(form, x):
        view = form.view(x, (10, size), lambda i, j: (i + j,))
        return form.reduce("max", view, (1,))

    return build


def test_few_elements_of_a_view_are_folded_in_one_expression():
    (task,) = tasks(windows(3), tensor(12))
    assert isinstance(task, MapTask)
    inner = "maximum(maximum(%0[i0], %0[i0 + 2]), maximum(%0[i0 + 1], -inf))"
    assert expression(task.elements[0]) == f"maximum(-inf, {inner})"
    assert kinds(windows(17), tensor(26)) == [(FoldTask, "max")]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_one_element_is_folded_without_a_loop(dtype):
    (task,) = tasks(lambda form, x: form.reduce("sum", x, (1,)), tensor(30, 1, dtype=dtype))
    assert isinstance(task, MapTask)
    assert task.elements[0].dtype.name == dtype


def test_folding_nothing_gives_the_identity():
    for build, types, text in [
        (lambda form, x: form.reduce("max", x, (1,)), [tensor(3, 0)], "-inf"),
        (lambda form, x: form.reduce("sum", x, (0, 1)), [tensor(0, 5)], "0.0"),
        (lambda form, *xs: form.contract("mk,kn->mn", *xs), [tensor(3, 0), tensor(0, 4)], "0.0"),
    ]:
        (task,) = tasks(build, *types)
        assert isinstance(task, MapTask)
        assert expression(task.elements[0]) == text


def test_what_has_no_elements_is_not_computed():
    assert tasks(lambda form, x: form.pointwise("exp", x), tensor(3, 0)) == []
    assert tasks(lambda form, x: form.reduce("sum", x, (1,)), tensor(0, 5)) == []
    assert len(tasks(lambda form, x: form.pointwise("exp", x), tensor(3, n))) == 1


def test_tables_are_read_and_what_they_are_made_of():
    """A table that is not in memory is computed where it is used, from values that are."""

    def build(form, x, t):
        shared = form.pointwise("floor_divide", t, form.view(t, t.shape, lambda i: (4 - i,)))
        table = form.pointwise("negative", shared)
        y = form.view(x, (5,), lambda i: (form.load(table, i),))
        return y, form.pointwise("add", shared, shared)

    found = {word(task.form): task for task in tasks(build, tensor(9), tensor(5, dtype="int64"))}
    assert [*found] == ["floor_divide", "view", "add"]
    assert {word(x.form) for x in found["view"].reads()} == {"source", "floor_divide"}


def test_copies_come_before_the_product_that_reads_them():
    def build(form, x, w):
        padded = form.view(x, (66,), lambda i: (i - 1,), fill=0)
        strided = form.view(padded, (64, 3), lambda i, k: (i + k,))
        return form.contract("ik,ko->io", strided, w)

    copy, product = tasks(build, tensor(64), tensor(3, 40))
    assert isinstance(copy, MapTask)
    assert copy.outputs[0].shape == (66,)
    assert product.reads() >= set(copy.outputs)


# ----- parts of folds -----


def fold(shape, axes):
    (task,) = tasks(lambda form, x: form.reduce("sum", x, axes), tensor(*shape))
    assert isinstance(task, FoldTask)
    return task


def test_few_long_rows_are_cut_into_blocks():
    assert is_long(fold((2, BLOCK + 1), (1,)))
    assert not is_long(fold((2, BLOCK), (1,)))
    assert not is_long(fold((50, BLOCK + 1), (1,)))
    assert not is_long(fold((BLOCK + 1, 2), (0,)))  # columns
    part, rest = in_blocks(fold((2, 2 * BLOCK + 1), (1,)))
    assert part.outputs[0].shape == (2, 3)
    assert (rest.domain.extents, rest.axes, rest.of_blocks) == ((2, 3), frozenset({1}), True)
    assert [*rest.reads()] == [*part.outputs]


def test_many_rows_are_cut_for_sums_of_columns():
    assert is_of_columns(fold((2 * COLUMN_BLOCK, 9), (0,)))
    assert is_of_columns(fold((20, 40, 9), (0, 1)))
    assert not is_of_columns(fold((2 * COLUMN_BLOCK - 1, 9), (0,)))
    assert not is_of_columns(fold((9, 2 * COLUMN_BLOCK), (1,)))  # rows
    assert not is_of_columns(fold((9, 2 * COLUMN_BLOCK, 5), (1,)))  # not the first loops
    part, rest = in_parts(fold((3 * COLUMN_BLOCK - 1, 9), (0,)))
    assert part.outputs[0].shape == (3, 9)
    assert (rest.domain.extents, rest.axes) == ((3, 9), frozenset({0}))
