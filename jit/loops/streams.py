"""Streams: the naive kernel of a product with few rows and many columns, which memory holds back.

A tile of registers would read a few columns of each row of the column operand, from one page after
the other. Here a wide strip of columns is read row by row, some rows at a time, and the sums stay
in the first cache:

    for each chain of inner indices:
        sums = 0
        for k in the chain, some at a time: for each column of the strip: add their products
        add to totals
    for each row: the epilogue on totals, and stores

Each sum is the chain of fused multiply-adds that a tile computes.

Memory gives most where it is read from one end to the other. What no cache holds is read so: an
item is one chain of a strip as wide as whole rows, or nearly, and another kernel adds the chains.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from jit.dims import Extent, Symbol
from jit.forms.contraction import Letter, plain, size_of
from jit.forms.expression import linear
from jit.forms.nodes import FormValue
from jit.forms.placement import extent_hint
from jit.forms.sums import FAR, MOST_ROWS, chain_count, streamed
from jit.loops.elements import decoded
from jit.loops.ir import Buffer, Operand, VType, index
from jit.loops.nests import Naive
from jit.loops.products import ProductNest
from jit.loops.tiles import reads_in_place

SUMS = 4096  # of an item, where chains are items: a third of a first cache
STRIP = 512  # columns: the sums of a few rows of them fit into half of a first cache
AT_ONCE = 8  # inner indices: so often less do the sums go through the cache
ALONG = 4  # of these, where they are long: processors read ahead along so many
LEAST = 1 << 18  # elements of the column operand from which on it is worth it


class StreamNest(ProductNest):
    """The kernel of a contraction with few rows, and maps of its result.

    Attributes:
        several: How many inner indices are read at once.
    """

    several = AT_ONCE

    def build(self, name: str) -> Naive:
        """The kernel."""
        self.height = size_of(self.tiling.rows)
        self.width = self._strip_width()
        self.tiling = replace(self.tiling, width=self.width, packs=False)
        return super().build(name)

    def _strip_width(self) -> int:
        """Columns of an item."""
        return STRIP

    def _rows_of_an_item(self) -> int:
        assert isinstance(self.height, int)
        return self.height

    @property
    def letter(self) -> Letter:
        """The inner index."""
        return self.cut or self.turns[0]

    def _by_width(self, start: Operand, stop: Operand, each: int) -> None:
        w = self.w
        self._find_columns()
        totals = self._sums("totals", -0.0)
        if self.cut is None:
            last = w.at(self.letter.extent)
            self._chain(index(0), last, self._cleared(totals, 0.0), each)
        else:
            with self._chains() as (first, end):
                sums = self._sums("sums", 0.0)
                self._chain(first, end, sums, each)
                with self._every_sum() as at:
                    w.store(totals, at, w.let("add", w.load(totals, at), w.load(sums, at)))
        self._finish_rows(start, stop, totals)

    def _find_columns(self) -> None:
        """How many columns the strip has."""
        w = self.w
        left = w.let("subtract", w.at(size_of(self.tiling.columns)), self.first_column)
        self.columns = w.least_of(index(self.width), left)

    def _finish_rows(self, start: Operand, stop: Operand, sums: Buffer) -> None:
        """The epilogue, row by row."""
        self.rows_masked = False
        with self.w.loop(start, stop, hint=self.hint("rows")) as row:
            self._epilogue(1, row, sums, row)

    # ----- sums -----

    def _sums(self, name: str, value: float) -> Buffer:
        return self._cleared(self.alloc(name, self.height * self.width, "stack"), value)

    def _cleared(self, buffer: Buffer, value: float) -> Buffer:
        with self._every_sum() as at:
            self.w.store(buffer, at, self.w.number(value, VType(buffer.dtype)))
        return buffer

    @contextmanager
    def _every_sum(self) -> Iterator[Operand]:
        w = self.w
        with w.loop(index(0), index(self.height * self.width), hint=self.hint("lane")) as at:
            yield at

    def _chain(self, first: Operand, last: Operand, sums: Buffer, each: int) -> None:
        """Adds the products of the inner indices from `first` up to `last`."""
        w, several = self.w, index(self.several)
        turns = w.let("quotient", w.let("subtract", last, first), several)
        full = w.let("add", first, w.let("multiply", turns, several))
        with w.loop(first, full, self.several, hint=self.hint("k")) as k:
            self._pass(k, self.several, sums, each)
        with w.loop(full, last, hint=self.hint("k")) as k:
            self._pass(k, 1, sums, each)

    def _pass(self, k: Operand, count: int, sums: Buffer, each: int) -> None:
        """Adds the products of some inner indices, for all columns of the strip."""
        w = self.w
        inner = [w.let("add", k, index(j)) for j in range(count)]
        factors = [[self._factor(m, at) for at in inner] for m in range(each)]
        with w.loop(index(0), self.columns, hint=self.hint("lane")) as n:
            if count > 1 and self._is_far():
                for at in inner:
                    self._ask(n, w.let("add", at, index(count)))
            elements = [self._element(n, at) for at in inner]
            for m, row in enumerate(factors):
                place = w.let("add", index(m * self.width), n)
                total: Operand = w.load(sums, place)
                for factor, element in zip(row, elements):
                    total = self._fma(factor, element, total)
                w.store(sums, place, total)

    def _factor(self, m: int, at: Operand) -> Operand:
        """The element of row `m` at an inner index."""
        w, t = self.w, self.tiling
        with ExitStack() as stack:
            stack.enter_context(self.bound([self.letter], [at]))
            extents = [x.extent for x in t.rows]
            stack.enter_context(self.bound(t.rows, decoded(w, index(m), extents)))
            return w.cast(w.emit(self.c.elements[t.row_operand]), self.c.dtype)

    def _is_far(self) -> bool:
        """Whether no cache holds the column operand."""
        columns = extent_hint(size_of(self.tiling.columns))
        return columns * extent_hint(size_of(self.c.inner)) >= FAR

    def _ask(self, n: Operand, at: Operand) -> None:
        """Asks for what the next pass reads: rows of a strip are too short to be read ahead of."""
        w, t = self.w, self.tiling
        access = plain(self.c.elements[1 - t.row_operand])
        assert access is not None
        column = w.let("add", self.first_column, n)
        with self.bound([self.letter], [at]):
            with self.bound(t.columns, decoded(w, column, [x.extent for x in t.columns])):
                w.prefetch(w.buffer(access.value), w.at(linear(access.value.shape, access.at)))

    def _element(self, n: Operand, at: Operand) -> Operand:
        """The element of a column at an inner index."""
        with self.bound([self.letter], [at]):
            return self._column_element(n)

    @contextmanager
    def _columns(self) -> Iterator[Operand]:
        w = self.w
        with w.loop(index(0), self.columns, hint=self.hint("lane")) as n:
            yield n


class StreamChainsNest(StreamNest):
    """The kernel of the chains of such a contraction."""

    several = ALONG

    def build(self, name: str) -> Naive:
        """The kernel."""
        operand = streamed(self.c)
        assert operand is not None
        rows, columns = self.c.free(operand), self.c.free(1 - operand)
        self.tiling = replace(
            self.tiling, row_operand=operand, outer=[], rows=rows, columns=columns
        )
        self.at = Symbol("chain", None, 0, chain_count(self.c) - 1).as_dim()
        return super().build(name)

    def _strip_width(self) -> int:
        columns, lanes = size_of(self.tiling.columns), self.tiling.lanes
        most = SUMS // self.height // lanes * lanes
        return min(most, -(-columns // lanes) * lanes) if isinstance(columns, int) else most

    def _is_far(self) -> bool:
        return False  # whole rows are read ahead of anyway

    def _parts(self, strips: Extent, row_blocks: Extent) -> list[Extent]:
        return [chain_count(self.c), strips]

    def _item(self, first: Operand, second: Operand, each: int) -> None:
        w = self.w
        self.first_column = w.let("multiply", second, index(self.width))
        self._find_columns()
        begin = w.let("multiply", first, index(self.chain))
        end = w.least_of(w.let("add", begin, index(self.chain)), w.at(self.letter.extent))
        sums = self._sums("sums", 0.0)
        self._chain(begin, end, sums, each)
        with w.bound({"chain": first}):
            self._finish_rows(index(0), w.at(self.rows), sums)

    def finish(self, total: Operand) -> dict[FormValue, Operand]:
        w, (value,) = self.w, self.group.tasks[0].outputs
        at = linear(value.shape, (self.at, *self.c.result.indices))
        w.store(w.buffer(value, "out"), w.at(at), total)
        return {value: total}


def streams(nest: ProductNest) -> bool:
    """Whether a product is better computed by a `StreamNest`."""
    c, t = nest.c, nest.tiling
    rows, columns, inner = size_of(t.rows), size_of(t.columns), c.inner
    return (
        isinstance(rows, int)
        and rows <= MOST_ROWS
        and len(inner) == 1
        and t.lanes > 1
        and reads_in_place(c, 1 - t.row_operand, t.columns)
        and plain(c.elements[1 - t.row_operand]) is not None
        and extent_hint(columns) >= STRIP
        and extent_hint(columns) * extent_hint(inner[0].extent) >= LEAST
    )
