"""Packed: the naive kernel of a product whose operands no cache near the processor holds.

An item of the grid is some blocks of rows for several strips of columns. What is packed for the
strips, and a block of rows, lie in the second cache together:

    for each chain of inner indices:
        pack the strips' part of the column operand, along its rows
        for each block of rows:
            copy its part of the row operand, if its rows lie beside each other
            for each strip, for each tile of rows: add to totals

Each sum is the chain of fused multiply-adds of any other tile.
"""

from __future__ import annotations

from dataclasses import replace

from jit.dims import Extent
from jit.forms.contraction import Letter, plain, size_of
from jit.forms.expression import linear
from jit.forms.placement import extent_hint
from jit.loops.elements import decoded
from jit.loops.ir import TILE, Buffer, Operand, index
from jit.loops.nests import Naive
from jit.loops.products import ProductNest
from jit.loops.tiles import FEWEST_STRIPS, LINE_BLOCKS, ROWS, lie_in_lines, reads_in_place

COLUMNS = 128  # of an item, at most: as much as they take does a block of rows
BLOCKS = 6  # of rows of an item, at most: columns are packed once for all of them
AHEAD = 4  # inner indices that packing asks for before it copies
LINES, LINE = 3, 64  # of a cache, asked for in each row of the next tile; bytes of one
ITEMS = 4  # so many at least, for threads to share, as long as that leaves some strips
PADDING = 16  # elements between copied tiles: those of a power of two share few sets of a cache
WIDEST = 4  # bytes of an element: an item has up to 0.9 MB on the stack
LEAST = 1 << 16  # elements of the row operand from which on it is worth it
LEAST_OF_FILTERS = 1 << 17  # of filters: these do not fit into the second cache

Rows = tuple[Operand, Operand, int]  # the first one, the one behind the last, how many at most


