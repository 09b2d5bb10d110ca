"""Maps with short rows: they are computed side by side where elements ask where they are."""

from __future__ import annotations

import numpy as np
import pytest

from jit.dims import symbol
from jit.loops.heuristics import NARROW, scheduled
from jit.loops.ir import Buffer, Kernel, Let, Operand, Store, index
from jit.loops.schedule_zip import zip_rows
from jit.loops.writer import Writer
from jit.types import TensorType, dtypes
from tests.jit.loops.kernels import floats, nothing, pointwise, same_bits
from tests.jit.loops.whole import graph_of, numbers
from tests.jit.stages import Stages, bits


def stacked(form, *xs):
    """Tensors of one shape, beside each other along a new last axis."""
    (rows,), count = xs[0].shape, len(xs)
    total = None
    for k, x in enumerate(xs):
        column = form.index((rows, count), lambda *at: at[1], dtypes["int64"])
        chosen = form.pointwise("equal", column, form.constant(k, column.dtype, column.shape))
        value = form.view(x, (rows, count), lambda *at: (at[0],))
        total = value if total is None else form.pointwise("where", chosen, value, total)
    return total


def joined(form, *xs):
    """The same, as maps that are inside of one of the tensors each."""
    (rows,), count = xs[0].shape, len(xs)
    total = None
    for k, x in enumerate(xs):
        row = form.view(x, (rows, 1), lambda *at: (at[0],))
        part = form.view(row, (rows, count), lambda *at, k=k: (at[0], at[1] - k), fill=0)
        total = part if total is None else form.pointwise("add", part, total)
    return total


def zipped(made):
    """The stores of whole rows that were put together."""
    found = []
    for naive in made.kernels:
        kernel = scheduled(naive, made.target)
        shuffles = {s.var for s in kernel.statements() if isinstance(s, Let) and s.op == "shuffle"}
        stores = [s for s in kernel.statements() if isinstance(s, Store)]
        found += [s for s in stores if s.value in shuffles and s.index.type.lanes == 1]
    return found


CASES = [(stacked, "bool"), (joined, "uint8"), (joined, "int32")]
CASES += [(f, name) for f in (stacked, joined) for name in ("float32", "float64", "float16")]


@pytest.mark.parametrize(("build", "name"), CASES)
@pytest.mark.parametrize("count", [2, 3, 4, 7])
def test_what_is_put_together_has_the_values_of_numpy(build, name, count):
    rng = np.random.default_rng(0)
    xs = [numbers(dtypes[name], (300,), rng) for _ in range(count)]
    made = Stages(graph_of(build, [TensorType(x.shape, x.dtype) for x in xs]))
    wanted = np.stack(xs, -1) if build is stacked else np.stack(xs, -1) + dtypes[name].type(0)
    for stage in ("scheduled", "native"):
        (found,) = made.run(stage, xs)
        assert bits(found) == bits(wanted)


def test_short_rows_are_computed_side_by_side():
    given = TensorType((320,), dtypes["float32"])  # and what is left of others, as shorter vectors
    others = TensorType((300,), dtypes["float32"])
    assert len(zipped(Stages(graph_of(stacked, [others] * 3)))) == 2
    assert len(zipped(Stages(graph_of(stacked, [given] * 3)))) == 1
    assert len(zipped(Stages(graph_of(joined, [given] * NARROW)))) == 1
    assert zipped(Stages(graph_of(stacked, [given] * (NARROW + 1)))) == []
    few = TensorType((5,), dtypes["float32"])
    assert zipped(Stages(graph_of(stacked, [few] * 3))) == []


def test_sizes_that_vary():
    given = TensorType((symbol("n", hint=300),), dtypes["float32"])
    made = Stages(graph_of(joined, [given] * 3))
    assert len(zipped(made)) == 1
    rng = np.random.default_rng(1)
    for length in (2, 15, 16, 17, 300):
        xs = [numbers(given.dtype, (length,), rng) for _ in range(3)]
        (found,) = made.run("native", xs)
        assert bits(found) == bits(np.stack(xs, -1) + np.float32(0))


# ----- the directive -----


def rows_of(width: int, stored: int) -> Kernel:
    """For i in 0 .. n: X[i] and what follows of it beside each other, `stored` of `width`."""

    def write(w: Writer, i: Operand, x: Buffer, y: Buffer) -> None:
        value = w.load(x, i)
        for k in reversed(range(stored)):
            w.store(y, w.let("add", w.let("multiply", i, index(width)), index(k)), value)
            value = w.let("add", value, value)

    return pointwise(write)


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 17, 100])
@pytest.mark.parametrize("width", [2, 3, 4, 5, 6, 7])
def test_rows_are_put_together_from_columns(width, n):
    before = rows_of(width, width)
    after = zip_rows(before, {"i": 8})
    whole = [s for s in after.statements() if isinstance(s, Store) and s.mask is None]
    assert [s.value.type.lanes for s in whole] == [8 * width]
    assert whole[0].index.type.lanes == 1
    same_bits(before, after, [floats(n), nothing(width * n)], [n])


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 17, 100])
def test_rows_that_are_not_complete_are_stored_element_by_element(n):
    before = rows_of(3, 2)
    after = zip_rows(before, {"i": 8})
    assert all(s.index.type.lanes == 8 for s in after.statements() if isinstance(s, Store))
    same_bits(before, after, [floats(n), nothing(3 * n)], [n])
