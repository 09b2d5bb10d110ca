"""Lines: results of a product along its rows, where these are what lies beside each other.

A convolution whose columns are channels computes some pixels of a line together. Its sums lie
channel by channel; the image lies pixel by pixel. Squares of sums are read from the totals and
turned in registers, so that vectors of the epilogue, and its stores, go along the line. Where
pixels are summed for each tap of a filter, a tile has all taps of a channel: they are a line, too.

    for each few columns of the strip:
        turn the tile's sums of these columns
        for each column: the epilogue, and stores, along the tile's rows
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING

from jit.dims import Extent, same
from jit.forms.contraction import Letter, size_of, step_of
from jit.forms.expression import Access, extents_of, linear, walk
from jit.forms.tasks import MapTask
from jit.loops.elements import decoded
from jit.loops.ir import TURN, Buffer, Operand, index
from jit.loops.tiles import SEGMENT, results_along

if TYPE_CHECKING:
    from jit.loops.products import ProductNest


def stores_lines(nest: ProductNest) -> bool:
    """Whether the results of the nest's tile are better stored along its rows."""
    t, along = nest.tiling, SEGMENT // nest.c.dtype.itemsize
    turns = along > 1 and t.lanes % along == 0
    return bool(nest.in_line) and turns and results_along(nest.c, t.rows) and is_joined(nest)


def is_joined(nest: ProductNest) -> bool:
    """Whether what an epilogue reads and stores lies along a tile's rows as along one letter."""
    run = nest.tiling.rows[-len(nest.in_line) :]
    first, *maps = nest.group.tasks
    places: list[Extent] = [linear(first.outputs[0].shape, nest.c.result.indices)]
    for task in maps:
        assert isinstance(task, MapTask)
        for at, element in task.pieces():
            places.append(linear(task.outputs[0].shape, at))
            for x in walk(element):
                if isinstance(x, Access) and not x.guard:
                    places.append(linear(x.value.shape, x.at))
                else:
                    places += extents_of(x)
    return all(moves_along(place, run) for place in places)


def moves_along(place: Extent, run: Sequence[Letter]) -> bool:
    """Whether a position moves along letters as if they were one."""
    for letter, following in pairwise(run):
        step, inner = step_of(place, letter), step_of(place, following)
        if step is None or inner is None or not same(step, inner * following.extent):
            return False
    return True


def store_lines(
    nest: ProductNest, row: Operand, height: int, totals: Buffer, offset: Operand
) -> None:
    """The epilogue of a tile, and its stores.

    Args:
        nest: What is written.
        row: The tile's first row; the others follow it in a line.
        height: How many rows there are.
        totals: Holds the sums.
        offset: Where those of the first row begin.
    """
    w, t, along = nest.w, nest.tiling, SEGMENT // nest.c.dtype.itemsize
    high = max(along, 1 << (height - 1).bit_length())
    before = len(t.rows) - len(nest.in_line)
    *outer, begin = decoded(w, row, [x.extent for x in t.rows])[: before + 1]
    count = nest.count or nest.width
    with w.loop(index(0), index(-(-count // along) * along), along, nest.hint("columns")) as first:
        at = w.let("add", offset, first)
        square = nest.alloc("square", high * along, "register")
        with w.loop(index(0), index(high), hint=nest.hint(TURN)) as n:
            line = w.let("multiply", w.least_of(n, index(height - 1)), index(nest.width))
            with w.loop(index(0), index(along), hint=nest.hint("along")) as k:
                total = w.load(totals, w.let("add", w.let("add", at, line), k))
                w.store(square, w.let("add", w.let("multiply", k, index(high)), n), total)
        with nest.tiled(along) as k:
            start = w.let("multiply", k, index(high))
            with column_of(nest, w.let("add", first, k)):
                with w.loop(index(0), index(high), hint=nest.hint("lane")) as n:
                    total = w.load(square, w.let("add", start, n))
                    with w.when(w.let("less", n, index(height))):
                        with nest.bound(t.rows, [*outer, *along_rows(nest, begin, n)]):
                            nest.finish(total)


def along_rows(nest: ProductNest, begin: Operand, n: Operand) -> list[Operand]:
    """The index of a tile's row in the letters it runs along; the last one goes on for others."""
    if len(nest.in_line) == 1:
        return [nest.w.let("add", begin, n)]
    return [begin, *[index(0)] * (len(nest.in_line) - 2), n]


@contextmanager
def column_of(nest: ProductNest, n: Operand) -> Iterator[None]:
    """A column of the strip, if there is one; its letters are bound."""
    w, columns = nest.w, nest.tiling.columns
    column = w.let("add", nest.first_column, n)
    along = SEGMENT // nest.c.dtype.itemsize
    known = nest.count is not None and nest.count % along == 0
    with nest.bound(columns, decoded(w, column, [x.extent for x in columns])):
        if known:
            yield
            return
        with w.when(w.let("less", column, w.at(size_of(columns)))):
            yield