class PackedNest(ProductNest):
    """The kernel of a contraction with many rows, columns and inner indices."""

    def build(self, name: str) -> Naive:
        """The kernel."""
        self.tiling = replace(self.tiling, packs=True)
        self.asks = reads_in_place(self.c, 1 - self.tiling.row_operand, self.tiling.columns)
        self.copied: Buffer | None = None
        self.copies = self._copies_rows()
        return super().build(name)

    def _rows_of_an_item(self) -> int:
        self.block = super()._rows_of_an_item()
        blocks, t = -(-extent_hint(self.rows) // self.block), self.tiling
        most = LINE_BLOCKS if lie_in_lines(t.rows, t.height) else BLOCKS
        return -(-blocks // -(-blocks // most)) * self.block

    def _most_rows(self) -> int:
        return ROWS  # of a block

    def _parts(self, strips: Extent, row_blocks: Extent) -> list[Extent]:
        self.strips = strips
        count, others = extent_hint(strips), extent_hint(row_blocks)
        groups = max(-(-count * self.tiling.width // COLUMNS), -(-ITEMS // others))
        self.several = max(FEWEST_STRIPS, -(-count // groups))
        return [row_blocks, -(-strips // self.several)]

    def _item(self, first: Operand, second: Operand, each: int) -> None:
        w = self.w
        rows = (*self._rows_of(first, each), each)
        self.begin = w.let("multiply", second, index(self.several))
        self.end = w.least_of(w.let("add", self.begin, index(self.several)), w.at(self.strips))
        self._alloc_totals(each)
        with self._chains() as self.bounds:
            self._pack_strips()
            self._every_strip(rows)

    def _alloc_totals(self, each: int) -> None:
        t = self.tiling
        heights = [each] if self._is_even(each) else [t.height, t.narrow_height]
        self.room = max(-(-self.block // height) * height for height in heights) * t.width
        size = each // self.block * self.several * self.room
        self.totals = self.alloc("totals", size, "stack")

    def _every_strip(self, rows: Rows) -> None:
        """Adds the products of every strip and every block of rows."""
        w, (begin, stop, _), self.work = self.w, rows, self._add_products
        with w.loop(begin, stop, self.block, hint=self.hint("block")) as start:
            last = w.least_of(w.let("add", start, index(self.block)), stop)
            number = w.let("quotient", w.let("subtract", start, begin), index(self.block))
            before = w.let("multiply", number, index(self.several))
            if self.copies:
                self._copy_rows(start, last, self.block)
            with w.loop(self.begin, self.end, hint=self.hint("strip")) as strip:
                self._at_strip(strip)
                place = w.let("add", before, self.number)
                self.place = w.let("multiply", place, index(self.room))
                self._by_width(start, last, self.block)

    def _at_strip(self, strip: Operand) -> None:
        w = self.w
        self.first_column = w.let("multiply", strip, index(self.tiling.width))
        self.number = w.let("subtract", strip, self.begin)
        self.panel_start = w.let("multiply", self.number, index(self._length * self.tiling.width))

    @property
    def _length(self) -> int:
        """Inner indices of a chain, at most."""
        return self.chain * self._turn()

    def _strip(
        self, start: Operand, stop: Operand, each: int, width: int, count: int | None
    ) -> None:
        self._take_width(width, count)
        if self.copies:
            self.height = self.tiling.height  # of the tiles that rows are copied in
        self.work(start, stop, each)

    def _add_products(self, start: Operand, stop: Operand, each: int) -> None:
        for height, row in self._row_tiles(start, stop, each):
            if self._asks_for_rows:
                self._ask_for_rows(height, row)
            self._tile(height, row, start, self.bounds, self.panel, self.totals)

    def _total(self, row: Operand) -> Operand:
        return self.w.let("add", self.place, super()._total(row))

    # ----- packing -----

    def _pack_strips(self) -> None:
        """The part of the column operand that this item needs for a chain."""
        w, t = self.w, self.tiling
        self.panel = self.alloc("panel", self.several * self._length * t.width, "stack")
        if not self.asks:
            with w.loop(self.begin, self.end, hint=self.hint("strip")) as strip:
                self._at_strip(strip)
                self.work = self._pack_strip
                self._by_width(index(0), index(0), 0)
            return
        full = w.least_of(self.end, w.at(size_of(t.columns) // t.width))
        self._take_width(t.width, t.width)
        with self._inner(self.bounds):
            with w.loop(self.begin, full, hint=self.hint("strip")) as strip:
                self._at_strip(strip)
                if not self.turns:
                    self._ask_for_columns()
                self._pack_row(self.panel)
        if narrow := self._narrow():
            with w.when(w.let("less", full, self.end)):
                self._at_strip(full)
                self._take_width(*narrow)
                self._pack_strip()

    def _pack_strip(self, *_: object) -> None:
        self._fill_panel(self.panel, self.bounds)

    def _panel_row(self) -> Operand:
        return self.w.let("add", self.panel_start, super()._panel_row())

    def _ask_for_columns(self) -> None:
        """Asks for the last element of the strip, some rows further down."""
        w, t = self.w, self.tiling
        access = plain(self.c.elements[1 - t.row_operand])
        assert access is not None
        column = w.let("add", self.first_column, index(t.width - 1))
        at = decoded(w, column, [x.extent for x in t.columns])
        k = w.let("add", w.at(self._letter.at), index(AHEAD))
        with self.bound([self._letter, *t.columns], [k, *at]):
            w.prefetch(w.buffer(access.value), w.at(linear(access.value.shape, access.at)))

    # ----- what is read -----

    def _copies_rows(self) -> bool:
        """Whether rows are copied: where neighbouring ones are neighbours, as when transposed."""
        t, single = self.tiling, len(self.c.inner) == 1
        return single and len(t.rows) == 1 and reads_in_place(self.c, t.row_operand, t.rows)

    @property
    def _letter(self) -> Letter:
        """The inner index."""
        assert self.cut is not None
        return self.cut

    @property
    def _asks_for_rows(self) -> bool:
        """Whether a tile, one as most are, reads along a few rows."""
        whole = self.width == self.tiling.width and not self.rows_masked
        return whole and self.copied is None and not self.turns and len(self.tiling.rows) == 1

    def _ask_for_rows(self, height: int, row: Operand) -> None:
        """Asks for where the next tile begins: processors read ahead along a row, not down."""
        w, t = self.w, self.tiling
        access = plain(self.c.elements[t.row_operand])
        assert access is not None
        (rows,), line = t.rows, LINE // self.c.dtype.itemsize
        following = w.let("add", row, index(height))
        with self.tiled(height) as m:
            with w.loop(index(0), index(LINES * line), line, self.hint(TILE)) as ahead:
                k, at = w.let("add", self.bounds[0], ahead), w.let("add", following, m)
                with self.bound([self._letter, rows], [k, at]):
                    place = linear(access.value.shape, access.at)
                    w.prefetch(w.buffer(access.value), w.at(place))

    def _copy_rows(self, start: Operand, stop: Operand, each: int) -> None:
        """The block's part of a row operand of which a tile would use a piece of every line.

        Tile by tile, and one inner index after the other, as the inner loop reads it. Vectors that
        are wider than a tile overlap: what they hold too much of is written again.
        """
        w, (first, last), height = self.w, self.bounds, self.tiling.height
        wide = -(-height // self.tiling.lanes) * self.tiling.lanes
        self.start, self.stride = start, self.chain * height + PADDING
        self.copied = self.alloc("rows", -(-each // height) * self.stride, "stack")
        count = w.let("subtract", stop, start)
        whole = w.let("quotient", w.let("add", count, index(height - wide)), index(height))
        tiles = w.let("quotient", w.let("add", count, index(height - 1)), index(height))
        with w.loop(index(0), w.let("subtract", last, first), hint=self.hint("k")) as k:
            with self.bound([self._letter], [w.let("add", first, k)]):
                with w.loop(index(0), whole, hint=self.hint("rows")) as tile:
                    with w.loop(index(0), index(wide), hint=self.hint("lane")) as m:
                        self._copy_row(tile, k, m, w.let("add", self._first(tile), m))
                with w.loop(whole, tiles, hint=self.hint("rows")) as tile, self.tiled(height) as m:
                    row = w.least_of(w.let("add", self._first(tile), m), w.at(self.rows - 1))
                    self._copy_row(tile, k, m, row)

    def _first(self, tile: Operand) -> Operand:
        """The first row of a tile of the block."""
        return self.w.let(
            "add", self.start, self.w.let("multiply", tile, index(self.tiling.height))
        )

    def _copy_row(self, tile: Operand, k: Operand, m: Operand, row: Operand) -> None:
        assert self.copied is not None
        self.w.store(self.copied, self._copied_at(tile, k, m), self._row_element([row]))

    def _copied_at(self, tile: Operand, k: Operand, m: Operand) -> Operand:
        """Where the copy of row number `m` of a tile lies."""
        w = self.w
        line = w.let("multiply", k, index(self.tiling.height))
        return w.let("add", w.let("add", w.let("multiply", tile, index(self.stride)), line), m)

    def _row_value(self, row: Operand, m: Operand) -> Operand:
        if self.copied is None:
            return super()._row_value(row, m)
        w = self.w
        tile = w.let("quotient", w.let("subtract", row, self.start), index(self.tiling.height))
        return w.load(self.copied, self._copied_at(tile, self.turn, m))


def packs(nest: ProductNest) -> bool:
    """Whether a product is better computed by a `PackedNest`."""
    t, inner = nest.tiling, nest.c.inner
    rows, columns = extent_hint(size_of(t.rows)), extent_hint(size_of(t.columns))
    least = LEAST if len(inner) == 1 else LEAST_OF_FILTERS
    return (
        nest.cut is not None
        and t.lanes > 1
        and nest.c.dtype.itemsize <= WIDEST
        and columns >= FEWEST_STRIPS * t.width
        and rows * extent_hint(size_of(inner)) >= least
        and (len(inner) == 1 or len(t.rows) == 1 or len(lie_in_lines(t.rows, t.height)) == 1)
    )
