"""Directives: what each one writes, that results stay equal, and what each one refuses."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from jit.dims import evaluate
from jit.errors import ScheduleError
from jit.loops.heuristics import scheduled
from jit.loops.ir import Kernel, Lit, Load, VType, index, walk
from jit.loops.schedule import (
    has_loop,
    hoist,
    parallel,
    reorder,
    simplify,
    split,
    unroll,
    vectorize,
)
from jit.loops.schedule_turn import turn
from jit.loops.writer import Writer
from jit.target import LEVELS, Target
from jit.types import dtypes, float32, int64
from tests.jit.loops.kernels import (
    both,
    column_sums,
    floats,
    given,
    kernel_of,
    nothing,
    pointwise,
    product_tile,
    result,
    row_sums,
    same_bits,
    size,
    tree,
)

SIZES = [0, 1, 3, 4, 7, 8, 9, 15, 16, 17, 100]


def doubled() -> Kernel:
    return pointwise(lambda w, i, x, y: w.store(y, i, w.let("add", w.load(x, i), w.load(x, i))))


def conditional() -> Kernel:
    """Where i < n - 2: Y[i] = X[i + 2] / X[0], the divisor loaded where it holds only."""

    w, n, x, y = Writer(), size("n"), given("X"), both("Y")
    with w.loop(index(0), n, hint="i") as i:
        w.store(y, i, w.number(7, VType(float32)))
        at = w.let("add", i, index(2))
        with w.when(w.let("less", at, n)):
            w.store(y, i, w.let("divide", w.load(x, at), w.load(x, index(0))))
    return kernel_of(w, [x, y], [n])


def fast_row_sums(kernel: Kernel) -> Kernel:
    """A whole schedule, as the default one does it."""
    for name in ("z", "l", "l2", "t32", "t16", "t8"):
        kernel = vectorize(kernel, name, 8)
    kernel = vectorize(vectorize(kernel, "t4", 4), "t2", 2)
    names = ("z", "l", "l2", "t32", "t16", "t8", "t4", "t2", "t1")
    kernel = unroll(kernel, *[name for name in names if has_loop(kernel, name)])
    return simplify(hoist(parallel(kernel, "r")))


def fast_product(kernel: Kernel) -> Kernel:
    for name in ("z", "ni", "s"):
        kernel = vectorize(kernel, name, 8)
    return simplify(hoist(unroll(kernel, "z", "s", "mi", "ni")))


def invariant() -> Kernel:
    """For r, for c: Y[r, c] = X[r, c] * X[0] with the address of the row made in the inner loop."""
    w, rows, columns, x, y = Writer(), size("R"), size("C"), given("X"), result("Y")
    with w.loop(index(0), rows, hint="r") as r, w.loop(index(0), columns, hint="c") as c:
        at = w.let("add", w.let("multiply", r, columns), c)
        w.store(y, at, w.let("multiply", w.load(x, at), w.load(x, index(0))))
    return kernel_of(w, [x, y], [rows, columns])


def copied_block(height: int = 8, width: int = 4) -> Kernel:
    """A block of X, column by column, is added to Y."""
    w, x, y = Writer(), given("X"), result("Y")
    block = w.alloc("block", x.dtype, height * width)
    with w.loop(index(0), index(height), hint="turn") as n:
        row = w.let("multiply", n, index(10))
        with w.loop(index(0), index(width), hint="along") as k:
            at = w.let("add", w.let("multiply", k, index(height)), n)
            w.store(block, at, w.load(x, w.let("add", row, k)))
    with w.loop(index(0), index(height * width), hint="lane") as k:
        w.store(y, k, w.load(block, k))
    return kernel_of(w, [x, y], [])


CHANGES: dict[str, tuple[Callable[[], Kernel], Callable[[Kernel], Kernel]]] = {
    "vectorize": (doubled, lambda k: vectorize(k, "i", 8)),
    "vectorize_condition": (conditional, lambda k: vectorize(k, "i", 8)),
    "vectorize_private": (column_sums, lambda k: vectorize(k, "c", 8)),
    "unroll": (lambda: product_tile(2, 2), lambda k: unroll(k, "mi", "ni")),
    "unroll_in_parts": (lambda: product_tile(2, 4), lambda k: unroll(k, "ni", factor=2)),
    "split_guard": (doubled, lambda k: split(k, "i", 4)),
    "split_peel": (doubled, lambda k: split(k, "i", 4, "peel")),
    "reorder": (lambda: product_tile(2, 4), lambda k: reorder(k, "k", "mi")),
    "parallel": (doubled, lambda k: parallel(k, "i", 64)),
    "hoist": (invariant, hoist),
    "turn": (copied_block, lambda k: vectorize(turn(k, "turn"), "lane", 8)),
    "row_sums": (row_sums, fast_row_sums),
    "product": (product_tile, fast_product),
}


@pytest.mark.parametrize("name", CHANGES)
def test_before_and_after(name, golden):
    build, change = CHANGES[name]
    before = build()
    golden(f"schedule/{name}", f"{before}\n\nbecomes\n\n{change(before)}")


POINTWISE = {
    "vectorize": lambda k: vectorize(k, "i", 8),
    "vectorize by 4": lambda k: vectorize(k, "i", 4),
    "split, guarded": lambda k: split(k, "i", 4),
    "split, peeled": lambda k: split(k, "i", 4, "peel"),
    "split, then vectorize": lambda k: vectorize(split(k, "i", 8, "peel"), "i_i", 8),
    "guard as mask": lambda k: vectorize(split(k, "i", 8), "i_i", 8),
    "parallel": lambda k: parallel(k, "i"),
    "parallel by 4, then vectorize": lambda k: vectorize(parallel(k, "i", 4), "i", 4),
    "parallel by 12, then vectorize": lambda k: vectorize(parallel(k, "i", 12), "i", 8),
    "parallel by 16, hoisted": lambda k: simplify(hoist(vectorize(parallel(k, "i", 16), "i", 4))),
}


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("build", [doubled, conditional])
@pytest.mark.parametrize("change", POINTWISE)
def test_pointwise(build, change, n):
    before = build()
    same_bits(before, POINTWISE[change](before), [floats(n), nothing(n)], [n])


@pytest.mark.parametrize("columns", [0, 1, 63, 64, 65, 200])
def test_row_sums_keep_their_order(columns):
    before = row_sums()
    arrays = [floats(3 * columns), nothing(3)]
    same_bits(before, fast_row_sums(before), arrays, [3, columns])
    same_bits(before, vectorize(before, "l2", 8), arrays, [3, columns])


@pytest.mark.parametrize("columns", SIZES)
@pytest.mark.parametrize("rows", [0, 1, 5])
def test_column_sums(rows, columns):
    before = column_sums()
    arrays = [floats(rows * columns), nothing(columns)]
    same_bits(before, vectorize(before, "c", 8), arrays, [rows, columns])
    after = simplify(hoist(vectorize(parallel(before, "c", 16), "c", 8)))
    same_bits(before, after, arrays, [rows, columns])


@pytest.mark.parametrize("k", [0, 1, 7])
def test_products(k):
    before = product_tile(2, 16)
    arrays = [floats(2 * k), floats(16 * k, 1), nothing(32)]
    same_bits(before, fast_product(before), arrays, [k])
    same_bits(before, fast_product(reorder(before, "mi", "ni")), arrays, [k])
    same_bits(before, unroll(before, "ni", factor=4), arrays, [k])


@pytest.mark.parametrize(("rows", "columns"), [(0, 0), (0, 3), (3, 0), (2, 5)])
def test_hoisted_loads_touch_nothing_where_loops_have_no_turns(rows, columns):
    before = invariant()
    arrays = [floats(rows * columns), nothing(rows * columns)]
    after = hoist(before)
    first = after.body[0]
    assert not any(isinstance(s, Load) and s.index == index(0) for s in after.body[-1].body)
    assert first is not before.body[0]
    same_bits(before, after, arrays, [rows, columns])


def test_a_division_is_not_hoisted_where_it_may_not_run():
    w, n, d, y = Writer(), size("n"), size("d"), result("Y", int64)
    with w.loop(index(0), n, hint="i") as i:
        w.store(y, i, w.let("quotient", n, d))
    before = kernel_of(w, [y], [n, d])
    same_bits(before, hoist(before), [np.zeros(0, np.int64)], [0, 0])
    same_bits(before, hoist(before), [np.zeros(4, np.int64)], [4, 3])


@pytest.mark.parametrize("n", [0, 5, 8])
def test_lanes_that_do_not_run_divide_by_nothing(n):
    w, size_n, d, k, y = Writer(), size("n"), size("d"), given("K", int64), both("Y", int64)
    with w.loop(index(0), size_n, hint="i") as i:
        by = w.load(k, i)
        with w.when(w.let("not_equal", by, index(0))):
            w.store(y, i, w.let("quotient", index(100), by))
        with w.when(w.let("greater", by, index(1))):
            w.store(y, i, w.let("add", w.let("quotient", size_n, d), by))
    before = kernel_of(w, [k, y], [size_n, d])
    keys = (np.arange(n) % 2).astype(np.int64)
    same_bits(before, vectorize(before, "i", 4), [keys, np.zeros(n, np.int64)], [n, 0])


def test_checks_ask_the_lanes_that_run():
    w, n, k = Writer(), size("n"), given("K", int64)
    with w.loop(index(0), n, hint="i") as i:
        x = w.load(k, i)
        with w.when(w.let("less", x, index(50))):
            w.check(w.let("less", x, index(5)))
    before = kernel_of(w, [k], [n])
    for keys in ([1, 2, 60, 3, 4], [1, 2, 60, 3, 6], [1], []):
        array = np.array(keys, np.int64)
        same_bits(before, vectorize(before, "i", 4), [array], [len(keys)])


def test_parallel_counts_its_items():
    kernel = parallel(doubled(), "i", 64)
    for n, items in ((0, 0), (1, 1), (64, 1), (65, 2), (640, 10)):
        assert evaluate(kernel.grid, {"n": n}) == items
    w, y = Writer(), result("Y")
    with w.loop(index(2), index(12), hint="i") as i:
        w.store(y, w.let("subtract", i, index(2)), w.let("astype", i, dtype=float32))
    before = kernel_of(w, [y])
    after = parallel(before, "i", 3)
    assert after.grid == 4
    same_bits(before, after, [nothing(10)])


def test_items_may_run_in_any_order_after_parallel():
    from jit.loops.interpret import interpret

    before, n = column_sums(), 21
    after = vectorize(parallel(before, "c", 4), "c", 4)
    x, y, z = floats(5 * n), nothing(n), nothing(n)
    interpret(before, [x, y], [5, n])
    interpret(after, [x, z], [5, n], items=[5, 0, 3, 1, 4, 2])
    assert y.tobytes() == z.tobytes()


# ----- folding -----


def test_simplify_leaves_float_arithmetic_alone():
    def write(w, i, x, y):
        zero, one = w.number(0, VType(float32)), w.number(1, VType(float32))
        value = w.let("multiply", w.let("add", w.load(x, i), zero), one)
        w.store(y, i, w.let("subtract", value, w.let("multiply", value, zero)))

    before = pointwise(write)
    after = simplify(before)
    assert len(list(after.statements())) == len(list(before.statements()))
    special = np.array([-0.0, np.inf, -np.inf, 1e-42, 0.0], np.float32)
    same_bits(before, after, [special, nothing(5)], [5])


def test_negative_zero_is_not_shared_with_zero():
    def write(w, i, x, y):
        a, b = (w.let("add", w.load(x, i), w.number(z, VType(float32))) for z in (0.0, -0.0))
        w.store(y, i, w.let("divide", a, w.let("divide", w.number(1, VType(float32)), b)))

    before = pointwise(write)
    same_bits(before, simplify(before), [np.array([-0.0, 0.0, 2], np.float32), nothing(3)], [3])
    assert str(simplify(before)).count("add(") == 2


INTEGERS = [
    ("add", 3, 0),
    ("add", 127, 1),
    ("subtract", -128, 1),
    ("multiply", 100, 3),
    ("quotient", -7, 2),
    ("rest", -7, 2),
    ("floor_divide", -7, 2),
    ("remainder", -7, 2),
    ("minimum", -7, 2),
    ("less", -7, 2),
    ("bitwise_xor", -7, 2),
    ("shift_right", -7, 2),
    ("shift_left", 100, 2),
]


@pytest.mark.parametrize(("op", "a", "b"), INTEGERS)
def test_folding_integers_is_what_the_interpreter_does(op, a, b):
    type_ = VType(np.dtype("int8"))
    w = Writer()
    value = w.let(op, Lit(a, type_), Lit(b, type_))
    y = result("Y", value.type.dtype)
    w.store(y, index(0), value)
    before = kernel_of(w, [y])
    after = simplify(before)
    assert len(after.body) == 1
    same_bits(before, after, [np.zeros(1, value.type.dtype)])


def test_constants_move_outwards():
    w, a, b, y = Writer(), size("a"), size("b"), result("Y", int64)
    at = w.let("add", a, index(3))
    for k, value in enumerate(
        [
            w.let("add", at, index(4)),
            w.let("add", b, at),
            w.let("multiply", at, index(5)),
            w.let("subtract", w.let("subtract", at, index(3)), a),
        ]
    ):
        w.store(y, index(k), value)
    before = kernel_of(w, [y], [a, b])
    same_bits(before, simplify(before), [np.zeros(4, np.int64)], [11, 13])
    text = str(simplify(before))
    assert "add(a, 7)" in text
    assert "add(a, b)" in text or "add(b, a)" in text
    assert "multiply(a, 5)" in text
    assert "store Y[3] = 0" in text


def test_memory_that_nobody_loads_is_dropped():
    w, y = Writer(), result("Y")
    acc = w.alloc("acc", float32, 1)
    w.store(acc, index(0), w.number(1, VType(float32)))
    w.store(y, index(0), w.number(2, VType(float32)))
    assert len(simplify(kernel_of(w, [y])).body) == 1


# ----- refusals -----


def shifted(by: int) -> Kernel:
    """acc[i + by] = acc[i]: each turn needs what another one stores."""
    return tree(
        lambda w, i, acc: w.store(
            acc,
            w.let("add", i, index(max(by, 0))),
            w.load(acc, w.let("add", i, index(max(-by, 0)))),
        )
    )


def scattered() -> Kernel:
    w, n, k, y = Writer(), size("n"), given("K", int64), result("Y")
    with w.loop(index(0), n, hint="i") as i:
        w.store(y, w.load(k, i), w.number(1, VType(float32)))
    return kernel_of(w, [k, y], [n])


def triangle() -> Kernel:
    w, n, y = Writer(), size("n"), both("Y")
    with w.loop(index(0), n, hint="i") as i, w.loop(index(0), i, hint="j"):
        w.store(y, i, w.load(y, i))
    return kernel_of(w, [y], [n])


def two_loops() -> Kernel:
    w, n, y = Writer(), size("n"), both("Y")
    for name in ("i", "j"):
        with w.loop(index(0), n, hint=name) as i:
            w.store(y, i, w.load(y, i))
    return kernel_of(w, [y], [n])


def summed_twice() -> Kernel:
    """Y[0] takes elements of a square, row by row."""
    w, y, x = Writer(), both("Y"), given("X")
    rows, columns = w.loop(index(0), index(4), hint="i"), w.loop(index(0), index(4), hint="j")
    with rows as i, columns as j:
        at = w.let("add", w.let("multiply", i, index(4)), j)
        w.store(y, index(0), w.let("add", w.load(y, index(0)), w.load(x, at)))
    return kernel_of(w, [x, y])


def skewed() -> Kernel:
    """Y[i + j] takes elements: turns on one diagonal share an element."""
    w, y, x = Writer(), both("Y"), given("X")
    rows, columns = w.loop(index(0), index(4), hint="i"), w.loop(index(0), index(4), hint="j")
    with rows as i, columns as j:
        at = w.let("add", i, j)
        w.store(y, at, w.let("add", w.load(y, at), w.load(x, j)))
    return kernel_of(w, [x, y])


def kernel_of_sum() -> Kernel:
    w, n, x, y = Writer(), size("n"), given("X"), both("Y")
    with w.loop(index(0), n, hint="i") as i:
        w.store(y, index(0), w.let("add", w.load(y, index(0)), w.load(x, i)))
    return kernel_of(w, [x, y], [n])


REFUSED: dict[str, tuple[Callable[[], Kernel], Callable[[Kernel], Kernel]]] = {
    "no_such_loop": (doubled, lambda k: vectorize(k, "q", 8)),
    "one_place": (summed_twice, lambda k: vectorize(k, "j", 4)),
    "next_lane": (lambda: shifted(1), lambda k: vectorize(k, "i", 4)),
    "previous_lane": (lambda: shifted(-3), lambda k: vectorize(k, "i", 4)),
    "scatter": (scattered, lambda k: vectorize(k, "i", 4)),
    "bounds_differ": (triangle, lambda k: vectorize(k, "i", 4)),
    "turns_left": (doubled, lambda k: vectorize(k, "i", 4, tail="none")),
    "vectors_inside": (doubled, lambda k: vectorize(vectorize(k, "i", 8), "i", 8)),
    "unroll_unknown": (doubled, lambda k: unroll(k, "i")),
    "unroll_in_parts": (lambda: product_tile(2, 4), lambda k: unroll(k, "ni", factor=3)),
    "split_twice": (doubled, lambda k: split(split(k, "i", 4), "i_o", 4)),
    "reorder_sum": (summed_twice, lambda k: reorder(k, "i", "j")),
    "reorder_diagonal": (skewed, lambda k: reorder(k, "i", "j")),
    "reorder_triangle": (triangle, lambda k: reorder(k, "i", "j")),
    "reorder_apart": (doubled, lambda k: reorder(k, "i", "j")),
    "turn_wide": (lambda: copied_block(4, 8), lambda k: turn(k, "turn")),
    "parallel_sum": (kernel_of_sum, lambda k: parallel(k, "i")),
    "parallel_two": (two_loops, lambda k: parallel(k, "j")),
    "parallel_twice": (lambda: parallel(doubled(), "i", 4), lambda k: parallel(k, "i", 4)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name, golden):
    build, change = REFUSED[name]
    with pytest.raises(ScheduleError) as refused:
        change(build())
    refused.value.location = None  # the line is told where the whole framework is loaded
    golden(f"schedule/refuses_{name}", str(refused.value))


def test_a_distance_of_whole_vectors_is_no_dependence():
    w, y = Writer(), both("Y")
    with w.loop(index(0), index(8), hint="i") as i:
        w.store(y, i, w.load(y, w.let("add", i, index(4))))
    before = kernel_of(w, [y])
    same_bits(before, vectorize(before, "i", 4), [floats(12)])
    with pytest.raises(ScheduleError):
        vectorize(before, "i", 8)


def test_wide_strides_and_turned_rows():
    w, x, y = Writer(), given("X"), result("Y")
    with w.loop(index(0), index(19), hint="i") as i:
        back = w.let("subtract", index(40), i)
        square = w.let("rest", w.let("multiply", i, i), index(7))
        total = w.let("add", w.load(x, w.let("multiply", i, index(2))), w.load(x, back))
        w.store(y, i, w.let("add", total, w.load(x, square)))
    before = kernel_of(w, [x, y])
    same_bits(before, vectorize(before, "i", 8), [floats(41), nothing(19)])


@pytest.mark.parametrize("lanes", [8, 12, 16])
@pytest.mark.parametrize("turns", [1, 2])
@pytest.mark.parametrize("step", [2, 3, 4, -1, -2, -3])
def test_elements_that_are_near_are_chosen_from_vectors_that_end_with_the_last(lanes, turns, step):
    w, x, y = Writer(), given("X"), result("Y")
    with w.loop(index(0), index(turns * lanes), hint="i") as i:
        first = index(max(0, -step * (turns * lanes - 1)))
        w.store(y, i, w.load(x, w.let("add", w.let("multiply", i, index(step)), first)))
    before = kernel_of(w, [x, y])
    after = vectorize(before, "i", lanes)
    loads = [s for s in after.statements() if isinstance(s, Load)]
    assert [s.index.type.lanes for s in loads] == [1] * abs(step)  # none is a gather
    last = abs(step) * (turns * lanes - 1) + 1  # elements: the last one is read
    same_bits(before, after, [floats(last), nothing(turns * lanes)])


SIDES = [(2, 2), (4, 2), (8, 4), (16, 4), (8, 8), (16, 8), (16, 16), (32, 32), (4, 1)]


@pytest.mark.parametrize(("height", "width"), SIDES)
def test_blocks_are_turned_in_registers(height, width):
    before = copied_block(height, width)
    after = turn(before, "turn")
    loads = [s for s in after.statements() if isinstance(s, Load) and s.buffer.name == "X"]
    assert [s.var.type.lanes for s in loads] == [width] * height
    same_bits(before, after, [floats(10 * height + width), nothing(height * width)])


@pytest.mark.parametrize(
    ("names", "lanes"),
    [
        ("uint8", 32),
        ("bool uint8", 32),
        ("int16 uint8", 16),
        ("float16", 8),
        ("uint8 float32", 8),
        ("float32 float64", 8),
    ],
)
def test_the_smallest_numbers_that_are_computed_with_fill_a_vector(names, lanes):
    cpu, width, registers = LEVELS["avx2"]
    w, found = Writer(), [dtypes[name] for name in names.split()]
    pairs = [(given(f"X{k}", d), both(f"Y{k}", d)) for k, d in enumerate(found)]
    with w.loop(index(0), index(320), hint="lane") as i:
        for x, y in pairs:
            w.store(y, i, w.load(x, i))
    kernel = kernel_of(w, [buffer for pair in pairs for buffer in pair], [])
    made = scheduled(kernel, Target("x86_64", cpu, "", width, registers))
    assert {s.var.type.lanes for s in walk(made.body) if isinstance(s, Load)} == {lanes}
