"""Ranges of indices: never narrower than what an index is."""

from __future__ import annotations

from itertools import product

import pytest

from jit.codegen.llvm import emit
from jit.codegen.ranges import Ranges
from jit.loops.ir import INDEX, Buffer, Kernel, Var, index
from jit.loops.values import apply
from jit.loops.writer import Writer
from jit.runtime.cubin import ptx
from jit.target import gpu
from jit.types import bool_, float32, int64

OPS = ("add", "subtract", "multiply", "quotient", "rest", "minimum", "maximum")


def ranges_of(limits, op, number):
    """The range of `op` of what is left of an item, and a number."""
    w, item = Writer(), Var(INDEX, "item")
    made = w.let(op, w.let("subtract", item, index(limits[0])), index(number))
    found = Ranges(Kernel("k", (), (), limits[1], item, tuple(w.body)))
    for let in w.body:
        found.note(let)
    return found.of(made)


@pytest.mark.parametrize("op", OPS)
def test_every_value_is_in_its_range(op):
    for first, count, number in product((0, 3), (1, 7), (1, 2, 5)):
        found = ranges_of((first, count), op, number)
        for item in range(count):
            given = [int64.type(item - first), int64.type(number)]
            value = int(apply(op, [[x] for x in given], INDEX)[0])
            assert found is None or found[0] <= value <= found[1]


@pytest.mark.parametrize("greater", [False, True])
@pytest.mark.parametrize("number", [0, 4])
def test_the_lesser_and_the_greater_of_two(number, greater):
    """As `where` and `less` say it."""
    w, item = Writer(), Var(INDEX, "item")
    x, bound = w.let("subtract", item, index(2)), index(number)
    pair = (bound, x) if greater else (x, bound)
    made = w.let("where", w.let("less", x, bound), *pair)
    found = Ranges(Kernel("k", (), (), 10, item, tuple(w.body)))
    for let in w.body:
        found.note(let)
    assert found.of(made) == ((number, 7) if greater else (-2, number))


def test_a_label_is_met_by_a_small_number():
    def text(grid, op):
        w, item = Writer(), Var(INDEX, "item")
        label, y = Buffer("label", int64), Buffer("y", bool_, access="out")
        w.store(y, index(0), w.let(op, w.load(label, index(0)), item))
        return emit(Kernel("k", (label, y), (), grid, item, tuple(w.body)), gpu("sm_90"))

    assert "icmp eq i32" in text(1 << 20, "equal")
    assert "icmp ne i32" in text(1 << 20, "not_equal")
    assert "icmp eq i64 %v" in text(1 << 40, "equal")


@pytest.mark.parametrize("turned", [False, True])
def test_a_label_is_met_by_neighbours(turned):
    """Of which one is it less the first of them."""

    def text(grid, op):
        w, item = Writer(), Var(INDEX, "item")
        label, y = Buffer("label", int64), Buffer("y", bool_, access="out")
        number = w.splat(w.load(label, index(0)), 4)
        row = w.let("add", w.splat(w.let("multiply", item, index(4)), 4), w.iota(4))
        pair = (row, number) if turned else (number, row)
        w.store(y, index(0), w.let(op, *pair))
        kernel, target = Kernel("k", (label, y), (), grid, item, tuple(w.body)), gpu("sm_90")
        assert ptx(emit(kernel, target), target)
        return emit(kernel, target)

    found = text(1 << 20, "equal")
    asked = [line.rsplit(", ")[-1] for line in found.splitlines() if "icmp eq i32" in line]
    assert asked == ["0", "1", "2", "3"]
    assert "icmp ne i32" in text(1 << 20, "not_equal")
    for grid in (1 << 29) + 1, 1 << 40:  # of the last neighbours, one is too large
        assert "icmp eq <4 x i64>" in text(grid, "equal")


def test_small_indices_are_divided_as_small_numbers():
    def text(grid):
        w, item = Writer(), Var(INDEX, "item")
        y = Buffer("y", float32, access="out")
        w.store(y, w.let("quotient", item, index(3)), w.number(1, w.load(y, index(0)).type))
        return emit(Kernel("k", (y,), (), grid, item, tuple(w.body)), gpu("sm_90"))

    assert "udiv i32" in text(1 << 20)
    assert "sdiv i64" in text(1 << 40)


def test_what_lies_in_a_row_is_accessed_at_once():
    """The first of four neighbours tells that its place is a multiple of 16 bytes."""

    def instructions(step):
        w, item = Writer(), Var(INDEX, "item")
        x, y = Buffer("x", float32), Buffer("y", float32, access="out")
        first = w.let("multiply", item, index(step))
        places = [w.let("add", first, index(k)) for k in range(4)]
        for at, value in zip(places, [w.load(x, at) for at in places]):
            w.store(y, at, value)
        kernel, target = Kernel("k", (x, y), (), 9, item, tuple(w.body)), gpu("sm_90")
        return ptx(emit(kernel, target), target).decode()

    assert "st.global.v4" in instructions(4)
    assert "st.global.v4" not in instructions(5)
