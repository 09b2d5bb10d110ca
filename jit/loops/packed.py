"""Packed: the naive kernel of a product whose rows no cache near the processor holds.

An item of the grid is a block of rows for several strips of columns, so that the second cache holds
what is read for each strip:

    for each chain of inner indices:
        copy the block's part of the row operand, if its rows lie beside each other
        for each strip:
            pack the strip's part of the column operand
            for each tile of rows: ask for a piece of the next strip; add to totals
    for each strip, each row: the epilogue on totals, and stores

Each sum is the chain of fused multiply-adds of any other tile.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from jit.dims import Extent
from jit.forms.contraction import Letter, plain, size_of
from jit.forms.expression import linear
from jit.forms.placement import extent_hint
from jit.loops.elements import decoded
from jit.loops.ir import TILE, Buffer, Operand, VType, index
from jit.loops.nests import Naive
from jit.loops.products import ProductNest
from jit.loops.tiles import reads_in_place

COLUMNS = 256  # of an item, at most: rows come into the second cache once for as many
ITEMS = 4  # so many at least, for threads to share, as long as that leaves some strips
FEWEST_STRIPS = 4  # of an item
PADDING = 16  # elements between copied rows: rows of a power of two share a few sets of a cache
WIDEST = 4  # bytes of an element: an item has half a megabyte on the stack
LEAST = 1 << 16  # elements of the row operand from which on it is worth it

Rows = tuple[Operand, Operand, int]  # the first one, the one behind the last, how many at most


class PackedNest(ProductNest):
    """The kernel of a contraction with many rows, columns and inner indices."""

    def build(self, name: str) -> Naive:
        """The kernel."""
        self.tiling = replace(self.tiling, packs=True)
        self.asks = reads_in_place(self.c, 1 - self.tiling.row_operand, self.tiling.columns)
        self.copied: Buffer | None = None
        return super().build(name)

    def _parts(self, strips: Extent, row_blocks: Extent) -> list[Extent]:
        self.strips = strips
        count, others = extent_hint(strips), extent_hint(row_blocks)
        groups = max(-(-count * self.tiling.width // COLUMNS), -(-ITEMS // others))
        self.several = max(FEWEST_STRIPS, -(-count // groups))
        return [row_blocks, -(-strips // self.several)]

    def _item(self, first: Operand, second: Operand, each: int) -> None:
        w = self.w
        rows = (*self._rows_of(first, each), each)
        begin = w.let("multiply", second, index(self.several))
        end = w.least_of(w.let("add", begin, index(self.several)), w.at(self.strips))
        self._clear_totals(each)
        with self._chains() as self.bounds:
            if rows_lie_along(self):
                self._copy_rows(*rows)
            self._every_strip(begin, end, rows, self._add_products)
        self._every_strip(begin, end, rows, self._finish_rows)

    def _clear_totals(self, each: int) -> None:
        w, t = self.w, self.tiling
        heights = [each] if self._is_even(each) else [t.height, t.narrow_height]
        self.room = max(-(-each // height) * height for height in heights) * t.width
        self.totals = self.alloc("totals", self.several * self.room, "stack")
        with w.loop(index(0), index(self.totals.size), hint=self.hint("lane")) as k:
            w.store(self.totals, k, w.number(-0.0, VType(self.totals.dtype)))

    def _every_strip(
        self, begin: Operand, end: Operand, rows: Rows, work: Callable[..., None]
    ) -> None:
        w, self.work = self.w, work
        with w.loop(begin, end, hint=self.hint("strip")) as strip:
            self.first_column = w.let("multiply", strip, index(self.tiling.width))
            self.place = w.let("multiply", w.let("subtract", strip, begin), index(self.room))
            self._by_width(*rows)

    def _strip(
        self, start: Operand, stop: Operand, each: int, width: int, count: int | None
    ) -> None:
        self._take_width(width, count)
        self.work(start, stop, each)

    def _add_products(self, start: Operand, stop: Operand, each: int) -> None:
        panel = self._pack(*self.bounds)
        for height, row in self._row_tiles(start, stop, each):
            if self.asks and self.width == self.tiling.width:
                self._ask_for_columns(self.w.let("subtract", row, start), each)
            self._tile(height, row, start, self.bounds, panel, self.totals)

    def _finish_rows(self, start: Operand, stop: Operand, each: int) -> None:
        self._epilogue_of_rows(start, stop, self.totals)

    def _total(self, row: Operand) -> Operand:
        return self.w.let("add", self.place, super()._total(row))

    @property
    def _letter(self) -> Letter:
        """The inner index."""
        assert self.cut is not None
        return self.cut

    # ----- what is read -----

    def _ask_for_columns(self, row: Operand, each: int) -> None:
        """Asks for a piece of the next strip, which is packed when this one has met all rows."""
        w, t, (first, last) = self.w, self.tiling, self.bounds
        access = plain(self.c.elements[1 - t.row_operand])
        assert access is not None
        piece = -(-self.chain // max(1, each // self.height))
        tile = w.let("quotient", row, index(self.height))
        begin = w.let("add", first, w.let("multiply", tile, index(piece)))
        column = w.let("add", self.first_column, index(2 * t.width - 1))
        at = decoded(w, column, [x.extent for x in t.columns])
        place = linear(access.value.shape, access.at)
        with w.when(w.let("less", begin, last)):
            with w.loop(index(0), index(piece), hint=self.hint(TILE)) as k:
                with self.bound([self._letter, *t.columns], [w.let("add", begin, k), *at]):
                    w.prefetch(w.buffer(access.value), w.at(place))

    def _copy_rows(self, start: Operand, stop: Operand, each: int) -> None:
        """The block's part of a row operand of which a tile would use a piece of every line."""
        w, (first, last) = self.w, self.bounds
        self.start, self.stride = start, each + PADDING
        self.last_row = w.let("subtract", stop, index(1))
        self.copied = self.alloc("rows", self.chain * self.stride, "stack")
        with w.loop(index(0), w.let("subtract", last, first), hint=self.hint("k")) as k:
            line = w.let("multiply", k, index(self.stride))
            with w.loop(index(0), w.let("subtract", stop, start), hint=self.hint("lane")) as row:
                with self.bound([self._letter], [w.let("add", first, k)]):
                    element = self._row_element(w.let("add", start, row))
                w.store(self.copied, w.let("add", line, row), element)

    def _row_value(self, row: Operand, m: Operand) -> Operand:
        if self.copied is None:
            return super()._row_value(row, m)
        w = self.w
        position = w.let("subtract", self._row_position(row, m, self.last_row), self.start)
        line = w.let("multiply", self.turn, index(self.stride))
        return w.load(self.copied, w.let("add", line, position))


def rows_lie_along(nest: ProductNest) -> bool:
    """Whether neighbouring rows lie beside each other in memory, as in a transposed operand."""
    t = nest.tiling
    return len(t.rows) == 1 and reads_in_place(nest.c, t.row_operand, t.rows)


def packs(nest: ProductNest) -> bool:
    """Whether a product is better computed by a `PackedNest`."""
    t, cut = nest.tiling, nest.cut
    rows, columns = extent_hint(size_of(t.rows)), extent_hint(size_of(t.columns))
    return (
        len(nest.c.inner) == 1
        and cut is not None
        and t.lanes > 1
        and nest.c.dtype.itemsize <= WIDEST
        and columns >= FEWEST_STRIPS * t.width
        and rows * extent_hint(cut.extent) >= LEAST
    )
