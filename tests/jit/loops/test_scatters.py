"""Scatters as kernels: any map, dtype and way to combine, deterministic, in row-major order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jit.dims import symbol
from jit.errors import IndexError, LaunchFailed
from jit.loops import linked, scatters
from jit.runtime.program import Launch
from jit.target import gpu
from jit.types import TensorType, dtypes, float32, int64
from tests.jit.loops.whole import bits, compiled, graph_of, interpreted, numbers, reference, type_of
from tests.jit.stages import Stages

DTYPES = ["float32", "float64", "float16", "bfloat16", "int64", "int32", "uint8"]
WAYS = ["add", "set", "max", "min"]
KINDS = ["shift", "turn", "table", "window", "one", "spread"]


class Axis:
    """A coordinate of a random map: the loops it takes, and what it makes of them.

    Attributes:
        extents: Of its loops.
        size: How many coordinates are inside.
        at: `(form, table, *loops) -> coordinate`.
        table: What it loads from; None if it loads nothing.
    """

    def __init__(self, draw, kind, rng, *, dropped):
        n = draw(st.sampled_from([1, 2, 5, 8, 19]))
        self.table, self.extents, outside = None, [n], 2 if dropped else 0
        if kind == "shift":
            low = draw(st.integers(-outside, 3))
            self.size, self.at = n + max(low, 0), lambda form, table, i: i + low
        elif kind == "turn":
            self.size, self.at = n, lambda form, table, i: n - 1 - i
        elif kind == "table":
            self.size = draw(st.integers(1, 9))
            self.table = rng.integers(-outside, self.size + outside, n)
            self.at = lambda form, table, i: form.load(table, i)
        elif kind == "window":
            window, step = draw(st.integers(1, 3)), draw(st.integers(1, 3))
            self.extents = [n, window]
            self.size = (n - 1) * step + window - outside // 2
            self.at = lambda form, table, i, u: i * step + u
            self.size = max(1, self.size)
        elif kind == "spread":
            self.size, self.at = 2 * n, lambda form, table, i: 2 * i + 1
        else:
            self.extents, self.size, self.at = [], n, lambda form, table: n - 1


@st.composite
def cases(draw):
    """A scatter and its operands: into, updates, tables; loops of the axes in any order."""
    combine, dropped = draw(st.sampled_from(WAYS)), draw(st.booleans())
    dtype = dtypes[draw(st.sampled_from(DTYPES))]
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=3))
    axes = [Axis(draw, kind, rng, dropped=dropped) for kind in kinds]
    owners = [(k, n) for k, axis in enumerate(axes) for n in range(len(axis.extents))]
    order = draw(st.permutations(range(len(owners))))
    shape = tuple([axes[k].extents[n] for k, n in (owners[p] for p in order)])
    zero, conditional = draw(st.booleans()), draw(st.integers(0, 3)) == 0 and bool(shape)

    def build(form, into, updates, *tables):
        given_tables = iter(tables)
        table_of = [None if axis.table is None else next(given_tables) for axis in axes]

        def index_map(*loops):
            mine = {owners[p]: loop for p, loop in zip(order, loops)}
            return [
                axis.at(form, table, *[mine[k, n] for n in range(len(axis.extents))])
                for k, (axis, table) in enumerate(zip(axes, table_of))
            ]

        where = (lambda *loops: [(loops[0] - loops[-1] + 1, 4)]) if conditional else None
        start = form.constant(0, into.dtype, into.shape) if zero else into
        return form.scatter(combine, start, updates, index_map, where, dropped=dropped)

    into = numbers(dtype, [axis.size for axis in axes], rng)
    tables = [axis.table for axis in axes if axis.table is not None]
    return build, [into, numbers(dtype, shape, rng), *tables]


def run(build, arrays):
    """What the machine gives, which the naive kernels give, too."""
    code = compiled(build, [type_of(x) for x in arrays])
    found = code(arrays)
    assert list(map(bits, found)) == list(map(bits, interpreted(code, arrays)))
    return found[0]


def plus_zero(x):
    """Zeros without a sign: which of two zeros is greater, nobody says."""
    return np.where(x == 0, np.zeros_like(x), x)


@given(cases())
def test_scatter_is_the_reference_in_row_major_order(case):
    build, arrays = case
    (expected,) = reference(build, arrays)
    assert bits(plus_zero(run(build, arrays))) == bits(plus_zero(expected))


def rows(combine="add", **how):
    def build(form, into, updates, table):
        return form.scatter(combine, into, updates, lambda i, j: (form.load(table, i), j), **how)

    return build


def test_many_columns_are_tiles():
    rng = np.random.default_rng(0)
    into, updates = (rng.normal(size=(n, 530)).astype(np.float32) for n in (5, 12))
    arrays = [into, updates, rng.integers(0, 5, 12)]
    assert bits(run(rows(), arrays)) == bits(reference(rows(), arrays)[0])


@pytest.mark.parametrize("rows_of_it", [3, 11])
def test_long_regions_are_cut_into_parts(monkeypatch, rows_of_it):
    monkeypatch.setattr(scatters, "ITEM", 4)
    rng = np.random.default_rng(5)
    into, updates = (rng.normal(size=(n, 70)).astype(np.float32) for n in (rows_of_it, 30))
    arrays = [into, updates, rng.integers(-1, rows_of_it + 1, 30)]
    build = rows(dropped=True)
    assert bits(run(build, arrays)) == bits(reference(build, arrays)[0])
    steps = compiled(build, [type_of(x) for x in arrays]).plan.program.steps
    grids = [step.kernel.grid for step in steps if isinstance(step, Launch)]
    assert grids == [scatters.PARTS]


def test_on_a_gpu_there_are_as_many_parts_as_keep_it_busy(monkeypatch):
    monkeypatch.setattr(scatters, "ITEM", 4)
    monkeypatch.setattr(scatters, "THREADS", 70 * 20)
    rng = np.random.default_rng(5)
    into, updates = (rng.normal(size=(n, 70)).astype(np.float32) for n in (33, 30))
    arrays = [into, updates, rng.integers(-1, 34, 30)]
    build = rows(dropped=True)
    stages = Stages(graph_of(build, [type_of(x) for x in arrays]), gpu("sm_90"))
    (step,) = stages.plan.program.steps
    assert step.kernel.grid == 70 * 20
    (found,) = stages.run("scheduled", arrays)
    assert bits(found) == bits(reference(build, arrays)[0])


@pytest.mark.parametrize("combine", WAYS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int64"])
def test_on_a_gpu_rows_have_lists_of_their_updates(combine, dtype, monkeypatch):
    monkeypatch.setattr(scatters, "ITEM", 1)
    monkeypatch.setattr(linked, "FEWEST", 8)
    rng = np.random.default_rng(5)
    into, updates = (rng.normal(size=(n, 70)) * 9 for n in (11, 37))
    arrays = [into.astype(dtypes[dtype]), updates.astype(dtypes[dtype]), rng.integers(-2, 13, 37)]
    build = rows(combine, dropped=True)
    stages = Stages(graph_of(build, [type_of(x) for x in arrays]), gpu("sm_90"))
    assert len(stages.plan.program.steps) == 4
    wanted = bits(reference(build, arrays)[0])
    for stage in ("naive", "scheduled"):
        (found,) = stages.run(stage, arrays)
        assert bits(found) == wanted


def test_lists_find_updates_that_go_outside(monkeypatch):
    monkeypatch.setattr(scatters, "ITEM", 1)
    monkeypatch.setattr(linked, "FEWEST", 8)
    arrays = [np.zeros((9, 70), np.float32), np.ones((12, 70), np.float32), np.arange(12) % 9]
    stages = Stages(graph_of(rows(), [type_of(x) for x in arrays]), gpu("sm_90"))
    assert len(stages.plan.program.steps) == 4
    assert stages.run("scheduled", arrays)[0].sum() == 12 * 70
    arrays[2][7] = 9
    with pytest.raises((AssertionError, LaunchFailed, IndexError)):
        stages.run("scheduled", arrays)


def test_sums_of_halves_are_rounded_once():
    into, updates = np.zeros((1, 2), np.float16), np.full((2100, 2), 1, np.float16)
    arrays = [into, updates, np.zeros(2100, np.int64)]
    assert run(rows(), arrays).tolist() == [[2100] * 2]  # one after the other: 2048


def test_the_last_of_several_stays():
    arrays = [np.zeros((3, 9)), np.arange(36.0).reshape(4, 9), np.array([1, 0, 1, 0])]
    found = run(rows("set"), arrays)
    assert found[:, 0].tolist() == [27, 18, 0]


@pytest.mark.parametrize("combine", ["add", "set"])
def test_windows_that_overlap_meet_in_row_major_order(combine):
    def build(form, into, updates):
        return form.scatter(combine, into, updates, lambda b, i, j, u, v: (b, i + u, 2 * j + v))

    rng = np.random.default_rng(6)
    arrays = [rng.normal(size=s).astype(np.float32) for s in ((2, 6, 9), (2, 4, 4, 3, 3))]
    assert bits(run(build, arrays)) == bits(reference(build, arrays)[0])


def test_a_loop_in_two_coordinates():
    def build(form, into, updates, table):
        return form.scatter("add", into, updates, lambda i: (i, form.load(table, i)))

    def diagonal(form, into, updates, table):
        return form.scatter("add", into, updates, lambda i: (i, i))

    arrays = [np.ones((9, 20)), np.arange(9.0), np.arange(9) * 2]
    assert bits(run(build, arrays)) == bits(reference(build, arrays)[0])
    assert bits(run(diagonal, arrays)) == bits(reference(diagonal, arrays)[0])


def test_operands_are_computed_on_the_way():
    def build(form, into, updates, table):
        twice = form.pointwise("add", updates, updates)
        moved = form.view(table, (12,), lambda i: (11 - i,))
        at = form.pointwise("add", moved, form.constant(1, int64))
        out = form.scatter(
            "add", form.pointwise("negative", into), twice, lambda i, j: (form.load(at, i), j)
        )
        return form.pointwise("negative", out)

    rng = np.random.default_rng(3)
    arrays = [numbers(float32, (9, 33), rng), numbers(float32, (12, 33), rng)]
    arrays.append(rng.integers(0, 8, 12))
    assert bits(run(build, arrays)) == bits(reference(build, arrays)[0])


@pytest.mark.parametrize("shapes", [((4, 3), (0, 3)), ((4, 0), (5, 0)), ((4, 3, 0), (2, 3, 0))])
def test_nothing_to_do(shapes):
    def build(form, into, updates, table):
        return form.scatter("add", into, updates, lambda i, *j: (form.load(table, i), *j))

    into, updates = map(np.ones, shapes)
    arrays = [into, updates, np.zeros(len(updates), np.int64)]
    assert bits(run(build, arrays)) == bits(into)


@pytest.mark.parametrize("wrong", [-1, 10])
@pytest.mark.parametrize("size", [10, 0])
def test_outside_is_an_error(wrong, size):
    into, updates = np.zeros((size, 33), np.float32), np.ones((4, 33), np.float32)
    arrays = [into, updates, np.array([0, 3, wrong, 2])]
    code = compiled(rows(), [type_of(x) for x in arrays])
    with pytest.raises(LaunchFailed):
        code._run(arrays)
    with pytest.raises(IndexError, match="is outside of axis 0"):
        code(arrays)
    dropped = rows(dropped=True)
    assert bits(run(dropped, arrays)) == bits(reference(dropped, arrays)[0])


def test_conditions_keep_loads_inside_of_their_tables():
    def build(form, into, updates, table):
        return form.scatter(
            "add",
            into,
            updates,
            lambda i: (form.load(table, i),),
            lambda i: [(i, 3), (form.load(table, i), 4)],
        )

    arrays = [np.zeros(4, np.float32), np.ones(9, np.float32), np.array([1, 7, 1])]
    assert run(build, arrays).tolist() == [0, 2, 0, 0]


def test_dropped_updates_may_fail():
    def build(form, into, source, table):
        picked = form.view(source, (3,), lambda i: (form.load(table, i),))
        return form.scatter("add", into, picked, lambda i: (i + 9,), dropped=True)

    arrays = [np.zeros(9), np.ones(4), np.array([0, 1, 4])]
    code = compiled(build, [type_of(x) for x in arrays])
    with pytest.raises(IndexError):
        code(arrays)
    arrays[2][2] = 3
    assert code(arrays)[0].tolist() == [0] * 9


def test_sizes_that_vary():
    n, m, k = (symbol(name, hint=10, lo=0) for name in "nmk")
    types = [TensorType((n, k), float32), TensorType((m, k), float32), TensorType((m,), int64)]
    code = compiled(rows(), types)
    rng = np.random.default_rng(4)
    for sizes in [(3, 8, 5), (50, 200, 1), (7, 0, 600), (1, 9, 1500), (3, 0, 0)]:
        into, updates = numbers(float32, sizes[::2], rng), numbers(float32, sizes[1:], rng)
        arrays = [into, updates, rng.integers(0, sizes[0], sizes[1])]
        assert bits(code(arrays)[0]) == bits(reference(rows(), arrays)[0])
