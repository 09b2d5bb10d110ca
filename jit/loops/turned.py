"""Turned products: the naive kernel of a product with few rows and columns that lie along `k`.

A matrix times a vector reads the matrix row by row, and vectors of sums go across rows. Square
blocks of the column operand are read in rows and turned in registers, then added up; memory is
read once and in order:

    for each chain of inner indices:
        sums = 0
        for each block of inner indices in the chain:
            for each block of columns: turn it; sums += products
        add to totals
    the epilogue on totals, and stores

Each sum is the chain of fused multiply-adds that a tile computes. Blocks are as long as what a
processor moves within, twice that if vectors are much longer, and two vectors of columns side by
side hide each other's latency.

Where columns lie pages apart, blocks are as long as a vector, so that lines are read once. Instead
of more columns two chains are computed side by side; what follows is asked for meanwhile, row by
row: processors read ahead along a few rows only.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from math import gcd

from jit.dims import Extent
from jit.forms.contraction import Contraction, Letter, plain, size_of, step_of
from jit.forms.expression import linear
from jit.forms.placement import extent_hint, size_hint
from jit.forms.sums import chain_count
from jit.loops.elements import decoded
from jit.loops.ir import TURN, Buffer, Operand, VType, index
from jit.loops.products import ProductNest
from jit.loops.tiles import SEGMENT, Tiling, candidates, lies_along
from jit.target import Target

MOST_ROWS = 6
VECTORS = 2  # of sums, of one row: they hide each other's latency
LINE = 64  # bytes of memory that come together
PAGE = 1 << 12  # bytes after which what is read has the same place in a cache
WAYS = 8  # lines that a cache holds at such a place
NEAR = 1 << 20  # bytes of a matrix that a processor has near it: to ask for them takes time, too
LEAST = 8  # inner indices, and columns, from which on blocks are full


class TurnedNest(ProductNest):
    """The kernel of a contraction with few rows, and maps of its result."""

    def adopt(self, tiling: Tiling, target: Target) -> TurnedNest:
        """Takes over the operands' roles from `turned`."""
        rows = size_of(tiling.rows)
        assert isinstance(rows, int)
        self.lanes = target.lanes(self.c.dtype.itemsize)
        few, columns = max(1, SEGMENT // self.c.dtype.itemsize), size_of(tiling.columns)
        self.apart, several = self._lie_apart(tiling, target), max(1, VECTORS // rows)
        long = self.lanes if self.apart else 2 * few
        self.steps = [long, few] if self.apart or long < self.lanes else [few]
        self.abreast = several if self.apart and extent_hint(chain_count(self.c)) > 1 else 1
        vectors = 1 if self.apart else several
        if isinstance(columns, int):
            vectors = min(vectors, -(-columns // self.lanes))
        self.tiling = replace(
            tiling, lanes=self.lanes, width=vectors * self.lanes, height=rows, packs=False
        )
        return self

    def _lie_apart(self, tiling: Tiling, target: Target) -> bool:
        """Whether columns lie pages apart: then a cache has one place for what is read of them.

        It holds a few lines there. So fewer columns are read together, and all of a line at once.
        """
        access = plain(self.c.elements[1 - tiling.row_operand])
        if access is None or len(tiling.columns) != 1 or self.lanes > target.registers // 2:
            return False
        pitch = step_of(linear(access.value.shape, access.at), tiling.columns[0])
        inner = extent_hint(self.letter.extent)
        if not isinstance(pitch, int) or inner < self.lanes:
            return False
        lines = VECTORS * self.lanes * gcd(pitch * access.value.dtype.itemsize, PAGE) // PAGE
        return lines > WAYS

    @property
    def letter(self) -> Letter:
        """The inner index."""
        return self.cut or self.turns[0]

    def _rows_of_an_item(self) -> int:
        return self.tiling.height

    def _strip(
        self, start: Operand, stop: Operand, each: int, width: int, count: int | None
    ) -> None:
        """One strip of columns: `count` of them in blocks that fill `width`; None: fewer."""
        self.width, self.count = width, count
        totals = self._sums("totals", each, -0.0)
        if self.cut is None:
            self._cleared(totals, each, 0.0)
            self._chain(index(0), self.w.at(self.letter.extent), [totals], each)
        else:
            self._add_chains(totals, each)
        self.rows_masked = False
        self._epilogue(each, start, totals, index(0), is_tile=True)

    # ----- chains -----

    def _add_chains(self, totals: Buffer, each: int) -> None:
        """Every chain, added to the totals: some abreast, then those that are left."""
        w, several = self.w, self.abreast
        done: Operand = index(0)
        if several > 1:
            step = several * self.chain
            done = w.at(chain_count(self.c) // several * step)
            with w.loop(index(0), done, step, hint=self.hint("chain")) as first:
                self._abreast(first, totals, each)
        with w.loop(done, w.at(self.letter.extent), self.chain, hint=self.hint("chain")) as first:
            last = w.let("add", first, index(self.chain))
            sums = self._sums("sums", each, 0.0)
            self._chain(first, w.least_of(last, w.at(self.letter.extent)), [sums], each)
            self._total_of(totals, sums, each)

    def _abreast(self, first: Operand, totals: Buffer, each: int) -> None:
        """Some chains from `first` on, the last of which may be shorter than the others."""
        w, before = self.w, self.chain * (self.abreast - 1)
        parts = [self._sums("sums", each, 0.0) for _ in range(self.abreast)]
        last = w.let("add", first, index(self.chain))
        stop = w.let("subtract", w.at(self.letter.extent), index(before))
        stop = w.least_of(last, stop)
        self._chain(first, stop, parts, each)
        for c, sums in enumerate(parts):
            if c < self.abreast - 1 and not is_multiple(self.letter.extent, self.chain):
                rest, end = (w.let("add", x, index(c * self.chain)) for x in (stop, last))
                self._chain(rest, end, [sums], each)
            self._total_of(totals, sums, each)

    def _total_of(self, totals: Buffer, sums: Buffer, each: int) -> None:
        """Adds what a chain made to the totals."""
        w = self.w
        with self._every_sum(each) as at:
            w.store(totals, at, w.let("add", w.load(totals, at), w.load(sums, at)))

    # ----- sums -----

    def _sums(self, name: str, each: int, value: float) -> Buffer:
        buffer = self.alloc(name, each * self.width, "register")
        self._cleared(buffer, each, value)
        return buffer

    def _cleared(self, buffer: Buffer, each: int, value: float) -> None:
        with self._every_sum(each) as at:
            self.w.store(buffer, at, self.w.number(value, VType(buffer.dtype)))

    def _every_sum(self, each: int) -> AbstractContextManager[Operand]:
        return self.w.loop(index(0), index(each * self.width), hint=self.hint("lane"))

    def _chain(self, first: Operand, last: Operand, parts: list[Buffer], each: int) -> None:
        """Adds the products of the inner indices from `first` up to `last`.

        The indices of each further part are those of the chain behind.
        """
        for along in self.steps:
            first = self._blocks(first, last, along, parts, each)
        with self.w.loop(first, last, hint=self.hint("k")) as k:
            for c, sums in enumerate(parts):
                at = self.w.let("add", k, index(c * self.chain))
                row = self._factors(each, at)
                for begin in range(0, self.width, self.lanes):
                    self._add(row, self._column(at, begin), 0, sums, begin)

    def _blocks(
        self, first: Operand, last: Operand, along: int, parts: list[Buffer], each: int
    ) -> Operand:
        """Adds the products of blocks of `along` inner indices; returns the first that is left."""
        w = self.w
        turns = w.let("quotient", w.let("subtract", last, first), index(along))
        full = w.let("add", first, w.let("multiply", turns, index(along)))
        with w.loop(first, full, along, hint=self.hint("k")) as k:
            ask = self._asker(first, k, len(parts)) if along == self.steps[0] else None
            for c, sums in enumerate(parts):
                at = w.let("add", k, index(c * self.chain))
                begins = range(0, self.width, self.lanes)
                blocks = [self._turned(at, begin, along) for begin in begins]
                for i in range(along):
                    if ask is not None:
                        ask(c * along + i)
                    row = self._factors(each, w.let("add", at, index(i)))
                    for begin, block in zip(begins, blocks, strict=True):
                        self._add(row, block, i * self.lanes, sums, begin)
        return full

    def _asker(self, first: Operand, k: Operand, count: int) -> Callable[[int], None] | None:
        """What asks for a line of what follows: row by row, since memory gives most of a row.

        That are the next chains of the same columns; behind the last ones the first of the next
        columns. The blocks of a chain ask for all of it.
        """
        w, t, access = self.w, self.tiling, plain(self.c.elements[1 - self.tiling.row_operand])
        if not self.apart or self.cut is None or access is None:
            return None
        if size_hint(access.value.shape) * access.value.dtype.itemsize <= NEAR:
            return None
        place = w.let("multiply", w.let("subtract", k, first), index(self.lanes))
        row, offset = (w.let(op, place, index(self.chain)) for op in ("quotient", "rest"))
        following = w.let("add", first, index(count * self.chain))
        is_last = w.let("less_equal", w.at(self.letter.extent), following)
        start = w.let("add", w.let("where", is_last, index(0), following), offset)
        more = w.let("where", is_last, index(self.width), index(0))
        column = w.let("add", self.first_column, w.let("add", row, more))
        column = w.least_of(column, w.at(size_of(t.columns) - 1))
        columns = decoded(w, column, [x.extent for x in t.columns])
        line = LINE // access.value.dtype.itemsize
        lines = [c * self.chain + i for c in range(count) for i in range(0, self.lanes**2, line)]

        def ask(number: int) -> None:
            if number < len(lines):
                at = w.let("add", start, index(lines[number]))
                with self.bound([*t.columns, self.letter], [*columns, at]):
                    w.prefetch(w.buffer(access.value), w.at(linear(access.value.shape, access.at)))

        return ask

    def _turned(self, k: Operand, begin: int, along: int) -> Buffer:
        """A block of columns: for each of some inner indices, elements of neighbouring columns."""
        w, lanes = self.w, self.lanes
        block = self.alloc("block", along * lanes, "register")
        with w.loop(index(0), index(lanes), hint=self.hint(TURN)) as n:
            column = w.let("add", index(begin), n)
            with w.loop(index(0), index(along), hint=self.hint("along")) as i:
                element = self._element(column, w.let("add", k, i))
                w.store(block, w.let("add", w.let("multiply", i, index(lanes)), n), element)
        return block

    def _column(self, k: Operand, begin: int) -> Buffer:
        """Elements of neighbouring columns at one inner index."""
        w = self.w
        block = self.alloc("single", self.lanes, "register")
        with w.loop(index(0), index(self.lanes), hint=self.hint("lane")) as n:
            w.store(block, n, self._element(w.let("add", index(begin), n), k))
        return block

    def _add(
        self, row: list[Operand], block: Buffer, offset: int, sums: Buffer, begin: int
    ) -> None:
        """Adds the products of a row's element and those of neighbouring columns, for each row."""
        w = self.w
        for m, factor in enumerate(row):
            with w.loop(index(0), index(self.lanes), hint=self.hint("lane")) as n:
                at = w.let("add", index(m * self.width + begin), n)
                element = w.load(block, w.let("add", index(offset), n))
                w.store(sums, at, self._fma(factor, element, w.load(sums, at)))

    # ----- elements -----

    def _factors(self, each: int, k: Operand) -> list[Operand]:
        """The element of each row at an inner index."""
        w, t = self.w, self.tiling
        found: list[Operand] = []
        extents = [x.extent for x in t.rows]
        for m in range(each):
            with ExitStack() as stack:
                stack.enter_context(self.bound([self.letter], [k]))
                stack.enter_context(self.bound(t.rows, decoded(w, index(m), extents)))
                found.append(w.cast(w.emit(self.c.elements[t.row_operand]), self.c.dtype))
        return found

    def _element(self, n: Operand, k: Operand) -> Operand:
        """The element of a column at an inner index; behind the last column it is read again."""
        w, t = self.w, self.tiling
        column = w.let("add", self.first_column, n)
        if self.count != self.width:
            column = w.least_of(column, w.at(size_of(t.columns) - 1))
        with self.bound([self.letter], [k]):
            with self.bound(t.columns, decoded(w, column, [x.extent for x in t.columns])):
                return w.cast(w.emit(self.c.elements[1 - t.row_operand]), self.c.dtype)


def turned(c: Contraction, target: Target) -> Tiling | None:
    """Which operand has the few rows, if a `TurnedNest` computes a product better."""
    if len(c.inner) != 1 or extent_hint(c.inner[0].extent) < LEAST:
        return None
    for row_operand in (0, 1):
        found = next((x for x in candidates(c, target) if x.row_operand == row_operand), None)
        if found is None:
            continue
        rows, columns = size_of(found.rows), size_of(found.columns)
        few = isinstance(rows, int) and rows <= MOST_ROWS
        if few and extent_hint(columns) >= LEAST and lies_along(c, 1 - row_operand, c.inner[0]):
            return found
    return None


def is_multiple(extent: Extent, of: int) -> bool:
    """Whether an extent is known to be a multiple of a number."""
    return isinstance(extent, int) and extent % of == 0
