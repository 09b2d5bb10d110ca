"""Wide products: the naive kernel of a product of few inner indices, held back by its result.

A sum of a few outer products is such a one, with what is done to each element behind it. Tiles of a
strip would go down the result, a piece of each row at a time, all of them apart; here some rows are
computed from their first column to the last:

    for each few rows:
        for each strip of columns:
            accumulators = 0; inner loop of fused multiply-adds; the epilogue, and stores
"""

from __future__ import annotations

from dataclasses import replace

from jit.dims import Extent
from jit.forms.contraction import size_of
from jit.forms.placement import extent_hint
from jit.loops.ir import Operand, index
from jit.loops.nests import Naive
from jit.loops.products import ProductNest
from jit.loops.tiles import reads_in_place

HEIGHT, VECTORS = 4, 4  # of a tile: processors read ahead along so many rows, and write others
MOST_INNER = 32  # inner indices: with more, arithmetic takes longer than memory
LEAST = 1 << 20  # elements of the result from which on no near cache holds it
FEWEST_STRIPS = 4  # of a row


class WideNest(ProductNest):
    """The kernel of a contraction with a large result, and maps of it."""

    def build(self, name: str) -> Naive:
        """The kernel."""
        t = self.tiling
        width = VECTORS * t.lanes
        self.tiling = replace(t, height=HEIGHT, narrow_height=HEIGHT, width=width, packs=False)
        return super().build(name)

    def _rows_of_an_item(self) -> int:
        return HEIGHT

    def _parts(self, strips: Extent, row_blocks: Extent) -> list[Extent]:
        self.strips = strips
        return [1, row_blocks]

    def _item(self, first: Operand, second: Operand, each: int) -> None:
        w, rows = self.w, self._rows_of(second, each)
        with w.loop(index(0), w.at(self.strips), hint=self.hint("strip")) as strip:
            self.first_column = w.let("multiply", strip, index(self.tiling.width))
            self._by_width(*rows, each)


def is_wide(nest: ProductNest) -> bool:
    """Whether a product is better computed by a `WideNest`."""
    c, t = nest.c, nest.tiling
    rows, columns = extent_hint(size_of(t.rows)), extent_hint(size_of(t.columns))
    last = c.result.loops[-1][0] if c.result.loops else ""
    return (
        nest.cut is None
        and t.lanes > 1
        and extent_hint(size_of(c.inner)) <= MOST_INNER
        and rows * columns >= LEAST
        and columns >= FEWEST_STRIPS * VECTORS * t.lanes
        and t.columns[-1].name == last
        and reads_in_place(c, 1 - t.row_operand, t.columns)
    )
